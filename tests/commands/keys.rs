//! Write keys by the command line, with a server and without.

use crate::program::{Folder, Server, ask};

fn keys_are_made_listed_and_revoked(folder: &Folder) {
    let made = folder.json(&["key", "create", "--source", "web", "--name", "the shop", "--json"]);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let listed = folder.json(&["key", "list", "--json"]);
    let mine = listed["keys"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap();
    assert_eq!((&mine["source"], &mine["name"]), (&"web".into(), &"the shop".into()));
    assert!(!listed.to_string().contains(key), "a key is shown once");
    assert!(key.starts_with(mine["prefix"].as_str().unwrap()));
    folder.ok(&["key", "revoke", id]);
    let again = folder.run(&["key", "revoke", id]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains(id), "{}", again.err);
}

#[test]
fn keys_work_with_a_server() {
    let folder = Folder::new();
    let _server = Server::start(&folder, &["serve"]);
    keys_are_made_listed_and_revoked(&folder);
}

#[test]
fn keys_work_without_a_server() {
    keys_are_made_listed_and_revoked(&Folder::new());
}

#[test]
fn tokens_are_made_with_the_scopes_they_need_listed_rotated_and_revoked() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve"]);
    let made = folder.json(&["token", "create", "--name", "dashboard", "--scope", "read", "--json"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap().to_owned());
    let scopes = made["scopes"].as_array().unwrap();
    assert!(scopes.iter().all(|scope| scope.as_str().unwrap().ends_with(":read")), "{made}");
    let events = format!("{}/api/v1/events", server.address());
    assert!(ask(&events, &secret).contains("\"events\""));
    let listed = folder.ok(&["token", "list"]);
    assert!(listed.contains("dashboard") && !listed.contains(&secret), "{listed}");
    let rotated = folder.json(&["token", "rotate", id, "--grace", "0s", "--json"]);
    assert!(ask(&events, rotated["secret"].as_str().unwrap()).contains("\"events\""));
    folder.ok(&["token", "revoke", id]);
    let again = folder.run(&["token", "revoke", id]);
    assert_eq!(again.code, 1, "{again:?}");
    let odd = folder.run(&["token", "create", "--name", "x", "--scope", "events:reed"]);
    assert!(odd.code == 1 && odd.err.contains("did you mean `events:read`"), "{}", odd.err);
}

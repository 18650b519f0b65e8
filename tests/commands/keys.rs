//! Write keys by the command line, with a server and without.

use crate::program::{Folder, Server};

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

//! Backups by the program: made beside a running server, put back, recognised, confirmed. On both databases.

use crate::database::Backend;
use crate::program::{Folder, Server};

#[test]
fn a_backup_made_while_the_server_runs_is_put_back_and_waits_for_a_person() {
    there_and_back(Backend::Sqlite);
}

#[test]
fn a_backup_of_postgresql_is_put_back_and_waits_for_a_person() {
    there_and_back(Backend::Postgres);
}

fn there_and_back(backend: Backend) {
    let folder = Folder::on(backend);
    let server = Server::start(&folder, &["serve"]);
    let key = folder.json(&["key", "create", "--json"])["key"].as_str().unwrap().to_owned();
    crate::program::track(&server.address(), &key, "ann", "Product Added");
    let backup = folder.path("monday");
    let made = folder.json(&["backup", backup.to_str().unwrap(), "--json"]);
    assert!(made["manifest"]["position"].as_i64().unwrap() > 0, "{made}");
    let again = folder.run(&["backup", backup.to_str().unwrap()]);
    assert!(again.code == 1 && again.err.contains("overwrites nothing"), "{again:?}");
    let refused = folder.run(&["restore", backup.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("in use by `carillon serve`"), "{refused:?}");
    assert_eq!(server.stop(), 0);
    let refused = folder.run(&["restore", backup.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("--replace"), "{refused:?}");
    let said = folder.ok(&["restore", backup.to_str().unwrap(), "--replace"]);
    assert!(said.contains("is kept as") && said.contains("marketing waits"), "{said}");
    let _server = Server::start(&folder, &["serve"]);
    let seen = folder.json(&["confirm-restore", "--look", "--json"]);
    assert_eq!(seen["is_held"], true, "{seen}");
    assert_eq!(seen["recognised"]["backup_at"], made["manifest"]["made_at"], "{seen}");
    folder.ok(&["explain", "--profile", "ann"]);
    folder.ok(&["confirm-restore", "--by", "ann"]);
    assert_eq!(folder.run(&["doctor"]).out.lines().filter(|line| line.contains("✗ restore")).count(), 0);
}

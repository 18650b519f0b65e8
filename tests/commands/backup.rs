//! Backups by the program: made beside a running server, put back, recognised, confirmed. On both databases.

use carillon::store::{Database, Rows};
use carillon::worker::restored::recognised;

use crate::database::Backend;
use crate::program::{Folder, Server, said};

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

#[test]
fn a_postgresql_that_servers_of_other_folders_work_on_is_refused_until_they_have_stopped() {
    let folder = Folder::on(Backend::Postgres);
    let server = Server::start(&folder, &["serve"]);
    let key = folder.json(&["key", "create", "--json"])["key"].as_str().unwrap().to_owned();
    crate::program::track(&server.address(), &key, "ann", "Product Added");
    let (backup, other) = (folder.path("monday"), folder.path("another"));
    folder.ok(&["backup", backup.to_str().unwrap()]);
    let restore = |more: &[&str]| {
        let to = ["restore", backup.to_str().unwrap(), "--data", other.to_str().unwrap()];
        said(folder.command().args(to).args(more))
    };
    for more in [&[][..], &["--replace"]] {
        let refused = restore(more);
        let names_who = refused.err.contains("of carillon from 127.0.0.1, since 20");
        assert!(refused.code == 1 && names_who && refused.err.contains("Stop every `carillon serve`"), "{refused:?}");
    }
    crate::program::track(&server.address(), &key, "bob", "Product Added");
    assert_eq!(server.stop(), 0);
    let restored = restore(&["--replace"]);
    assert!(restored.code == 0 && restored.out.contains("the schema before_restore_"), "{restored:?}");
    let held = within(&folder, async |database| recognised(&database.reader).await.unwrap());
    assert!(held.is_some_and(|held| held.backup_at.is_some()), "before anybody has started");
    let tuesday = folder.path("tuesday");
    folder.ok(&["backup", tuesday.to_str().unwrap()]);
    folder.ok(&["restore", tuesday.to_str().unwrap(), "--replace"]);
}

#[test]
fn a_restore_into_postgresql_that_fails_leaves_there_what_was_there() {
    let folder = Folder::on(Backend::Postgres);
    let key = folder.json(&["key", "create", "--json"])["id"].clone();
    within(&folder, async |database| Rows(&database.writer).run("CREATE SCHEMA reports", vec![]).await.unwrap());
    let backup = folder.path("monday");
    folder.ok(&["backup", backup.to_str().unwrap()]);
    let failed = folder.run(&["restore", backup.to_str().unwrap(), "--replace"]);
    let is_told = failed.err.contains("what was there is there again") && failed.err.contains("reports");
    assert!(failed.code == 1 && is_told, "{failed:?}");
    let keys = folder.json(&["key", "list", "--json"]);
    assert!(keys.to_string().contains(&key.to_string()), "{keys}");
}

/// In the folder's database, for a moment.
fn within<T>(folder: &Folder, work: impl AsyncFnOnce(&Database) -> T) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let database = carillon::store::open(folder.address()).await.unwrap();
        let answer = work(&database).await;
        database.close().await;
        answer
    })
}

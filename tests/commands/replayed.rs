//! What an import came to follows from the log: folded from zero it gives the same people, enrollments and messages.

use std::sync::Arc;

use carillon::clock::Clock;
use carillon::eventlog::EventLog;
use carillon::fault::Faults;
use carillon::ids::Span;
use carillon::store::{Database, Store};
use carillon::worker::leases::Leases;
use carillon::worker::live::Definitions;
use carillon::worker::processors::Processors;

use crate::fold::{self, State};
use crate::program::Folder;

/// Compares a folder on SQLite with what its log leads to.
pub fn follows_from_its_log(folder: &Folder) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("carillon.db");
        std::fs::copy(folder.data().join("carillon.db"), &path).unwrap();
        let database = carillon::store::open(&path).await.unwrap();
        let lived = State::read(&database.reader).await;
        assert!(lived.rows_of("profiles") > 0 && lived.rows_of("messages") > 0, "that shows nothing");
        fold::fold(&database.writer, async || decide(&database).await).await;
        let differences = fold::differences(&lived, &State::read(&database.reader).await);
        assert!(differences.is_empty(), "folding the log gives another state:\n{}", differences.join("\n"));
        database.close().await;
    });
}

async fn decide(database: &Database) {
    let store = Store::new(database.reader.clone());
    let log = EventLog::start(database, Clock::system(Span::ZERO)).await.unwrap();
    let definitions = Arc::new(Definitions::load(store.clone()).await.unwrap());
    let alone = Leases::alone(store.layout());
    let settle = Span::from_seconds(2);
    let mut processors = Processors::new(log.clone(), store, definitions, Faults::none(), settle, alone);
    while processors.tick().await.unwrap() > 0 {}
    log.stop().await;
}

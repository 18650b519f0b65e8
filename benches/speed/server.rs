//! The server under load: the real door and parser over five kinds of log, from one that stores nothing to the real
//! one with the processor behind it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use anyhow::Context;
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::event::source::Source;
use carillon::eventlog::{AppendError, Receipt, Taken};
use carillon::eventlog::{EventLog, Queue};
use carillon::fault::Faults;
use carillon::http::append::Append;
use carillon::http::auth::{WriteKey, WriteKeys};
use carillon::http::config::Config;
use carillon::http::door::DoorCounts;
use carillon::http::{self, Ingest};
use carillon::ids::{Position, Span, WorkspaceId};
use carillon::store::definitions::{StoredDefinition, StoredFile};
use carillon::store::{Address, Database, Store, open, workspace};
use carillon::worker::leases::Leases;
use carillon::worker::live::Definitions;
use carillon::worker::processor::Processor;
use carillon::worker::processors::Processors;
use futures::future::{self, BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};

use crate::client::KEY;
use crate::postgres_probe::PostgresProbeLog;
use crate::{file, probe, shop};

/// What is behind the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// Answers at once.
    Nothing,
    /// The events' texts, appended to a file that is synced before anybody is answered: the floor of what is durable.
    File,
    /// The same rows, written by prepared statements with nothing in between.
    Probe,
    Log,
    LogAndProcessor,
}

struct StoresNothing;

impl Append for StoresNothing {
    fn append(&self, _: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>> {
        future::ready(Ok(vec![Ok(Receipt::Stored { position: Position(1), profile: None }); events.len()])).boxed()
    }
}

/// Serves until standard input closes; the first line printed is the address.
///
/// # Errors
/// The database or the listener cannot be used.
pub fn run(behind: Behind, place: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::system(Span::ZERO);
        let address = address_of(place);
        let log: Arc<dyn Append> = match behind {
            Behind::Nothing => Arc::new(StoresNothing),
            Behind::File => Arc::new(file::log(&place.join("events"))?),
            Behind::Probe => {
                open(address.clone()).await?.close().await;
                match &address {
                    Address::Sqlite(path) => Arc::new(probe::log(path, clock.clone())?),
                    Address::Postgres(url) => Arc::new(PostgresProbeLog::start(url, clock.clone()).await?),
                }
            }
            Behind::Log => Arc::new(EventLog::start(&open(address).await?, clock.clone()).await?),
            Behind::LogAndProcessor => {
                let database = open(address).await?;
                let log = EventLog::start(&database, clock.clone()).await?;
                apply(&log, shop::campaigns()).await?;
                tokio::spawn(process(log.clone(), processor(&log, &database).await?));
                Arc::new(log)
            }
        };
        serve(log, clock).await
    })
}

async fn serve(log: Arc<dyn Append>, clock: Clock) -> anyhow::Result<()> {
    let keys = WriteKeys::unread();
    keys.replace([WriteKey {
        hash: WriteKey::hash_of(KEY),
        id: "key-bench".to_owned(),
        workspace: shop::WORKSPACE,
        source: Arc::new(Source { key: "shop".to_owned(), name: None, rules: Vec::new() }),
    }]);
    let most = std::num::NonZeroU32::MAX;
    let config = Config { requests_per_second: most, requests_burst: most, ..Config::default() };
    let ingest = web::Data::new(Ingest::new(config, keys, log, clock, DoorCounts::default()));
    let server = HttpServer::new(move || App::new().configure(http::configure(ingest.clone())))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))?;
    println!("{}", server.addrs().first().context("no address")?);
    let server = server.run();
    let handle = server.handle();
    let server = tokio::spawn(server);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    handle.stop(false).await;
    server.await??;
    Ok(())
}

/// A folder's database, or the PostgreSQL that is named instead of a folder.
fn address_of(place: &Path) -> Address {
    match place.to_str().filter(|text| text.starts_with("postgres://")) {
        Some(url) => Address::Postgres(url.into()),
        None => Address::Sqlite(place.join("carillon.db")),
    }
}

/// Stores definitions as if they had been applied: (key, text).
///
/// # Errors
/// The database cannot be written.
pub async fn apply(log: &EventLog, documents: Vec<(String, String)>) -> anyhow::Result<()> {
    let applied_at = log.clock().now();
    log.writer()
        .change(Queue::Effects, move |tx, _| {
            Box::pin(async move {
                let store = workspace(tx, shop::WORKSPACE);
                let known = store.definitions().await?;
                for (key, text) in documents {
                    if known.iter().any(|one| one.key == key) {
                        continue;
                    }
                    let files = vec![StoredFile { name: format!("{key}.yaml"), text }];
                    let kind = "campaign".to_owned();
                    let position = Position(0);
                    store
                        .add_definition(&StoredDefinition { kind, key, version: 1, files, position, applied_at })
                        .await?;
                }
                Ok(())
            })
        })
        .await
}

/// The processor of a log, with what is applied in force.
///
/// # Errors
/// The database cannot be read, or a campaign was not understood.
pub async fn processor(log: &EventLog, database: &Database) -> anyhow::Result<Processor> {
    let (store, definitions) = in_force(database).await?;
    Processor::new(log.clone(), store, definitions, Faults::none(), Span::from_seconds(2)).await
}

/// The processors of every shard of a log.
///
/// # Errors
/// As for `processor`.
pub async fn processors(log: &EventLog, database: &Database) -> anyhow::Result<Processors> {
    let (store, definitions) = in_force(database).await?;
    let leases = Leases::alone(store.layout());
    Ok(Processors::new(log.clone(), store, definitions, Faults::none(), Span::from_seconds(2), leases))
}

async fn in_force(database: &Database) -> anyhow::Result<(Store, Arc<Definitions>)> {
    let store = Store::new(database.reader.clone());
    let definitions = Arc::new(Definitions::load(store.clone()).await?);
    let live = definitions.live(shop::WORKSPACE).catalog.campaigns().count();
    anyhow::ensure!(live as u64 >= shop::CAMPAIGNS, "only {live} campaigns are live");
    Ok((store, definitions))
}

/// Processes whatever is appended, until the log stops.
pub async fn process(log: EventLog, mut processor: Processor) {
    let mut appended = log.appended();
    loop {
        appended.borrow_and_update();
        match processor.tick().await {
            Ok(0) if appended.changed().await.is_err() => return,
            Ok(_) => {}
            Err(error) => {
                eprintln!("the processor failed: {error:#}");
                return;
            }
        }
    }
}

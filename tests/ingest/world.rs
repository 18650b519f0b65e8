//! A server on a free port over a real log.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpServer, web};
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::event::pattern::Pattern;
use carillon::event::source::{DoorRule, Source};
use carillon::eventlog::{AppendError, EventLog, Receipt, Taken};
use carillon::http::append::Append;
use carillon::http::auth::{WriteKey, WriteKeys};
use carillon::http::config::Config;
use carillon::http::door::DoorCounts;
use carillon::http::{DISCONNECT_DEADLINE, HEAD_DEADLINE, Ingest};
use carillon::ids::{Position, Span, WorkspaceId};
use carillon::store::entries::Logged;
use carillon::store::{self, Rows, Store};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sea_orm::ConnectionTrait;
use tokio::runtime::{Handle, Runtime};

use super::BACKEND;
use crate::client::{Answer, Connection, Request};
use crate::database::{Backend, Place};

/// The log behind the door, which can be told to fail.
#[derive(Clone)]
pub struct TroubledLog(Arc<Behind>);

struct Behind {
    log: EventLog,
    store: Store,
    runtime: Handle,
    /// Where each event stands, in the order of the answers.
    stored: Mutex<Vec<(WorkspaceId, Position)>>,
    trouble: Mutex<Option<AppendError>>,
    is_stuck: AtomicBool,
}

impl TroubledLog {
    pub fn fail_with(&self, trouble: Option<AppendError>) {
        *self.0.trouble.lock().unwrap() = trouble;
    }

    pub fn get_stuck(&self) {
        self.0.is_stuck.store(true, Ordering::SeqCst);
    }

    pub fn stop(&self) {
        self.0.runtime.block_on(self.0.log.stop());
    }

    /// What the database has of every event that was stored.
    pub fn events(&self) -> Vec<Arc<Event>> {
        let stored = self.0.stored.lock().unwrap().clone();
        let reading = stored.into_iter().map(async |(workspace, position)| {
            let mut found = self.0.store.workspace(workspace).entries_at(&[position]).await.unwrap();
            match found.remove(&position).map(|entry| entry.logged) {
                Some(Logged::Event(event)) => event,
                other => panic!("at {position} is {other:?}"),
            }
        });
        self.0.runtime.block_on(join_all(reading))
    }

    pub fn last(&self) -> Arc<Event> {
        self.events().pop().expect("nothing was stored")
    }
}

impl Append for TroubledLog {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>> {
        async move {
            if self.0.is_stuck.load(Ordering::SeqCst) {
                return futures::future::pending().await;
            }
            if let Some(trouble) = self.0.trouble.lock().unwrap().clone() {
                return Err(trouble);
            }
            let taken = self.0.log.append_apart(workspace, events).await?;
            let stored = taken.iter().filter_map(|one| match one {
                Ok(Receipt::Stored { position, .. }) => Some((workspace, *position)),
                Ok(Receipt::Duplicate) | Err(_) => None,
            });
            self.0.stored.lock().unwrap().extend(stored);
            Ok(taken)
        }
        .boxed()
    }
}

/// A running server and what is behind it.
pub struct World {
    pub address: SocketAddr,
    pub log: TroubledLog,
    pub keys: WriteKeys,
    pub counts: DoorCounts,
    /// The writer's.
    runtime: Runtime,
    place: Place,
}

/// `wk` (and `wk_demo`, in the fixtures) writes for workspace 1 and `other` for workspace 2; `ruled` drops "Noise" and renames "Viewed Product".
pub fn keys() -> Vec<WriteKey> {
    let key = |text: &str, workspace, rules| WriteKey {
        hash: WriteKey::hash_of(text),
        id: format!("key-{text}"),
        workspace: WorkspaceId(workspace),
        source: Arc::new(Source { key: "shop".into(), name: None, rules }),
    };
    let noise = Pattern::from_json(&serde_json::json!({ "event": ["Noise"] })).unwrap();
    let rename = DoorRule::Rename { from: "Viewed Product".into(), to: "Product Viewed".into() };
    let ruled = key("ruled", 1, vec![DoorRule::Drop(noise), rename]);
    vec![key("wk", 1, vec![]), key("wk_demo", 1, vec![]), key("other", 2, vec![]), ruled]
}

impl World {
    pub fn start() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let clock = Clock::system(Span::ZERO);
        let (place, database, log) = runtime.block_on(async {
            let place = Place::new(BACKEND).await;
            let database = store::open(place.address()).await.unwrap();
            let log = EventLog::start(&database, clock.clone()).await.unwrap();
            (place, database, log)
        });
        let log = TroubledLog(Arc::new(Behind {
            log,
            store: Store::new(database.reader),
            runtime: runtime.handle().clone(),
            stored: Mutex::default(),
            trouble: Mutex::default(),
            is_stuck: AtomicBool::default(),
        }));
        let (keys, counts) = (WriteKeys::unread(), DoorCounts::default());
        keys.replace(self::keys());
        let behind = Arc::new(log.clone());
        let ingest = web::Data::new(Ingest::new(config, keys.clone(), behind, clock, counts.clone()));
        let (told, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let serving = async move {
                let server = HttpServer::new(move || App::new().configure(carillon::http::configure(ingest.clone())))
                    .workers(1)
                    .client_request_timeout(HEAD_DEADLINE)
                    .client_disconnect_timeout(DISCONNECT_DEADLINE)
                    .disable_signals()
                    .bind(("127.0.0.1", 0))
                    .unwrap();
                told.send(server.addrs()[0]).unwrap();
                server.run().await.unwrap();
            };
            actix_web::rt::System::new().block_on(serving);
        });
        Self { address: address.recv().unwrap(), log, keys, counts, runtime, place }
    }

    /// How many entries another process finds.
    pub fn entries_when_opened_again(&self) -> usize {
        let count = self.runtime.block_on(async {
            let again = store::open(self.place.address()).await.unwrap();
            Rows(&again.reader).scalar::<i64>("SELECT count(*) FROM entries", vec![]).await.unwrap()
        });
        usize::try_from(count.unwrap()).unwrap()
    }

    /// From now on the database takes no event of this name.
    pub fn refuse_events_named(&self, name: &str) {
        let rule = match BACKEND {
            Backend::Sqlite => format!(
                "CREATE TRIGGER refused BEFORE INSERT ON entries WHEN NEW.name = '{name}'
                 BEGIN SELECT RAISE(ABORT, 'ann@example.com'); END"
            ),
            Backend::Postgres => format!("ALTER TABLE entries ADD CONSTRAINT refused CHECK (name <> '{name}')"),
        };
        self.runtime.block_on(async {
            let again = store::open(self.place.address()).await.unwrap();
            again.writer.execute_unprepared(&rule).await.unwrap();
        });
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub fn send(&self, request: &Request) -> Answer {
        self.connect().send(request)
    }

    /// A track call of `wk` that must be taken.
    pub fn track(&self, body: &str) -> Arc<Event> {
        let answer = self.send(&Request::post("/v1/track", body).key("wk"));
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{body}");
        self.log.last()
    }
}

//! A server on a free port over a log in memory that keeps, repeats and fails as a real one does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpServer, web};
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::event::pattern::Pattern;
use carillon::event::source::{DoorRule, Source};
use carillon::eventlog::{AppendError, Receipt};
use carillon::http::append::Append;
use carillon::http::auth::{WriteKey, WriteKeys};
use carillon::http::config::Config;
use carillon::http::door::DoorCounts;
use carillon::http::{DISCONNECT_DEADLINE, HEAD_DEADLINE, Ingest};
use carillon::ids::{EventId, Position, Span, WorkspaceId};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::client::{Answer, Connection, Request};

#[derive(Default)]
struct Kept {
    ids: BTreeSet<(WorkspaceId, EventId)>,
    events: Vec<(WorkspaceId, Event)>,
    trouble: Option<AppendError>,
    is_stuck: bool,
}

#[derive(Clone, Default)]
pub struct MemoryLog(Arc<Mutex<Kept>>);

impl MemoryLog {
    pub fn fail_with(&self, trouble: Option<AppendError>) {
        self.0.lock().unwrap().trouble = trouble;
    }

    pub fn get_stuck(&self) {
        self.0.lock().unwrap().is_stuck = true;
    }

    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.iter().map(|(_, event)| event.clone()).collect()
    }

    pub fn last(&self) -> Event {
        self.events().pop().expect("nothing was stored")
    }

    fn store(&self, workspace: WorkspaceId, events: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
        let mut kept = self.0.lock().unwrap();
        if let Some(trouble) = &kept.trouble {
            return Err(trouble.clone());
        }
        let mut receipts = Vec::new();
        for event in events {
            if kept.ids.insert((workspace, event.id)) {
                kept.events.push((workspace, event));
                let position = Position(kept.events.len() as i64);
                receipts.push(Receipt::Stored { position, profile: None });
            } else {
                receipts.push(Receipt::Duplicate);
            }
        }
        Ok(receipts)
    }
}

impl Append for MemoryLog {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        if self.0.lock().unwrap().is_stuck {
            return futures::future::pending().boxed();
        }
        futures::future::ready(self.store(workspace, events)).boxed()
    }
}

/// A running server and what is behind it.
pub struct World {
    pub address: SocketAddr,
    pub log: MemoryLog,
    pub keys: WriteKeys,
    pub counts: DoorCounts,
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
        let log = MemoryLog::default();
        Self::serve(config, Arc::new(log.clone()), log)
    }

    /// Over another log than ours, whose events are then to be sought there.
    pub fn over(log: Arc<dyn Append>) -> Self {
        Self::serve(Config::default(), log, MemoryLog::default())
    }

    fn serve(config: Config, behind: Arc<dyn Append>, log: MemoryLog) -> Self {
        let (keys, counts) = (WriteKeys::unread(), DoorCounts::default());
        keys.replace(self::keys());
        let clock = Clock::system(Span::ZERO);
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
        Self { address: address.recv().unwrap(), log, keys, counts }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub fn send(&self, request: &Request) -> Answer {
        self.connect().send(request)
    }

    /// A track call of `wk` that must be taken.
    pub fn track(&self, body: &str) -> Event {
        let answer = self.send(&Request::post("/v1/track", body).key("wk"));
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{body}");
        self.log.last()
    }
}

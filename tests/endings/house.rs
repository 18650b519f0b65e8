//! The program in a folder that outlives it: started, signalled, started again.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon::store::{Address, Rows};
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;

use crate::database::{Backend, Place};
use crate::load::{Answer, exchange};
use crate::sink::Sink;

const PROGRAM: &str = env!("CARGO_BIN_EXE_carillon");
const STARTED_WITHIN: Duration = Duration::from_secs(30);
const ENDED_WITHIN: Duration = Duration::from_secs(30);
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

const DEFINITIONS: &str = r#"
kind: campaign
key: thanks
name: Thanks
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Completed, key: properties.order_id }
send: { channel: email, template: note }
---
kind: campaign
key: offer
name: Offer
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Order Completed, key: properties.order_id }
caps: { obey: false, count: false }
send: { channel: email, template: note }
---
kind: consent_policy
rules: [ { channel: email, unknown: allowed } ]
---
kind: template
key: note
email:
  subject: "{{campaign.key}} {{event.properties.order_id}}"
  html: "<p>About your order. <a href=\"{{links.unsubscribe}}\">Unsubscribe</a></p>"
"#;

pub struct House {
    folder: TempDir,
    database: Arc<Place>,
    sink: String,
    child: Option<Child>,
    /// More of its environment, from its next start on.
    pub settings: Vec<(&'static str, String)>,
    pub address: String,
    token: String,
    pub key: String,
}

impl House {
    /// A data folder with the definitions in force, and a key.
    pub fn new(sink: &Sink, backend: Backend) -> Self {
        Self::over(sink, Place::new(backend))
    }

    /// The same on this database.
    pub fn over(sink: &Sink, database: impl Future<Output = Place>) -> Self {
        let folder = TempDir::new().unwrap();
        let database = Arc::new(now(database));
        let sink = format!("smtp://{}?tls=none", sink.address);
        let (child, settings, address, token, key) = Default::default();
        let mut house = Self { folder, database, sink, child, settings, address, token, key };
        house.start();
        let body = serde_json::json!({ "files": [{ "name": "shop.yaml", "text": DEFINITIONS }] });
        house.post("/api/v1/definitions", &body);
        house.key = house.post("/api/v1/keys", &serde_json::json!({ "source": "web" }))["key"].as_str().unwrap().into();
        house.signal("-TERM");
        assert!(house.wait().success());
        house
    }

    /// Another process on the same database, with a folder of its own.
    pub fn beside(&self) -> Self {
        let (child, settings, address, token) = Default::default();
        let (database, sink, key) = (self.database.clone(), self.sink.clone(), self.key.clone());
        Self { folder: TempDir::new().unwrap(), database, sink, child, settings, address, token, key }
    }

    /// How many shards of the log each process has at present.
    pub fn shares(&self) -> Vec<i64> {
        let sql = "SELECT count(*) FROM leases WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000
                   GROUP BY owner ORDER BY 1";
        self.query(sql)
    }

    /// The first column of what PostgreSQL answers.
    pub fn query(&self, sql: &str) -> Vec<i64> {
        let Address::Postgres(url) = self.database.address() else { panic!("not on PostgreSQL") };
        now(async {
            let conn = sea_orm::Database::connect(url.expose_secret()).await.unwrap();
            let rows = Rows(&conn).all(sql, vec![]).await.unwrap();
            let found = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
            conn.close().await.unwrap();
            found
        })
    }

    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Until it has its work: where it could be shared, all of it.
    pub fn start(&mut self) {
        self.start_beside();
        if let Address::Postgres(_) = self.database.address() {
            until("its shards", || self.shares() == [16]);
        }
    }

    /// Until it answers.
    pub fn start_beside(&mut self) {
        let url = match self.database.address() {
            Address::Postgres(url) => url.expose_secret().to_owned(),
            Address::Sqlite(_) => String::new(),
        };
        let errors = std::fs::File::options().create(true).append(true).open(self.folder.path().join("stderr.txt"));
        let child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.folder())
            .env("CARILLON_DATABASE__URL", url)
            .env("CARILLON_SMTP__URL", &self.sink)
            .env("CARILLON_SMTP__CONNECTIONS", crate::CONNECTIONS.to_string())
            .env("CARILLON_RETRY__DELAYS", "1s")
            .env("CARILLON_RETRY__DELAY_MIN", "1s")
            .envs(crate::signed::settings())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.unwrap())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.child = Some(child);
        let deadline = Instant::now() + STARTED_WITHIN;
        loop {
            // After a kill the last run's file is still there: only this process's counts.
            if let Some(it) = read(&self.folder()).filter(|it| it["pid"] == pid) {
                self.address = it["address"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
                self.token = it["token"].as_str().unwrap().to_owned();
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "serve ended with {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "serve did not start\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + ENDED_WITHIN;
        let mut child = self.child.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until everything is processed and no message waits any more. It may take as long as there is less to do from
    /// time to time: many kills leave much behind.
    pub fn settle(&self) {
        let (mut least, mut deadline) = (u64::MAX, Instant::now() + SETTLED_WITHIN);
        loop {
            let accounts = self.get("/api/v1/accounting");
            let waiting = ["queued", "deferred", "claimed", "sending", "retrying"];
            let waits = |name: &str| accounts["messages"]["by_status"][name].as_u64().unwrap_or(0);
            let left =
                accounts["events"]["unprocessed"].as_u64().unwrap() + waiting.into_iter().map(waits).sum::<u64>();
            if left == 0 {
                return;
            }
            if left < least {
                (least, deadline) = (left, Instant::now() + SETTLED_WITHIN);
            }
            assert!(Instant::now() < deadline, "it did not come to rest: {accounts}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn count_by_status(&self, status: &str) -> usize {
        let accounts = self.get("/api/v1/accounting");
        usize::try_from(accounts["messages"]["by_status"][status].as_u64().unwrap_or(0)).unwrap()
    }

    /// Asks again while the service says that it can be asked again.
    pub fn get(&self, path: &str) -> Value {
        let (token, deadline) = (format!("Bearer {}", self.token), Instant::now() + STARTED_WITHIN);
        loop {
            let Answer { status, body, .. } = exchange(&self.address, "GET", path, &token, "").unwrap();
            if status == 503 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            assert_eq!(status, 200, "GET {path}: {body}");
            return serde_json::from_str(&body).unwrap();
        }
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let token = format!("Bearer {}", self.token);
        let Answer { status, body, .. } = exchange(&self.address, "POST", path, &token, &body.to_string()).unwrap();
        assert!((200..300).contains(&status), "POST {path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    /// Pauses or resumes all sending.
    pub fn switch(&self, which: &str) {
        self.post(&format!("/api/v1/{which}"), &serde_json::json!({ "scope": "all" }));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr.txt")).unwrap_or_default()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Already gone is as good as ended.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits for what comes by itself.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SETTLED_WITHIN;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read(folder: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("server.json")).ok()?).ok()
}

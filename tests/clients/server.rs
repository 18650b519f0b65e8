//! The program under test, run as a user runs it: `carillon serve` in a folder of its own, a write key from
//! `carillon key create`, and questions over the API with the token that `serve` leaves beside its address.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_carillon");
const STARTED_WITHIN: Duration = Duration::from_secs(20);
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// A running server; dropping it ends the process and removes the folder.
pub struct Server {
    child: Child,
    folder: TempDir,
    address: String,
    token: String,
}

/// What `serve` leaves in its data folder, of which we need two fields.
#[derive(Deserialize)]
struct Whereabouts {
    address: String,
    token: String,
}

/// One stored event as the API lists it.
#[derive(Debug, Deserialize)]
pub struct Stored {
    pub position: i64,
    pub message_id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub at: jiff::Timestamp,
    pub received_at: jiff::Timestamp,
    /// The client's own item, verbatim.
    pub body: Value,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Stored>,
}

#[derive(Debug, Deserialize)]
pub struct Accounting {
    pub events: EventCounts,
}

#[derive(Debug, Deserialize)]
pub struct EventCounts {
    pub accepted: u64,
    pub processed: u64,
    pub unprocessed: u64,
    pub parked: u64,
    pub duplicates: u64,
    pub dropped: u64,
}

impl Server {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg("--data")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("stderr.txt")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, folder, address: String::new(), token: String::new() };
        let deadline = Instant::now() + STARTED_WITHIN;
        let whereabouts = loop {
            if let Some(it) = read_whereabouts(server.folder.path()) {
                break it;
            }
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "serve ended with {ended:?}:\n{}", server.log());
            assert!(Instant::now() < deadline, "serve left no server.json:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        server.address = whereabouts.address;
        server.token = whereabouts.token;
        server
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        self.address.strip_prefix("http://").unwrap()
    }

    pub fn create_key(&self) -> String {
        #[derive(Deserialize)]
        struct Created {
            key: String,
        }
        let done = Command::new(PROGRAM)
            .args(["key", "create", "--json", "--data"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "key create: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Created>(&done.stdout).unwrap().key
    }

    /// Everything in the log, in order. A page holds up to 1,000, more than any run here sends.
    pub fn events(&self) -> Vec<Stored> {
        self.get::<Page>("/api/v1/events?after=0&limit=1000").events
    }

    /// The counts once the processor has caught up with the log.
    pub fn settled_accounting(&self) -> EventCounts {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            let counts = self.get::<Accounting>("/api/v1/accounting").events;
            if counts.unprocessed == 0 {
                return counts;
            }
            assert!(Instant::now() < deadline, "the processor did not catch up: {counts:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let url = format!("{}{path}", self.address);
        let text = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            // A proxy named in the environment has no business between a test and loopback.
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
            let answer = client.get(&url).bearer_auth(&self.token).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.is_success(), "GET {path}: {status} {text}");
            text
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error} in {text}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr.txt")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good as ended.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

fn read_whereabouts(folder: &Path) -> Option<Whereabouts> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("server.json")).ok()?).ok()
}

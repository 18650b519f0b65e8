//! Runs `carillon` in a folder of its own, as a server or for one answer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use carillon::store::Address;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;

use crate::database::{Backend, Place};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_carillon");
/// Nothing here takes as long, even beside other tests.
const WITHIN: Duration = Duration::from_secs(180);

/// A data folder, removed in the end.
pub struct Folder {
    folder: TempDir,
    /// On PostgreSQL.
    database: Option<Place>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), database: None }
    }

    /// The same with its database there.
    pub fn on(backend: Backend) -> Self {
        let making = Place::new(backend);
        let place = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(making);
        Self { database: (backend == Backend::Postgres).then_some(place), ..Self::new() }
    }

    /// What `CARILLON_DATABASE__URL` says; empty: a file in the folder.
    pub fn database(&self) -> String {
        match self.database.as_ref().map(Place::address) {
            Some(Address::Postgres(url)) => url.expose_secret().to_owned(),
            Some(Address::Sqlite(_)) | None => String::new(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.database.as_ref().map_or_else(|| Address::Sqlite(self.data().join("carillon.db")), Place::address)
    }

    /// What `CARILLON_REDIS__URL` says: beside PostgreSQL the caps are in Redis, as in compose.yaml.
    pub fn redis(&self) -> String {
        let server = || std::env::var("CARILLON_TEST_REDIS").expect("run: eval \"$(tests/services/servers start)\"");
        self.database.as_ref().map(|_| server()).unwrap_or_default()
    }

    /// The data folder itself; it need not exist.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file beside the data folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("CARILLON_DATA", self.data()).stdin(Stdio::null());
        command.env("CARILLON_DATABASE__URL", self.database()).env("CARILLON_REDIS__URL", self.redis());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        said(self.command().args(arguments))
    }

    /// The standard output of a command that succeeds.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "carillon {arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("carillon {arguments:?}: {error} in {text}"))
    }
}

pub fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server that runs until this is dropped.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    pub said: Vec<String>,
}

impl Server {
    /// Starts `serve` or `demo` on a free port.
    pub fn start(folder: &Folder, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// The same with these settings in the environment.
    pub fn start_with(folder: &Folder, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = folder.command();
        command.envs(settings.iter().copied());
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        let errors = std::fs::File::create(folder.path("stderr.txt")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Self { child, lines, said: Vec::new() };
        server.wait_for(folder, "listening on http://");
        server
    }

    /// Reads what it prints until a line contains `words`; the answer is that line.
    pub fn wait_for(&mut self, folder: &Folder, words: &str) -> String {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let log = std::fs::read_to_string(folder.path("stderr.txt")).unwrap_or_default();
                    panic!("`{words}` was not said: {:?}\n{log}", self.said);
                }
            }
        }
    }

    /// `http://host:port`, as it was printed.
    pub fn address(&self) -> String {
        let line = self.said.iter().find(|line| line.contains("listening on ")).unwrap();
        line.trim().strip_prefix("listening on ").unwrap().to_owned()
    }

    /// Asks it to stop as an init system does; the answer is its exit code.
    pub fn stop(mut self) -> i32 {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it did not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good as ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an address answers, as text.
pub fn get(url: &str) -> String {
    ask(url, "")
}

/// What an address answers to the holder of a token.
pub fn ask(url: &str, token: &str) -> String {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        // A proxy named in the environment has no business between a test and loopback.
        let client = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().unwrap();
        let answer = client.get(url).bearer_auth(token).send().await.unwrap();
        assert!(answer.status().is_success(), "GET {url}: {}", answer.status());
        answer.text().await.unwrap()
    })
}

/// Sends one event with a write key.
pub fn track(address: &str, key: &str, user: &str, event: &str) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().unwrap();
        let body = serde_json::json!({ "userId": user, "event": event, "properties": { "cart_id": "c1" } });
        let call = client.post(format!("{address}/v1/track")).basic_auth(key, Some("")).body(body.to_string());
        assert!(call.send().await.unwrap().status().is_success());
    });
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

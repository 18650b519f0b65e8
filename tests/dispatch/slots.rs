//! Where a world's slots are kept: in the process, in a corner of the shared Redis that nobody else has, or in a Redis
//! of its own that may be flushed and killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use carillon::caps::redis::Server;
use carillon::worker::dispatcher::CapStores;
use tempfile::TempDir;

#[derive(Debug, Clone, Copy)]
pub enum Slots {
    Process,
    Redis,
}

/// What outlives a process.
#[derive(Debug, Clone)]
pub enum Kept {
    Nowhere,
    Redis { url: String, installation: String },
}

impl Kept {
    pub fn new(slots: Slots) -> Self {
        match slots {
            Slots::Process => Self::Nowhere,
            Slots::Redis => Self::at(shared()),
        }
    }

    pub fn at(url: String) -> Self {
        static CORNERS: AtomicU64 = AtomicU64::new(0);
        let corner = CORNERS.fetch_add(1, Ordering::Relaxed);
        Self::Redis { url, installation: format!("dispatch-{}-{corner}", std::process::id()) }
    }

    /// The stores of one process.
    pub fn stores(&self) -> CapStores {
        match self {
            Self::Nowhere => CapStores::embedded(),
            Self::Redis { url, installation } => CapStores::on_redis(Server::new(url).unwrap(), installation.clone()),
        }
    }
}

/// The Redis that `tests/services/servers` started.
fn shared() -> String {
    std::env::var("CARILLON_TEST_REDIS")
        .expect("CARILLON_TEST_REDIS is not set; run: eval \"$(tests/services/servers start)\"")
}

/// A Redis of one test, on a socket in a folder of its own.
pub struct OwnRedis {
    folder: TempDir,
    running: Option<Child>,
}

impl OwnRedis {
    pub fn start() -> Self {
        let mut own = Self { folder: tempfile::tempdir().unwrap(), running: None };
        own.come_back();
        own
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }

    /// Starts again with nothing in it, and returns when it answers.
    pub fn come_back(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket"]).arg(self.folder.path().join("socket"));
        command.args(["--save", "", "--dir"]).arg(self.folder.path());
        let mut running = command.stdout(Stdio::piped()).spawn().expect("redis-server is missing; run: make services");
        let said = BufReader::new(running.stdout.take().unwrap());
        self.running = Some(running);
        // "Ready to accept connections unix", in these words since Redis 5.
        let is_ready = said.lines().any(|line| line.unwrap().to_lowercase().contains("ready to accept connections"));
        assert!(is_ready, "redis-server did not start");
    }

    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    pub fn flush(&self) {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    }

    pub fn keys(&self) -> u64 {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        redis::cmd("DBSIZE").query(&mut connection).unwrap()
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

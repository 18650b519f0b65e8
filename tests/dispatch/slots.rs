//! Where a world's slots are kept: in the process, in a corner of the shared Redis that nobody else has, or in one of its
//! own (`tests/services/redis.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use carillon::caps::redis::Server;
use carillon::worker::dispatcher::CapStores;

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

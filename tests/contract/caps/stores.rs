//! The cap stores of the suites: in this process, and on a Redis of which every store has its own corner.
#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carillon::caps::redis::Server;
use carillon::caps::{CapStore, Embedded, Redis};
use carillon::ids::WorkspaceId;

pub fn embedded() -> Arc<dyn CapStore> {
    Arc::new(Embedded::default())
}

/// A corner of the shared Redis that nobody else has.
pub fn redis() -> Arc<dyn CapStore> {
    corner_of(&Server::new(&url()).unwrap())
}

/// A corner of a Redis that nobody else has, over a connection that many share.
pub fn corner_of(server: &Server) -> Arc<dyn CapStore> {
    static CORNERS: AtomicU64 = AtomicU64::new(0);
    let corner = format!("test-{}-{}", std::process::id(), CORNERS.fetch_add(1, Ordering::Relaxed));
    Arc::new(Redis::new(server.clone(), &corner, WorkspaceId(1)))
}

/// The Redis that `tests/services/servers` started.
pub fn url() -> String {
    std::env::var("CARILLON_TEST_REDIS")
        .expect("CARILLON_TEST_REDIS is not set; run: eval \"$(tests/services/servers start)\"")
}

pub fn redis_at(url: &str, installation: &str) -> Arc<dyn CapStore> {
    Arc::new(Redis::new(Server::new(url).unwrap(), installation, WorkspaceId(1)))
}

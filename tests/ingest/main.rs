//! The track API's door over real HTTP, with a real log behind it that can be told to be slow, full or broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

mod client;
#[path = "../contract/database.rs"]
mod database;
mod memory;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;

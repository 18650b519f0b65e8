//! Backups made, put back and recognised; an outage is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[allow(dead_code, reason = "a server of one's own is for others")]
#[path = "../contract/database.rs"]
mod database;
mod files;
mod house;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;

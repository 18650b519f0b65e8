//! The log, the writer and the processor over a real database: what is accepted is stored once, in order, and decided.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "../contract/database.rs"]
mod database;
mod full_disk;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;
mod readers;
#[path = "together.rs"]
mod together;

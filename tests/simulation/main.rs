//! Seeded days in the life of the house: a real database, a clock in our hands, events that repeat, come late and out of
//! order, providers that fail, and a process that dies at named points. After every step the invariants must hold, and
//! on SQLite the same seed gives the same trace.
//!
//! `SEEDS=1000 cargo nextest run --test simulation` looks further; `SEED=7` replays one and prints its story.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

mod carrier;
mod chance;
#[path = "../contract/database.rs"]
mod database;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;

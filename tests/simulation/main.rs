//! Seeded days in the life of the house: a real database, a clock in our hands, events that repeat, come late and out of
//! order, a database that refuses, for a while or one person for good, a cap store that is away, forgets and goes back in time, a provider that refuses and
//! is not heard, and a process that dies at named points. After every step the invariants must hold; when all is quiet,
//! the log folded from zero must give the same state; and on SQLite the same seed gives the same trace.
//!
//! `make simulate SEEDS=100000` looks further, in slices too (`FROM=40000`: after those that are done); `SEED=7` lives one
//! and prints its story. A seed that fails prints the fewest of its steps that still fail, and their story.

// A failure is a panic, caught and told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::duplicate_mod)]

mod carrier;
mod chance;
#[path = "../contract/database.rs"]
mod database;
#[path = "../replay/fold.rs"]
mod fold;
mod failure;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;
mod progress;
mod script;
mod shrink;
mod slots;

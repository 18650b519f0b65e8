//! The way of a message from the outbox to its last state, over a real database and a channel that answers by script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "addresses.rs"]
mod addresses_on_postgres;
#[path = "apart.rs"]
mod apart_on_sqlite;
#[path = "../contract/database.rs"]
mod database;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;
mod plans;
#[path = "on_redis.rs"]
mod redis_and_postgres;
#[path = "on_redis.rs"]
mod redis_and_sqlite;
#[allow(dead_code, reason = "some of it serves other tests")]
#[path = "../services/redis.rs"]
mod redis_servers;
mod slots;

//! How the program stops: asked to (SIGTERM), killed (SIGKILL), frozen (SIGSTOP) and paused, under load, with a real
//! SMTP conversation.
//!
//! Whatever was answered with 200 is there afterwards, exactly once. A graceful stop loses and doubles no message. A kill
//! doubles no marketing, and transactional mail only where an answer was lost, at most twice the connections each time.

// A test says what is wrong by ending; and it runs beside other processes, so it waits by the wall clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::duplicate_mod)]

mod away;
#[path = "../contract/database.rs"]
mod database;
mod house;
mod load;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;
#[allow(dead_code, reason = "some of it serves the bench")]
#[path = "../services/postgres.rs"]
mod postgres;
mod proxy;
mod redis_away;
#[allow(dead_code, reason = "some of it serves other tests")]
#[path = "../services/redis.rs"]
mod redis_servers;
mod sharing;
#[path = "../smtp/signed.rs"]
mod signed;
mod sink;
mod skewed;
mod unheard;
mod weak;

/// Of the SMTP pool, as set in `house`.
const CONNECTIONS: usize = 4;

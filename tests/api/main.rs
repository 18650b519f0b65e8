//! The controls as other people's programs use them: tokens with scopes, pages, writes that are repeated, the document
//! that describes it all, and the live stream; on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "../contract/database.rs"]
mod database;
mod docs;
#[allow(dead_code, reason = "shared with the tests of the controls")]
#[path = "../admin/house.rs"]
mod house;
#[path = "suite.rs"]
mod on_postgres;
#[path = "suite.rs"]
mod on_sqlite;
mod schemathesis;
#[allow(dead_code, reason = "some of it serves other tests")]
#[path = "../smtp/server.rs"]
mod smtp;

//! What an operator sees of a running service: metrics, the dashboard and alerts over them, and one id from a request
//! to the provider's reply.

// A test says what is wrong by ending; and it runs beside other processes, so it waits by the wall clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[allow(dead_code, reason = "suites that run on both say where they are")]
#[path = "../contract/database.rs"]
mod database;
#[allow(dead_code, reason = "other suites ask for more")]
#[path = "../commands/program.rs"]
mod program;
mod doctor;
mod metrics;
mod planted;
mod request;
mod shop;
#[allow(dead_code, reason = "here the mail server keeps them")]
#[path = "../smtp/signed.rs"]
mod signed;
mod traces;

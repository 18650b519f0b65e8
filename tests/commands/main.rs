//! The program as a person uses it: the real binary, its folder, its words and its exit codes.

// A test says what is wrong by ending; and it runs beside other processes, so it waits by the wall clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod backtest;
mod backup;
mod beside;
mod contents;
mod controls;
#[allow(dead_code, reason = "suites that run on both say where they are")]
#[path = "../contract/database.rs"]
mod database;
mod definitions;
#[path = "../replay/fold.rs"]
mod fold;
mod folder;
mod guides;
mod import;
mod joined;
mod keys;
mod links;
mod permission;
mod plan;
mod program;
mod real_shops;
mod reminder;
mod replayed;
mod tour;

//! What a reader's eyes meet: pages and mails in Chromium, in daylight and in the dark, on a desk and in a hand.
//!
//! Pictures of all of them are kept in `target/pictures`. `tests/services/install` brings Chromium and what drives it; a
//! missing one is a failure, never a skip.

#![allow(clippy::unwrap_used, clippy::expect_used)]

// What no page needed yet stands ready for the next.
#[allow(dead_code)]
mod browser;
#[allow(dead_code)]
#[path = "../admin/house.rs"]
mod house;
mod mails;
mod pages;
mod shop;
mod sights;

//! The event pattern language beside others' readings of it: moto's, quamina's, and a slow one of our own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod catalog;
mod generate;
mod index;
mod moto;
mod oracle;
mod quamina;

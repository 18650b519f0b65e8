//! The track API's door over real HTTP, with a log that can be told to be slow, full or broken.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod bodies;
mod client;
mod durable;
mod memory;
mod routes;
mod world;

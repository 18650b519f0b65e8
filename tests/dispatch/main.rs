//! The way of a message from the outbox to its last state, over a real database and a channel that answers by script.
#![allow(clippy::unwrap_used)]

mod caps;
mod claims;
mod crashes;
mod merges;
mod outcomes;
mod world;

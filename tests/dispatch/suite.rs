//! What holds on every database.

mod caps;
mod carts;
mod claims;
mod crashes;
mod engagement;
mod hanging;
mod hanging_together;
mod long_addresses;
mod merges;
mod newcomers;
mod outcomes;
mod permission;
mod quiet;
mod relevance;
mod silent;
mod steps;
mod tarpit;
#[allow(dead_code, reason = "some of it serves two processes over one database")]
mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());
pub const SLOTS: crate::slots::Slots = crate::slots::Slots::Process;

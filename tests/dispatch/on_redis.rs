//! What touches frequency caps, on every database with the slots in Redis.

mod caps;
mod claims;
mod crashes;
mod merges;
mod outcomes;
mod redis_failover;
mod redis_lost;
#[allow(dead_code, reason = "some of it serves what touches no caps")]
mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());
pub const SLOTS: crate::slots::Slots = crate::slots::Slots::Redis;

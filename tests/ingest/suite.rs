//! What holds on every database.

mod answers;
mod bodies;
mod durable;
mod routes;
pub mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());

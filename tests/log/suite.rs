//! What holds on every database.

mod appending;
mod damage;
mod finding;
mod head_count;
mod identity;
mod inclusion;
mod named;
mod processing;
mod reach;
mod refused;
mod segments;
pub mod support;
mod text_order;
mod traits;
mod warnings;
mod who_is_who;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());

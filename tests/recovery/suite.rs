//! What holds on every database.

mod erased;
mod erased_by_index;
mod erased_known;
mod opened;
mod pruned;
mod pruned_log;
mod restored;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());

//! What holds on every database.

mod hostile;
mod isolation;
mod live;
mod reading;
mod repeats;
mod tokens;
mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());

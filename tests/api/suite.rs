//! What holds on every database.

mod backups;
mod hostile;
mod imports;
mod isolation;
mod keys_elsewhere;
mod live;
mod reading;
mod redriven;
mod repeats;
mod stopped;
mod tokens;
mod unready;
mod unsubscribed;
mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());

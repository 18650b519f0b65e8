//! How it reads.

pub mod template;

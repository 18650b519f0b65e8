//! We decide: one pure function from what is known and what happened to what shall be done.

pub mod campaign;

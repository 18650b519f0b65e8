//! What the DNS says of a sender's domain: may we write in its name, and will anybody believe it.

pub mod dns;
pub mod records;
pub mod spf;

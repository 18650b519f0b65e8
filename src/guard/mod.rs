//! Whether we may: the checks at the last responsible moment.

pub mod cap_version;
pub mod frequency_cap;

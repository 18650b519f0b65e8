//! Whether we may: the checks at the last responsible moment.

pub mod frequency_cap;

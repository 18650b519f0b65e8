//! Contracts: one suite per trait, run over every implementation.

mod caps;

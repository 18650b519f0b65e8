//! The pure core asked by hand: one person, campaigns as marketers write them, one input after another.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod carts;
mod dates;
mod endings;
mod entries;
mod limits;
mod merges;
mod oracle;
mod properties;
mod segments;
mod support;
mod traits;
mod whereabouts;

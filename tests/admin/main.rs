//! The controls over real HTTP: a whole service in a folder of its own, its clock set by hand, and the operator's token.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod called;
mod engagement;
mod doors;
mod house;
mod instants;
mod links;
mod pages;
mod previews;
mod permission;
mod scoped;
mod switches;
mod templates;
mod tour;

//! It is carried: the ways a rendered message leaves the house.
//!
//! A channel takes nothing but [`Rendered`], which only the renderer makes of what only the guard clears. It knows no
//! database, and it answers with an outcome, never with an error: what to do next is decided elsewhere.

pub mod dkim;
mod mime;
pub mod outside;
pub mod probe;
pub mod sandbox;
pub mod sender;
pub mod smtp;

use futures::future::BoxFuture;

use crate::message::Outcome;
use crate::render::Rendered;

/// A way to send.
pub trait Channel: Send + Sync {
    /// Hands one message to the provider, at most once, and says what came of it.
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome>;

    /// Connects and logs in without sending; the text says to what, for a person.
    ///
    /// # Errors
    /// What a person must repair before anything can be sent.
    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>>;
}

/// Why a channel cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

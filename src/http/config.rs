//! What may be set about the HTTP side.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::ids::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Within this time a body must have arrived as a whole.
    pub body_deadline: Span,
    /// Within this time the log must have answered; after it the client is asked to come again.
    pub append_deadline: Span,
    /// Requests of one write key, sustained.
    pub requests_per_second: NonZeroU32,
    /// Requests of one write key at once.
    pub requests_burst: NonZeroU32,
    /// Wrong write keys from one address.
    pub wrong_keys_per_minute: NonZeroU32,
    /// How browsers reach us, such as `https://events.shop.example`; without it, as the request's Host says.
    pub public_url: Option<String>,
    /// The service stands behind a proxy that sets X-Forwarded-For.
    pub trust_forwarded: bool,
}

impl Default for Config {
    fn default() -> Self {
        let count = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            body_deadline: Span::from_seconds(10),
            append_deadline: Span::from_seconds(10),
            requests_per_second: count(10_000),
            requests_burst: count(20_000),
            wrong_keys_per_minute: count(600),
            public_url: None,
            trust_forwarded: false,
        }
    }
}

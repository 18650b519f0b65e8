//! Whether we may: the checks at the last responsible moment.

pub mod frequency_cap;

use crate::message::Message;

/// A message the guard let through, with the normalised address it may go to. Only this module makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleared {
    message: Message,
    address: String,
}

impl Cleared {
    pub(crate) fn new(message: Message, address: String) -> Self {
        Self { message, address }
    }

    pub fn message(&self) -> &Message {
        &self.message
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

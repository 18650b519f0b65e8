//! The ways to somebody, and the trait that holds the address for each.

use serde::{Deserialize, Serialize};

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Sms,
    Push,
    Whatsapp,
    Webhook,
}

impl Channel {
    pub const ALL: [Self; 5] = [Self::Email, Self::Sms, Self::Push, Self::Whatsapp, Self::Webhook];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Push => "push",
            Self::Whatsapp => "whatsapp",
            Self::Webhook => "webhook",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }

    /// The trait that holds a profile's address on this channel.
    pub const fn address_trait(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "phone",
            Self::Push => "push_token",
            Self::Whatsapp => "whatsapp",
            Self::Webhook => "webhook_url",
        }
    }
}

//! Where a message goes on its channel: an address that can be delivered to, and its one normal form, under which
//! suppression and frequency caps recognise it however it was written.

use std::str::FromStr;

use email_address::{EmailAddress, Options};
use url::{Host, Url};

use crate::audience::{Channel, Profile, Traits};

/// Longest address of any channel, in bytes; push tokens are the long ones.
const ADDRESS_BYTES_MAX: usize = 4_096;
/// 64 for the local part, 255 for the domain, one between.
const EMAIL_BYTES_MAX: usize = 320;
/// E.164: a country code and a number.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A valid address. Only [`Address::parse`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    channel: Channel,
    deliverable: String,
    normalised: String,
}

impl Address {
    /// None where nothing can be delivered to the text. Never fails otherwise, whatever the text.
    pub fn parse(channel: Channel, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        let (deliverable, normalised) = match channel {
            Channel::Email => email(text)?,
            Channel::Sms | Channel::Whatsapp => phone(text).map(|number| (number.clone(), number))?,
            Channel::Push => (!text.contains(char::is_whitespace)).then(|| (text.to_owned(), text.to_owned()))?,
            Channel::Webhook => web(text).map(|url| (url.clone(), url))?,
        };
        Some(Self { channel, deliverable, normalised })
    }

    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// As handed to the provider. An e-mail's local part keeps its case, its domain is in ASCII form.
    pub fn deliverable(&self) -> &str {
        &self.deliverable
    }

    /// The form that is the same for every spelling of one address.
    pub fn normalised(&self) -> &str {
        &self.normalised
    }

    /// By which it is suppressed, and its slots are found: the channel, a colon and the normal form.
    pub fn subject(&self) -> String {
        format!("{}:{}", self.channel.as_str(), self.normalised)
    }
}

/// Where a message on a channel would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentTo {
    /// The trait is missing or empty.
    Nowhere,
    /// It holds what nothing can be delivered to.
    Invalid,
    Address(Address),
}

impl Profile {
    pub fn sent_to(&self, channel: Channel) -> SentTo {
        match self.address(channel.address_trait()) {
            None => SentTo::Nowhere,
            Some(text) => Address::parse(channel, text).map_or(SentTo::Invalid, SentTo::Address),
        }
    }
}

/// The addresses among these traits, at most one a channel.
pub fn addresses_in(traits: &Traits) -> Vec<Address> {
    let text = |channel: Channel| traits.get(channel.address_trait()).and_then(|text| text.as_str());
    Channel::ALL.into_iter().filter_map(|channel| Address::parse(channel, text(channel)?)).collect()
}

fn email(text: &str) -> Option<(String, String)> {
    // Quoted local parts are legal, carry spaces and line breaks into headers, and name nobody's mailbox.
    if text.len() > EMAIL_BYTES_MAX || text.contains(['"', '%', '\\']) || text.contains(char::is_whitespace) {
        return None;
    }
    let options = Options::default().without_display_text().without_domain_literal().with_minimum_sub_domains(2);
    let parsed = EmailAddress::parse_with_options(text, options).ok()?;
    let Host::Domain(domain) = Host::parse(parsed.domain()).ok()? else { return None };
    // An internationalised domain was counted before its ASCII form was known.
    let rooted = domain.ends_with('.') || !domain.contains('.');
    let local = parsed.local_part();
    (!rooted).then(|| (format!("{local}@{domain}"), format!("{}@{domain}", local.to_lowercase())))
}

/// `+` and digits; spaces, dots, dashes and brackets are how people write, and `00` is a way to write `+`.
fn phone(text: &str) -> Option<String> {
    let bare: String = text.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')' | '/' | '\u{a0}')).collect();
    let digits = bare.strip_prefix('+').or_else(|| bare.strip_prefix("00"))?;
    let valid =
        digits.bytes().all(|b| b.is_ascii_digit()) && PHONE_DIGITS.contains(&digits.len()) && !digits.starts_with('0');
    valid.then(|| format!("+{digits}"))
}

fn web(text: &str) -> Option<String> {
    let url = Url::from_str(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn normal(channel: Channel, text: &str) -> Option<String> {
        Address::parse(channel, text).map(|address| address.normalised().to_owned())
    }

    #[test]
    fn every_spelling_of_a_mailbox_is_one_subject() {
        for text in ["ann@example.com", " Ann@Example.COM ", "ANN@example.com"] {
            assert_eq!(normal(Channel::Email, text).as_deref(), Some("ann@example.com"));
        }
        assert_eq!(normal(Channel::Email, "Jö@EXÄMPLE.com"), normal(Channel::Email, "jö@xn--exmple-cua.com"));
        let given = Address::parse(Channel::Email, "Ann.Lee@Example.COM").unwrap();
        assert_eq!(given.deliverable(), "Ann.Lee@example.com");
    }

    #[test]
    fn what_cannot_be_delivered_to_is_not_an_address() {
        let long = format!("{}@example.com", "a".repeat(65));
        let wrong = [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@localhost",
            "ann@[127.0.0.1]",
            "ann@127.0.0.1",
            "a b@example.com",
            "\"a b\"@example.com",
            "ann@example.com.",
            "ann@.example.com",
            "ann@example..com",
            "ann@exa mple.com",
            "Ann <ann@example.com>",
            "ann@example.com, bob@example.com",
            "ann@example.com\r\nBcc: bob@example.com",
            "ann@exam%70le.com",
            "ann@@example.com",
            "a\0@example.com",
            &long,
        ];
        for text in wrong {
            assert_eq!(Address::parse(Channel::Email, text), None, "{text:?}");
        }
    }

    #[test]
    fn phone_numbers_are_international_or_not_valid() {
        for text in ["+44 20 7946 0000", "+44 (20) 7946-0000", "0044.2079460000"] {
            assert_eq!(normal(Channel::Sms, text).as_deref(), Some("+442079460000"), "{text}");
        }
        for text in ["020 7946 0000", "+12", "+1234567890123456", "+44x2079460000", "call me", "+0123456789"] {
            assert_eq!(normal(Channel::Whatsapp, text), None, "{text}");
        }
    }

    #[test]
    fn a_webhook_goes_to_http_only() {
        assert!(
            normal(Channel::Webhook, "https://Example.com/hook").is_some_and(|it| it == "https://example.com/hook")
        );
        for text in ["file:///etc/passwd", "example.com/hook", "javascript:alert(1)", "http://"] {
            assert_eq!(normal(Channel::Webhook, text), None, "{text}");
        }
    }

    #[test]
    fn a_push_token_is_taken_as_it_is() {
        assert_eq!(normal(Channel::Push, "dQw4:APA91b").as_deref(), Some("dQw4:APA91b"));
        assert_eq!(normal(Channel::Push, "two words"), None);
        assert_eq!(normal(Channel::Push, &"x".repeat(5_000)), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_normalising_again_changes_nothing(text in "\\PC{0,60}|[a-zA-Z0-9.@+ü%\"-]{0,40}") {
            for channel in Channel::ALL {
                if let Some(address) = Address::parse(channel, &text) {
                    prop_assert!(!address.deliverable().contains(['\r', '\n', '\0']));
                    let again = Address::parse(channel, address.normalised());
                    prop_assert_eq!(again.map(|it| it.normalised), Some(address.normalised));
                }
            }
        }
    }
}

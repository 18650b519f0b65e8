//! Signed links: the token in an unsubscribe URL says whom and which channel by itself, and cannot be forged.
//!
//! A token is base64url over a purpose byte, a key id, the ids (no address, no name) and a tag: 68 characters. It has
//! no end date, because a person may open an old mail; retired keys therefore go on verifying.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::{MessageId, ProfileId, WorkspaceId};
use crate::message::Channel;

/// First byte of every unsubscribe token: purpose and version of its layout.
const UNSUBSCRIBE_V1: u8 = 0x11;
const PAYLOAD_BYTES: usize = 35;
/// 128 bits of HMAC-SHA256: as hard to guess as the message id, and the header stays short.
const TAG_BYTES: usize = 16;

/// What an unsubscribe link asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe {
    pub workspace: WorkspaceId,
    pub profile: ProfileId,
    pub channel: Channel,
    pub message: MessageId,
}

/// The keys tokens are signed with. One signs, the retired ones only verify.
#[derive(Clone)]
pub struct KeyRing {
    signing: u8,
    keys: BTreeMap<u8, [u8; 32]>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("signing", &self.signing).finish_non_exhaustive()
    }
}

impl KeyRing {
    pub fn new(id: u8, key: [u8; 32]) -> Self {
        Self { signing: id, keys: BTreeMap::from([(id, key)]) }
    }

    /// Also accepts tokens signed with an older key. The signing key's own id cannot be replaced.
    #[must_use]
    pub fn with_retired(mut self, id: u8, key: [u8; 32]) -> Self {
        self.keys.entry(id).or_insert(key);
        self
    }

    pub fn unsubscribe_token(&self, link: &Unsubscribe) -> String {
        let mut bytes = Vec::with_capacity(PAYLOAD_BYTES + TAG_BYTES);
        bytes.extend([UNSUBSCRIBE_V1, self.signing]);
        bytes.extend(link.workspace.0.to_be_bytes());
        bytes.extend(link.profile.0.to_be_bytes());
        bytes.push(channel_byte(link.channel));
        bytes.extend(link.message.as_bytes());
        if let Some(mac) = self.keys.get(&self.signing).and_then(|key| tag(key, &bytes)) {
            bytes.extend(&mac.finalize().into_bytes()[..TAG_BYTES]);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the token asks for, or nothing: no hint why. The tag is compared in constant time.
    pub fn verify_unsubscribe(&self, token: &str) -> Option<Unsubscribe> {
        let mut bytes = [0; PAYLOAD_BYTES + TAG_BYTES];
        // Exactly 68 characters; the decoder also refuses a second spelling of the same bytes.
        if token.len() != 68 || URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()? != bytes.len() {
            return None;
        }
        let (payload, claimed) = bytes.split_at(PAYLOAD_BYTES);
        if payload[0] != UNSUBSCRIBE_V1 {
            return None;
        }
        tag(self.keys.get(&payload[1])?, payload)?.verify_truncated_left(claimed).ok()?;
        Some(Unsubscribe {
            workspace: WorkspaceId(i64::from_be_bytes(payload[2..10].try_into().ok()?)),
            profile: ProfileId(i64::from_be_bytes(payload[10..18].try_into().ok()?)),
            channel: Channel::ALL.into_iter().find(|it| channel_byte(*it) == payload[18])?,
            message: MessageId::from_bytes(payload[19..35].try_into().ok()?),
        })
    }
}

/// Signed for unsubscribing alone: no other kind of link may ever share this first line.
fn tag(key: &[u8; 32], payload: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(b"carillon unsubscribe link\n");
    mac.update(payload);
    Some(mac)
}

const fn channel_byte(channel: Channel) -> u8 {
    match channel {
        Channel::Email => 1,
        Channel::Sms => 2,
        Channel::Push => 3,
        Channel::Whatsapp => 4,
        Channel::Webhook => 5,
    }
}

/// Makes the addresses of links: where the service is reached from outside, and the keys.
#[derive(Debug, Clone)]
pub struct Links {
    base: String,
    keys: KeyRing,
}

impl Links {
    /// `base` is the public address of this service, such as `https://news.example.com`; a trailing slash is dropped.
    pub fn new(base: &str, keys: KeyRing) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), keys }
    }

    pub fn unsubscribe(&self, link: &Unsubscribe) -> String {
        format!("{}/u/{}", self.base, self.keys.unsubscribe_token(link))
    }

    pub fn verify_unsubscribe(&self, token: &str) -> Option<Unsubscribe> {
        self.keys.verify_unsubscribe(token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn any_link() -> impl Strategy<Value = Unsubscribe> {
        (any::<i64>(), any::<i64>(), 0..5usize, any::<[u8; 16]>()).prop_map(|(workspace, profile, channel, message)| {
            Unsubscribe {
                workspace: WorkspaceId(workspace),
                profile: ProfileId(profile),
                channel: Channel::ALL[channel],
                message: MessageId::from_bytes(message),
            }
        })
    }

    fn link() -> Unsubscribe {
        Unsubscribe {
            workspace: WorkspaceId(1),
            profile: ProfileId(42),
            channel: Channel::Email,
            message: MessageId::derive(&[b"m"]),
        }
    }

    proptest! {
        #[test]
        fn a_token_says_what_was_signed(link in any_link(), key: [u8; 32], id: u8) {
            let keys = KeyRing::new(id, key);
            let token = keys.unsubscribe_token(&link);
            prop_assert_eq!(token.len(), 68);
            prop_assert_eq!(keys.verify_unsubscribe(&token), Some(link));
        }

        #[test]
        fn arbitrary_text_is_no_token(text in any::<String>()) {
            prop_assert_eq!(KeyRing::new(1, [7; 32]).verify_unsubscribe(&text), None);
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        // Key 0x43 is there too, so that a flip in the key id reaches another key and still fails.
        let keys = KeyRing::new(0x42, [7; 32]).with_retired(0x43, [8; 32]);
        let token = keys.unsubscribe_token(&link());
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify_unsubscribe(&URL_SAFE_NO_PAD.encode(changed)), None, "bit {bit}");
        }
        for cut in 0..token.len() {
            assert_eq!(keys.verify_unsubscribe(&token[..cut]), None);
        }
        assert_eq!(keys.verify_unsubscribe(&format!("{token}=")), None);
    }

    #[test]
    fn retired_keys_verify_and_unknown_keys_do_not() {
        let old = KeyRing::new(1, [1; 32]);
        let token = old.unsubscribe_token(&link());
        let rotated = KeyRing::new(2, [2; 32]).with_retired(1, [1; 32]);
        assert_eq!(rotated.verify_unsubscribe(&token), Some(link()));
        assert_ne!(rotated.unsubscribe_token(&link()), token);
        assert_eq!(KeyRing::new(2, [2; 32]).verify_unsubscribe(&token), None);
        assert_eq!(KeyRing::new(1, [3; 32]).verify_unsubscribe(&token), None);
    }

    #[test]
    fn a_token_of_another_purpose_is_refused() {
        let keys = KeyRing::new(1, [1; 32]);
        let payload = &URL_SAFE_NO_PAD.decode(keys.unsubscribe_token(&link())).unwrap()[..PAYLOAD_BYTES];
        let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
        mac.update(b"carillon click link\n");
        mac.update(payload);
        let forged = [payload, &mac.finalize().into_bytes()[..TAG_BYTES]].concat();
        assert_eq!(keys.verify_unsubscribe(&URL_SAFE_NO_PAD.encode(forged)), None);
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", KeyRing::new(3, [9; 32])), "KeyRing { signing: 3, .. }");
    }
}

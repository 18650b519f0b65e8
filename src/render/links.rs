//! Signed links: the token in a URL says whom, which channel and which message by itself, and cannot be forged.
//!
//! A token is base64url over a purpose byte, a key id, the ids (no address, no name) and a tag: 68 characters. It has
//! no end date, because a person may open an old mail; retired keys therefore go on verifying. The token of a click
//! goes on with the address it leads to, which is signed with the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::{MessageId, ProfileId, WorkspaceId};
use crate::message::Channel;

const PAYLOAD_BYTES: usize = 35;
/// Bytes of an address that a click's token carries; a longer one stays as it is.
pub const TARGET_BYTES_MAX: usize = 2_048;
/// 128 bits of HMAC-SHA256: as hard to guess as the message id, and the header stays short.
const TAG_BYTES: usize = 16;

/// Where a link leads. Each kind is signed for itself: a token of one opens no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    Unsubscribe,
    /// The page on which a person chooses channels and topics.
    Preferences,
    /// Where a double opt-in is confirmed.
    Confirm,
    /// The picture that tells of an opened mail.
    Open,
    /// Where a link of a mail leads by way of us.
    Click,
}

impl LinkKind {
    pub const ALL: [Self; 5] = [Self::Unsubscribe, Self::Preferences, Self::Confirm, Self::Open, Self::Click];

    /// Those behind which there is a page.
    pub const PAGES: [Self; 3] = [Self::Unsubscribe, Self::Preferences, Self::Confirm];

    /// First byte of its tokens: purpose and version of the layout.
    const fn byte(self) -> u8 {
        match self {
            Self::Unsubscribe => 0x11,
            Self::Preferences => 0x21,
            Self::Confirm => 0x31,
            Self::Open => 0x41,
            Self::Click => 0x51,
        }
    }

    /// The first line that is signed: no two kinds may ever share it.
    const fn signed_for(self) -> &'static [u8] {
        match self {
            Self::Unsubscribe => b"carillon unsubscribe link\n",
            Self::Preferences => b"carillon preferences link\n",
            Self::Confirm => b"carillon confirmation link\n",
            Self::Open => b"carillon open pixel\n",
            Self::Click => b"carillon click link\n",
        }
    }

    /// The first step of its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Unsubscribe => "u",
            Self::Preferences => "preferences",
            Self::Confirm => "confirm",
            Self::Open => "o",
            Self::Click => "c",
        }
    }
}

/// What a link says: whom it was sent to, on which channel, in which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub workspace: WorkspaceId,
    pub profile: ProfileId,
    pub channel: Channel,
    pub message: MessageId,
}

/// The addresses a message may carry.
#[derive(Debug, Clone)]
pub struct MessageLinks {
    pub unsubscribe: String,
    pub preferences: String,
    /// Only in a message that asks for a confirmation.
    pub confirm: Option<String>,
    /// None where the workspace tracks nothing.
    pub tracking: Option<Tracking>,
}

/// What of a message a workspace wants to hear about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracks {
    pub clicks: bool,
    pub opens: bool,
}

impl Tracks {
    pub const ALL: Self = Self { clicks: true, opens: true };
    pub const NONE: Self = Self { clicks: false, opens: false };

    pub fn any(self) -> bool {
        self.clicks || self.opens
    }
}

/// Makes the addresses by which clicks and opens of one message are heard of.
#[derive(Debug, Clone)]
pub struct Tracking {
    links: Links,
    link: Link,
    tracks: Tracks,
}

impl Tracking {
    /// Where a link leads instead of `target`; none where clicks are not tracked, or the token would be too long.
    pub fn click(&self, target: &str) -> Option<String> {
        let fits = self.tracks.clicks && target.len() <= TARGET_BYTES_MAX;
        fits.then(|| self.links.click(&self.link, target))
    }

    /// The picture's address; none where opens are not tracked.
    pub fn pixel(&self) -> Option<String> {
        self.tracks.opens.then(|| self.links.address(LinkKind::Open, &self.link))
    }
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

    pub fn token(&self, kind: LinkKind, link: &Link) -> String {
        self.token_with(kind, link, "")
    }

    fn token_with(&self, kind: LinkKind, link: &Link, target: &str) -> String {
        let mut bytes = Vec::with_capacity(PAYLOAD_BYTES + TAG_BYTES + target.len());
        bytes.extend([kind.byte(), self.signing]);
        bytes.extend(link.workspace.0.to_be_bytes());
        bytes.extend(link.profile.0.to_be_bytes());
        bytes.push(channel_byte(link.channel));
        bytes.extend(link.message.as_bytes());
        if let Some(mac) = self.keys.get(&self.signing).and_then(|key| tag(kind, key, &bytes, target)) {
            bytes.extend(&mac.finalize().into_bytes()[..TAG_BYTES]);
        }
        bytes.extend(target.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the token says, or nothing: no hint why. The tag is compared in constant time.
    pub fn verify(&self, kind: LinkKind, token: &str) -> Option<Link> {
        self.verify_with(kind, token).filter(|(_, target)| target.is_empty()).map(|(link, _)| link)
    }

    fn verify_with(&self, kind: LinkKind, token: &str) -> Option<(Link, String)> {
        let bytes_max = PAYLOAD_BYTES + TAG_BYTES + TARGET_BYTES_MAX;
        if token.len() > bytes_max.div_ceil(3) * 4 {
            return None;
        }
        // The decoder also refuses a second spelling of the same bytes.
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (payload, rest) = bytes.split_at_checked(PAYLOAD_BYTES)?;
        let (claimed, target) = rest.split_at_checked(TAG_BYTES)?;
        if payload[0] != kind.byte() {
            return None;
        }
        let target = std::str::from_utf8(target).ok()?;
        tag(kind, self.keys.get(&payload[1])?, payload, target)?.verify_truncated_left(claimed).ok()?;
        let link = Link {
            workspace: WorkspaceId(i64::from_be_bytes(payload[2..10].try_into().ok()?)),
            profile: ProfileId(i64::from_be_bytes(payload[10..18].try_into().ok()?)),
            channel: Channel::ALL.into_iter().find(|it| channel_byte(*it) == payload[18])?,
            message: MessageId::from_bytes(payload[19..35].try_into().ok()?),
        };
        Some((link, target.to_owned()))
    }
}

fn tag(kind: LinkKind, key: &[u8; 32], payload: &[u8], target: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(kind.signed_for());
    // The payload's length is fixed, so no two pairs of payload and target are the same bytes.
    mac.update(payload);
    mac.update(target.as_bytes());
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
    base: Arc<str>,
    keys: Arc<KeyRing>,
    tracks: Tracks,
}

impl Links {
    /// `base` is the public address of this service, such as `https://news.example.com`; a trailing slash is dropped.
    pub fn new(base: &str, keys: KeyRing) -> Self {
        Self { base: base.trim_end_matches('/').into(), keys: Arc::new(keys), tracks: Tracks::NONE }
    }

    /// The same for a workspace that wants to hear of clicks or opens.
    #[must_use]
    pub fn with_tracking(mut self, tracks: Tracks) -> Self {
        self.tracks = tracks;
        self
    }

    pub fn address(&self, kind: LinkKind, link: &Link) -> String {
        format!("{}/{}/{}", self.base, kind.path(), self.keys.token(kind, link))
    }

    /// The same from a page of another kind, wherever the service is reached.
    pub fn beside(&self, kind: LinkKind, link: &Link) -> String {
        format!("../{}/{}", kind.path(), self.keys.token(kind, link))
    }

    /// All that a message may carry.
    pub fn of_message(&self, link: &Link, confirms: bool) -> MessageLinks {
        MessageLinks {
            unsubscribe: self.address(LinkKind::Unsubscribe, link),
            preferences: self.address(LinkKind::Preferences, link),
            confirm: confirms.then(|| self.address(LinkKind::Confirm, link)),
            tracking: self.tracks.any().then(|| Tracking { links: self.clone(), link: *link, tracks: self.tracks }),
        }
    }

    /// What stands for a link of this kind where there is no message; nobody can do anything by it.
    pub fn placeholder(&self, kind: LinkKind) -> String {
        format!("{}/{}/preview", self.base, kind.path())
    }

    /// Whether what they begin with is a place that only this machine can reach.
    pub fn lead_home_only(&self) -> bool {
        let host = url::Url::parse(&self.base).ok().and_then(|base| base.host().map(|host| host.to_owned()));
        match host {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
            Some(url::Host::Ipv6(ip)) => ip.to_canonical().is_loopback() || ip.is_unspecified(),
            None => false,
        }
    }

    /// What they begin with.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether an address is one of these: who asks for it may do something in somebody's name.
    pub fn is_ours(&self, url: &str) -> bool {
        let path = url.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix('/'));
        path.is_some_and(|path| LinkKind::ALL.iter().any(|kind| path.split('/').next() == Some(kind.path())))
    }

    fn click(&self, link: &Link, target: &str) -> String {
        format!("{}/{}/{}", self.base, LinkKind::Click.path(), self.keys.token_with(LinkKind::Click, link, target))
    }

    /// What a click's token says, and where it leads.
    pub fn verify_click(&self, token: &str) -> Option<(Link, String)> {
        self.keys.verify_with(LinkKind::Click, token)
    }

    pub fn verify(&self, kind: LinkKind, token: &str) -> Option<Link> {
        self.keys.verify(kind, token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn any_link() -> impl Strategy<Value = Link> {
        (any::<i64>(), any::<i64>(), 0..5usize, any::<[u8; 16]>()).prop_map(|(workspace, profile, channel, message)| {
            Link {
                workspace: WorkspaceId(workspace),
                profile: ProfileId(profile),
                channel: Channel::ALL[channel],
                message: MessageId::from_bytes(message),
            }
        })
    }

    fn link() -> Link {
        Link {
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
            let token = keys.token(LinkKind::Unsubscribe, &link);
            prop_assert_eq!(token.len(), 68);
            prop_assert_eq!(keys.verify(LinkKind::Unsubscribe, &token), Some(link));
        }

        #[test]
        fn arbitrary_text_is_no_token(text in any::<String>()) {
            prop_assert_eq!(KeyRing::new(1, [7; 32]).verify(LinkKind::Unsubscribe, &text), None);
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        // Key 0x43 is there too, so that a flip in the key id reaches another key and still fails.
        let keys = KeyRing::new(0x42, [7; 32]).with_retired(0x43, [8; 32]);
        let token = keys.token(LinkKind::Unsubscribe, &link());
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.verify(LinkKind::Unsubscribe, &URL_SAFE_NO_PAD.encode(changed)), None, "bit {bit}");
        }
        for cut in 0..token.len() {
            assert_eq!(keys.verify(LinkKind::Unsubscribe, &token[..cut]), None);
        }
        assert_eq!(keys.verify(LinkKind::Unsubscribe, &format!("{token}=")), None);
    }

    #[test]
    fn retired_keys_verify_and_unknown_keys_do_not() {
        let old = KeyRing::new(1, [1; 32]);
        let token = old.token(LinkKind::Unsubscribe, &link());
        let rotated = KeyRing::new(2, [2; 32]).with_retired(1, [1; 32]);
        assert_eq!(rotated.verify(LinkKind::Unsubscribe, &token), Some(link()));
        assert_ne!(rotated.token(LinkKind::Unsubscribe, &link()), token);
        assert_eq!(KeyRing::new(2, [2; 32]).verify(LinkKind::Unsubscribe, &token), None);
        assert_eq!(KeyRing::new(1, [3; 32]).verify(LinkKind::Unsubscribe, &token), None);
    }

    #[test]
    fn a_token_of_another_purpose_is_refused() {
        let keys = KeyRing::new(1, [1; 32]);
        for kind in LinkKind::ALL {
            let token = keys.token(kind, &link());
            for other in LinkKind::ALL {
                assert_eq!(keys.verify(other, &token).is_some(), other == kind, "{kind:?} as {other:?}");
            }
            // Nor with its first byte changed.
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            for other in LinkKind::ALL.into_iter().filter(|other| *other != kind) {
                bytes[0] = other.byte();
                assert_eq!(keys.verify(other, &URL_SAFE_NO_PAD.encode(&bytes)), None, "{kind:?} as {other:?}");
            }
        }
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", KeyRing::new(3, [9; 32])), "KeyRing { signing: 3, .. }");
    }
}

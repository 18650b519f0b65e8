//! Write keys: made here, shown once, stored as a hash, and in force within the request that made or revoked them.

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::eventlog::Queue;
use crate::http::auth::WriteKey;
use crate::ids::Timestamp;
use crate::store::keys::StoredKey;
use crate::store::workspace;

use super::operation::{Operation, read, remove, write};
use super::paging::{Paged, cut};
use super::{Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, json_answer, json_page, query, read_json};
use crate::http::scope::Scope;

const START: &str = "cwk_";
const PUBLIC_CHARS: usize = 8;
/// Of 62 each: 166 bits.
const SECRET_CHARS: usize = 28;
const CHECK_CHARS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NAME_CHARS_MAX: usize = 100;
const SOURCE_CHARS_MAX: usize = 64;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/keys", Scope::KeysWrite, list)
            .says("listKeys", "The write keys storefronts send events with, without the keys themselves")
            .query::<Paged>()
            .answers::<Listed>(),
        write("/keys", Scope::KeysWrite, create)
            .says("createKey", "Make a write key; it is in this answer and nowhere else")
            .takes::<KeyIn>()
            .answers::<KeyOut>(),
        remove("/keys", Scope::KeysWrite, revoke_asked)
            .says("revokeKeyById", "End a write key named in the query")
            .query::<Which>()
            .answers::<Revoked>()
            .may(&[404]),
        remove("/keys/{id}", Scope::KeysWrite, revoke).says("revokeKey", "End a write key").answers::<Revoked>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = WriteKeyPage)]
struct Listed {
    keys: Vec<StoredKey>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = KeyRevoked)]
struct Revoked {
    /// As it was asked for.
    revoked: String,
}

/// A new key: the text for its owner, and what is stored of it.
pub struct FreshKey {
    pub key: String,
    pub stored: StoredKey,
}

/// A key with 166 bits that nobody can guess. Its last characters check the rest, so that a scanner for leaked secrets
/// recognises it and a typing mistake can be told from a wrong key.
pub fn fresh(source: &str, name: &str, now: Timestamp) -> FreshKey {
    let mut chance = blake3::Hasher::new_derive_key("carillon write key");
    for _ in 0..3 {
        chance.update(uuid::Uuid::new_v4().as_bytes());
    }
    let public_and_secret = digits(&chance, PUBLIC_CHARS + SECRET_CHARS);
    let unchecked = format!("{START}{public_and_secret}");
    let key = format!("{unchecked}{}", check_of(&unchecked));
    let prefix = unchecked[..START.len() + PUBLIC_CHARS].to_owned();
    let stored = StoredKey {
        id: uuid::Uuid::new_v4().simple().to_string(),
        source: source.to_owned(),
        name: name.to_owned(),
        prefix,
        hash: WriteKey::hash_of(&key).to_vec(),
        created_at: now,
        revoked_at: None,
    };
    FreshKey { key, stored }
}

/// Whether a text has the form of a key and its check fits.
pub fn is_well_formed(key: &str) -> bool {
    let length = START.len() + PUBLIC_CHARS + SECRET_CHARS;
    key.is_ascii()
        && key.starts_with(START)
        && key.len() == length + CHECK_CHARS
        && key[length..] == check_of(&key[..length])
}

fn check_of(text: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("carillon write key check");
    hasher.update(text.as_bytes());
    digits(&hasher, CHECK_CHARS)
}

/// Evenly spread digits: bytes beyond the last whole multiple of 62 are passed over.
pub(super) fn digits(hasher: &blake3::Hasher, count: usize) -> String {
    let mut stream = hasher.finalize_xof();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut byte = [0];
        stream.fill(&mut byte);
        if byte[0] < 248 {
            text.push(char::from(DIGITS[usize::from(byte[0] % 62)]));
        }
    }
    text
}

/// Why a key cannot be called so; none where it can.
pub fn misnamed(source: &str, name: &str) -> Option<(&'static str, String)> {
    let is_key_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !(1..=SOURCE_CHARS_MAX).contains(&source.len()) || !source.bytes().all(is_key_char) {
        return Some(("source", format!("`source` is 1 to {SOURCE_CHARS_MAX} of a-z, 0-9, _ and -")));
    }
    let fits = name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
    (!fits).then(|| ("name", format!("`name` is at most {NAME_CHARS_MAX} characters on one line")))
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    const LIST: &str = "keys";
    let (limit, after) = query::<Paged>(&request)?.read::<(i64, String)>(LIST)?;
    let after = after.map(|(at, id)| (Timestamp::from_millis(at), id));
    let mut keys = admin.db().keys(after, limit + 1).await?;
    let next = cut(&mut keys, limit, LIST, |last| (last.created_at.millis(), last.id.clone()));
    Ok(json_page(&request, &Listed { keys, next: next.clone() }, next.as_deref()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewKey)]
#[serde(deny_unknown_fields)]
struct KeyIn {
    /// Where the events come from.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    source: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WriteKeyWithSecret)]
struct KeyOut {
    /// Shown this once.
    key: String,
    #[serde(flatten)]
    stored: StoredKey,
}

async fn create(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let asked: KeyIn = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    if let Some((field, cause)) = misnamed(&asked.source, &asked.name) {
        return Err(Refusal::Parameter { field, cause }.into());
    }
    let FreshKey { key, stored } = fresh(&asked.source, &asked.name, admin.log.clock().now());
    let (id, row) = (admin.workspace, stored.clone());
    admin
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(workspace(tx, id).add_key(&row).await?) }))
        .await?;
    (admin.refresh_keys)(()).await?;
    Ok(json_answer(&KeyOut { key, stored }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The key's id, or the part before its secret.
    id: String,
}

async fn revoke_asked(admin: Controls, request: HttpRequest) -> Answer {
    let Which { id } = query(&request)?;
    revoked(&admin, id).await
}

async fn revoke(admin: Controls, id: web::Path<String>) -> Answer {
    revoked(&admin, id.into_inner()).await
}

async fn revoked(admin: &Controls, asked: String) -> Result<HttpResponse, Problem> {
    let (id, which, now) = (admin.workspace, asked.clone(), admin.log.clock().now());
    let revoked = admin
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, id).revoke_key(&which, now).await?) })
        })
        .await?;
    if !revoked {
        return Err(Refusal::UnknownKey { asked: asked.chars().take(80).collect() }.into());
    }
    (admin.refresh_keys)(()).await?;
    Ok(json_answer(&Revoked { revoked: asked }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_differ_and_a_mistyped_one_is_recognised() {
        let now = Timestamp::from_millis(0);
        let (one, other) = (fresh("shop", "", now), fresh("shop", "", now));
        assert_ne!(one.key, other.key);
        assert_ne!(one.stored.id, other.stored.id);
        assert!(is_well_formed(&one.key), "{}", one.key.len());
        assert!(one.key.starts_with(&one.stored.prefix));
        assert!(!one.stored.hash.iter().all(|byte| *byte == 0));
        let mut mistyped = one.key.clone().into_bytes();
        mistyped[15] = if mistyped[15] == b'A' { b'B' } else { b'A' };
        assert!(!is_well_formed(&String::from_utf8(mistyped).unwrap()));
        assert!(!is_well_formed("cwk_é"));
    }

    #[test]
    fn keys_are_named_by_sources_that_can_be_written_in_definitions() {
        assert_eq!(misnamed("web-shop_1", "The shop"), None);
        for source in ["", "Shop", "a b", &"x".repeat(65)] {
            assert_eq!(misnamed(source, "").unwrap().0, "source");
        }
        assert_eq!(misnamed("shop", "two\nlines").unwrap().0, "name");
    }
}

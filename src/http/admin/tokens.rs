//! API tokens: made here with the scopes that were asked for, shown once, stored as a hash, rotated without a gap, and
//! ended within the request that says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::web::{self, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::keys::digits;
use super::operation::{Operation, read, remove, write};
use super::paging::{Paged, cut};
use super::{Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, json_answer, json_page, query, read_json};
use crate::definition::problem::nearest;
use crate::eventlog::Queue;
use crate::http::scope::{Caller, Scope};
use crate::ids::{Span, Timestamp};
use crate::store::tokens::{Secret, StoredToken};
use crate::store::workspace;

const START: &str = "cat_";
const PUBLIC_CHARS: usize = 8;
/// Of 62 each: 256 bits.
const SECRET_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;
const NAME_CHARS_MAX: usize = 100;
/// How long the old secret of a rotated token is taken where the caller does not say.
const GRACE_DEFAULT: Span = Span::from_hours(24);
const GRACE_MAX: Span = Span::from_days(30);
const LIFE_MAX: Span = Span::from_days(3660);

pub fn operations() -> Vec<Operation> {
    vec![
        read("/tokens", Scope::TokensWrite, list)
            .says("listTokens", "API tokens without their secrets, oldest first")
            .query::<Paged>()
            .answers::<Listed>(),
        write("/tokens", Scope::TokensWrite, create)
            .says("createToken", "Make an API token; its secret is in this answer and nowhere else")
            .takes::<TokenIn>()
            .answers::<TokenOut>()
            .may(&[403]),
        read("/tokens/{id}", Scope::TokensWrite, one)
            .says("getToken", "One API token without its secret")
            .answers::<TokenShown>(),
        write("/tokens/{id}/rotate", Scope::TokensWrite, rotate)
            .says("rotateToken", "Give a token a new secret; the old one is taken for a while")
            .takes::<RotateIn>()
            .answers::<TokenOut>(),
        remove("/tokens/{id}", Scope::TokensWrite, revoke)
            .says("revokeToken", "End a token at once")
            .answers::<Revoked>(),
    ]
}

/// SHA-256 of a secret: what is stored of it.
pub fn hash_of(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// A secret of 256 bits for its owner, and what is stored of it. Its last characters check the rest.
fn fresh(now: Timestamp) -> (String, Secret) {
    let mut chance = blake3::Hasher::new_derive_key("carillon API token");
    for _ in 0..3 {
        chance.update(uuid::Uuid::new_v4().as_bytes());
    }
    let unchecked = format!("{START}{}", digits(&chance, PUBLIC_CHARS + SECRET_CHARS));
    let text = format!("{unchecked}{}", check_of(&unchecked));
    let prefix = unchecked[..START.len() + PUBLIC_CHARS].to_owned();
    let secret = Secret { hash: hash_of(&text), prefix, created_at: now };
    (text, secret)
}

/// Whether a text has the form of a token and its check fits.
pub fn is_well_formed(text: &str) -> bool {
    let length = START.len() + PUBLIC_CHARS + SECRET_CHARS;
    text.is_ascii()
        && text.starts_with(START)
        && text.len() == length + CHECK_CHARS
        && text[length..] == check_of(&text[..length])
}

fn check_of(text: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("carillon API token check");
    hasher.update(text.as_bytes());
    digits(&hasher, CHECK_CHARS)
}

#[derive(Serialize, ToSchema)]
#[schema(as = TokenPage)]
struct Listed {
    tokens: Vec<TokenShown>,
    /// None on the last page.
    next: Option<String>,
}

/// An API token without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiToken)]
struct TokenShown {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// The first characters of its newest secret.
    prefix: String,
    created_at: Timestamp,
    /// When its newest secret took the place of another.
    rotated_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// To the minute.
    last_used_at: Option<Timestamp>,
}

impl From<StoredToken> for TokenShown {
    fn from(token: StoredToken) -> Self {
        let StoredToken { id, name, scopes, prefix, created_at, rotated_at, expires_at, revoked_at, last_used_at } =
            token;
        Self { id, name, scopes, prefix, created_at, rotated_at, expires_at, revoked_at, last_used_at }
    }
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    const LIST: &str = "tokens";
    let (limit, after) = query::<Paged>(&request)?.read::<(i64, String)>(LIST)?;
    let after = after.map(|(at, id)| (Timestamp::from_millis(at), id));
    let mut tokens = admin.db().tokens(after, limit + 1).await?;
    let next = cut(&mut tokens, limit, LIST, |last| (last.created_at.millis(), last.id.clone()));
    let listed = Listed { tokens: tokens.into_iter().map(TokenShown::from).collect(), next: next.clone() };
    Ok(json_page(&request, &listed, next.as_deref()))
}

async fn find(admin: &Controls, asked: &str) -> Result<StoredToken, Problem> {
    let unknown = || Refusal::UnknownToken { asked: asked.chars().take(80).collect() };
    Ok(admin.db().token(asked).await?.ok_or_else(unknown)?)
}

async fn one(admin: Controls, id: web::Path<String>) -> Answer {
    Ok(json_answer(&TokenShown::from(find(&admin, &id).await?)))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewToken)]
#[serde(deny_unknown_fields)]
struct TokenIn {
    /// For people: who or what uses it. 1 to 100 characters on one line.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
    /// What it may do, at least one.
    #[schema(min_items = 1, value_type = Vec<crate::http::openapi::ScopeName>)]
    scopes: Vec<String>,
    /// How long it is taken, as `30d`; without it, until it is revoked.
    #[schema(value_type = Option<crate::http::openapi::SpanText>)]
    expires_in: Option<String>,
}

/// A token with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiTokenWithSecret)]
struct TokenOut {
    /// Shown this once.
    secret: String,
    #[serde(flatten)]
    token: TokenShown,
}

async fn create(admin: Controls, caller: ReqData<Arc<Caller>>, request: HttpRequest, payload: Payload) -> Answer {
    let asked: TokenIn = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let name = asked.name.trim().to_owned();
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let cause = format!("`name` is 1 to {NAME_CHARS_MAX} characters on one line");
        return Err(Refusal::Parameter { field: "name", cause }.into());
    }
    let scopes = scopes_of(&asked.scopes)?;
    if let Some(scope) = scopes.iter().find(|scope| !caller.scopes.contains(scope)) {
        return Err(Refusal::MissingScope { scope: *scope }.into());
    }
    let now = admin.log.clock().now();
    let life = asked.expires_in.as_deref().map(|text| span("expires_in", text, LIFE_MAX)).transpose()?;
    let (text, secret) = fresh(now);
    let token = StoredToken {
        id: uuid::Uuid::new_v4().simple().to_string(),
        name,
        scopes: scopes.iter().map(ToString::to_string).collect(),
        prefix: secret.prefix.clone(),
        created_at: now,
        rotated_at: None,
        expires_at: life.map(|life| now.plus(life)),
        revoked_at: None,
        last_used_at: None,
    };
    let (id, row) = (admin.workspace, token.clone());
    admin
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, id).add_token(&row, &secret).await?) })
        })
        .await?;
    Ok(json_answer(&TokenOut { secret: text, token: token.into() }))
}

fn scopes_of(names: &[String]) -> Result<BTreeSet<Scope>, Problem> {
    let wrong = |cause: String| Problem::from(Refusal::Parameter { field: "scopes", cause });
    if names.is_empty() {
        return Err(wrong("`scopes` names at least one".to_owned()));
    }
    let known = Scope::ALL.map(Scope::as_str);
    let read = names.iter().map(|name| {
        Scope::parse(name).ok_or_else(|| {
            let near = nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let name: String = name.chars().take(80).collect();
            wrong(format!("`{name}` is no scope{near} They are {}", known.join(", ")))
        })
    });
    read.collect()
}

fn span(field: &'static str, text: &str, most: Span) -> Result<Span, Problem> {
    let wrong = |cause: String| Problem::from(Refusal::Parameter { field, cause });
    let span: Span = text.parse().map_err(|error: crate::ids::NotADuration| wrong(error.to_string()))?;
    if span > most || span < Span::ZERO {
        return Err(wrong(format!("`{field}` is at most {most}")));
    }
    Ok(span)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = TokenRotation)]
#[serde(deny_unknown_fields)]
struct RotateIn {
    /// How long the old secret is taken, at most `30d`; `24h` without it, `0s` for a secret that has leaked.
    #[schema(value_type = Option<crate::http::openapi::SpanText>)]
    grace: Option<String>,
}

/// Nobody makes a secret, or ends a token, that may do more than they may themselves.
fn must_hold(caller: &Caller, token: &StoredToken) -> Result<(), Problem> {
    let missing = token.scopes.iter().filter_map(|scope| Scope::parse(scope)).find(|one| !caller.scopes.contains(one));
    missing.map_or(Ok(()), |scope| Err(Refusal::MissingScope { scope }.into()))
}

async fn rotate(
    admin: Controls,
    caller: ReqData<Arc<Caller>>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Answer {
    let asked: RotateIn = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let grace = asked.grace.as_deref().map_or(Ok(GRACE_DEFAULT), |text| span("grace", text, GRACE_MAX))?;
    let known = find(&admin, &id).await?;
    must_hold(&caller, &known)?;
    let now = admin.log.clock().now();
    let (text, secret) = fresh(now);
    let (space, which) = (admin.workspace, known.id.clone());
    let rotated = admin
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, space).rotate_token(&which, &secret, now.plus(grace)).await?) })
        })
        .await?;
    if !rotated {
        return Err(Refusal::UnknownToken { asked: id.chars().take(80).collect() }.into());
    }
    Ok(json_answer(&TokenOut { secret: text, token: find(&admin, &known.id).await?.into() }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = TokenRevoked)]
struct Revoked {
    /// Its id.
    revoked: String,
}

async fn revoke(admin: Controls, caller: ReqData<Arc<Caller>>, id: web::Path<String>) -> Answer {
    let known = find(&admin, &id).await?;
    must_hold(&caller, &known)?;
    let (space, which, now) = (admin.workspace, known.id.clone(), admin.log.clock().now());
    let revoked = admin
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, space).revoke_token(&which, now).await?) })
        })
        .await?;
    if !revoked {
        return Err(Refusal::UnknownToken { asked: id.chars().take(80).collect() }.into());
    }
    let answer: HttpResponse = json_answer(&Revoked { revoked: known.id });
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_differ_and_a_mistyped_one_is_recognised() {
        let now = Timestamp::from_millis(0);
        let ((one, stored), (other, _)) = (fresh(now), fresh(now));
        assert_ne!(one, other);
        assert!(is_well_formed(&one), "{}", one.len());
        assert!(one.starts_with(&stored.prefix));
        assert_eq!(stored.hash.len(), 32);
        let mut mistyped = one.into_bytes();
        mistyped[20] = if mistyped[20] == b'A' { b'B' } else { b'A' };
        assert!(!is_well_formed(&String::from_utf8(mistyped).unwrap()));
        assert!(!is_well_formed("cat_é"));
        assert!(!is_well_formed(""));
    }

    #[test]
    fn a_scope_that_is_none_is_named_with_the_nearest() {
        let refused = scopes_of(&["events:reed".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("did you mean `events:read`"), "{refused}");
        assert!(scopes_of(&[]).is_err());
    }
}

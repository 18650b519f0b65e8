//! What every request to the controls passes before it is looked at: whose token it is, whether that may do what is
//! asked, and whether everything in the query means something.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::{self, Payload};
use actix_web::{Error, HttpMessage};
use url::form_urlencoded;

use super::operation::Rules;
use super::tokens::{self, hash_of};
use super::{Admin, Controls, body, repeats};
use crate::definition::problem::nearest;
use crate::eventlog::Queue;
use crate::http::problem::{Problem, Refusal};
use crate::http::scope::{Caller, Scope};
use crate::ids::{Span, Timestamp};
use crate::store::shards::ShardSet;
use crate::store::workspace;

/// Uses of a token within this time are noted once.
const NOTED_EVERY: Span = Span::from_seconds(60);
/// Of a name that is repeated to the caller.
const NAME_CHARS_MAX: usize = 80;

/// Lets pass who may do what they ask for, also to routes that do not exist.
pub async fn admitted(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admin = request.app_data::<Controls>().cloned();
    let passed = match &admin {
        Some(admin) => pass(admin, &request).await,
        None => Err(Refusal::MissingToken.into()),
    };
    match passed {
        Ok(caller) => {
            let caller = Arc::new(caller);
            request.extensions_mut().insert(caller.clone());
            match admin {
                Some(admin) if is_write(&request) => repeats::write(admin, caller, request, next).await,
                _ => Ok(next.call(request).await?.map_into_boxed_body()),
            }
        }
        Err(problem) => {
            let payload = request.extract::<Payload>().await?;
            Ok(request.into_response(body::refused(problem, payload)))
        }
    }
}

/// Whether it changes something; what nobody offers changes nothing.
fn is_write(request: &ServiceRequest) -> bool {
    let pattern = request.match_pattern().unwrap_or_default();
    let rules = request.app_data::<web::Data<Rules>>();
    let is_known = rules.is_some_and(|rules| rules.find(&pattern, request.method()).is_some());
    is_known && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

/// Whether its body is a file, which is for its handler alone.
pub fn takes_file(request: &ServiceRequest) -> bool {
    let pattern = request.match_pattern().unwrap_or_default();
    let rules = request.app_data::<web::Data<Rules>>();
    rules.and_then(|rules| rules.find(&pattern, request.method())).is_some_and(|rule| rule.takes_file)
}

async fn pass(admin: &Admin, request: &ServiceRequest) -> Result<Caller, Problem> {
    let caller = caller(admin, request.headers()).await?;
    // No name of anything has it, and PostgreSQL's text cannot hold it.
    if request.path().contains("%00") {
        return Err(Problem::NotFound);
    }
    let rules = request.app_data::<web::Data<Rules>>();
    let pattern = request.match_pattern().unwrap_or_default();
    if let Some(rule) = rules.and_then(|rules| rules.find(&pattern, request.method())) {
        if !caller.scopes.contains(&rule.scope) {
            return Err(Refusal::MissingScope { scope: rule.scope }.into());
        }
        for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
            if value.contains('\0') {
                return Err(Refusal::Query { cause: "a value holds the character NUL".to_owned() }.into());
            }
            if !rule.query.iter().any(|known| *known == name) {
                let near = nearest(&name, rule.query.iter().map(String::as_str));
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                return Err(Refusal::UnknownParameter { name, nearest: near }.into());
            }
        }
    }
    Ok(caller)
}

/// Whether whoever calls may do this, where no route of the controls asks.
pub async fn holds(admin: &Admin, headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
    let may = caller(admin, headers).await?.scopes.contains(&scope);
    if may { Ok(()) } else { Err(Refusal::MissingScope { scope }.into()) }
}

/// The caller by their token: the one of the data folder, or one of those that were made.
async fn caller(admin: &Admin, headers: &HeaderMap) -> Result<Caller, Problem> {
    let value = headers.get(AUTHORIZATION).ok_or(Refusal::MissingToken)?;
    let value = value.to_str().map_err(|_| Refusal::WrongToken)?;
    let (scheme, text) = value.trim().split_once(' ').ok_or(Refusal::MissingToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::MissingToken.into());
    }
    by_secret(admin, text.trim()).await
}

/// The caller who has this secret.
pub async fn by_secret(admin: &Admin, text: &str) -> Result<Caller, Problem> {
    let seal = blake3::derive_key("carillon idempotent answers", text.as_bytes());
    // `blake3::Hash` compares in constant time.
    if Admin::hash_of(text) == admin.token {
        return Ok(Caller::local(seal));
    }
    // What is no token at all costs no query.
    if !tokens::is_well_formed(text) {
        return Err(Refusal::WrongToken.into());
    }
    by_hash(admin, &hash_of(text), seal).await
}

/// The caller whose secret has this hash, as long as it is taken.
pub async fn by_hash(admin: &Admin, hash: &[u8], seal: [u8; 32]) -> Result<Caller, Problem> {
    let presented = admin.db().token_of(hash).await?.ok_or(Refusal::WrongToken)?;
    let (token, now) = (presented.token, admin.log.clock().now());
    if token.revoked_at.is_some() || presented.valid_until.is_some_and(|until| until <= now) {
        return Err(Refusal::WrongToken.into());
    }
    if token.expires_at.is_some_and(|expires| expires <= now) {
        return Err(Refusal::ExpiredToken.into());
    }
    if token.last_used_at.is_none_or(|last| last.plus(NOTED_EVERY) <= now) {
        note_used(admin, token.id.clone(), now);
    }
    let scopes = token.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
    Ok(Caller { token: Some(token.id), secret: Some(hash.to_vec()), scopes, seal })
}

/// Beside the request, which does not wait for it.
fn note_used(admin: &Admin, id: String, at: Timestamp) {
    let (log, space) = (admin.log.clone(), admin.workspace);
    tokio::spawn(async move {
        let noting = log.writer().change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, space).note_token_used(&id, at).await?) })
        });
        if let Err(error) = noting.await {
            tracing::warn!(%error, "the use of a token was not noted");
        }
    });
}

//! Writes with an `Idempotency-Key`: done once, and whoever repeats one within a day gets the first answer again, from
//! whichever process.
//!
//! Answers may hold secrets that are shown once, so what is stored of them is sealed with the caller's own token, which
//! is stored nowhere. Nobody else can tell of whom an answer is, so erasing a person takes them all; that the requests
//! were carried out is remembered.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{self, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Payload};
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::definitions::FILES_BYTES_MAX;
use super::{Admin, BODY_DEADLINE, Controls, body};
use crate::eventlog::Queue;
use crate::http::problem::{Problem, Refusal};
use crate::http::scope::Caller;
use crate::store::idempotency::{Known, Named};
use crate::store::shards::ShardSet;
use crate::store::workspace;

pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const REPLAYED: &str = "Idempotency-Replayed";
const KEY_CHARS_MAX: usize = 255;
/// The media type of an answer that is a line of JSON for each step, and one for the end.
pub const LINES: &str = "application/x-ndjson";
/// A longer answer is not kept; the request is done again.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Beside an answer that has nothing of any customer: it is kept whoever is erased.
pub struct OfNobody;

/// The name of a request whose body is read by its handler.
struct Key(String);

/// The name that the caller gave the request; none where they gave none.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY);
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().map_err(|_| Refusal::IdempotencyKey)?;
    let is_sane = (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_sane || given.next().is_some() {
        return Err(Refusal::IdempotencyKey);
    }
    Ok(Some(text))
}

/// Carries out a write, once where it is named.
pub async fn write<B: MessageBody + 'static>(
    admin: Controls,
    caller: Arc<Caller>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = match key_of(request.headers()) {
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Some(key)) => key.to_owned(),
        Err(refusal) => {
            let payload = request.extract::<Payload>().await?;
            return Ok(request.into_response(body::refused(refusal.into(), payload)));
        }
    };
    if super::gate::takes_file(&request) {
        // Its handler names it, once the file is there.
        request.extensions_mut().insert(Key(key));
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let mut payload = request.extract::<Payload>().await?;
    let bytes = match body::read(request.request(), &mut payload, FILES_BYTES_MAX, BODY_DEADLINE).await {
        Ok(bytes) => bytes,
        Err(problem) => return Ok(request.into_response(body::refused(problem, payload))),
    };
    let named = named(&admin, &caller, &key, request.request(), &bytes);
    put_back(&mut request, bytes);
    match begin(&admin, named.clone()).await {
        Ok(Known::Ours) => {}
        Ok(known) => {
            let seal = seal_of(&caller, &named);
            let answer = told(known, &seal).unwrap_or_else(|problem| problem.into());
            return Ok(request.into_response(answer));
        }
        Err(problem) => return Ok(request.into_response(HttpResponse::from(problem))),
    }
    // Goes on when the caller goes away: whoever asks again is told what came of it.
    let doing = actix_web::rt::spawn(async move {
        let answered = next.call(request).await?;
        keep(&admin, &caller, &named, answered).await
    });
    match doing.await {
        Ok(done) => done,
        Err(error) => Err(Problem::from(anyhow::Error::from(error)).into()),
    }
}

/// Carries out a request whose handler has read the body, once where it is named; `digest` is the body's.
pub async fn once(
    admin: Controls,
    request: &HttpRequest,
    digest: &[u8],
    work: impl Future<Output = Result<HttpResponse, Problem>> + 'static,
) -> Result<HttpResponse, Problem> {
    let key = request.extensions().get::<Key>().map(|key| key.0.clone());
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    let (Some(key), Some(caller)) = (key, caller) else { return work.await };
    let named = named(&admin, &caller, &key, request, digest);
    match begin(&admin, named.clone()).await? {
        Known::Ours => {}
        known => return told(known, &seal_of(&caller, &named)),
    }
    // Goes on when the caller goes away.
    let doing = actix_web::rt::spawn(async move {
        let answered = work.await.unwrap_or_else(HttpResponse::from);
        keep_response(&admin, &caller, &named, answered).await
    });
    doing.await.map_err(anyhow::Error::from)?
}

fn named(admin: &Admin, caller: &Caller, key: &str, request: &HttpRequest, body: &[u8]) -> Named {
    let mut name = blake3::Hasher::new_derive_key("carillon name of a request");
    name.update(&admin.workspace.0.to_le_bytes()).update(&caller.seal).update(key.as_bytes());
    let mut asked = blake3::Hasher::new_derive_key("carillon fingerprint of a request");
    for part in [request.method().as_str(), request.path(), request.query_string()] {
        asked.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    // What is asked may be guessed; whose it is cannot.
    asked.update(&caller.seal).update(body);
    Named {
        key: *name.finalize().as_bytes(),
        fingerprint: *asked.finalize().as_bytes(),
        turn: *uuid::Uuid::new_v4().as_bytes(),
    }
}

/// The body as if it had not been read, plain.
fn put_back(request: &mut ServiceRequest, bytes: Bytes) {
    let headers = request.headers_mut();
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let payload = futures::stream::once(std::future::ready(Ok(bytes)));
    request.set_payload(dev::Payload::Stream { payload: Box::pin(payload) });
}

async fn begin(admin: &Admin, named: Named) -> Result<Known, Problem> {
    let (space, now) = (admin.workspace, admin.log.clock().now());
    let beginning = admin.log.writer().change_in(Queue::Effects, ShardSet::NONE, move |tx, _| {
        Box::pin(async move { Ok(workspace(tx, space).begin_named(&named, now).await?) })
    });
    Ok(beginning.await?)
}

/// The answer to a request that is not to be carried out.
fn told(known: Known, seal: &[u8; 32]) -> Result<HttpResponse, Problem> {
    match known {
        Known::Ours | Known::InHand => Err(Refusal::IdempotencyConflict.into()),
        Known::Other => Err(Refusal::IdempotencyKeyReused.into()),
        Known::Erased { status } => Err(Refusal::IdempotencyAnswerErased { status }.into()),
        Known::Answered { status, sealed } => {
            let (kind, body) = open(seal, sealed).ok_or(Refusal::Unavailable)?;
            let status = StatusCode::from_u16(status).map_err(|_| Refusal::Unavailable)?;
            let mut answer = HttpResponse::build(status);
            answer.insert_header((CACHE_CONTROL, "no-store")).insert_header((REPLAYED, "true"));
            if !kind.is_empty() {
                answer.insert_header((CONTENT_TYPE, kind));
            }
            Ok(answer.body(body))
        }
    }
}

/// Keeps an answer that is one, and lets go of the name where the same request may go better next time.
async fn keep<B: MessageBody + 'static>(
    admin: &Admin,
    caller: &Caller,
    named: &Named,
    answered: ServiceResponse<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, response) = answered.into_parts();
    let kept = keep_response(admin, caller, named, response).await?;
    Ok(ServiceResponse::new(request, kept))
}

async fn keep_response<B: MessageBody + 'static>(
    admin: &Admin,
    caller: &Caller,
    named: &Named,
    response: HttpResponse<B>,
) -> Result<HttpResponse, Problem> {
    let is_of_nobody = response.extensions().get::<OfNobody>().is_some();
    let (head, body) = response.into_parts();
    let body = to_bytes(body).await;
    let status = head.status();
    let kind = head.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // What was refused did nothing, and may be asked for again, put right.
    let is_refused = status.is_client_error() || status.is_server_error();
    let sealed = match &body {
        Ok(body) if !is_refused && came_through(kind, body) && body.len() <= ANSWER_BYTES_MAX => {
            seal(&seal_of(caller, named), kind, body)
        }
        _ => None,
    };
    let (space, which) = (admin.workspace, named.clone());
    let keeping = admin.log.writer().change_in(Queue::Effects, ShardSet::NONE, move |tx, _| {
        Box::pin(async move {
            let db = workspace(tx, space);
            match sealed {
                Some(sealed) => Ok(db.answer_named(&which, status.as_u16(), sealed, is_of_nobody).await?),
                None => Ok(db.drop_named(&which).await?),
            }
        })
    });
    if let Err(error) = keeping.await {
        // It is done: the caller must hear so.
        tracing::warn!(%error, "the answer to a named request was not kept");
    }
    let body = body.map_err(|_| Problem::from(Refusal::Unavailable))?;
    Ok(head.set_body(BoxBody::new(body)))
}

/// Whether what an answer tells line by line was done: its status was said before. The last line says how it ended; where
/// there is none of that, it broke off.
fn came_through(kind: &str, body: &[u8]) -> bool {
    if kind != LINES {
        return true;
    }
    let last = body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let last = last.and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    last.is_some_and(|last| last.is_object() && last.get("error").is_none() && last.get("done").is_none())
}

fn seal_of(caller: &Caller, named: &Named) -> [u8; 32] {
    blake3::derive_key("carillon seal of an answer", &[&caller.seal[..], &named.key[..]].concat())
}

/// Media type and body, for the holder of the seal alone.
fn seal(seal: &[u8; 32], kind: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..NONCE_LEN]);
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, seal).ok()?);
    let mut text = postcard::to_stdvec(&(kind, body)).ok()?;
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text).ok()?;
    Some([&nonce[..], &text].concat())
}

fn open(seal: &[u8; 32], mut sealed: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut text = sealed.split_off(NONCE_LEN.min(sealed.len()));
    let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, seal).ok()?);
    let plain = key.open_in_place(nonce, Aad::empty(), &mut text).ok()?;
    postcard::from_bytes(plain).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_answer_opens_for_its_seal_alone() {
        let (mine, other) = ([1; 32], [2; 32]);
        let sealed = seal(&mine, "application/json", b"{\"key\":\"cwk_secret\"}").unwrap();
        assert!(!sealed.windows(10).any(|part| part == b"cwk_secret"));
        let opened = open(&mine, sealed.clone()).unwrap();
        assert_eq!(opened, ("application/json".to_owned(), b"{\"key\":\"cwk_secret\"}".to_vec()));
        assert_eq!(open(&other, sealed.clone()), None);
        for cut in [0, 5, NONCE_LEN, sealed.len() - 1] {
            assert_eq!(open(&mine, sealed[..cut].to_vec()), None);
        }
    }

    #[test]
    fn of_an_answer_in_lines_the_last_one_says_whether_it_was_done() {
        let ended = |body: &str| came_through(LINES, body.as_bytes());
        assert!(ended("{\"step\":\"copying\",\"done\":1,\"of\":2}\n{\"backup\":{}}\n"));
        assert!(ended("{\"report\":{\"error\":1,\"done\":2}}"));
        for failed in ["", "{\"error\":\"no room\"}\n", "{\"done\":1,\"of\":2}\n", "{\"done\":1,\"of\":2}\n{\"rep"] {
            assert!(!ended(failed), "{failed}");
        }
        assert!(came_through("application/json", b"{\"error\":1}"));
    }

    #[test]
    fn keys_are_taken_once_and_visible() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY.parse().unwrap(), value.parse().unwrap());
            }
            key_of(&headers).map(|key| key.map(ToOwned::to_owned)).ok()
        };
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(&["8e03978e-40d5"]), Some(Some("8e03978e-40d5".to_owned())));
        for odd in [&[""][..], &["a", "b"], &["a b"], &["\u{e9}"], &[&"x".repeat(256)]] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }
}

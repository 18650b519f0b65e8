//! Reading a request's body by bytes, bounded in size, memory and time, whatever its Content-Type says.
//!
//! The framework's own limit inflates a whole chunk before it looks, and it has no clock for bodies; here the inflating
//! stops at the limit, and one deadline holds for the body as a whole.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;

use self::room::{ROOM, Share};
use super::problem::Problem;

mod room;

/// Bytes of a refused caller's body that are read to keep the connection.
const SKIPPED_MAX: u64 = 32 * 1024;
const SKIP_DEADLINE: Duration = Duration::from_secs(1);

/// Reads at most `limit` bytes, encoded and decoded alike, within `deadline`.
///
/// A body that arrives in pieces while others hold all the room there is for such is refused as overload.
/// Content-Encoding may be absent, `identity` or `gzip` (of one member or several, bounded together). After an error
/// the rest is unread; see [`refused`].
pub async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    let is_gzip = is_gzip(request)?;
    if declared(request).is_some_and(|length| length > limit as u64) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let reading = async { if is_gzip { inflate(payload, limit).await } else { collect(payload, limit).await } };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(Problem::BodyTooSlow { deadline }))
}

/// A long body as it arrives, however it is packed: bounded in size, and each part of it in time.
pub struct Pieces<'p> {
    payload: &'p mut Payload,
    limit: u64,
    deadline: Duration,
    taken: u64,
    says_gzip: bool,
}

impl<'p> Pieces<'p> {
    /// # Errors
    /// Its head shows that it is too large, or packed in a way nobody knows.
    pub fn of(
        request: &HttpRequest,
        payload: &'p mut Payload,
        limit: u64,
        deadline: Duration,
    ) -> Result<Self, Problem> {
        let says_gzip = is_gzip(request)?;
        let pieces = Self { payload, limit, deadline, taken: 0, says_gzip };
        if declared(request).is_some_and(|length| length > limit) { Err(pieces.too_large()) } else { Ok(pieces) }
    }

    fn too_large(&self) -> Problem {
        Problem::BodyTooLarge { limit: usize::try_from(self.limit).unwrap_or(usize::MAX) }
    }

    /// The next bytes, about as many as asked for; none at the end.
    ///
    /// # Errors
    /// It is too large, too slow, broken, or not packed as it says.
    pub async fn next(&mut self, about: usize) -> Result<Bytes, Problem> {
        let mut piece = Vec::new();
        while piece.len() < about {
            let arriving = tokio::time::timeout(self.deadline, self.payload.next()).await;
            let Some(chunk) = arriving.map_err(|_| Problem::BodyTooSlow { deadline: self.deadline })? else { break };
            piece.extend_from_slice(&chunk.map_err(broken)?);
            if self.taken + piece.len() as u64 > self.limit {
                return Err(self.too_large());
            }
        }
        if self.taken == 0 && self.says_gzip && !piece.starts_with(&[0x1f, 0x8b]) {
            return Err(Problem::NotGzip);
        }
        self.taken += piece.len() as u64;
        Ok(piece.into())
    }
}

fn declared(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a small body to its end without looking, so that a connection whose caller was refused by its head can go on.
pub async fn skip(request: &HttpRequest, payload: &mut Payload) {
    if declared(request).is_some_and(|length| length <= SKIPPED_MAX) {
        let skipping = async { while let Some(Ok(_)) = payload.next().await {} };
        let _ = tokio::time::timeout(SKIP_DEADLINE, skipping).await;
    }
}

/// The answer to a request whose body may not have been read to its end.
///
/// Once the payload is dropped, the framework reads a chunked body to its end before anything else, however long that
/// takes. While the payload lives it sees an unread body: it says `Connection: close`, answers, and cuts the connection
/// within the disconnect deadline. So the payload lives as long as the answer is being written.
pub fn refused(problem: Problem, payload: Payload) -> HttpResponse {
    unread(problem.error_response(), payload)
}

/// The same for an answer of one's own.
pub fn unread(answer: HttpResponse, payload: Payload) -> HttpResponse {
    answer.map_body(|_, text| match text.try_into_bytes() {
        Ok(text) => BoxBody::new(Refusal { text: Some(text), _payload: payload }),
        Err(other) => other,
    })
}

struct Refusal {
    text: Option<Bytes>,
    _payload: Payload,
}

impl MessageBody for Refusal {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.text.as_ref().map_or(0, Bytes::len) as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.get_mut().text.take().map(Ok))
    }
}

fn is_gzip(request: &HttpRequest) -> Result<bool, Problem> {
    let mut encodings = Vec::new();
    for value in request.headers().get_all(CONTENT_ENCODING) {
        let Ok(value) = value.to_str() else { return Err(Problem::UnsupportedEncoding) };
        encodings.extend(value.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    encodings.retain(|name| !name.is_empty() && name != "identity");
    match encodings.as_slice() {
        [] => Ok(false),
        [one] if one == "gzip" || one == "x-gzip" => Ok(true),
        _ => Err(Problem::UnsupportedEncoding),
    }
}

async fn collect(payload: &mut Payload, limit: usize) -> Result<Bytes, Problem> {
    // Most calls arrive in one piece, which then is never copied.
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(broken)?;
    if first.len() > limit {
        return Err(Problem::BodyTooLarge { limit });
    }
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut body = Bounded::of(limit);
    body.write_all(&first).map_err(|_| body.refusal())?;
    // Held here, it would be held twice.
    drop(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        body.write_all(&chunk.map_err(broken)?).map_err(|_| body.refusal())?;
        next = payload.next().await;
    }
    Ok(body.bytes.into())
}

async fn inflate(payload: &mut Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut decoder = MultiGzDecoder::new(Bounded::of(limit));
    let mut encoded = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(broken)?;
        encoded += chunk.len();
        if encoded > limit {
            return Err(Problem::BodyTooLarge { limit });
        }
        if decoder.write_all(&chunk).is_err() {
            return Err(not_inflated(&decoder));
        }
    }
    match decoder.try_finish() {
        Ok(()) => Ok(std::mem::take(&mut decoder.get_mut().bytes).into()),
        Err(_) => Err(not_inflated(&decoder)),
    }
}

fn not_inflated(decoder: &MultiGzDecoder<Bounded>) -> Problem {
    let taken = decoder.get_ref();
    if taken.is_over || taken.is_crowded { taken.refusal() } else { Problem::NotGzip }
}

fn broken(_: PayloadError) -> Problem {
    Problem::BodyBroken
}

/// Takes bytes up to a limit and fails on the first beyond it.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
    share: Share<'static>,
    is_crowded: bool,
}

impl Bounded {
    fn of(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, is_over: false, share: ROOM.share(), is_crowded: false }
    }

    /// Why a write failed.
    fn refusal(&self) -> Problem {
        if self.is_crowded { Problem::Overloaded } else { Problem::BodyTooLarge { limit: self.limit } }
    }
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let needed = self.bytes.len() + part.len();
        if needed > self.limit {
            self.is_over = true;
            return Err(io::Error::other("over the limit"));
        }
        if needed > self.bytes.capacity() {
            // Doubling, but never past what can be used.
            let capacity = (self.bytes.capacity() * 2).clamp(needed, self.limit);
            if !self.share.grow(capacity - self.bytes.capacity()) {
                self.is_crowded = true;
                return Err(io::Error::other("no room at the moment"));
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inflating_a_bomb_never_holds_more_than_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..20 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 40_000);
        let limit = 100_000;
        let mut decoder = MultiGzDecoder::new(Bounded::of(limit));
        assert!(decoder.write_all(&bomb).is_err());
        assert!(decoder.get_ref().is_over);
        assert!(decoder.get_ref().bytes.capacity() <= limit);
    }
}

//! One id that ties a request to its events, its log lines and its answer.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};
use tracing::Instrument;
use uuid::Uuid;

use crate::clock::Stopwatch;
use crate::telemetry;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CHARS_MAX: usize = 128;

/// Ids that never repeat: chance once per process, then counting. Cheap enough for every request.
#[derive(Debug)]
pub struct FreshIds {
    process: u64,
    next: AtomicU64,
}

impl FreshIds {
    pub fn new() -> Self {
        let (process, _) = Uuid::new_v4().as_u64_pair();
        Self { process, next: AtomicU64::new(1) }
    }

    /// 32 hexadecimal digits.
    pub fn next(&self) -> String {
        format!("{:016x}{:016x}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for FreshIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The id of the request at hand.
#[derive(Debug, Clone)]
pub struct CorrelationId(pub String);

impl CorrelationId {
    pub fn of(request: &HttpRequest) -> String {
        request.extensions().get::<Self>().map_or_else(String::new, |id| id.0.clone())
    }
}

/// Takes the caller's id where it has one, puts it beside the request, in a span around it, and on the answer.
pub async fn correlate(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let ids = request.app_data::<actix_web::web::Data<FreshIds>>();
    let id = given(request.headers())
        .unwrap_or_else(|| ids.map_or_else(|| Uuid::new_v4().simple().to_string(), |ids| ids.next()));
    let header = HeaderValue::from_str(&id);
    let watch = Stopwatch::start();
    let path = request.path().to_owned();
    let span = tracing::info_span!("request", correlation_id = %id);
    request.extensions_mut().insert(CorrelationId(id));
    let mut response = next.call(request).instrument(span).await?;
    telemetry::answered(&path, response.status().as_u16(), watch.elapsed());
    if let Ok(header) = header {
        response.headers_mut().insert(X_REQUEST_ID, header);
    }
    Ok(response)
}

/// `X-Request-Id`, else the trace id of `traceparent`, if it is something a log can hold: no spaces, no addresses.
fn given(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_sane = |id: &&str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/');
        (1..=CHARS_MAX).contains(&id.len()) && id.bytes().all(is_part)
    };
    let is_trace = |id: &&str| {
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0')
    };
    let trace = || text(TRACEPARENT)?.split('-').nth(1).filter(is_trace);
    text(X_REQUEST_ID).filter(is_sane).or_else(trace).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(name: HeaderName, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        given(&headers)
    }

    #[test]
    fn a_caller_s_id_is_taken_only_if_it_is_sane() {
        assert_eq!(read(X_REQUEST_ID, "req-1.2:3/4").unwrap(), "req-1.2:3/4");
        for odd in ["", "a b", "ann@example.com", &"x".repeat(129)] {
            assert_eq!(read(X_REQUEST_ID, odd), None, "{odd}");
        }
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(read(TRACEPARENT, &format!("00-{trace}-00f067aa0ba902b7-01")).unwrap(), trace);
        for odd in ["00", "00-xyz-1-1", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(read(TRACEPARENT, odd), None, "{odd}");
        }
    }

    #[test]
    fn fresh_ids_differ() {
        let ids = FreshIds::new();
        assert_ne!(ids.next(), ids.next());
        assert_ne!(FreshIds::new().next(), FreshIds::new().next());
    }
}

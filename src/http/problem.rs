//! Everything that can go wrong towards a client, as RFC 9457 problem details: the only place errors become responses.
//!
//! `code` is stable and meant for programs; `detail` is for people and may change. Official clients drop an event on
//! most 4xx answers and come again on 429 and 503, so whatever is temporary must be one of those two.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::definition;
use crate::event::track_api::{Fault, ItemFault};
use crate::eventlog::AppendError;
use crate::store;

use super::rate::Wait;
pub use refusal::Refusal;

mod refusal;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("the body has more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive within {} seconds", .deadline.as_secs())]
    BodyTooSlow { deadline: Duration },
    #[error("the body ended early or was badly framed")]
    BodyBroken,
    #[error("the body says it is gzip but cannot be inflated")]
    NotGzip,
    #[error("Content-Encoding may be identity or gzip, once")]
    UnsupportedEncoding,
    #[error("{0}")]
    Body(Fault),
    #[error("{}", .0.message)]
    Call(Box<ItemFault>),
    #[error("no write key: give it as the user name of Basic authorization or as `writeKey` in the body")]
    MissingKey,
    #[error("the Authorization header cannot be read")]
    UnreadableAuthorization,
    #[error("no such write key")]
    UnknownKey,
    #[error("too many requests with wrong write keys")]
    TooManyWrongKeys(Wait),
    #[error("too many requests with this write key")]
    TooManyRequests(Wait),
    #[error("the write keys cannot be read at the moment")]
    KeysUnreadable,
    #[error("more is waiting to be stored than can be held at once")]
    Overloaded,
    #[error("events cannot be stored at the moment; none of this request's were")]
    StorageFailing,
    #[error("the log did not answer in time; send the same again, repeats are recognised by messageId")]
    StorageSlow,
    #[error("the service is stopping")]
    Stopping,
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address takes {allow}")]
    MethodNotAllowed { allow: &'static str },
    #[error("{0}")]
    Control(Box<Refusal>),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Control(Box::new(refusal))
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        // The cause names files and rows: for our log, not for the client.
        tracing::error!(error = format!("{error:#}"), "a request to the controls failed");
        Refusal::Unavailable.into()
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Body(fault)
    }
}

impl From<ItemFault> for Problem {
    fn from(fault: ItemFault) -> Self {
        Self::Call(Box::new(fault))
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Overloaded => Self::Overloaded,
            AppendError::Failing(cause) => {
                // The cause names files and disks: for our log, not for the client.
                tracing::error!(%cause, "the log cannot be written");
                Self::StorageFailing
            }
            AppendError::Stopping => Self::Stopping,
        }
    }
}

/// The document a client gets.
#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    /// The known name nearest to an unknown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [definition::Problem]>,
}

impl Problem {
    /// The stable name, the status and the title.
    fn kind(&self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BodyTooLarge { .. } => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTooSlow { .. } => ("body_too_slow", StatusCode::REQUEST_TIMEOUT, "Body too slow"),
            Self::BodyBroken => ("body_broken", StatusCode::BAD_REQUEST, "Body broken"),
            Self::NotGzip => ("invalid_gzip", StatusCode::BAD_REQUEST, "Body is not gzip"),
            Self::UnsupportedEncoding => {
                ("unsupported_encoding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding not supported")
            }
            Self::Body(fault) => match fault {
                Fault::Json(fault) => (fault.code(), StatusCode::BAD_REQUEST, "JSON not accepted"),
                Fault::NotAnObject => ("not_an_object", StatusCode::BAD_REQUEST, "Body is not a call"),
                Fault::NotABatch => ("not_a_batch", StatusCode::BAD_REQUEST, "Body is not a batch"),
                Fault::TooManyItems => ("too_many_items", StatusCode::PAYLOAD_TOO_LARGE, "Batch too long"),
                Fault::TooLargeMerged => ("batch_too_large", StatusCode::PAYLOAD_TOO_LARGE, "Batch too large"),
            },
            Self::Call(fault) if fault.code == "event_too_large" => {
                (fault.code, StatusCode::PAYLOAD_TOO_LARGE, "Event too large")
            }
            Self::Call(fault) => (fault.code, StatusCode::BAD_REQUEST, "Call not accepted"),
            Self::MissingKey => ("missing_write_key", StatusCode::UNAUTHORIZED, "Write key missing"),
            Self::UnreadableAuthorization => {
                ("unreadable_authorization", StatusCode::UNAUTHORIZED, "Authorization not readable")
            }
            Self::UnknownKey => ("unknown_write_key", StatusCode::UNAUTHORIZED, "Write key not known"),
            Self::TooManyWrongKeys(_) => ("too_many_wrong_keys", StatusCode::TOO_MANY_REQUESTS, "Too many wrong keys"),
            Self::TooManyRequests(_) => ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::KeysUnreadable => ("keys_unreadable", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::Overloaded => ("overloaded", StatusCode::TOO_MANY_REQUESTS, "Overloaded"),
            Self::StorageFailing => ("storage_failing", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::StorageSlow => ("storage_slow", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::Stopping => ("stopping", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed { .. } => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::Control(refusal) => refusal.kind(),
        }
    }

    pub fn code(&self) -> &'static str {
        self.kind().0
    }

    /// Seconds after which the same request may succeed.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyWrongKeys(wait) | Self::TooManyRequests(wait) => Some(wait.0),
            Self::Overloaded => Some(1),
            Self::KeysUnreadable | Self::StorageSlow | Self::Stopping => Some(2),
            Self::StorageFailing => Some(5),
            Self::Control(refusal) if **refusal == Refusal::Unavailable => Some(2),
            _ => None,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Call(fault) => fault.field,
            Self::Body(Fault::NotABatch | Fault::TooManyItems) => Some("batch"),
            Self::MissingKey => Some("writeKey"),
            Self::Control(refusal) => refusal.field(),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Control(refusal) => Some(refusal),
            _ => None,
        }
    }

    fn expected(&self) -> Option<String> {
        use crate::event::track_api::BATCH_ITEMS_MAX;
        match self {
            Self::BodyTooLarge { limit } => Some(format!("at most {limit} bytes, before and after inflating")),
            Self::Body(Fault::TooManyItems) => Some(format!("at most {BATCH_ITEMS_MAX} items")),
            Self::Body(Fault::NotABatch) => Some("{\"batch\":[…]}".into()),
            Self::UnsupportedEncoding => Some("identity or gzip".into()),
            _ => None,
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind().1
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status, title) = self.kind();
        let details = Details {
            r#type: format!("urn:carillon:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: self.to_string(),
            field: self.field(),
            expected: self.expected(),
            nearest: self.refusal().and_then(Refusal::nearest),
            problems: self.refusal().and_then(Refusal::problems),
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after() {
            response.insert_header((RETRY_AFTER, seconds));
            if status == StatusCode::TOO_MANY_REQUESTS {
                response.insert_header(("X-RateLimit-Reset", seconds));
            }
        }
        match self {
            Self::Control(_) if status == StatusCode::UNAUTHORIZED => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"controls\""));
            }
            // Not `Basic`: a browser would ask the shop's visitor for a password.
            _ if status == StatusCode::UNAUTHORIZED => {
                response.insert_header((WWW_AUTHENTICATE, "WriteKey realm=\"track\""));
            }
            Self::UnsupportedEncoding => {
                response.insert_header((ACCEPT_ENCODING, "gzip"));
            }
            Self::MethodNotAllowed { allow } => {
                response.insert_header((ALLOW, *allow));
            }
            _ => {}
        }
        response.json(details)
    }
}

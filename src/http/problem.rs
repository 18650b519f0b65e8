//! Everything that can go wrong towards a client, as RFC 9457 problem details: the only place errors become responses.
//!
//! `code` is stable and meant for programs; `detail` is for people and may change. Official clients drop an event on
//! most 4xx answers and come again on 429 and 503, so whatever is temporary must be one of those two.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::definition;
use crate::event::json::JsonFault;
use crate::event::track_api::{Fault, ItemFault};
use crate::eventlog::{AppendError, Unstorable};
use crate::store;
use crate::store::lost::is_of_connection;

use super::auth::KeysUnreadable;
use super::body;
use super::rate::Wait;
pub use codes::Code;
pub use refusal::Refusal;

pub mod codes;
pub mod pages;
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
    #[error("{0}; the same again is refused again")]
    NotStorable(Unstorable),
    #[error("events cannot be stored at the moment; none of this request's were")]
    StorageFailing,
    #[error("the log did not answer in time; send the same again, repeats are recognised by messageId")]
    StorageSlow,
    #[error("the service is stopping")]
    Stopping,
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address takes {allow}")]
    MethodNotAllowed { allow: Cow<'static, str> },
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
        match is_of_connection(&error) {
            true => Refusal::DatabaseUnreachable.into(),
            false => Refusal::Unavailable.into(),
        }
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
            AppendError::Refused(refused) => {
                let code = refused.into_values().next().unwrap_or_default();
                Self::NotStorable(Unstorable { code, message_id: None })
            }
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
    /// What a token would need to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [definition::Problem]>,
}

impl From<KeysUnreadable> for Problem {
    fn from(KeysUnreadable: KeysUnreadable) -> Self {
        Self::KeysUnreadable
    }
}

impl Problem {
    pub fn code(&self) -> Code {
        match self {
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::BodyTooSlow { .. } => Code::BodyTooSlow,
            Self::BodyBroken => Code::BodyBroken,
            Self::NotGzip => Code::InvalidGzip,
            Self::UnsupportedEncoding => Code::UnsupportedEncoding,
            Self::Body(fault) => match fault {
                Fault::Json(fault) => of_json(fault),
                Fault::NotAnObject => Code::NotAnObject,
                Fault::NotABatch => Code::NotABatch,
                Fault::TooManyItems => Code::TooManyItems,
                Fault::TooLargeMerged => Code::BatchTooLarge,
            },
            // Those of calls are all in the table, which a test holds.
            Self::Call(fault) => Code::parse(fault.code).unwrap_or(Code::InvalidBody),
            Self::MissingKey => Code::MissingWriteKey,
            Self::UnreadableAuthorization => Code::UnreadableAuthorization,
            Self::UnknownKey => Code::UnknownWriteKey,
            Self::TooManyWrongKeys(_) => Code::TooManyWrongKeys,
            Self::TooManyRequests(_) => Code::RateLimited,
            Self::KeysUnreadable => Code::KeysUnreadable,
            Self::Overloaded => Code::Overloaded,
            Self::NotStorable(_) => Code::NotStorable,
            Self::StorageFailing => Code::StorageFailing,
            Self::StorageSlow => Code::StorageSlow,
            Self::Stopping => Code::Stopping,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::Control(refusal) => refusal.code(),
        }
    }

    /// Seconds after which the same request may succeed.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyWrongKeys(wait) | Self::TooManyRequests(wait) => Some(wait.0),
            Self::Overloaded => Some(1),
            Self::KeysUnreadable | Self::StorageSlow | Self::Stopping => Some(2),
            Self::StorageFailing => Some(5),
            Self::Control(refusal) => refusal.retry_after(),
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

impl From<Problem> for HttpResponse {
    fn from(problem: Problem) -> Self {
        problem.error_response()
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status) = (self.code(), self.code().status());
        let details = Details {
            r#type: format!("/problems/{}", code.as_str()),
            title: code.title(),
            status: status.as_u16(),
            code: code.as_str(),
            detail: self.to_string(),
            field: self.field(),
            expected: self.expected(),
            nearest: self.refusal().and_then(Refusal::nearest),
            scope: self.refusal().and_then(Refusal::scope),
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
                response.insert_header((ALLOW, allow.as_ref()));
            }
            _ => {}
        }
        response.json(details)
    }
}

fn of_json(fault: &JsonFault) -> Code {
    match fault {
        JsonFault::InvalidUtf8 { .. } => Code::InvalidUtf8,
        JsonFault::Syntax { .. } => Code::InvalidJson,
        JsonFault::TooDeep { .. } => Code::TooDeep,
        JsonFault::Nul { .. } => Code::NulCharacter,
        JsonFault::LoneSurrogate { .. } => Code::LoneSurrogate,
        JsonFault::NumberTooLong { .. } => Code::NumberTooLong,
        JsonFault::ReservedName { .. } => Code::ReservedName,
    }
}

#[cfg(test)]
mod tests;

//! What the controls answer when they cannot do what was asked: each with a stable code, and where there is one, what
//! was probably meant.

use crate::definition;
use crate::event::json::JsonFault;
use crate::http::scope::Scope;

use super::{Code, of_json};

/// Why a request to the controls was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("this address needs `Authorization: Bearer TOKEN`; `serve` leaves the token in its data folder")]
    MissingToken,
    #[error("the token is not known here, or no longer")]
    WrongToken,
    #[error("the token has expired; make another, or rotate tokens before they do")]
    ExpiredToken,
    #[error("this needs a token with the scope `{scope}`, which yours does not have")]
    MissingScope { scope: Scope },
    #[error("there is no parameter `{name}` here")]
    UnknownParameter { name: String, nearest: Option<String> },
    #[error("{cause}")]
    Parameter { field: &'static str, cause: String },
    #[error("the query cannot be read: {cause}")]
    Query { cause: String },
    #[error("the body cannot be read: {cause}")]
    Body { cause: String },
    #[error("{0}")]
    Json(JsonFault),
    #[error(
        "nobody is known as `{asked}`: give the userId or the anonymousId that the shop sends, or a profile's number as profile:17"
    )]
    UnknownProfile { asked: String },
    #[error("there is no campaign `{asked}`")]
    UnknownCampaign { asked: String, nearest: Option<String> },
    #[error("there is no segment `{asked}`")]
    UnknownSegment { asked: String, nearest: Option<String> },
    #[error("there is no template `{asked}`")]
    UnknownTemplate { asked: String, nearest: Option<String> },
    #[error("there is no message `{asked}`")]
    UnknownMessage { asked: String },
    #[error(
        "there is no event `{asked}`: give its position, its id or its messageId (after seven days only its position where nothing was decided on it, which `explain` of its profile shows)"
    )]
    UnknownEvent { asked: String },
    #[error("there is no live key `{asked}`: give its id or the part before the secret")]
    UnknownKey { asked: String },
    #[error("there is no live token `{asked}`: give its id or the first characters of its secret")]
    UnknownToken { asked: String },
    #[error("nothing is parked at position {asked}, or it was redriven before")]
    NotParked { asked: String },
    #[error("message {asked} is {status}; only failed messages are redriven")]
    NotADeadLetter { asked: String, status: &'static str },
    #[error("there is no {kind} `{key}` of this version; leave the version away for the newest")]
    UnknownDefinition { kind: String, key: String, nearest: Option<String> },
    #[error("the template cannot be filled in: {cause}")]
    NotRendered { cause: String },
    #[error("`Idempotency-Key` is given once, as 1 to 255 visible ASCII characters")]
    IdempotencyKey,
    #[error("this Idempotency-Key came within the last day with another request")]
    IdempotencyKeyReused,
    #[error("a request with this Idempotency-Key is still being carried out")]
    IdempotencyConflict,
    #[error(
        "the request with this Idempotency-Key was carried out and answered {status}; the rest of its answer is erased"
    )]
    IdempotencyAnswerErased { status: u16 },
    #[error("{limit} live streams are open, which is as many as this process serves")]
    TooManyStreams { limit: usize },
    #[error("there is no backup, and no file of one, called `{asked}`")]
    UnknownBackup { asked: String },
    #[error("there is no import `{asked}`")]
    UnknownImport { asked: String },
    #[error("{limit} imports wait already, which is as many as this process keeps")]
    TooManyImports { limit: usize },
    #[error("the file {cause}")]
    UnreadableFile { cause: String },
    #[error("{cause}")]
    Mapping { cause: String },
    #[error("another backup is being made")]
    BackupUnderWay,
    #[error("{} found and nothing was applied", found(.0.len()))]
    Definitions(Vec<definition::Problem>),
    #[error(
        "only a demo's clock can be moved, in the sandbox: this service was not made by `carillon demo`, or its messages leave through a real provider"
    )]
    ClockIsReal,
    #[error("the test message was not sent: {cause}")]
    TestNotSent { cause: String },
    #[error("the service has no connection to its database at the moment; the same request may succeed shortly")]
    DatabaseUnreachable,
    #[error("the service cannot do this at the moment; the same request may succeed shortly")]
    Unavailable,
}

fn found(problems: usize) -> String {
    if problems == 1 { "1 problem was".to_owned() } else { format!("{problems} problems were") }
}

impl Refusal {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::MissingToken => Code::MissingToken,
            Self::WrongToken => Code::WrongToken,
            Self::ExpiredToken => Code::ExpiredToken,
            Self::MissingScope { .. } => Code::MissingScope,
            Self::UnknownParameter { .. } => Code::UnknownParameter,
            Self::Parameter { .. } => Code::InvalidParameter,
            Self::Query { .. } => Code::InvalidQuery,
            Self::Body { .. } => Code::InvalidBody,
            Self::Json(fault) => of_json(fault),
            Self::UnknownProfile { .. } => Code::UnknownProfile,
            Self::UnknownCampaign { .. } => Code::UnknownCampaign,
            Self::UnknownSegment { .. } => Code::UnknownSegment,
            Self::UnknownTemplate { .. } => Code::UnknownTemplate,
            Self::UnknownDefinition { .. } => Code::UnknownDefinition,
            Self::UnknownMessage { .. } => Code::UnknownMessage,
            Self::UnknownEvent { .. } => Code::UnknownEvent,
            Self::UnknownKey { .. } => Code::UnknownKey,
            Self::UnknownToken { .. } => Code::UnknownToken,
            Self::UnknownBackup { .. } => Code::UnknownBackup,
            Self::UnknownImport { .. } => Code::UnknownImport,
            Self::TooManyImports { .. } => Code::TooManyImports,
            Self::UnreadableFile { .. } => Code::UnreadableFile,
            Self::Mapping { .. } => Code::InvalidMapping,
            Self::BackupUnderWay => Code::BackupUnderWay,
            Self::NotParked { .. } => Code::NotParked,
            Self::NotADeadLetter { .. } => Code::NotADeadLetter,
            Self::Definitions(_) => Code::InvalidDefinitions,
            Self::ClockIsReal => Code::ClockIsReal,
            Self::TestNotSent { .. } => Code::TestNotSent,
            Self::NotRendered { .. } => Code::NotRendered,
            Self::IdempotencyKey => Code::InvalidIdempotencyKey,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::IdempotencyConflict => Code::IdempotencyConflict,
            Self::IdempotencyAnswerErased { .. } => Code::IdempotencyAnswerErased,
            Self::TooManyStreams { .. } => Code::TooManyStreams,
            Self::DatabaseUnreachable => Code::DatabaseUnreachable,
            Self::Unavailable => Code::Unavailable,
        }
    }

    /// Seconds after which the same request may succeed.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::DatabaseUnreachable | Self::Unavailable => Some(2),
            Self::IdempotencyConflict => Some(1),
            Self::TooManyStreams { .. } | Self::BackupUnderWay | Self::TooManyImports { .. } => Some(5),
            _ => None,
        }
    }

    pub(super) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Parameter { field, .. } => Some(field),
            Self::Mapping { .. } => Some("map"),
            Self::UnknownProfile { .. } => Some("profile"),
            Self::UnknownCampaign { .. } => Some("campaign"),
            Self::UnknownTemplate { .. } => Some("template"),
            Self::UnknownSegment { .. } => Some("segment"),
            _ => None,
        }
    }

    /// The scope that a token would need.
    pub(super) fn scope(&self) -> Option<&'static str> {
        match self {
            Self::MissingScope { scope } => Some(scope.as_str()),
            _ => None,
        }
    }

    pub(super) fn nearest(&self) -> Option<&str> {
        match self {
            Self::UnknownCampaign { nearest, .. }
            | Self::UnknownTemplate { nearest, .. }
            | Self::UnknownParameter { nearest, .. }
            | Self::UnknownDefinition { nearest, .. }
            | Self::UnknownSegment { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }

    pub(super) fn problems(&self) -> Option<&[definition::Problem]> {
        match self {
            Self::Definitions(problems) => Some(problems),
            _ => None,
        }
    }
}

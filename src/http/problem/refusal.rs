//! What the controls answer when they cannot do what was asked: each with a stable code, and where there is one, what
//! was probably meant.

use actix_web::http::StatusCode;

use crate::definition;
use crate::event::json::JsonFault;

/// Why a request to the controls was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("this address needs `Authorization: Bearer TOKEN`; `serve` leaves the token in its data folder")]
    MissingToken,
    #[error("the token is not the one of this server")]
    WrongToken,
    #[error("{cause}")]
    Parameter { field: &'static str, cause: String },
    #[error("the query cannot be read: {cause}")]
    Query { cause: String },
    #[error("the body cannot be read: {cause}")]
    Body { cause: String },
    #[error("{0}")]
    Json(JsonFault),
    #[error("nobody is known as `{asked}`: give the userId or the anonymousId that the shop sends")]
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
    #[error("nothing is parked at position {asked}, or it was redriven before")]
    NotParked { asked: String },
    #[error("message {asked} is {status}; only failed messages are redriven")]
    NotADeadLetter { asked: String, status: &'static str },
    #[error("{} found and nothing was applied", found(.0.len()))]
    Definitions(Vec<definition::Problem>),
    #[error(
        "messages leave through a real provider here, so nobody may move the clock; the demo's clock moves only in the sandbox"
    )]
    ClockIsReal,
    #[error("the test message was not sent: {cause}")]
    TestNotSent { cause: String },
    #[error("the service cannot do this at the moment; the same request may succeed shortly")]
    Unavailable,
}

fn found(problems: usize) -> String {
    if problems == 1 { "1 problem was".to_owned() } else { format!("{problems} problems were") }
}

impl Refusal {
    /// The stable name, the status and the title.
    pub(super) fn kind(&self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MissingToken => ("missing_token", StatusCode::UNAUTHORIZED, "Token missing"),
            Self::WrongToken => ("wrong_token", StatusCode::UNAUTHORIZED, "Token not known"),
            Self::Parameter { .. } => ("invalid_parameter", StatusCode::BAD_REQUEST, "Parameter not accepted"),
            Self::Query { .. } => ("invalid_query", StatusCode::BAD_REQUEST, "Query not accepted"),
            Self::Body { .. } => ("invalid_body", StatusCode::BAD_REQUEST, "Body not accepted"),
            Self::Json(fault) => (fault.code(), StatusCode::BAD_REQUEST, "JSON not accepted"),
            Self::UnknownProfile { .. } => ("unknown_profile", StatusCode::NOT_FOUND, "Profile not known"),
            Self::UnknownCampaign { .. } => ("unknown_campaign", StatusCode::NOT_FOUND, "Campaign not known"),
            Self::UnknownSegment { .. } => ("unknown_segment", StatusCode::NOT_FOUND, "Segment not known"),
            Self::UnknownTemplate { .. } => ("unknown_template", StatusCode::NOT_FOUND, "Template not known"),
            Self::UnknownMessage { .. } => ("unknown_message", StatusCode::NOT_FOUND, "Message not known"),
            Self::UnknownEvent { .. } => ("unknown_event", StatusCode::NOT_FOUND, "Event not known"),
            Self::UnknownKey { .. } => ("unknown_key", StatusCode::NOT_FOUND, "Key not known"),
            Self::NotParked { .. } => ("not_parked", StatusCode::NOT_FOUND, "Not parked"),
            Self::NotADeadLetter { .. } => ("not_a_dead_letter", StatusCode::CONFLICT, "Not a dead letter"),
            Self::Definitions(_) => {
                ("invalid_definitions", StatusCode::UNPROCESSABLE_ENTITY, "Definitions not accepted")
            }
            Self::ClockIsReal => ("clock_is_real", StatusCode::CONFLICT, "The clock is real"),
            Self::TestNotSent { .. } => ("test_not_sent", StatusCode::UNPROCESSABLE_ENTITY, "Test not sent"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
        }
    }

    pub(super) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Parameter { field, .. } => Some(field),
            Self::UnknownProfile { .. } => Some("profile"),
            Self::UnknownCampaign { .. } => Some("campaign"),
            Self::UnknownTemplate { .. } => Some("template"),
            Self::UnknownSegment { .. } => Some("segment"),
            _ => None,
        }
    }

    pub(super) fn nearest(&self) -> Option<&str> {
        match self {
            Self::UnknownCampaign { nearest, .. }
            | Self::UnknownTemplate { nearest, .. }
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

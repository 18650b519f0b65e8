//! Messages counted by day, campaign, channel, state and reason; and the settings in force, without their secrets.

use actix_web::HttpRequest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::explain::campaign_known;
use super::operation::{Operation, read};
use super::{Answer, Controls, Problem, Refusal, json_answer, query};
use crate::http::openapi::{AnyObject, SpanText};
use crate::http::scope::Scope;
use crate::ids::{Span, Timestamp};
use crate::store::soundness::schema;
use crate::store::tallies::Tally;

const LOOKED_BACK: Span = Span::from_days(7);
/// What one question may look at.
const PERIOD_MAX: Span = Span::from_days(92);

pub fn operations() -> Vec<Operation> {
    vec![
        read("/statistics", Scope::MessagesRead, statistics)
            .says("getStatistics", "Messages counted by the day they were made, campaign, channel, state and reason")
            .query::<Asked>()
            .answers::<Counted>()
            .may(&[404]),
        read("/settings", Scope::SettingsRead, settings)
            .says("getSettings", "The settings in force, without their secrets")
            .answers::<Settings>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// One campaign's, by key.
    campaign: Option<String>,
    /// Up to before this instant; now without it.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Back from there, as 7d; at most 92d.
    #[param(value_type = Option<SpanText>)]
    period: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Statistics)]
struct Counted {
    from: Timestamp,
    until: Timestamp,
    counts: Vec<Tally>,
}

async fn statistics(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    if let Some(key) = &asked.campaign {
        campaign_known(&admin, key)?;
    }
    let wrong = |field, cause: String| Problem::from(Refusal::Parameter { field, cause });
    let until = match asked.until.as_deref() {
        Some(text) => text.parse().map_err(|error: crate::ids::NotAnInstant| wrong("until", error.to_string()))?,
        None => admin.log.clock().now().plus_millis(1),
    };
    let period = match asked.period.as_deref() {
        Some(text) => text.parse().map_err(|error: crate::ids::NotADuration| wrong("period", error.to_string()))?,
        None => LOOKED_BACK,
    };
    if period > PERIOD_MAX {
        return Err(wrong("period", format!("`period` is at most {PERIOD_MAX}")));
    }
    let from: Timestamp = until.minus(period);
    let counts = admin.db().tallies(from, until, asked.campaign.as_deref()).await?;
    Ok(json_answer(&Counted { from, until, counts }))
}

#[derive(Serialize, ToSchema)]
struct Settings {
    /// Of the program.
    version: &'static str,
    /// The instant its clock shows.
    now: Timestamp,
    /// The newest change of the database's schema that was made.
    schema: String,
    #[schema(value_type = AnyObject)]
    settings: Value,
}

async fn settings(admin: Controls) -> Answer {
    let (now, settings) = (admin.log.clock().now(), admin.settings.clone());
    let schema = schema(admin.store.reader()).await?;
    Ok(json_answer(&Settings { version: env!("CARGO_PKG_VERSION"), now, schema, settings }))
}

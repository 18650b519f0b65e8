//! The switches: pause and resume everything or one campaign, and move the demo's clock.

use actix_web::HttpRequest;
use actix_web::web::Payload;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use std::collections::BTreeSet;

use crate::ids::{Span, Timestamp};
use crate::store::controls::{DEMO_SHOP, PAUSE_ALL, setting};
use crate::worker::dispatcher::requeue_paused;
use crate::worker::pause::set_paused;

use super::explain::campaign_known;
use super::operation::{Operation, read, write};
use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, json_answer, read_json};
use crate::http::openapi::SpanText;
use crate::http::scope::Scope as Needs;

/// A year: what a person may pass in one step.
const FORWARD_MAX: Span = Span::from_days(366);

pub fn operations() -> Vec<Operation> {
    vec![
        write("/pause", Needs::ControlWrite, pause)
            .says("pause", "Stop all sending, or one campaign, within a second")
            .takes::<Scope>()
            .answers::<Switched>()
            .may(&[404]),
        write("/resume", Needs::ControlWrite, resume)
            .says("resume", "Send again what a pause stopped")
            .takes::<Scope>()
            .answers::<Switched>()
            .may(&[404]),
        read("/pauses", Needs::MessagesRead, pauses)
            .says("listPauses", "What is paused: `all`, and campaigns by key")
            .answers::<Pauses>(),
        write("/demo/forward", Needs::ControlWrite, forward)
            .says("forwardClock", "Move the clock, where nothing real is sent")
            .takes::<Step>()
            .answers::<Forwarded>(),
    ]
}

#[derive(Serialize, ToSchema)]
struct Switched {
    scope: String,
    paused: bool,
    /// Messages that were put back into the queue.
    requeued: usize,
    /// All that is paused now.
    pauses: BTreeSet<String>,
}

#[derive(Serialize, ToSchema)]
struct Pauses {
    pauses: BTreeSet<String>,
}

#[derive(Serialize, ToSchema)]
struct Forwarded {
    /// Entries and messages handled on the way.
    done: usize,
    now: Timestamp,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PauseScope)]
#[serde(deny_unknown_fields)]
struct Scope {
    /// `all`, or a campaign's key.
    scope: String,
}

async fn pause(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    switch(admin, request, payload, true).await
}

async fn resume(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    switch(admin, request, payload, false).await
}

async fn switch(admin: Controls, request: HttpRequest, payload: Payload, paused: bool) -> Answer {
    let Scope { scope } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(scope) => scope,
        Err(answer) => return Ok(answer),
    };
    let mut known = admin.db().pauses().await?;
    // What is paused can be resumed, also when its campaign is gone.
    if scope != PAUSE_ALL && (paused || !known.contains(&scope)) {
        campaign_known(&admin, &scope)?;
    }
    set_paused(&admin.log, admin.workspace, &scope, paused).await?;
    let requeued = match paused {
        true => 0,
        false => requeue_paused(&admin.log, admin.workspace, &scope, admin.log.clock().now()).await?,
    };
    known = admin.db().pauses().await?;
    Ok(json_answer(&Switched { scope, paused, requeued, pauses: known }))
}

async fn pauses(admin: Controls) -> Answer {
    Ok(json_answer(&Pauses { pauses: admin.db().pauses().await? }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ClockStep)]
#[serde(deny_unknown_fields)]
struct Step {
    /// `30s`, `5m`, `1h`, `7d`; at most 366 days.
    #[schema(value_type = SpanText)]
    by: String,
}

async fn forward(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let Step { by } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(step) => step,
        Err(answer) => return Ok(answer),
    };
    let wrong = |cause: String| Refusal::Parameter { field: "by", cause };
    let by: Span = by.parse().map_err(|error: crate::ids::NotADuration| wrong(error.to_string()))?;
    if by > FORWARD_MAX {
        return Err(wrong(format!("the clock moves at most {FORWARD_MAX} at once")).into());
    }
    // Real people's messages would be early for ever after, whatever they leave through today.
    let is_demo = setting(admin.store.reader(), DEMO_SHOP).await?.is_some();
    let forward = admin.forward.as_ref().filter(|_| is_demo).ok_or(Refusal::ClockIsReal)?;
    // Goes on when the caller goes away, so that the clock is never left half moved.
    let done = tokio::spawn(forward(by)).await.map_err(anyhow::Error::from)??;
    Ok(json_answer(&Forwarded { done, now: admin.log.clock().now() }))
}

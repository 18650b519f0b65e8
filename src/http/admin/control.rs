//! The switches: pause and resume everything or one campaign, and move the demo's clock.

use actix_web::HttpRequest;
use actix_web::web::{Payload, ServiceConfig};
use serde::Deserialize;

use crate::ids::Span;
use crate::store::controls::PAUSE_ALL;
use crate::worker::dispatcher::requeue_paused;
use crate::worker::pause::set_paused;

use super::explain::campaign_known;
use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, get, json_answer, post, read_json};

/// A year: what a person may pass in one step.
const FORWARD_MAX: Span = Span::from_days(366);

pub fn routes(app: &mut ServiceConfig) {
    app.service(post("/pause", pause))
        .service(post("/resume", resume))
        .service(get("/pauses", pauses))
        .service(post("/demo/forward", forward));
}

#[derive(Deserialize)]
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
    Ok(json_answer(&serde_json::json!({ "scope": scope, "paused": paused, "requeued": requeued, "pauses": known })))
}

async fn pauses(admin: Controls) -> Answer {
    Ok(json_answer(&serde_json::json!({ "pauses": admin.db().pauses().await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// `30s`, `5m`, `1h`, `7d`.
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
    let forward = admin.forward.as_ref().ok_or(Refusal::ClockIsReal)?;
    // Goes on when the caller goes away, so that the clock is never left half moved.
    let done = tokio::spawn(forward(by)).await.map_err(anyhow::Error::from)??;
    Ok(json_answer(&serde_json::json!({ "done": done, "now": admin.log.clock().now() })))
}

//! Whether marketing waits because a restored backup was recognised, and the word that lets it go.

use actix_web::HttpRequest;
use actix_web::web::{Payload, ServiceConfig};
use serde::Deserialize;

use crate::worker::restored::{confirm, look};

use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, get, json_answer, post, read_json};

/// Of a name.
const BY_BYTES_MAX: usize = 200;

pub fn routes(app: &mut ServiceConfig) {
    app.service(get("/restore", state)).service(post("/restore/confirm", confirmed));
}

async fn state(admin: Controls) -> Answer {
    Ok(json_answer(&look(&admin.store, admin.workspace, admin.log.clock().now()).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    /// Who says so.
    by: String,
}

async fn confirmed(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let Confirmed { by } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(confirmed) => confirmed,
        Err(answer) => return Ok(answer),
    };
    if by.trim().is_empty() || by.len() > BY_BYTES_MAX {
        let cause = format!("`by` names a person in 1 to {BY_BYTES_MAX} bytes");
        return Err(Refusal::Parameter { field: "by", cause }.into());
    }
    let before = look(&admin.store, admin.workspace, admin.log.clock().now()).await?;
    let requeued = confirm(&admin.log, admin.workspace, by.trim()).await?;
    Ok(json_answer(&serde_json::json!({
        "was_held": requeued.is_some(),
        "requeued": requeued.unwrap_or(0),
        "before": before,
    })))
}

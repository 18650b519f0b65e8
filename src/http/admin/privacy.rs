//! A person's data handed out, and erased.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload, ServiceConfig};
use serde::Deserialize;

use crate::worker::personal_data::export;

use super::explain::profile_known;
use super::{
    Answer, BODY_BYTES_MAX, Controls, ROWS_DEFAULT, ROWS_MAX, Refusal, get, json_answer, post, query, read_json, rows,
};

const TEXT_BYTES_MAX: usize = 500;

pub fn routes(app: &mut ServiceConfig) {
    app.service(get("/profiles/{id}/export", everything))
        .service(post("/profiles/{id}/erase", erased))
        .service(get("/erasures", listed));
}

async fn everything(admin: Controls, id: web::Path<String>) -> Answer {
    let profile = profile_known(&admin, &id).await?;
    let now = admin.log.clock().now();
    Ok(json_answer(&export(&admin.store, &admin.privacy.sandbox, admin.workspace, profile, now).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Erase {
    /// Who asks for it to be done.
    by: String,
    /// Why: kept with the erasure, so without the person's name.
    reason: String,
}

async fn erased(admin: Controls, id: web::Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let asked: Erase = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    for (field, text) in [("by", &asked.by), ("reason", &asked.reason)] {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            let cause = format!("`{field}` is a text of 1 to {TEXT_BYTES_MAX} bytes");
            return Err(Refusal::Parameter { field, cause }.into());
        }
    }
    let profile = profile_known(&admin, &id).await?;
    let (privacy, workspace) = (admin.privacy.clone(), admin.workspace);
    // Goes on when the caller goes away.
    let erasing =
        tokio::spawn(async move { privacy.erase(workspace, profile, asked.by.trim(), asked.reason.trim()).await });
    Ok(json_answer(&erasing.await.map_err(anyhow::Error::from)??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

async fn listed(admin: Controls, request: HttpRequest) -> Answer {
    let page: Page = query(&request)?;
    let limit = rows(page.limit, ROWS_DEFAULT, ROWS_MAX)?;
    Ok(json_answer(&serde_json::json!({ "erasures": admin.db().erasures(limit).await? })))
}

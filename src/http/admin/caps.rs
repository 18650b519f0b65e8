//! What a person has used of the frequency caps: as JSON, or as a page for a browser that asks for one.

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::caps::caps_page;
use crate::worker::cap_report::{CapReport, cap_report};

use super::explain::profile_known;
use super::operation::{Operation, read};
use super::{Admin, Answer, Controls, Problem, json_answer, query};
use crate::http::scope::Scope;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/caps", Scope::ProfilesRead, answer)
            .says("getCapsOfProfile", "What a person has used of the frequency caps, and when it frees; JSON or a page")
            .query::<Asked>()
            .answers::<CapReport>()
            .answers_text("text/html; charset=utf-8", "The same as a page, where `Accept` asks for one")
            .may(&[404]),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// By user id, anonymous id or number (profile:17).
    profile: String,
}

async fn report(admin: &Admin, request: &HttpRequest) -> Result<CapReport, Problem> {
    let asked: Asked = query(request)?;
    let profile = profile_known(admin, &asked.profile).await?;
    let live = admin.definitions.live(admin.workspace);
    let now = admin.log.clock().now();
    Ok(cap_report(admin.db(), &live, profile, now, &admin.zone).await?)
}

async fn answer(admin: Controls, request: HttpRequest) -> Answer {
    let report = report(&admin, &request).await?;
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let wants_page = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    Ok(if wants_page { caps_page(&report) } else { json_answer(&report) })
}

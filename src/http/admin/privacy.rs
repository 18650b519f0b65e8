//! A person's data handed out, and erased.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ProfileId, Timestamp};
use crate::store::personal::Erasure;
use crate::worker::personal_data::export;

use super::explain::profile_known;
use super::operation::{Operation, read, write};
use super::paging::{Paged, cut};
use super::repeats::OfNobody;
use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, json_answer, json_page, query, read_json};
use crate::http::openapi::AnyObject;
use crate::http::scope::Scope;

const TEXT_BYTES_MAX: usize = 500;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/profiles/{id}/export", Scope::PrivacyWrite, everything)
            .says("exportProfile", "Everything that is stored of a person")
            .answers::<AnyObject>(),
        write("/profiles/{id}/erase", Scope::PrivacyWrite, erased)
            .says("eraseProfile", "Remove a person from every table, the log included")
            .takes::<Erase>()
            .answers::<Erasure>(),
        read("/erasures", Scope::PrivacyWrite, listed)
            .says("listErasures", "Who was erased when, by whom and why, without who they were")
            .query::<Paged>()
            .answers::<Erasures>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = ErasurePage)]
struct Erasures {
    erasures: Vec<Erasure>,
    /// None on the last page.
    next: Option<String>,
}

async fn everything(admin: Controls, id: web::Path<String>) -> Answer {
    let profile = profile_known(&admin, &id).await?;
    let now = admin.log.clock().now();
    Ok(json_answer(&export(&admin.store, &admin.privacy.sandbox, admin.workspace, profile, now).await?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ErasePerson)]
#[serde(deny_unknown_fields)]
struct Erase {
    /// Who asks for it to be done.
    #[schema(min_length = 1)]
    by: String,
    /// Why: kept with the erasure, so without the person's name.
    #[schema(min_length = 1)]
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
    let mut answer = json_answer(&erasing.await.map_err(anyhow::Error::from)??);
    // Whoever asks again must hear that it is done.
    answer.extensions_mut().insert(OfNobody);
    Ok(answer)
}

async fn listed(admin: Controls, request: HttpRequest) -> Answer {
    const LIST: &str = "erasures";
    let (limit, before) = query::<Paged>(&request)?.read::<(i64, i64)>(LIST)?;
    let before = before.map(|(at, profile)| (Timestamp::from_millis(at), ProfileId(profile)));
    let mut erasures = admin.db().erasures(before, limit + 1).await?;
    let next = cut(&mut erasures, limit, LIST, |last| (last.erased_at.millis(), last.profile.0));
    Ok(json_page(&request, &Erasures { erasures, next: next.clone() }, next.as_deref()))
}

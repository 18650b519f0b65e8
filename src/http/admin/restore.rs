//! Whether marketing waits because a restored backup was recognised, and the word that lets it go.

use actix_web::HttpRequest;
use actix_web::web::Payload;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::worker::restored::{Restored, confirm, look};

use super::operation::{Operation, read, write};
use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, json_answer, read_json};
use crate::http::scope::Scope;

/// Of a name.
const BY_BYTES_MAX: usize = 200;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/restore", Scope::SettingsRead, state)
            .says("getRestore", "Whether marketing waits because a restored backup was recognised")
            .answers::<Restored>(),
        write("/restore/confirm", Scope::ControlWrite, confirmed)
            .says("confirmRestore", "Let marketing go on after a restored backup")
            .takes::<Confirmed>()
            .answers::<LetGo>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = RestoreConfirmed)]
struct LetGo {
    was_held: bool,
    /// Messages that were put back into the queue.
    requeued: usize,
    before: Restored,
}

async fn state(admin: Controls) -> Answer {
    Ok(json_answer(&look(&admin.store, admin.workspace, admin.log.clock().now()).await?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ConfirmRestore)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    /// Who says so.
    #[schema(min_length = 1)]
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
    Ok(json_answer(&LetGo { was_held: requeued.is_some(), requeued: requeued.unwrap_or(0), before }))
}

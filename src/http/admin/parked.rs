//! What could not be applied or delivered, and the hand that puts it back: parked entries and dead letters.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload, ServiceConfig};
use serde::{Deserialize, Serialize};

use crate::ids::Position;
use crate::store::controls::Parked;
use crate::store::entries::Logged;
use crate::store::trace::MessageFilter;
use crate::worker::processor::redrive;

use super::explain::campaign_known;
use super::{
    Answer, BODY_BYTES_MAX, Controls, ROWS_MAX, Refusal, get, json_answer, messages, post, query, read_json, rows,
};

/// Dead letters put back by one request; ask again for more.
const REDRIVEN_MAX: usize = 10_000;

pub fn routes(app: &mut ServiceConfig) {
    app.service(get("/parked", list))
        .service(post("/parked/{position}/redrive", redrive_parked))
        .service(post("/messages/redrive", redrive_messages))
        .service(post("/messages/{id}/redrive", redrive_message));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<u32>,
}

#[derive(Serialize)]
struct ParkedOut {
    #[serde(flatten)]
    parked: Parked,
    /// The event's name; none where the entry cannot be read or is no event.
    name: Option<String>,
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let parked = admin.db().parked(rows(asked.limit, ROWS_MAX, ROWS_MAX)?).await?;
    let positions: Vec<Position> = parked.iter().map(|one| one.position).collect();
    let entries = admin.db().entries_apart(&positions).await?;
    let out = parked.into_iter().map(|parked| {
        let name = match entries.get(&parked.position).map(|entry| &entry.logged) {
            Some(Logged::Event(event)) => Some(event.name.clone()),
            _ => None,
        };
        ParkedOut { parked, name }
    });
    let out: Vec<ParkedOut> = out.collect();
    Ok(json_answer(&serde_json::json!({ "parked": out })))
}

async fn redrive_parked(admin: Controls, position: web::Path<String>) -> Answer {
    let not_parked = || Refusal::NotParked { asked: position.chars().take(40).collect() };
    let at = Position(position.parse().map_err(|_| not_parked())?);
    if !redrive(&admin.log, &admin.store, admin.workspace, at).await? {
        return Err(not_parked().into());
    }
    Ok(json_answer(&serde_json::json!({ "redriven": at })))
}

async fn redrive_message(admin: Controls, id: web::Path<String>) -> Answer {
    let message = messages::find(&admin, &id).await?;
    let now = admin.log.clock().now();
    if !crate::worker::dispatcher::redrive_message(&admin.log, admin.workspace, message.id, now).await? {
        let status = message.status.name();
        return Err(Refusal::NotADeadLetter { asked: message.id.to_string(), status }.into());
    }
    Ok(json_answer(&serde_json::json!({ "redriven": message.id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    campaign: Option<String>,
    /// The `code` of the reason they failed for.
    reason: Option<String>,
}

async fn redrive_messages(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let which: Which = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(which) => which,
        Err(answer) => return Ok(answer),
    };
    if let Some(key) = &which.campaign {
        campaign_known(&admin, key)?;
    }
    let mut filter = MessageFilter {
        campaign: which.campaign,
        reason: which.reason,
        status: Some("failed".to_owned()),
        limit: ROWS_MAX,
        ..MessageFilter::default()
    };
    let now = admin.log.clock().now();
    let (mut redriven, mut seen) = (0, 0);
    let more = loop {
        let slice = admin.db().list_messages(&filter).await?;
        let Some(last) = slice.last() else { break false };
        filter.before = Some((last.created_at, last.id));
        seen += slice.len();
        for message in &slice {
            let put_back =
                crate::worker::dispatcher::redrive_message(&admin.log, admin.workspace, message.id, now).await?;
            redriven += usize::from(put_back);
        }
        if seen >= REDRIVEN_MAX {
            break true;
        }
    };
    Ok(json_answer(&serde_json::json!({ "redriven": redriven, "more": more })))
}

//! What could not be applied or delivered, and the hand that puts it back: parked entries and dead letters.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::{MessageId, Position};
use crate::store::controls::Parked;
use crate::store::entries::Logged;
use crate::store::trace::MessageFilter;
use crate::worker::processor::redrive;

use super::explain::campaign_known;
use super::operation::{Operation, read, write};
use super::{
    Answer, BODY_BYTES_MAX, Controls, ROWS_MAX, Refusal, json_answer, json_page, messages, query, read_json, rows,
};
use crate::http::cursor;
use crate::http::scope::Scope;
use crate::store::tallies::DeadLetters;

/// Dead letters put back by one request; ask again for more.
const REDRIVEN_MAX: usize = 10_000;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/parked", Scope::EventsRead, list)
            .says("listParked", "Entries of the log that could not be applied, the newest position first")
            .query::<Asked>()
            .answers::<Listed>(),
        write("/parked/{position}/redrive", Scope::ControlWrite, redrive_parked)
            .says("redriveParked", "Append a parked entry again")
            .answers::<PositionRedriven>(),
        read("/dead-letters", Scope::MessagesRead, dead)
            .says("listDeadLetters", "Failed messages by campaign, template, channel and reason, the most first")
            .answers::<Dead>(),
        write("/messages/redrive", Scope::ControlWrite, redrive_messages)
            .says("redriveMessages", "Put failed messages back into the queue, of a campaign or a reason where named")
            .takes::<Which>()
            .answers::<Redriven>()
            .may(&[404]),
        write("/messages/{id}/redrive", Scope::ControlWrite, redrive_message)
            .says("redriveMessage", "Put one failed message back into the queue")
            .answers::<MessageRedriven>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Entries of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ParkedPage)]
struct Listed {
    parked: Vec<ParkedOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PositionRedriven)]
struct PositionRedriven {
    redriven: Position,
}

#[derive(Serialize, ToSchema)]
struct MessageRedriven {
    redriven: MessageId,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessagesRedriven)]
struct Redriven {
    /// How many were put back.
    redriven: usize,
    /// There are others: ask again.
    more: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterGroups)]
struct Dead {
    dead_letters: Vec<DeadLetters>,
}

async fn dead(admin: Controls) -> Answer {
    Ok(json_answer(&Dead { dead_letters: admin.db().dead_letters().await? }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ParkedEntry)]
struct ParkedOut {
    #[serde(flatten)]
    parked: Parked,
    /// The event's name; none where the entry cannot be read or is no event.
    name: Option<String>,
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, ROWS_MAX, ROWS_MAX)?;
    let before = asked.cursor.as_deref().map(|text| cursor::read::<i64>("parked", text)).transpose()?;
    let mut parked = admin.db().parked_page(before.map(Position), limit + 1).await?;
    let more = parked.len() > limit as usize;
    parked.truncate(limit as usize);
    let next = parked.last().filter(|_| more).map(|last| cursor::write("parked", &last.position.0));
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
    Ok(json_page(&request, &Listed { parked: out, next: next.clone() }, next.as_deref()))
}

async fn redrive_parked(admin: Controls, position: web::Path<String>) -> Answer {
    let not_parked = || Refusal::NotParked { asked: position.chars().take(40).collect() };
    let at = Position(position.parse().map_err(|_| not_parked())?);
    if !redrive(&admin.log, &admin.store, admin.workspace, at).await? {
        return Err(not_parked().into());
    }
    Ok(json_answer(&PositionRedriven { redriven: at }))
}

async fn redrive_message(admin: Controls, id: web::Path<String>) -> Answer {
    let message = messages::find(&admin, &id).await?;
    let now = admin.log.clock().now();
    if !crate::worker::dispatcher::redrive_message(&admin.log, admin.workspace, message.id, now).await? {
        let status = message.status.name();
        return Err(Refusal::NotADeadLetter { asked: message.id.to_string(), status }.into());
    }
    Ok(json_answer(&MessageRedriven { redriven: message.id }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RedriveMessages)]
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
    Ok(json_answer(&Redriven { redriven, more }))
}

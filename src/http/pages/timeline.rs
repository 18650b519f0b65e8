//! What a person did, what campaigns made of it, and the messages of it, newest first, a page at a time.

use std::collections::BTreeMap;

use crate::audience::History;
use crate::decision::Person;
use crate::ids::{MessageId, Position, Timestamp};
use crate::message::Message;
use crate::store::trace::{Findings, MessageFilter};
use crate::worker::explain::words::{found_sentence, sentence as reason_sentence};
use crate::worker::explain::{blocking, names_of};

use super::frame::{sentence, status};
use super::html::{Html, html};
use super::words::{outcome, verdict};
use super::{Desk, Nothing, customers};

const ROWS: usize = 40;
/// Of one instant at most so many more are on the same page.
const SAME_INSTANT_MAX: usize = 400;

enum Item {
    Event(String, Position),
    Message(Box<Message>),
}

/// Of this person, what is older than `before` (milliseconds).
pub(super) async fn shown(desk: &Desk, person: &Person, before: Option<&str>) -> Result<Html, Nothing> {
    let wrong = |_| Nothing::Senseless("This page of the timeline is not known; begin with the first.".to_owned());
    let before = before.map(|text| text.parse::<i64>().map_err(wrong)).transpose()?.map(Timestamp::from_millis);
    let mut items = events(desk, person, before).await?;
    items.extend(messages(desk, person, before).await?);
    items.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let more = items.len() > ROWS;
    let last = items.get(ROWS - 1).map(|(at, _)| *at);
    if let Some(last) = last {
        items.retain(|(at, _)| *at >= last);
    }
    if items.is_empty() {
        return Ok(html!(
            "<div class=\"panel empty\"><p>Nothing {}.</p></div>",
            if before.is_some() { "older" } else { "yet" }
        ));
    }
    let positions: Vec<Position> = items
        .iter()
        .filter_map(|(_, item)| match item {
            Item::Event(_, position) => Some(*position),
            Item::Message(_) => None,
        })
        .collect();
    let found = desk.db().findings_at(&positions).await?;
    let blocked: Vec<MessageId> = items
        .iter()
        .filter_map(|(_, item)| match item {
            Item::Message(message) => message.status.reason(),
            Item::Event(..) => None,
        })
        .flat_map(blocking)
        .copied()
        .collect();
    let named = names_of(desk.db(), &blocked).await?;
    let rows: Html = items
        .iter()
        .map(|(at, item)| match item {
            Item::Event(name, position) => event_row(*at, name, *position, &found),
            Item::Message(message) => {
                let (class, word) = outcome(&message.status);
                let because =
                    message.status.reason().map(|reason| html!(": {}", sentence(&reason_sentence(reason, &named))));
                html!(
                    "<li class=\"message\">{}<span>{} <a href=\"/why?message={}\">{} {}</a>{}</span></li>",
                    *at,
                    status(class, word),
                    message.id,
                    message.campaign,
                    message.channel.as_str(),
                    because
                )
            }
        })
        .collect();
    let older = last.filter(|_| more).map(|last| customers::older(person.profile.id, &last.millis().to_string()));
    Ok(html!("<ol class=\"panel story\">{}</ol>{}", rows, older))
}

fn event_row(at: Timestamp, name: &str, position: Position, found: &BTreeMap<Position, Findings>) -> Html {
    let findings: Html = found
        .get(&position)
        .into_iter()
        .flat_map(|one| &one.findings)
        .map(|finding| {
            let (class, word) = verdict(&finding.verdict);
            html!("<li>{} {}</li>", status(class, word), sentence(&found_sentence(finding)))
        })
        .collect();
    let findings = if findings.is_empty() { findings } else { html!("<ul class=\"findings\">{}</ul>", findings) };
    html!("<li class=\"event\">{}<span><a href=\"/why?event={}\">{}</a>{}</span></li>", at, position, name, findings)
}

/// The newest events before an instant, from the packed history: pages are read as far as they are needed.
async fn events(desk: &Desk, person: &Person, before: Option<Timestamp>) -> Result<Vec<(Timestamp, Item)>, Nothing> {
    let recent = &person.profile.history;
    let older = |history: &History| -> Vec<(Timestamp, Item)> {
        let fits = history.iter().filter(|past| before.is_none_or(|before| past.at < before));
        fits.map(|past| (past.at, Item::Event(past.name.to_owned(), past.position))).collect()
    };
    let mut found = older(recent);
    if found.len() <= ROWS && recent.pages > 0 {
        for page in desk.db().history_pages(person.profile.id).await?.iter().rev() {
            found.extend(older(page));
            if found.len() > SAME_INSTANT_MAX {
                break;
            }
        }
    }
    found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    found.truncate(SAME_INSTANT_MAX);
    Ok(found)
}

async fn messages(desk: &Desk, person: &Person, before: Option<Timestamp>) -> Result<Vec<(Timestamp, Item)>, Nothing> {
    let filter = MessageFilter {
        profile: Some(person.profile.id),
        // No id is smaller: only what is older than the instant.
        before: before.map(|at| (at, MessageId::from_bytes([0; 16]))),
        limit: u32::try_from(ROWS + 1).unwrap_or(u32::MAX),
        ..MessageFilter::default()
    };
    let messages = desk.db().list_messages(&filter).await?;
    Ok(messages.into_iter().map(|message| (message.created_at, Item::Message(Box::new(message)))).collect())
}

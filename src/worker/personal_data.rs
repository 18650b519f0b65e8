//! All that is stored of one person, as one document a person and a machine can read.

use serde_json::{Value, json};

use crate::audience::History;
use crate::audience::cart::View;
use crate::channel::sandbox::Sandbox;
use crate::decision::Person;
use crate::event::Event;
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, address_of};
use crate::render::kept::KeptMessages;
use crate::store::Store;
use crate::store::entries::{Entry, Logged};
use crate::store::shards::{ShardSet, heads};
use crate::store::suppressions::{ListFilter, Listed, subject};

/// Positions of the log that are looked through at once.
const LOOKED_THROUGH: i64 = 50_000;
const ROWS_MAX: u32 = 1_000_000;

const README: &str = "All that this service stores of one person. `profile`: what is known now; in it `computed_traits`: what their events come to, `dates`: when a campaign begins for \
    them, `lists`: which the shop put them on, `turns`: campaigns that include them as a member of a group, `addresses_stopped`: which of their addresses are on the suppression list, as far as they were told. `identifiers`: the ids \
    the shop's calls name them by. `events`: every call about them, oldest first, `body` as the shop sent it. \
    An empty one was pruned; `history` still has its name and time, and `baseline` who the person was by all that was. \
    `decisions`: what campaigns made of those calls, by position. `problems`: calls that could not be applied. \
    `messages`: what was decided to be sent, with each state (`path`), each try (`attempts`), each click and open \
    (`hits`), and the content where it is kept. `conversions`: purchases counted for a message. `consents`: every answer on channels and topics. `suppressions`: \
    addresses nothing, or no marketing, is sent to. `segments`: groups they stand in. `carts`: what they put into their carts and have not bought. `enrollments`: campaigns they \
    went through. Instants are in UTC (ISO 8601).";

/// Everything of this person and of every profile that was joined to theirs.
///
/// # Errors
/// The database or the sandbox's inbox cannot be read.
pub async fn export(
    store: &Store,
    sandbox: &Sandbox,
    id: WorkspaceId,
    profile: ProfileId,
    now: Timestamp,
) -> anyhow::Result<Value> {
    let db = store.workspace(id);
    let people = db.profiles_of(profile).await?;
    let person = db.person(profile).await?.unwrap_or_else(|| Person::new(profile, now));
    let identifiers = db.all_identifiers_of(profile).await?;
    let identifiers: Vec<Value> = identifiers
        .into_iter()
        .map(|(anonymous, id)| json!({ "kind": if anonymous { "anonymous_id" } else { "user_id" }, "id": id }))
        .collect();
    let about = match db.entries_about(&people).await? {
        Some(about) => about,
        None => looked_through(store, id, &people).await?,
    };
    let decisions: Vec<Value> = db.findings_at(&about).await?.into_values().map(|one| json!(one)).collect();
    let mut problems = Vec::new();
    for one in &people {
        problems.extend(db.parked_before(*one, Position(i64::MAX), ROWS_MAX).await?);
    }
    Ok(json!({
        "readme": README,
        "format": 2,
        "made_at": now,
        "profile": {
            "id": profile,
            "also": &people[1..],
            "user_id": person.profile.user_id,
            "traits": person.profile.traits,
            "consent": person.profile.consent,
            "computed_traits": person.profile.remembered.computed,
            "dates": person.profile.remembered.dates,
            "lists": person.profile.remembered.lists,
            "turns": person.profile.remembered.existing,
            "addresses_stopped": person.profile.remembered.stopped,
            "last_zone": person.profile.last_zone,
            "carts": carts(&person),
            "created_at": person.profile.created_at,
            "last_seen_at": person.profile.last_seen_at,
        },
        "baseline": db.baseline(profile).await?.map(|known| json!({
            "user_id": known.profile.user_id,
            "traits": known.profile.traits,
            "lists": known.profile.remembered.lists,
            "addresses_stopped": known.profile.remembered.stopped,
            "last_zone": known.profile.last_zone,
            "carts": carts(&known),
            "last_seen_at": known.profile.last_seen_at,
        })),
        "history": history(store, id, &people, &person).await?,
        "identifiers": identifiers,
        "consents": db.ledger_of(profile, ROWS_MAX).await?,
        "suppressions": suppressions(store, id, &people, &person).await?,
        "segments": person.profile.segments.by_segment,
        "enrollments": db.enrollments_of(profile, None, ROWS_MAX).await?,
        "messages": messages(store, sandbox, id, &people).await?,
        "conversions": db.conversions_of(&people).await?,
        "events": events(store, id, &about).await?,
        "decisions": decisions,
        "problems": problems.iter().map(|one| json!({ "position": one.position, "cause": one.cause })).collect::<Vec<_>>(),
    }))
}

/// Each cart there is, the one changed last at the end; none where nobody has kept count.
fn carts(person: &Person) -> Value {
    let carts = person.profile.carts.as_ref().map(|carts| {
        let said = |(id, view): (Option<String>, View)| json!({ "cart_id": id, "cart": view.said() });
        carts.views().into_iter().map(said).collect::<Vec<_>>()
    });
    json!(carts)
}

/// What stands on the list for their addresses, and what they said of any.
async fn suppressions(
    store: &Store,
    id: WorkspaceId,
    people: &[ProfileId],
    person: &Person,
) -> anyhow::Result<Vec<Listed>> {
    let db = store.workspace(id);
    let mut suppressions = Vec::new();
    for channel in Channel::ALL {
        let Ok(address) = address_of(&person.profile, channel) else { continue };
        let filter = ListFilter {
            channel: Some(channel),
            address: Some(address.normalised().to_owned()),
            history: true,
            limit: 1,
            ..ListFilter::default()
        };
        let name = subject(channel, address.normalised());
        let listed = db.list_suppressions(&filter).await?;
        suppressions.extend(listed.into_iter().filter(|one| subject(one.channel, &one.address) == name));
    }
    for one in db.suppressions_by(people).await? {
        if !suppressions.contains(&one) {
            suppressions.push(one);
        }
    }
    Ok(suppressions)
}

async fn messages(
    store: &Store,
    sandbox: &Sandbox,
    id: WorkspaceId,
    people: &[ProfileId],
) -> anyhow::Result<Vec<Value>> {
    let db = store.workspace(id);
    let mut found = Vec::new();
    for (message, ..) in db.letters_of(people).await? {
        let hits: Vec<Value> = db
            .hits_of(message)
            .await?
            .into_iter()
            .map(|one| json!({ "at": one.hit.at, "target": one.hit.target, "user_agent": one.hit.user_agent }))
            .collect();
        found.push(json!({
            "message": db.message(message).await?,
            "path": db.steps_of(message).await?,
            "attempts": db.attempts_of(message).await?,
            "hits": hits,
            "content": sandbox.get(message)?.map(|kept| kept.content),
        }));
    }
    Ok(found)
}

async fn events(store: &Store, id: WorkspaceId, about: &[Position]) -> anyhow::Result<Vec<Value>> {
    let db = store.workspace(id);
    let mut found = Vec::new();
    for slice in about.chunks(500) {
        for (position, entry) in db.entries_apart(slice).await? {
            if let Entry { logged: Logged::Event(event), .. } = entry {
                found.push(event_of(position, &event));
            }
        }
    }
    Ok(found)
}

/// Everything a person did, by name and time, oldest first.
async fn history(store: &Store, id: WorkspaceId, people: &[ProfileId], person: &Person) -> anyhow::Result<Vec<Value>> {
    let db = store.workspace(id);
    let mut pages = Vec::new();
    for one in people {
        pages.extend(db.history_pages(*one).await?);
    }
    let past = pages.iter().chain([&person.profile.history]).flat_map(History::iter);
    let mut past: Vec<_> = past.collect();
    past.sort_by_key(|past| (past.at, past.position));
    Ok(past.iter().map(|past| json!({ "name": past.name, "at": past.at, "position": past.position })).collect())
}

/// Where the log has something about these people, whatever their histories say.
async fn looked_through(store: &Store, id: WorkspaceId, people: &[ProfileId]) -> anyhow::Result<Vec<Position>> {
    let (heads, _) = heads(store.reader(), ShardSet::EVERY).await?;
    let (mut after, until) = (Position(0), heads.last());
    let mut found = Vec::new();
    while after < until {
        let to = Position(until.0.min(after.0 + LOOKED_THROUGH));
        found.extend(store.workspace(id).positions_of(people, after, to).await?);
        after = to;
    }
    Ok(found)
}

fn event_of(position: Position, event: &Event) -> Value {
    json!({
        "position": position,
        "type": event.kind.as_str(),
        "name": event.name,
        "message_id": event.message_id,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "previous_id": event.previous_id,
        "at": event.at,
        "received_at": event.received_at,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "body": serde_json::from_str::<Value>(event.body.text()).ok(),
    })
}

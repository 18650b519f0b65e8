//! Why somebody got a message or did not: the path of one message gate by gate, what one event led to, and all that a
//! person's campaigns made of them. What is shown was recorded when it was decided.

mod path;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use crate::decision::Finding;
use crate::event::Event;
use crate::http::scope::Scope;
use crate::ids::{MessageId, Position, ProfileId};
use crate::store::entries::Entry;
use crate::store::shards::cursors;
use crate::worker::explain::misfits::Misfits;
use crate::worker::explain::words::found_sentence;
use crate::worker::explain::{Question, Sign, Told, explain};

use super::frame::{Part, facts, framed, sentence, status, table};
use super::html::{Html, Shown, encoded, html};
use super::looked_up::{self, Query, names, person, start_of};
use super::messages;
use super::sign_in::{Visitor, redirect};
use super::words::verdict;
use super::{Desk, Nothing, Pages, or_say};

/// Lines of a story that are shown.
const LINES_MAX: usize = 400;
/// Messages of one event.
const MESSAGES_MAX: u32 = 100;

/// The box that takes any id, address or key.
pub(super) fn search_box(asked: &str) -> Html {
    html!(
        "<form class=\"search\" role=\"search\" action=\"/why\"><label for=\"q\">Why did, or didn’t, somebody get a message?\
         </label><div><input id=\"q\" name=\"q\" value=\"{}\" placeholder=\"Customer, e-mail, event, message or campaign\" \
         autocomplete=\"off\" spellcheck=\"false\"><button>Ask</button></div></form>",
        asked
    )
}

pub(super) async fn show(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let query = Query::of(&request);
    let made = answer(&desk, &visitor, &query).await;
    or_say(&desk, &visitor, Part::Messages, made).await
}

async fn answer(desk: &Desk, visitor: &Visitor, query: &Query) -> Result<HttpResponse, Nothing> {
    if let Some(asked) = query.get("q") {
        visitor.must(Scope::ProfilesRead)?;
        return found(desk, asked).await.map(|to| redirect(&to));
    }
    if let Some(asked) = query.get("message") {
        visitor.must(Scope::MessagesRead)?;
        let message = looked_up::message(desk, asked).await?;
        let message = message.ok_or_else(|| Nothing::Unknown(format!("There is no message {}.", start_of(asked))))?;
        return path::page(desk, visitor, message).await;
    }
    if let Some(asked) = query.get("event") {
        visitor.must(Scope::EventsRead)?;
        let event = looked_up::event(desk, asked).await?;
        let (entry, event) =
            event.ok_or_else(|| Nothing::Unknown(format!("There is no event {}.", start_of(asked))))?;
        return event_page(desk, visitor, &entry, &event).await;
    }
    let is_of_person = query.get("person").or(query.get("profile")).is_some();
    visitor.must(if is_of_person { Scope::ProfilesRead } else { Scope::MessagesRead })?;
    let asked = match (query.get("person"), query.get("profile")) {
        (Some(number), _) => Some((number, looked_up::numbered(desk, number).await?)),
        (None, Some(id)) => Some((id, looked_up::profile(desk, id).await?)),
        (None, None) => None,
    };
    let Some((asked, profile)) = asked else { return messages::page(desk, visitor, query).await };
    let unknown = || Nothing::Unknown(format!("There is no customer {}.", start_of(asked)));
    story_page(desk, visitor, profile.ok_or_else(unknown)?, query.get("campaign")).await
}

/// The page that what somebody typed leads to.
async fn found(desk: &Desk, asked: &str) -> Result<String, Nothing> {
    if looked_up::message(desk, asked).await?.is_some() {
        return Ok(format!("/why?message={}", encoded(asked)));
    }
    // A shop's own number for a customer comes before our numbers for anything.
    if let Some(profile) = looked_up::profile(desk, asked).await? {
        return Ok(format!("/why?person={profile}"));
    }
    if desk.admin.definitions.live(desk.admin.workspace).catalog.campaign(asked).is_some() {
        return Ok(format!("/why?campaign={}", encoded(asked)));
    }
    if looked_up::event(desk, asked).await?.is_some() {
        return Ok(format!("/why?event={}", encoded(asked)));
    }
    if let Some(profile) = looked_up::numbered(desk, asked).await? {
        return Ok(format!("/why?person={profile}"));
    }
    match desk.db().people_called(asked, None, 2).await?.0.as_slice() {
        [] => Err(Nothing::Unknown(format!(
            "Nothing is known by “{}”. Take a customer’s id, e-mail address, telephone number or name, an event’s \
             messageId or position, a message’s id, or a campaign’s key.",
            start_of(asked)
        ))),
        [one] => Ok(format!("/why?person={}", one.profile.id)),
        _ => Ok(format!("/customers?q={}", encoded(asked))),
    }
}

/// What one event led to.
async fn event_page(
    desk: &Desk,
    visitor: &Visitor,
    entry: &Entry,
    event: &Arc<Event>,
) -> Result<HttpResponse, Nothing> {
    let db = desk.db();
    let profile = match entry.profile {
        Some(profile) => Some(db.current_profile(profile).await?),
        None => None,
    };
    let called = names(desk, profile).await?;
    let shard = desk.admin.store.layout().shard_at(entry.position);
    let processed = entry.position <= cursors(desk.admin.store.reader()).await?.of(shard);
    let parked = db.parked_at(entry.position).await?;
    let found = db.findings_at(&[entry.position]).await?;
    let mut findings: Vec<Finding> = found.into_values().flat_map(|one| one.findings).collect();
    if processed && parked.is_none() && profile.is_some() {
        let stands = db.definitions_position(entry.position).await?;
        findings.extend(Misfits::load(db, None).await?.of(stands, event));
    }
    let decided = match (&parked, processed) {
        (Some(parked), _) if parked.redriven_at.is_none() => {
            html!(
                "<p class=\"notice bad\">It could not be applied and is parked: {}. <a href=\"/dead-letters\">Dead letters</a></p>",
                parked.cause
            )
        }
        (_, false) => html!("<p class=\"notice warn\">It is not processed yet. Ask again in a moment.</p>"),
        _ if findings.is_empty() => {
            html!("<div class=\"panel empty\"><p>No campaign asks for an event of this name.</p></div>")
        }
        _ => findings_table(&findings),
    };
    let caused = match profile {
        Some(profile) => db.messages_from(profile, entry.position, MESSAGES_MAX).await?,
        None => Vec::new(),
    };
    let messages = if caused.is_empty() {
        html!("<div class=\"panel empty\"><p>None.</p></div>")
    } else {
        messages::rows(desk, &caused).await?
    };
    let who = profile.map_or_else(|| html!("nobody’s"), |id| person(&called, id));
    let story = match profile {
        Some(profile) if visitor.may(Scope::ProfilesRead) => {
            told(desk, question(desk, profile, None, Some(entry.position), None).await?).await?
        }
        _ => Html::default(),
    };
    let body = html!(
        "<p class=\"crumb\"><a href=\"/why\">Messages</a></p><h1>Event {}</h1>{}<h2>What campaigns made of it</h2>{}\
         <h2>Messages it led to</h2>{}{}",
        event.name,
        facts(&event_facts(entry, event, who)),
        decided,
        messages,
        story
    );
    Ok(framed(desk, visitor, Some(Part::Messages), StatusCode::OK, "Why: event", body).await)
}

fn event_facts<'a>(entry: &Entry, event: &Event, who: Html) -> Vec<(&'a str, Html)> {
    vec![
        ("Customer", who),
        ("Happened", event.at.shown()),
        ("Received", entry.now.shown()),
        ("Position", entry.position.shown()),
        ("Message id", html!("<code>{}</code>", event.message_id)),
        ("Source", event.source.shown()),
        ("As it came", body_of(event)),
    ]
}

/// The client's own JSON, behind a summary.
fn body_of(event: &Event) -> Html {
    let pretty = serde_json::to_string_pretty(event.body.document()).unwrap_or_default();
    html!("<details><summary>Its JSON</summary><pre tabindex=\"0\">{}</pre></details>", pretty)
}

fn findings_table(findings: &[Finding]) -> Html {
    let rows = findings.iter().map(|finding| {
        let (class, word) = verdict(&finding.verdict);
        let campaign = match finding.campaign.as_str() {
            "" => String::new(),
            key => format!("{key}@v{}", finding.version),
        };
        html!(
            "<tr><td>{}</td><td>{}</td><td class=\"wide\">{}</td></tr>",
            campaign,
            status(class, word),
            sentence(&found_sentence(finding))
        )
    });
    table("What campaigns made of it", &["Campaign", "Result", "Because"], rows.collect())
}

/// All that campaigns made of a person.
async fn story_page(
    desk: &Desk,
    visitor: &Visitor,
    profile: ProfileId,
    campaign: Option<&str>,
) -> Result<HttpResponse, Nothing> {
    let live = desk.admin.definitions.live(desk.admin.workspace);
    if let Some(key) = campaign.filter(|key| live.catalog.campaign(key).is_none()) {
        return Err(Nothing::Unknown(format!("There is no campaign {}.", start_of(key))));
    }
    let called = names(desk, [profile]).await?;
    let name = called.get(&profile).cloned().unwrap_or_default();
    let choices: Html = live
        .catalog
        .campaigns()
        .map(|one| {
            let chosen = if campaign == Some(one.key.as_str()) { html!(" selected") } else { Html::default() };
            html!("<option{}>{}</option>", chosen, one.key)
        })
        .collect();
    let behind = if desk.db().is_behind(profile).await? {
        html!(
            "<p class=\"notice warn\">Newer events of this customer are not processed yet. Ask again in a moment.</p>"
        )
    } else {
        Html::default()
    };
    let about = campaign.map(|key| html!(" and {}", key));
    let body = html!(
        "<p class=\"crumb\"><a href=\"/why\">Messages</a></p><h1>Why: {}{}</h1><p>{} · <a href=\"/customers/profile:{}\">All that is \
         known of this customer</a></p><form class=\"row\" action=\"/why\"><input type=\"hidden\" name=\"person\" \
         value=\"{}\"><label for=\"campaign\">Campaign</label><select id=\"campaign\" name=\"campaign\"><option value=\"\">\
         All</option>{}</select><button class=\"plain\">Show</button></form>{}{}",
        name,
        about,
        person(&called, profile),
        profile,
        profile,
        choices,
        behind,
        told(desk, question(desk, profile, campaign.map(ToOwned::to_owned), None, None).await?).await?
    );
    Ok(framed(desk, visitor, Some(Part::Messages), StatusCode::OK, "Why: customer", body).await)
}

async fn question(
    desk: &Desk,
    profile: ProfileId,
    campaign: Option<String>,
    event: Option<Position>,
    message: Option<MessageId>,
) -> Result<Question, Nothing> {
    let person = names(desk, [profile]).await?.remove(&profile).unwrap_or_default();
    Ok(Question { profile, person, campaign, event, message })
}

/// What `carillon explain` says, newest first.
async fn told(desk: &Desk, question: Question) -> Result<Html, Nothing> {
    let explanation = explain(desk.db(), &question).await?;
    let count = explanation.timeline.len();
    let lines: Html =
        explanation.timeline.iter().rev().take(LINES_MAX).map(|told| line(told, question.message)).collect();
    if count == 0 {
        return Ok(html!("<h2>Timeline</h2><div class=\"panel empty\"><p>Nothing was looked at so far.</p></div>"));
    }
    let cut = if count > LINES_MAX {
        html!("<p class=\"muted\">The newest {} lines.</p>", LINES_MAX)
    } else {
        Html::default()
    };
    Ok(html!("<h2>Timeline, newest first</h2><ol class=\"panel story\">{}</ol>{}", lines, cut))
}

/// A line of the story; it leads elsewhere than to the message asked about.
fn line(told: &Told, asked: Option<MessageId>) -> Html {
    let (class, sign) = match told.sign {
        Sign::Event => ("event", "Event"),
        Sign::Did => ("did", "Did"),
        Sign::DidNot => ("didnt", "Did not"),
    };
    let link = match (told.sign, told.position, told.message) {
        (_, _, message) if message.is_some() && message == asked => None,
        // Its id in the sentence leads there already.
        (_, _, Some(message)) if told.text.contains(&message.to_string()[..8]) => None,
        (_, _, Some(message)) => Some(html!(" <a href=\"/why?message={}\">Message</a>", message)),
        (Sign::Event, Some(position), _) => Some(html!(" <a href=\"/why?event={}\">Event</a>", position)),
        _ => None,
    };
    html!(
        "<li class=\"{}\">{}<span><span class=\"sign\">{}: </span>{}{}</span></li>",
        class,
        told.at,
        sign,
        sentence(&told.text),
        link
    )
}

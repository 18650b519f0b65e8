//! One message's path: received, matched, checked gate by gate, rendered, tried, and what came of it.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value};

use crate::decision::effect::FindingVerdict;
use crate::http::scope::Scope;
use crate::ids::MessageId;
use crate::message::{Message, Outcome, Status};
use crate::store::attempts::Attempt;
use crate::store::entries::Logged;
use crate::store::messages::Step;
use crate::worker::explain::checks::{Came, Check, checks, without_answers};
use crate::worker::explain::words::{Named, found_sentence, masked, sentence as reason_sentence, state};
use crate::worker::explain::{blocking, names_of};

use super::{body_of, question, told};
use crate::http::pages::frame::{Part, framed, sentence, status, table};
use crate::http::pages::html::{Html, html};
use crate::http::pages::looked_up::{names, person};
use crate::http::pages::sign_in::Visitor;
use crate::http::pages::words::outcome;
use crate::http::pages::{Desk, Nothing};

/// Hits that are shown.
const HITS_MAX: u32 = 50;

/// Class and word of how far a message came.
const fn shown(came: Came) -> (&'static str, &'static str) {
    match came {
        Came::Passed => ("ok", "Passed"),
        Came::Stopped => ("bad", "Stopped here"),
        Came::Held => ("warn", "Held here"),
        Came::NotReached => ("idle", "Not reached"),
        Came::DoesNotApply => ("idle", "Does not apply"),
    }
}

pub(super) async fn page(desk: &Desk, visitor: &Visitor, message: Message) -> Result<HttpResponse, Nothing> {
    let db = desk.db();
    let steps = db.steps_of(message.id).await?;
    let reasons = steps.iter().map(|step| &step.state).chain([&message.status]).filter_map(Status::reason);
    let blocked: Vec<MessageId> = reasons.flat_map(blocking).copied().collect();
    let named = names_of(db, &blocked).await?;
    let called = names(desk, [message.profile]).await?;
    let (class, word) = outcome(&message.status);
    let why = message.status.reason().cloned().or_else(|| desk.admin.holds(&message));
    let headline = why.map(|reason| reason_sentence(&reason, &named));
    let title = format!("{word}: {}", message.campaign);
    let address = message.address.as_deref().map(|address| html!(" at {}", masked(message.channel, address)));
    let live = desk.admin.definitions.live(desk.admin.workspace);
    let mut checks = checks(db, &live, &message, &steps, &named, &desk.admin.zone).await?;
    if !visitor.may(Scope::PermissionRead) {
        checks = without_answers(checks);
    }
    let story = if visitor.may(Scope::ProfilesRead) {
        let question = question(desk, message.profile, Some(message.campaign.clone()), None, Some(message.id));
        told(desk, question.await?).await?
    } else {
        Html::default()
    };
    let body = html!(
        "<p class=\"crumb\"><a href=\"/why\">Messages</a></p><h1>{} <span class=\"h\">{}</span></h1>{}<p class=\"muted\">{} of \
         campaign <a href=\"/why?campaign={}\">{}@v{}</a> to {}{} · {} · priority {} · message <code>{}</code></p>\
         <ol class=\"path\">{}{}{}{}{}{}</ol>{}",
        status(class, word),
        message.campaign,
        headline.map(|text| html!("<p class=\"lead\">{}</p>", sentence(&text))),
        message.channel.as_str(),
        message.campaign,
        message.campaign,
        message.campaign_version,
        person(&called, message.profile),
        address,
        message.purpose.as_str(),
        u32::from(message.priority),
        message.id,
        received(desk, &message).await?,
        matched(desk, &message).await?,
        checked(&checks),
        rendered(desk, &message),
        tried(&db.attempts_of(message.id).await?),
        ended(desk, &message, &steps, &named).await?,
        story
    );
    Ok(framed(desk, visitor, Some(Part::Messages), StatusCode::OK, &title, body).await)
}

fn stage(name: &str, class: &str, body: Html) -> Html {
    html!("<li class=\"{}\"><h2>{}</h2>{}</li>", class, name, body)
}

async fn received(desk: &Desk, message: &Message) -> Result<Html, Nothing> {
    let mut positions = vec![message.entry];
    if message.event != message.entry {
        positions.push(message.event);
    }
    let entries = desk.db().entries_apart(&positions).await?;
    let mut body = Html::default();
    for position in positions {
        let Some(entry) = entries.get(&position) else {
            body.push(html!("<p>Entry {} is no longer kept.</p>", position));
            continue;
        };
        body.push(match &entry.logged {
            Logged::Event(event) => {
                let newest = if position == message.entry { "" } else { "Newest: " };
                html!(
                    "<p>{}<a href=\"/why?event={}\">{}</a> at {}, from source {}</p>{}",
                    newest,
                    position,
                    event.name,
                    event.at,
                    event.source,
                    body_of(event)
                )
            }
            _ => html!("<p>Its time had come, at {}.</p>", entry.now),
        });
    }
    Ok(stage("Received", "ok", body))
}

async fn matched(desk: &Desk, message: &Message) -> Result<Html, Nothing> {
    let found = desk.db().findings_at(&[message.entry, message.event, message.cause]).await?;
    // Of other messages that the same input was about, nothing.
    let is_mine = |verdict: &FindingVerdict| match verdict {
        FindingVerdict::Queued { message: made, .. } => *made == message.id,
        FindingVerdict::Entered { .. } | FindingVerdict::Repeated { .. } => true,
        _ => false,
    };
    let findings = found.values().flat_map(|one| &one.findings);
    let findings = findings.filter(|one| one.campaign == message.campaign && is_mine(&one.verdict));
    let mut lines: Html = findings.map(|one| html!("<p>{}</p>", sentence(&found_sentence(one)))).collect();
    if lines.is_empty() {
        lines = html!("<p>{}@v{} asked for it.</p>", message.campaign, message.campaign_version);
    }
    Ok(stage("Matched", "ok", lines))
}

fn checked(checks: &[Check]) -> Html {
    let came = |which: Came| checks.iter().any(|check| check.result == which);
    let class = match () {
        () if came(Came::Stopped) => "bad",
        () if came(Came::Held) => "warn",
        () if came(Came::Passed) => "ok",
        () => "idle",
    };
    let rows: Html = checks
        .iter()
        .map(|check| {
            let (class, word) = shown(check.result);
            html!(
                "<tr><td>{}</td><td>{}</td><td class=\"wide\">{}{}</td></tr>",
                check.check,
                status(class, word),
                check.sentence.as_deref().map(sentence),
                values(&check.values)
            )
        })
        .collect();
    stage("Checked", class, table("What is asked before a message may go", &["Check", "Result", "Values"], rows))
}

/// What it was decided on, value by value.
fn values(values: &Map<String, Value>) -> Html {
    let rows: Html = values
        .iter()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            html!("<dt>{}</dt><dd>{}</dd>", name, text)
        })
        .collect();
    if rows.is_empty() { rows } else { html!("<details><summary>Values</summary><dl>{}</dl></details>", rows) }
}

fn rendered(desk: &Desk, message: &Message) -> Html {
    let preview = html!(
        " <a href=\"/preview/{}?person={}&amp;event={}&amp;channel={}\">Preview it with this customer and event</a>",
        message.template,
        message.profile,
        message.event,
        message.channel.as_str()
    );
    match message.template_version {
        Some(version) => {
            let kept = desk.inbox.is_some() && matches!(message.status, Status::Sent { .. });
            let kept = kept.then(|| html!(" · <a href=\"/inbox/{}\">As it was sent</a>", message.id));
            let body = html!("<p>Template {} version {}{} ·{}</p>", message.template, version, kept, preview);
            stage("Rendered", "ok", body)
        }
        None => {
            stage("Rendered", "idle", html!("<p>Not yet; it would be template {}.{}</p>", message.template, preview))
        }
    }
}

fn tried(attempts: &[Attempt]) -> Html {
    if attempts.is_empty() {
        return stage("Tried", "idle", html!("<p>No try was made.</p>"));
    }
    let rows: Html = attempts
        .iter()
        .map(|one| {
            let (class, word, said) = match &one.outcome {
                Some(Outcome::Accepted { reply }) => ("ok", "Accepted", reply.clone()),
                Some(Outcome::Retry { cause, .. }) => ("warn", "Not now", cause.clone()),
                Some(Outcome::Rejected { cause, .. }) => ("bad", "Refused", cause.clone()),
                Some(Outcome::TransportDown { cause }) => ("bad", "Transport down", cause.clone()),
                Some(Outcome::Unknown { cause }) => ("bad", "No answer", cause.clone()),
                None => ("wait", "Under way", String::new()),
            };
            html!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td></tr>",
                one.attempt,
                one.started_at,
                one.finished_at,
                status(class, word),
                said
            )
        })
        .collect();
    let accepted = attempts.iter().any(|one| matches!(one.outcome, Some(Outcome::Accepted { .. })));
    let class = if accepted { "ok" } else { "warn" };
    stage("Tried", class, table("Tries", &["Try", "Began", "Ended", "Answer", "In the provider’s words"], rows))
}

async fn ended(
    desk: &Desk,
    message: &Message,
    steps: &[Step],
    named: &BTreeMap<MessageId, Named>,
) -> Result<Html, Nothing> {
    let (class, word) = outcome(&message.status);
    let mut body = html!("<p>{}</p>", status(class, word));
    let states = steps.iter().enumerate().map(|(n, step)| {
        html!("<li>{}<span>{}</span></li>", step.at, sentence(&state(message, n, &step.state, named).text))
    });
    body.push(html!(
        "<details><summary>Every state it was in</summary><ol class=\"story\">{}</ol></details>",
        states.collect::<Html>()
    ));
    let hits = desk.db().hits_seen(message.id, HITS_MAX).await?;
    if !hits.is_empty() {
        let rows: Html = hits
            .iter()
            .map(|hit| {
                let by = match (&hit.machine, hit.judged) {
                    (Some(machine), _) => format!("a machine: {machine}"),
                    (None, true) => "a person".to_owned(),
                    (None, false) => "not judged yet".to_owned(),
                };
                html!(
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td></tr>",
                    hit.at,
                    hit.what,
                    by,
                    hit.url
                )
            })
            .collect();
        body.push(table("Opens and clicks", &["When", "What", "By", "Leads to"], rows));
    }
    Ok(stage("Outcome", class, body))
}

//! The first page: what was sent and what was not, by reason; what waits; the newest decisions; and the switch that stops
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use crate::decision::Finding;
use crate::decision::effect::FindingVerdict;
use crate::http::scope::Scope;
use crate::ids::{MessageId, Position, ProfileId, Span, Timestamp};
use crate::message::Message;
use crate::store::controls::PAUSE_ALL;
use crate::store::overview::{COUNTED_MAX, Outcomes, PauseNote};
use crate::store::shards::{ShardSet, backlog};
use crate::worker::dispatcher::requeue_paused;
use crate::worker::explain::words::{found_sentence, sentence as reason_sentence};
use crate::worker::explain::{blocking, names_of};
use crate::worker::pause::set_paused_by;

use super::frame::{Part, framed, sentence, status, table};
use super::html::{Html, html};
use super::looked_up::{names, person};
use super::sign_in::{Visitor, posted, redirect};
use super::words::{bounded, by_name, number, outcome, reason, verdict};
use super::{Desk, Nothing, Pages, or_say, why};

const DAYS: usize = 7;
const DECISIONS: usize = 20;
/// Inputs looked through for as many decisions of campaigns.
const INPUTS_MAX: u32 = 200;
/// Characters of a name or reason that are kept.
const NOTE_MAX: usize = 200;

pub(super) async fn show(desk: Pages, visitor: Visitor) -> HttpResponse {
    let made = page(&desk, &visitor).await;
    or_say(&desk, &visitor, Part::Overview, made).await
}

async fn page(desk: &Desk, visitor: &Visitor) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::MessagesRead)?;
    let reads_people = visitor.may(Scope::ProfilesRead);
    let now = desk.admin.log.clock().now();
    let days = day_starts(desk, now);
    let counts = Counts::of(&desk.db().outcomes_since(&days).await?);
    let body = html!(
        "<h1>Overview</h1>{}<div class=\"columns\"><section><h2 id=\"week\">Messages of the last \
         {} days</h2>{}</section><section><h2 id=\"sending\">Sending</h2>{}</section></div>\
         {}",
        reads_people.then(|| why::search_box("")),
        DAYS,
        counts.shown(&days),
        sending(desk, visitor, now).await?,
        if reads_people { decisions(desk).await? } else { Html::default() }
    );
    Ok(framed(desk, visitor, Some(Part::Overview), StatusCode::OK, "Overview", body).await)
}

/// The starts of the last days in the workspace's zone, oldest first.
fn day_starts(desk: &Desk, now: Timestamp) -> Vec<Timestamp> {
    let zone = &desk.admin.zone;
    let instant = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
    let today = instant.to_zoned(zone.clone()).date();
    let start = |back: usize| {
        let date = today.saturating_sub(jiff::Span::new().days(i64::try_from(back).unwrap_or(0)));
        let start = date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp().as_millisecond());
        start.map_or_else(|_| now.minus(Span::from_days(i64::try_from(back).unwrap_or(0))), Timestamp::from_millis)
    };
    (0..DAYS).rev().map(start).collect()
}

/// What became of messages: of today's, and of all.
#[derive(Default)]
struct Counts {
    /// By kind of outcome and slot.
    days: BTreeMap<&'static str, [i64; DAYS]>,
    /// By status and reason: today, and over all days.
    rows: BTreeMap<(String, Option<String>), (i64, i64)>,
    is_bounded: bool,
}

/// Kinds in the picture, from the bottom up.
const KINDS: [(&str, &str); 4] = [("sent", "Sent"), ("held", "Waiting"), ("not", "Not sent"), ("failed", "Failed")];

fn kind(status: &str) -> &'static str {
    match status {
        "sent" => "sent",
        "suppressed" | "cancelled" => "not",
        "failed" | "unknown" => "failed",
        _ => "held",
    }
}

impl Counts {
    fn of(outcomes: &[Outcomes]) -> Self {
        let mut counts = Self::default();
        let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
        for one in outcomes {
            if let Some(day) = counts.days.entry(kind(&one.status)).or_default().get_mut(one.slot) {
                *day += one.count;
            }
            let row = counts.rows.entry((one.status.clone(), one.reason.clone())).or_default();
            row.1 += one.count;
            row.0 += if one.slot + 1 == DAYS { one.count } else { 0 };
            *totals.entry(&one.status).or_default() += one.count;
        }
        counts.is_bounded = totals.values().any(|total| *total >= COUNTED_MAX);
        counts
    }

    fn shown(&self, days: &[Timestamp]) -> Html {
        if self.rows.is_empty() {
            return html!(
                "<div class=\"panel empty\"><p>No campaign has decided to send anything in these days. What customers do \
                 arrives at <code>POST /v1/track</code>; who does it and what follows appears here.</p></div>"
            );
        }
        let most = self.rows.values().map(|(_, all)| *all).max().unwrap_or(1).max(1);
        let mut rows: Vec<_> = self.rows.iter().collect();
        let order = |status: &str| KINDS.iter().position(|(it, _)| *it == kind(status));
        rows.sort_by_key(|((status, _), (_, all))| (order(status), -all));
        let rows: Html = rows
            .into_iter()
            .map(|((code, why), (today, all))| {
                let (class, word) = by_name(code);
                let width = (all * 120 + most - 1) / most;
                let why = why.as_deref().map(reason);
                let href = format!("/why?status={code}");
                html!(
                    "<tr><td><a class=\"quiet\" href=\"{}\">{}</a></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                     <td class=\"bar\"><svg width=\"120\" height=\"8\" aria-hidden=\"true\"><rect width=\"{}\" height=\"8\" \
                     rx=\"2\" class=\"fill {}\"/></svg></td></tr>",
                    href,
                    status(class, word),
                    why,
                    number(*today),
                    number(*all),
                    width,
                    kind(code)
                )
            })
            .collect();
        let bounded = if self.is_bounded {
            html!("<p class=\"muted\">Of each outcome the newest {} are counted.</p>", number(COUNTED_MAX))
        } else {
            Html::default()
        };
        let heads = ["Outcome", "Reason", "Today", "All days", ""];
        html!("{}{}{}", self.picture(days), table("Messages by outcome and reason", &heads, rows), bounded)
    }

    /// One column a day, of what became of the messages decided on it.
    fn picture(&self, days: &[Timestamp]) -> Html {
        let total = |slot: usize| self.days.values().map(|days| days[slot]).sum::<i64>();
        let most = (0..DAYS).map(total).max().unwrap_or(1).max(1);
        let mut columns = Html::default();
        let mut spoken = Vec::new();
        for (slot, start) in days.iter().enumerate() {
            let x = slot * 60 + 6;
            let mut top = 100;
            for (kind, _) in KINDS {
                let count = self.days.get(kind).map_or(0, |days| days[slot]);
                let height = (count * 96 + most - 1) / most;
                top -= height;
                if count > 0 {
                    columns.push(html!(
                        "<rect x=\"{}\" y=\"{}\" width=\"40\" height=\"{}\" class=\"fill {}\"/>",
                        x,
                        top,
                        height,
                        kind
                    ));
                }
            }
            let day = start.plus(Span::from_hours(12)).to_string();
            let label = day.get(5..10).unwrap_or_default().to_owned();
            let middle = x + 20;
            columns.push(html!("<text x=\"{}\" y=\"116\">{}</text>", middle, label));
            columns.push(html!("<text x=\"{}\" y=\"{}\">{}</text>", middle, (top - 4).max(-3), number(total(slot))));
            let sent = self.days.get("sent").map_or(0, |days| days[slot]);
            spoken.push(format!("{label}: {} of {} sent", number(sent), number(total(slot))));
        }
        let legend: Html =
            KINDS.iter().map(|(kind, name)| html!("<li><span class=\"key {}\"></span>{}</li>", kind, name)).collect();
        html!(
            "<div class=\"panel chart\"><svg viewBox=\"0 -14 420 136\" role=\"img\" aria-label=\"Messages by the day they \
             were decided. {}\">{}</svg><ul class=\"legend\">{}</ul></div>",
            spoken.join("; "),
            columns,
            legend
        )
    }
}

/// What waits, and the switch.
async fn sending(desk: &Desk, visitor: &Visitor, now: Timestamp) -> Result<Html, Nothing> {
    let db = desk.db();
    let (mut waiting, mut oldest): (i64, Option<Timestamp>) = (0, None);
    for name in ["queued", "deferred", "claimed", "sending", "retrying"] {
        waiting += db.standing_by_reason(name).await?.values().sum::<i64>();
        oldest = [oldest, db.oldest_of(name).await?].into_iter().flatten().min();
    }
    let behind = backlog(desk.admin.store.reader(), ShardSet::EVERY).await?;
    let oldest = oldest.map(|at| html!("{} ({})", ago(now, at), at));
    let facts = html!(
        "<div class=\"panel\"><dl><dt>Messages waiting</dt><dd>{}</dd><dt>Oldest of them</dt><dd>{}</dd>\
         <dt>Events not yet processed</dt><dd>{}</dd></dl></div>",
        bounded(waiting, COUNTED_MAX),
        oldest.unwrap_or_else(|| html!("none")),
        number(behind)
    );
    let may_switch = visitor.may(Scope::ControlWrite);
    let switch = match db.pause_note(PAUSE_ALL).await? {
        Some(note) => {
            html!("<div class=\"panel act\">{}{}</div>", paused(&note), may_switch.then(|| resume_form(visitor)))
        }
        None if may_switch => pause_form(visitor),
        None => Html::default(),
    };
    Ok(html!("{}{}", facts, switch))
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    let minutes = (now.millis() - at.millis()).max(0) / 60_000;
    match minutes {
        0 => "less than a minute".to_owned(),
        1 => "1 minute".to_owned(),
        2..=119 => format!("{minutes} minutes"),
        120..=2879 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

fn who_and_why() -> Html {
    html!(
        "<p><label for=\"who\">Who you are</label><input id=\"who\" name=\"who\" required maxlength=\"200\" \
         autocomplete=\"name\"></p><p><label for=\"reason\">Why</label><input id=\"reason\" name=\"why\" required \
         maxlength=\"200\"></p>"
    )
}

fn pause_form(visitor: &Visitor) -> Html {
    html!(
        "<details class=\"panel act\"><summary>Pause all sending</summary><form method=\"post\" action=\"/pause\">{}{}\
         <p><label class=\"check\"><input type=\"checkbox\" name=\"sure\" value=\"yes\" required> Nothing may leave until \
         somebody resumes</label></p><p><button class=\"danger\">Pause all sending</button></p></form></details>",
        visitor.token_field(),
        who_and_why()
    )
}

fn paused(note: &PauseNote) -> Html {
    let by = note.who.as_ref().map(|who| html!(" by <strong>{}</strong>", who));
    let why = note.why.as_ref().map(|why| html!(": {}", why));
    html!("<p>Paused since {}{}{}.</p>", note.at, by, why)
}

fn resume_form(visitor: &Visitor) -> Html {
    html!(
        "<form method=\"post\" action=\"/resume\">{}{}\
         <p><label class=\"check\"><input type=\"checkbox\" name=\"sure\" value=\"yes\" required> What waited goes out now, \
         as far as it is still allowed</label></p><p><button>Resume sending</button></p></form>",
        visitor.token_field(),
        who_and_why()
    )
}

pub(super) async fn pause(desk: Pages, visitor: Visitor, request: HttpRequest, payload: Payload) -> HttpResponse {
    switch(&desk, &visitor, &request, payload, true).await
}

pub(super) async fn resume(desk: Pages, visitor: Visitor, request: HttpRequest, payload: Payload) -> HttpResponse {
    switch(&desk, &visitor, &request, payload, false).await
}

async fn switch(desk: &Desk, visitor: &Visitor, request: &HttpRequest, payload: Payload, paused: bool) -> HttpResponse {
    let form = match posted(visitor, request, payload).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let note = |name: &str| form.get(name).map(|text| text.chars().take(NOTE_MAX).collect::<String>());
    let made = match (note("who"), note("why"), form.get("sure")) {
        _ if !visitor.may(Scope::ControlWrite) => Err(Nothing::NotAllowed(Scope::ControlWrite)),
        (Some(who), Some(why), Some("yes")) => set(desk, paused, (Some(who), Some(why))).await,
        _ => Err(Nothing::Senseless("Say who you are and why, and confirm it. Nothing was changed.".to_owned())),
    };
    or_say(desk, visitor, Part::Overview, made.map(|()| redirect("/#sending"))).await
}

async fn set(desk: &Desk, paused: bool, note: (Option<String>, Option<String>)) -> Result<(), Nothing> {
    let (log, id) = (&desk.admin.log, desk.admin.workspace);
    set_paused_by(log, id, PAUSE_ALL, paused, note).await?;
    if !paused {
        requeue_paused(log, id, PAUSE_ALL, log.clock().now()).await?;
    }
    Ok(())
}

/// A finding of a campaign, with its input.
struct Decided {
    position: Position,
    profile: Option<ProfileId>,
    finding: Finding,
    message: Option<MessageId>,
}

async fn newest(desk: &Desk) -> Result<Vec<Decided>, Nothing> {
    let mut seen = BTreeSet::new();
    let mut decided = Vec::new();
    for found in desk.db().newest_findings(INPUTS_MAX).await? {
        for finding in found.findings.into_iter().filter(|finding| !finding.campaign.is_empty()) {
            let message = match &finding.verdict {
                FindingVerdict::Queued { message, .. }
                | FindingVerdict::Completed { message, .. }
                | FindingVerdict::Converted { message } => Some(*message),
                _ => None,
            };
            // A message is told once, as it stands now; that somebody bought after it is told beside.
            let is_conversion = matches!(finding.verdict, FindingVerdict::Converted { .. });
            if is_conversion || message.is_none_or(|id| seen.insert(id)) {
                decided.push(Decided { position: found.position, profile: found.profile, finding, message });
            }
        }
    }
    decided.truncate(DECISIONS);
    Ok(decided)
}

async fn decisions(desk: &Desk) -> Result<Html, Nothing> {
    let db = desk.db();
    let decided = newest(desk).await?;
    if decided.is_empty() {
        return Ok(html!(
            "<section><h2 id=\"decisions\">Last decisions</h2><div class=\"panel empty\">\
             <p>No campaign has looked at anything yet.</p></div></section>"
        ));
    }
    let ids: Vec<MessageId> = decided.iter().filter_map(|one| one.message).collect();
    let messages: BTreeMap<MessageId, Message> = db.messages(&ids).await?.into_iter().map(|it| (it.id, it)).collect();
    let positions: Vec<Position> = decided.iter().map(|one| one.position).collect();
    let entries = db.entries_apart(&positions).await?;
    let called = names(desk, decided.iter().filter_map(|one| one.profile)).await?;
    let blocked: Vec<MessageId> =
        messages.values().filter_map(|it| it.status.reason()).flat_map(blocking).copied().collect();
    let named = names_of(db, &blocked).await?;
    let rows: Html = decided
        .iter()
        .map(|one| {
            let is_conversion = matches!(one.finding.verdict, FindingVerdict::Converted { .. });
            let message = one.message.filter(|_| !is_conversion).and_then(|id| messages.get(&id));
            let (class, word) = message.map_or_else(|| verdict(&one.finding.verdict), |it| outcome(&it.status));
            let because = match message {
                Some(message) => {
                    message.status.reason().map(|reason| reason_sentence(reason, &named)).unwrap_or_default()
                }
                None => found_sentence(&one.finding),
            };
            let href = match one.message {
                Some(id) => format!("/why?message={id}"),
                None => format!("/why?event={}", one.position),
            };
            let at = entries.get(&one.position).map(|entry| entry.now);
            let label = format!("Why: {word}, {}", one.finding.campaign);
            html!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td><td><a href=\"{}\" \
                 aria-label=\"{}\">Why</a></td></tr>",
                at,
                one.profile.map(|id| person(&called, id)),
                one.finding.campaign,
                status(class, word),
                sentence(&because),
                href,
                label
            )
        })
        .collect();
    let list = table("Last decisions", &["When", "Who", "Campaign", "Outcome", "Because", ""], rows);
    Ok(html!("<section><h2 id=\"decisions\">Last decisions</h2>{}</section>", list))
}

//! Why a person got what they got, and why not the rest: what the log, the findings, the enrollments and the paths of
//! messages say, in the order of the log, as the same timeline that stories print.

pub mod checks;
pub mod instant;
mod memberships;
pub mod misfits;
mod pruned;
pub(super) mod refold;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::History;
use crate::decision::effect::FindingVerdict;
use crate::decision::{CONSENT_CHANGED, Enrollment, Finding, State};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Message, Reason, Status};
use crate::store::controls::Parked;
use crate::store::entries::{Entry, Logged};
use crate::store::messages::Step;
use crate::store::trace::{Findings, MessageFilter};
use crate::store::{Error, Workspace};
use crate::story::Timeline;
use misfits::Misfits;
use pruned::{Gone, gone};
use words::{Named, Said};

/// Enrollments and messages looked at; the newest win.
const ROWS_MAX: u32 = 200;
/// Events of the history looked at; the newest win.
const HISTORY_MAX: usize = 2_000;
/// Entries read in full; the newest win.
const ENTRIES_MAX: usize = 500;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub profile: ProfileId,
    /// How the person is called in the text.
    pub person: String,
    pub campaign: Option<String>,
    /// Only what came of this event.
    pub event: Option<Position>,
    /// Only the path to and of this message.
    pub message: Option<MessageId>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Told {
    pub at: Timestamp,
    /// `event`: it happened; `did`: it followed; `did_not`: it did not, and why.
    pub sign: Sign,
    pub text: String,
    pub campaign: Option<String>,
    pub position: Option<Position>,
    pub message: Option<MessageId>,
    /// The request that brought the event.
    pub correlation_id: Option<String>,
    /// The code of the reason, where there is one.
    pub code: Option<&'static str>,
    #[serde(skip)]
    enrollment: Option<EnrollmentId>,
    #[serde(skip)]
    order: (Position, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    Event,
    Did,
    DidNot,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Explanation {
    pub timeline: Vec<Told>,
    /// The same for people.
    pub text: String,
}

/// Rows about one person.
struct Rows {
    enrollments: BTreeMap<EnrollmentId, Enrollment>,
    messages: Vec<(Message, Vec<Step>)>,
    findings: BTreeMap<Position, Findings>,
    entries: BTreeMap<Position, Entry>,
    /// How the messages that reasons name are recognised.
    named: BTreeMap<MessageId, Named>,
    /// Entries of this person that could not be applied and were not redriven: later ones were decided without them.
    parked: Vec<Parked>,
    is_behind: bool,
    /// Older events are left out.
    is_cut: bool,
    gone: Gone,
    /// Events by which the person took a consent back, each with the enrollments whose message that stopped.
    denials: BTreeMap<Position, BTreeSet<EnrollmentId>>,
}

/// Answers the question from stored rows.
///
/// # Errors
/// The database cannot be read, or a row in it.
pub async fn explain<C: ConnectionTrait>(store: Workspace<'_, C>, question: &Question) -> Result<Explanation, Error> {
    let rows = load(store, question).await?;
    let mut timeline = lines(question, &rows);
    if let Some(wanted) = wanted(question, &rows) {
        let event = question.event;
        timeline.retain(|told| {
            told.enrollment.is_some_and(|id| wanted.contains(&id))
                || (told.position == event && event.is_some())
                || told.sign == Sign::Event && told.position.is_some_and(|at| is_about(&rows, &wanted, at))
        });
    }
    let text = text(question, &rows, &timeline);
    Ok(Explanation { timeline, text })
}

/// The enrollments that the asked event or message belongs to; none: all are wanted.
fn wanted(question: &Question, rows: &Rows) -> Option<BTreeSet<EnrollmentId>> {
    if let Some(asked) = question.message {
        let found = rows.messages.iter().find(|(message, _)| message.id == asked);
        return Some(found.iter().map(|(message, _)| message.enrollment).collect());
    }
    let position = question.event?;
    let touched = rows.enrollments.values().filter(|one| positions_of(one).contains(&position));
    Some(touched.map(|one| one.id).collect())
}

fn is_about(rows: &Rows, wanted: &BTreeSet<EnrollmentId>, position: Position) -> bool {
    wanted.iter().filter_map(|id| rows.enrollments.get(id)).any(|one| positions_of(one).contains(&position))
        || rows.denials.get(&position).is_some_and(|stopped| !stopped.is_disjoint(wanted))
}

/// The events that began, repeated and ended an enrollment.
fn positions_of(enrollment: &Enrollment) -> BTreeSet<Position> {
    let ended = match &enrollment.state {
        State::Exited { event, .. } => *event,
        State::Waiting { .. } | State::Sending { .. } | State::Completed { .. } => None,
    };
    [Some(enrollment.entry), Some(enrollment.event), ended].into_iter().flatten().collect()
}

async fn load<C: ConnectionTrait>(store: Workspace<'_, C>, question: &Question) -> Result<Rows, Error> {
    let campaign = question.campaign.as_deref();
    let enrollments = store.enrollments_of(question.profile, campaign, ROWS_MAX).await?;
    let filter = MessageFilter {
        profile: Some(question.profile),
        campaign: question.campaign.clone(),
        limit: ROWS_MAX,
        ..MessageFilter::default()
    };
    let mut listed = store.list_messages(&filter).await?;
    if let Some(asked) = question.message
        && listed.iter().all(|message| message.id != asked)
    {
        listed.extend(store.message(asked).await?);
    }
    let messages = with_steps(store, listed).await?;
    let mut enrollments: BTreeMap<EnrollmentId, Enrollment> =
        enrollments.into_iter().map(|one| (one.id, one)).collect();
    let missing: BTreeSet<EnrollmentId> =
        messages.iter().map(|(message, _)| message.enrollment).filter(|id| !enrollments.contains_key(id)).collect();
    for chunk in missing.into_iter().collect::<Vec<_>>().chunks(500) {
        enrollments.extend(store.enrollments_by_id(chunk).await?);
    }
    let (past, consents) = history(store, question.profile).await?;
    let denials = denials(store, &consents, &messages).await?;
    let mut positions: BTreeSet<Position> = past.keys().copied().chain(question.event).collect();
    positions.extend(enrollments.values().flat_map(positions_of));
    positions.extend(messages.iter().map(|(message, _)| message.cause));
    let mut findings = store.findings_at(&positions.into_iter().collect::<Vec<_>>()).await?;
    for found in findings.values_mut() {
        found
            .findings
            .retain(|finding| campaign.is_none_or(|key| finding.campaign == key || finding.campaign.is_empty()));
    }
    findings.retain(|_, found| !found.findings.is_empty());
    let mut shown: BTreeSet<Position> = findings.keys().copied().chain(question.event).collect();
    shown.extend(enrollments.values().flat_map(positions_of));
    shown.extend(denials.keys());
    if campaign.is_none() && question.event.is_none() && question.message.is_none() {
        // All the person did, decided on or not: an event whose id is forgotten is found here.
        shown.extend(past.keys());
    }
    let misfits = Misfits::load(store, campaign).await?;
    let concerned = past.iter().filter(|(_, name)| misfits.may_concern(name)).map(|(position, _)| *position);
    let read: BTreeSet<Position> = shown.iter().copied().chain(concerned).collect();
    let is_cut = read.len() > ENTRIES_MAX;
    let newest: BTreeSet<Position> = read.into_iter().rev().take(ENTRIES_MAX).collect();
    let mut entries = store.entries_apart(&newest.iter().copied().collect::<Vec<_>>()).await?;
    findings.retain(|position, _| newest.contains(position));
    for (position, entry) in &entries {
        let Logged::Event(event) = &entry.logged else { continue };
        // What an event lacks that was emptied, it need not have lacked.
        if event.is_blank() || !past.get(position).is_some_and(|name| misfits.may_concern(name)) {
            continue;
        }
        let missed = misfits.of(store.definitions_position(*position).await?, event);
        if !missed.is_empty() {
            let none = || Findings { position: *position, profile: entry.profile, findings: Vec::new() };
            findings.entry(*position).or_insert_with(none).findings.extend(missed);
        }
    }
    entries.retain(|position, _| shown.contains(position) || findings.contains_key(position));
    memberships::find(store, &entries, &mut findings).await?;
    let named = named(store, &messages).await?;
    let parked = store.parked_before(question.profile, Position(i64::MAX), ROWS_MAX).await?;
    let is_behind = store.is_behind(question.profile).await?;
    let gone = gone(store, question.profile, &past.keys().copied().collect::<Vec<_>>()).await?;
    Ok(Rows { enrollments, messages, findings, entries, named, parked, is_behind, is_cut, gone, denials })
}

/// Each with its states.
async fn with_steps<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    listed: Vec<Message>,
) -> Result<Vec<(Message, Vec<Step>)>, Error> {
    let mut messages = Vec::with_capacity(listed.len());
    for message in listed {
        let steps = store.steps_of(message.id).await?;
        messages.push((message, steps));
    }
    Ok(messages)
}

/// The newest events of the person by position, and those among all that spoke of consent.
async fn history<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    profile: ProfileId,
) -> Result<(BTreeMap<Position, String>, Vec<Position>), Error> {
    let Some(person) = store.person(profile).await? else { return Ok(Default::default()) };
    let pages = if person.profile.history.pages > 0 { store.history_pages(profile).await? } else { Vec::new() };
    let all = pages.iter().chain([&person.profile.history]).flat_map(History::iter);
    let mut past: BTreeMap<Position, String> = all.map(|past| (past.position, past.name.to_owned())).collect();
    let consents = past.iter().filter(|(_, name)| *name == CONSENT_CHANGED).map(|(position, _)| *position).collect();
    while past.len() > HISTORY_MAX {
        past.pop_first();
    }
    Ok((past, consents))
}

/// For each message that a missing consent stopped: the newest event before that took the consent back.
async fn denials<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    consents: &[Position],
    messages: &[(Message, Vec<Step>)],
) -> Result<BTreeMap<Position, BTreeSet<EnrollmentId>>, Error> {
    let mut found: BTreeMap<Position, BTreeSet<EnrollmentId>> = BTreeMap::new();
    let stopped = |message: &Message| match &message.status {
        Status::Suppressed { at, reason: Reason::ConsentDenied { channel } } => {
            Some((*at, ("properties.channel", channel.clone())))
        }
        Status::Suppressed { at, reason: Reason::TopicUnsubscribed { topic, by_default: false, .. } } => {
            Some((*at, ("properties.topic", topic.clone())))
        }
        _ => None,
    };
    if !messages.iter().any(|(message, _)| stopped(message).is_some()) {
        return Ok(found);
    }
    let newest: Vec<Position> = consents.iter().rev().take(ENTRIES_MAX).copied().collect();
    let entries = store.entries_apart(&newest).await?;
    let denies = |entry: &Entry, (path, about): &(&str, String)| {
        let Logged::Event(event) = &entry.logged else { return false };
        let text = |path: &str| event.lookup(path).and_then(|value| value.as_str());
        text(path) == Some(about.as_str()) && matches!(text("properties.state"), Some("denied" | "unsubscribed"))
    };
    for (message, _) in messages {
        let Some((at, about)) = stopped(message) else { continue };
        let denial = entries.iter().rev().find(|(_, entry)| entry.now <= at && denies(entry, &about));
        if let Some((position, _)) = denial {
            found.entry(*position).or_default().insert(message.enrollment);
        }
    }
    Ok(found)
}

/// The messages that reasons name, so that a person recognises them.
async fn named<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    messages: &[(Message, Vec<Step>)],
) -> Result<BTreeMap<MessageId, Named>, Error> {
    let states = messages.iter().flat_map(|(_, steps)| steps.iter().map(|step| &step.state));
    let ids: BTreeSet<MessageId> = states.filter_map(Status::reason).flat_map(blocking).copied().collect();
    names_of(store, &ids.into_iter().collect::<Vec<_>>()).await
}

/// The messages a reason names.
pub fn blocking(reason: &Reason) -> &[MessageId] {
    match reason {
        Reason::Capped { by, .. } => by,
        _ => &[],
    }
}

/// How these messages are recognised: their campaign, the key of their enrollment, and when they took their slot.
///
/// # Errors
/// The database cannot be read, or a row in it.
pub async fn names_of<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    ids: &[MessageId],
) -> Result<BTreeMap<MessageId, Named>, Error> {
    let mut named = BTreeMap::new();
    for chunk in ids.chunks(500) {
        let found = store.messages(chunk).await?;
        let walks: Vec<EnrollmentId> = found.iter().map(|message| message.enrollment).collect();
        let walks = store.enrollments_by_id(&walks).await?;
        named.extend(found.into_iter().map(|message| {
            let key = walks.get(&message.enrollment).map_or_else(String::new, |one| one.key.clone());
            (message.id, Named { campaign: message.campaign, key, slot_at: message.slot_at })
        }));
    }
    Ok(named)
}

/// Everything that is known, in the order of the log.
fn lines(question: &Question, rows: &Rows) -> Vec<Told> {
    let mut told = Vec::new();
    for (position, entry) in &rows.entries {
        if let Logged::Event(event) = &entry.logged {
            let said = |path: &str| event.lookup(path).and_then(|value| value.as_str());
            let denied = match (rows.denials.contains_key(position), said("properties.topic")) {
                (true, Some(topic)) => format!(": topic {topic} denied,"),
                (true, None) => said("properties.channel").map_or_else(String::new, |of| format!(": {of} denied,")),
                (false, _) => memberships::about(event).map_or_else(String::new, |about| format!(": {about},")),
            };
            let mut text = format!("{}{denied} received (position {position}", event.name);
            // People read whole seconds.
            if event.at.millis() / 1_000 != entry.now.millis() / 1_000 {
                text.push_str(&format!(", happened at {}", event.at));
            }
            let request = Some(event.correlation_id.clone()).filter(|id| !id.is_empty());
            // Who asks about a person reads what happened; who asks about one event or message may want the logs too.
            if let Some(id) = request.as_ref().filter(|_| question.event.is_some() || question.message.is_some()) {
                text.push_str(&format!(", request {id}"));
            }
            text.push(')');
            told.push(Told { correlation_id: request, ..line(entry.now, Said::event(text), (*position, 0)) });
        }
    }
    let mut exited = BTreeSet::new();
    for (position, found) in &rows.findings {
        let Some(now) = rows.entries.get(position).map(|entry| entry.now) else { continue };
        for finding in &found.findings {
            let walk = walk_of(rows, *position, finding);
            if matches!(finding.verdict, FindingVerdict::Exited { .. }) {
                exited.extend(walk);
            }
            let said = words::finding(now, finding);
            told.push(Told {
                campaign: Some(finding.campaign.clone()).filter(|key| !key.is_empty()),
                enrollment: walk,
                message: message_of(&finding.verdict),
                ..line(now, said, (*position, 1))
            });
        }
    }
    for one in rows.enrollments.values().filter(|one| !exited.contains(&one.id)) {
        if let State::Exited { at, by, event } = &one.state {
            let said = words::exited(*at, by, &one.campaign, &one.key);
            let order = (event.unwrap_or(one.event), 1);
            let campaign = Some(one.campaign.clone());
            told.push(Told { campaign, enrollment: Some(one.id), ..line(*at, said, order) });
        }
    }
    for (message, steps) in &rows.messages {
        let lost = words::lost(message, steps);
        told.extend(steps.iter().enumerate().map(|(n, step)| {
            let after_loss = words::lost_state(&step.state).filter(|_| lost == Some(n));
            let said = after_loss.unwrap_or_else(|| words::state(message, n, &step.state, &rows.named));
            Told {
                campaign: Some(message.campaign.clone()),
                enrollment: Some(message.enrollment),
                message: Some(message.id),
                position: None,
                ..line(step.at, said, (message.cause, n + 2))
            }
        }));
    }
    told.extend(rows.parked.iter().map(|one| line(one.parked_at, words::parked(one), (one.position, 1))));
    told.retain(|told| question.campaign.is_none() || told.campaign.is_none() || told.campaign == question.campaign);
    told.sort_by_key(|told| (told.at, told.order));
    told
}

fn line(at: Timestamp, said: Said, order: (Position, usize)) -> Told {
    let Said { sign, text, code } = said;
    Told {
        at,
        sign,
        text,
        campaign: None,
        position: Some(order.0),
        message: None,
        correlation_id: None,
        code,
        enrollment: None,
        order,
    }
}

/// The enrollment a finding speaks of.
fn walk_of(rows: &Rows, position: Position, finding: &Finding) -> Option<EnrollmentId> {
    let by_key = |key: &str| {
        let mine = rows
            .enrollments
            .values()
            .filter(|one| one.campaign == finding.campaign && one.key == key && one.entry <= position);
        mine.max_by_key(|one| one.entry).map(|one| one.id)
    };
    match &finding.verdict {
        FindingVerdict::Entered { key, .. }
        | FindingVerdict::Repeated { key, .. }
        | FindingVerdict::Exited { key, .. }
        | FindingVerdict::Queued { key, .. }
        | FindingVerdict::Completed { key, .. } => by_key(key),
        FindingVerdict::Converted { message } => {
            rows.messages.iter().find(|(known, _)| known.id == *message).map(|(known, _)| known.enrollment)
        }
        FindingVerdict::Merged(_)
        | FindingVerdict::NotEntered { .. }
        | FindingVerdict::Segment { .. }
        | FindingVerdict::Trait { .. }
        | FindingVerdict::Noted { .. } => None,
    }
}

fn message_of(verdict: &FindingVerdict) -> Option<MessageId> {
    match verdict {
        FindingVerdict::Queued { message, .. }
        | FindingVerdict::Completed { message, .. }
        | FindingVerdict::Converted { message } => Some(*message),
        FindingVerdict::Entered { .. }
        | FindingVerdict::Repeated { .. }
        | FindingVerdict::Exited { .. }
        | FindingVerdict::Merged(_)
        | FindingVerdict::NotEntered { .. }
        | FindingVerdict::Segment { .. }
        | FindingVerdict::Trait { .. }
        | FindingVerdict::Noted { .. } => None,
    }
}

fn text(question: &Question, rows: &Rows, told: &[Told]) -> String {
    let person = &question.person;
    let mut timeline = Timeline::default();
    for one in told {
        match one.sign {
            Sign::Event => timeline.event(one.at, person, &one.text),
            Sign::Did => timeline.did(one.at, person, &one.text),
            Sign::DidNot => timeline.did_not(one.at, person, &one.text),
        }
    }
    let mut text = timeline.into_text();
    if told.is_empty() {
        let about = question.campaign.as_ref().map_or_else(String::new, |key| format!(" for campaign {key}"));
        text.push_str(&format!("Nothing that {person} did so far was looked at{about}.\n"));
    }
    if rows.is_behind {
        text.push_str(&format!("Newer events of {person} are not processed yet; ask again in a moment.\n"));
    }
    if rows.is_cut {
        text.push_str(&format!("Only the newest {ENTRIES_MAX} events were looked at.\n"));
    }
    text.push_str(&rows.gone.words(person));
    if rows.enrollments.len() >= ROWS_MAX as usize {
        text.push_str(&format!("Only the newest {ROWS_MAX} enrollments are shown.\n"));
    }
    text
}

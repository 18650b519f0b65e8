//! One person, one campaign, one instant: what the campaign had made of the person by then, by which versions, with every
//! condition and its operands, and what would have changed the answer.
//!
//! `recorded` takes what held then: the definitions in force at each event, the person as the log says they were, and
//! the states of messages as they were written down. `afresh` asks the present definitions about the same past.

mod answer;
mod outlook;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sea_orm::DatabaseConnection;
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::condition::Facts;
use crate::audience::condition::annotated::{Node, annotate};
use crate::audience::segment::Answers;
use crate::decision::campaign::{Exit, Start};
use crate::decision::considered::{Considered, EntryCheck, consider};
use crate::decision::effect::FindingVerdict;
use crate::decision::existing::MEMBER_INCLUDED;
use crate::decision::{At, Campaign, Catalog, Enrollment, Loaded, Person, Snapshot, State, needs_of_all};
use crate::event::Event;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Message, Status};
use crate::store::entries::{Entry, Logged};
use crate::store::messages::Step;
use crate::store::{Store, Workspace};
use crate::worker::explain::checks::{Check, checks};
use crate::worker::explain::refold::{Logbook, Refold};
use crate::worker::explain::{blocking, names_of};
use crate::worker::live::Definitions;
pub use answer::{Answer, Standing};

/// Events that are considered one by one, the newest.
const EVENTS_MAX: usize = 20;
/// Enrollments that are told, the newest.
const ENROLLMENTS_MAX: u32 = 20;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub profile: ProfileId,
    /// How the person is called in the text.
    pub person: String,
    pub campaign: String,
    pub at: Timestamp,
    pub how: How,
}

/// By what the answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InstantHow)]
pub enum How {
    /// By what was in force and what was written down then.
    Recorded,
    /// By the present definitions, evaluated now.
    Afresh,
}

/// What was in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = VersionsInForce)]
pub struct Versions {
    pub campaign: Option<u32>,
    pub template: Option<u32>,
    /// The last thing the person had done by then: where it stands in the log.
    pub person: Option<Position>,
}

/// An event that the campaign might have begun by.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ConsideredEvent)]
pub struct EventTold {
    pub name: String,
    pub position: Position,
    pub at: Timestamp,
    /// The version it was asked of.
    pub version: u32,
    pub entered: bool,
    /// The code of the first reason why not.
    pub code: Option<&'static str>,
    pub sentence: String,
    /// What was written down when it was decided, where anything was.
    pub recorded: Option<String>,
    /// How many conditions stood in the way.
    pub apart: usize,
    pub change: Option<String>,
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<EntryCheck>,
    #[schema(value_type = Option<Object>)]
    pub tree: Option<Node>,
}

/// An exit of an enrollment that was open.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ExitTold {
    pub exit: String,
    #[schema(value_type = Option<Object>)]
    pub tree: Option<Node>,
}

/// A message as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageTold {
    pub id: MessageId,
    pub status: String,
    pub code: Option<&'static str>,
    pub sentence: Option<String>,
    /// The guard's checks as recorded.
    pub checks: Vec<Check>,
    /// What would have let it go.
    #[serde(skip)]
    change: Option<String>,
}

/// An enrollment as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnrollmentTold {
    pub key: String,
    pub version: u32,
    pub entered_at: Timestamp,
    pub state: &'static str,
    /// Its timer: when its wait ends.
    pub until: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub exits: Vec<ExitTold>,
    pub message: Option<MessageTold>,
    #[serde(skip)]
    by: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = InstantExplained)]
pub struct Instant {
    pub at: Timestamp,
    pub how: How,
    pub answer: Answer,
    pub versions: Versions,
    /// Open ones first, then the newest.
    pub enrollments: Vec<EnrollmentTold>,
    /// Events that began nothing come in the order of how little was missing; those that did begin something first.
    pub events: Vec<EventTold>,
    /// Of a campaign that begins with a segment: its condition.
    #[schema(value_type = Option<Object>)]
    pub segment: Option<Node>,
    /// What cannot be known any more, and why.
    pub unknown: Vec<String>,
    /// The same for people.
    pub text: String,
}

/// What the answer is drawn from.
struct Ground<'s> {
    store: Workspace<'s, DatabaseConnection>,
    asked: &'s Asked,
    /// What was in force at the instant.
    catalog: Arc<Catalog>,
    campaign: Arc<Campaign>,
    rows: Vec<Enrollment>,
    messages: BTreeMap<EnrollmentId, (Message, Vec<Step>)>,
}

/// Answers for any person, campaign and instant.
///
/// # Errors
/// The database cannot be read, or a row of this person.
pub async fn at_instant(
    store: &Store,
    definitions: &Definitions,
    (id, zone): (WorkspaceId, &TimeZone),
    asked: &Asked,
) -> anyhow::Result<Instant> {
    let here = store.workspace(id);
    let present = definitions.catalog_of(id, Position(i64::MAX), Some(&asked.campaign)).await?;
    let person = here.person(asked.profile).await?;
    let book = match &person {
        Some(person) => Some(Logbook::load(here, person, &needs_of_all(&present).received).await?),
        None => None,
    };
    let catalog = match asked.how {
        How::Afresh => present,
        How::Recorded => {
            // An import brings its own time: what the person did by then was decided by what stood before it in the log.
            let entries = book.iter().flat_map(|book| &book.entries).filter(|entry| entry.now <= asked.at);
            let last = entries.map(|entry| entry.position).max().unwrap_or_default();
            let by_log = here.definitions_position(last).await?;
            let by_time = here.position_at(asked.at).await?;
            definitions.catalog_of(id, if by_time < by_log { last } else { by_time }, Some(&asked.campaign)).await?
        }
    };
    let catalog = Arc::new(catalog);
    let Some(campaign) = catalog.campaign(&asked.campaign).cloned() else {
        return Ok(bare(asked, Standing::CampaignUnknown));
    };
    let Some(book) = book else { return Ok(bare(asked, Standing::PersonUnknown)) };
    let book = book.named_then(&asked.person, asked.at);
    let is_erased = here.erasure(asked.profile).await?.is_some();
    if let Some(until) = book.pruned_until.filter(|until| *until > asked.at) {
        return Ok(bare(asked, Standing::OutOfReach { until }));
    }
    if !book.begins_by(asked.at) {
        return Ok(bare(asked, if is_erased { Standing::Erased } else { Standing::PersonUnknown }));
    }
    let ground = Ground::load((here, &book), asked, catalog, campaign).await?;
    let (events, then) = ground.events(definitions, id, &book).await?;
    let enrollments = ground.enrollments(definitions, (id, zone), then.as_ref(), &book).await?;
    let segment = ground.segment(then.as_ref(), &book);
    let versions = Versions {
        campaign: Some(ground.campaign.version),
        template: ground.template().await?,
        person: book.theirs(asked.at).last().copied(),
    };
    let parked = here.parked_before(asked.profile, Position(i64::MAX), ENROLLMENTS_MAX).await?;
    let unknown = words::unknown(&book, is_erased, parked.iter().filter(|one| one.parked_at <= asked.at).count());
    let dim = book.last_dim(&ground.campaign.entry.event, asked.at);
    let mut answer = answer::answer(asked, &ground.campaign, (&enrollments, &events), (segment.as_ref(), dim));
    if asked.how == How::Afresh
        && answer.code == Standing::Entered.code()
        && let Some(person) = &then
        && let Some(reason) = ground.stopped(person, &book, zone).await?
    {
        answer.sentence.push_str(&format!("; but its message would not go: {}", reason.sentence()));
        answer.change = words::release(&reason);
    }
    let (at, how) = (asked.at, asked.how);
    let mut told = Instant { at, how, answer, versions, enrollments, events, segment, unknown, text: String::new() };
    told.text = words::text(asked, &told);
    Ok(told)
}

/// An answer of which nothing more is known.
fn bare(asked: &Asked, standing: Standing) -> Instant {
    let mut told = Instant {
        at: asked.at,
        how: asked.how,
        answer: standing.answer(asked, None),
        versions: Versions::default(),
        enrollments: Vec::new(),
        events: Vec::new(),
        segment: None,
        unknown: Vec::new(),
        text: String::new(),
    };
    told.text = words::text(asked, &told);
    told
}

impl<'s> Ground<'s> {
    async fn load(
        (store, book): (Workspace<'s, DatabaseConnection>, &Logbook),
        asked: &'s Asked,
        catalog: Arc<Catalog>,
        campaign: Arc<Campaign>,
    ) -> anyhow::Result<Self> {
        let rows = store.enrollments_of(asked.profile, Some(&asked.campaign), 200).await?;
        let rows = rows.into_iter().filter(|one| one.entered_at <= asked.at).collect();
        let rows: Vec<Enrollment> = book.keep_theirs(asked.at, rows, |one| one.entry);
        let mut messages = BTreeMap::new();
        let ids: Vec<MessageId> = rows.iter().map(Enrollment::message_id).collect();
        for message in store.messages(&ids).await? {
            let mut steps = store.steps_of(message.id).await?;
            steps.retain(|step| step.at <= asked.at);
            if message.created_at <= asked.at {
                let status =
                    steps.last().map_or(Status::Queued { due_at: message.created_at }, |last| last.state.clone());
                let slot_at = message.slot_at.filter(|at| *at <= asked.at);
                messages.insert(message.enrollment, (Message { status, slot_at, ..message }, steps));
            }
        }
        Ok(Self { store, asked, catalog, campaign, rows, messages })
    }

    /// The newest events by which the campaign might begin, each asked as it came; and the person at the instant.
    async fn events(
        &self,
        definitions: &Definitions,
        id: WorkspaceId,
        book: &Logbook,
    ) -> anyhow::Result<(Vec<EventTold>, Option<Person>)> {
        let by_then = || book.entries.iter().filter(|entry| entry.now <= self.asked.at);
        let turns = self.campaign.entry.existing.map(|_| MEMBER_INCLUDED);
        let names: BTreeSet<&str> = std::iter::once(self.campaign.entry.event.as_str()).chain(turns).collect();
        let may_begin = |entry: &&Entry| matches!(&entry.logged, Logged::Event(event) if names.contains(event.name.as_str()) && self.campaign.is_about(event));
        let theirs = book.theirs(self.asked.at);
        let wanted: BTreeSet<Position> = by_then()
            .filter(|entry| theirs.contains(&entry.position))
            .filter(may_begin)
            .map(|entry| entry.position)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .take(EVENTS_MAX)
            .collect();
        let recorded = self.store.findings_at(&wanted.iter().copied().collect::<Vec<_>>()).await?;
        let mut refold = Refold::new(book);
        let mut told = Vec::new();
        for entry in by_then() {
            if let (true, Logged::Event(event)) = (wanted.contains(&entry.position), &entry.logged)
                && let Some(mut person) = refold.before(entry)
            {
                let catalog = match self.asked.how {
                    How::Afresh => self.catalog.clone(),
                    How::Recorded => {
                        Arc::new(definitions.catalog_of(id, entry.position, Some(&self.asked.campaign)).await?)
                    }
                };
                if let Some(campaign) = catalog.campaign(&self.asked.campaign) {
                    person.enrollments = self.walks_before(entry, &refold);
                    let considered = ask(&catalog, campaign, &person, &book.loaded(entry.now), entry, event);
                    let said = recorded.get(&entry.position).and_then(|found| {
                        let of_it = found.findings.iter().filter(|finding| finding.campaign == self.asked.campaign);
                        of_it
                            .map(|finding| (finding, crate::worker::explain::words::finding(entry.now, finding).text))
                            .next_back()
                    });
                    let was_in = self.rows.iter().any(|one| one.entry == entry.position);
                    told.push(event_told(entry, event, campaign.version, considered, (said, was_in, self.asked.how)));
                }
            }
            refold.add(entry);
        }
        told.sort_by_key(|one| (!one.entered, one.apart, std::cmp::Reverse(one.position)));
        Ok((told, refold.person().cloned().map(|person| self.with_computed(person, book))))
    }

    /// The same person with computed traits as they were at the instant: the log says none.
    fn with_computed(&self, mut person: Person, book: &Logbook) -> Person {
        let (answers, loaded) = (Answers::default(), book.loaded(self.asked.at));
        let facts = Facts::of_person(self.asked.at, (&self.catalog.terms, &answers), &person.profile, loaded.past());
        person.profile.remembered.computed = self.catalog.terms.computed.work_out(&facts);
        person
    }

    /// The person's enrollments in the campaign as an entry comes.
    fn walks_before(&self, entry: &Entry, refold: &Refold<'_>) -> BTreeMap<EnrollmentId, Enrollment> {
        let begun = self.rows.iter().filter(|one| one.entry < entry.position && one.entered_at <= entry.now);
        let begun = begun.filter(|one| refold.is_of_the_same(one.entry, entry));
        begun.map(|one| (one.id, self.as_at(one, entry.now))).collect()
    }

    /// An enrollment as it stood at an instant.
    fn as_at(&self, one: &Enrollment, now: Timestamp) -> Enrollment {
        if one.state.ended_at().is_some_and(|ended| ended <= now) {
            return one.clone();
        }
        let message = self.messages.get(&one.id).map(|(message, _)| message).filter(|it| it.created_at <= now);
        let state = match (message, &one.state) {
            (Some(message), _) => State::Sending { message: message.id },
            (None, State::Waiting { until }) => State::Waiting { until: *until },
            (None, _) => {
                let made = self.messages.get(&one.id).map(|(message, _)| message.created_at);
                State::Waiting { until: made.unwrap_or(one.entered_at.plus(self.campaign.delay)) }
            }
        };
        Enrollment { state, ..one.clone() }
    }

    async fn enrollments(
        &self,
        definitions: &Definitions,
        (id, zone): (WorkspaceId, &TimeZone),
        person: Option<&Person>,
        book: &Logbook,
    ) -> anyhow::Result<Vec<EnrollmentTold>> {
        let live = definitions.live(id);
        let loaded = book.loaded(self.asked.at);
        let mut told = Vec::new();
        for one in self.rows.iter().take(ENROLLMENTS_MAX as usize).map(|one| self.as_at(one, self.asked.at)) {
            let message = match self.messages.get(&one.id) {
                Some((message, steps)) => {
                    let blocked: Vec<MessageId> = message.status.reason().map(blocking).unwrap_or_default().to_vec();
                    let named = names_of(self.store, &blocked).await?;
                    let checks = checks(self.store, &live, message, steps, &named, zone).await?;
                    Some(words::message(message, checks, &named))
                }
                None => None,
            };
            let pinned = self.catalog.pinned(&one.campaign, one.version).filter(|_| one.is_active());
            let exits = match (pinned, person) {
                (Some(campaign), Some(person)) => self.exits(campaign, &one, person, &loaded),
                _ => Vec::new(),
            };
            let until = match &one.state {
                State::Waiting { until } => Some(*until),
                _ => None,
            };
            let by = match &one.state {
                State::Exited { by, .. } => Some(by.clone()),
                _ => None,
            };
            told.push(EnrollmentTold {
                key: one.key.clone(),
                version: one.version,
                entered_at: one.entered_at,
                state: one.state.name(),
                until,
                ended_at: one.state.ended_at(),
                exits,
                message,
                by,
            });
        }
        told.sort_by_key(|one| (one.ended_at.is_some(), std::cmp::Reverse(one.entered_at)));
        Ok(told)
    }

    /// What may end an open enrollment, in the order in which it is asked.
    fn exits(&self, campaign: &Campaign, one: &Enrollment, person: &Person, loaded: &Loaded) -> Vec<ExitTold> {
        let answers = Answers::default();
        let terms = (self.catalog.terms.as_ref(), &answers);
        let entry = loaded.bodies.get(&one.entry).map(Arc::as_ref);
        let facts = Facts::of_person(self.asked.at, terms, &person.profile, loaded.past());
        let facts = Facts { entry, entry_at: Some(one.entry_event_at), ..facts };
        let each = campaign.exit.iter().map(|exit| match exit {
            Exit::Event { events, .. } => ExitTold { exit: events.join(" or "), tree: None },
            Exit::Condition { condition, text } => {
                ExitTold { exit: text.clone(), tree: Some(annotate(condition, &facts)) }
            }
        });
        each.collect()
    }

    /// The condition of the segment by which the campaign begins.
    fn segment(&self, person: Option<&Person>, book: &Logbook) -> Option<Node> {
        let Start::Segment(key) = &self.campaign.entry.start else { return None };
        let defined = self.catalog.terms.segments.get(key)?;
        let (answers, loaded) = (Answers::default(), book.loaded(self.asked.at));
        let terms = (self.catalog.terms.as_ref(), &answers);
        let facts = Facts::of_person(self.asked.at, terms, &person?.profile, loaded.past());
        Some(annotate(&defined.segment.filter, &facts))
    }

    /// The version of its template that was in force.
    async fn template(&self) -> anyhow::Result<Option<u32>> {
        let versions = self.store.definition_versions("template", &self.campaign.send.template).await?;
        let by_then = versions.iter().filter(|one| self.asked.how == How::Afresh || one.applied_at <= self.asked.at);
        Ok(by_then.map(|one| one.version).max())
    }
}

fn ask(
    catalog: &Catalog,
    campaign: &Arc<Campaign>,
    person: &Person,
    loaded: &Loaded,
    entry: &Entry,
    event: &Arc<Event>,
) -> Considered {
    let snapshot = Snapshot { catalog, person, loaded, settle: Span::ZERO };
    consider(At { position: entry.position, now: entry.now }, &snapshot, campaign, event)
}

type Recorded<'f> = Option<(&'f crate::decision::Finding, String)>;

fn event_told(
    entry: &Entry,
    event: &Event,
    version: u32,
    considered: Considered,
    (said, was_in, how): (Recorded<'_>, bool, How),
) -> EventTold {
    let change = considered.change();
    // What was decided then wins over what is asked now, unless it is asked afresh.
    let decided = match said.as_ref().map(|(finding, _)| &finding.verdict) {
        Some(FindingVerdict::NotEntered { reason }) if how == How::Recorded => Some(Some(reason.clone())),
        Some(FindingVerdict::Entered { .. } | FindingVerdict::Repeated { .. }) if how == How::Recorded => Some(None),
        _ if was_in && how == How::Recorded => Some(None),
        _ => None,
    };
    let refused = decided.unwrap_or_else(|| considered.refused.clone());
    let sentence =
        refused.as_ref().map_or_else(|| "everything that is asked of it held".to_owned(), |it| it.sentence());
    EventTold {
        name: event.name.clone(),
        position: entry.position,
        at: entry.now,
        version,
        entered: refused.is_none(),
        code: refused.as_ref().map(|reason| reason.code()),
        sentence,
        recorded: said.map(|(_, text)| text),
        apart: considered.apart,
        change: change.filter(|_| refused.is_some()),
        checks: considered.checks,
        tree: considered.tree,
    }
}

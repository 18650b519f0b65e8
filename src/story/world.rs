//! The world of one story: people, a log, an outbox and slots in memory, and the clock that jumps to what is next.

mod guarding;
mod listed;
mod recorded;
mod telling;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::decision::{
    At, Catalog, Decision, Effect, FindingVerdict, Input, Loaded, Other, Person, Snapshot, decide, decide_joined,
};
use crate::event::Event;
use crate::event::pattern::clipped;
use crate::guard::{Rule, Slot, Subject, quiet_hours};
use crate::ids::{EventId, MessageId, Position, Span, Timestamp};
use crate::message::{Address, Channel, Message, Reason, Status, Suppression};
use crate::story::timeline::{Timeline, instant};
pub use recorded::{Ask, Divergence, Left, Record, Recorded, Said};

/// Instants at which something happens; far more than any story needs.
const STEPS_MAX: usize = 100_000;

/// One thing that came of the story.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub at: Timestamp,
    pub person: String,
    pub campaign: String,
    pub template: String,
    /// Of the campaign's message; empty and meaningless where it is about a segment.
    pub channel: Channel,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Enrolled,
    Exited {
        by: String,
    },
    Sent,
    NotSent(Reason),
    NotEntered(Reason),
    Segment {
        entered: bool,
        segment: String,
    },
    Trait {
        name: String,
        to: Option<Value>,
    },
    /// What the campaign wants followed one of its messages.
    Converted,
}

impl Happening {
    pub fn words(&self) -> String {
        let what = match &self.what {
            What::Enrolled => format!("enrolled in {}", self.campaign),
            What::Exited { by } => format!("exited from {} by {by}", self.campaign),
            What::Segment { entered: true, segment } => format!("entered segment {segment}"),
            What::Segment { entered: false, segment } => format!("left segment {segment}"),
            What::Trait { name, to } => format!("{name} changed to {}", value_text(to.as_ref())),
            What::Converted => format!("converted after {}", self.campaign),
            What::Sent => format!("sent {} by {}", self.template, self.channel.as_str()),
            What::NotSent(reason) | What::NotEntered(reason) => {
                format!("not sent {} ({}: {})", self.template, reason.code(), reason.sentence())
            }
        };
        format!("{what} at {}", instant(self.at))
    }
}

/// What is in force while people live.
#[derive(Debug, Default)]
pub struct Setting {
    pub catalog: Catalog,
    pub rules: Vec<Rule>,
    pub quiet: Vec<quiet_hours::Window>,
}

/// Somebody as the story begins.
#[derive(Debug, Clone)]
pub struct Someone {
    pub name: String,
    pub person: Person,
    pub loaded: Loaded,
    /// Nobody knows them before the first of their acts.
    pub is_new: bool,
}

/// Something one of them does, by their place among the people.
#[derive(Debug, Clone)]
pub struct Act {
    /// When it is decided.
    pub at: Timestamp,
    /// As of which instant: a timer that was logged late is decided where it stands, as of when it was due.
    pub as_of: Timestamp,
    pub who: usize,
    pub deed: Deed,
    /// Where it stands in the log, where it is known.
    pub position: Option<Position>,
    /// Another of the people, who turns out to be the same.
    pub joins: Option<usize>,
    /// Which of the world's settings was in force.
    pub era: usize,
}

/// What comes in.
#[derive(Debug, Clone)]
pub enum Deed {
    Did(Arc<Event>),
    /// The person's timer, as it was logged.
    Woke,
    /// A message of theirs ended, as it was logged.
    Ended {
        message: MessageId,
        status: Status,
        left: Left,
    },
}

impl Act {
    /// Somebody does something.
    pub fn of(at: Timestamp, who: usize, event: Arc<Event>) -> Self {
        Self { at, as_of: at, who, deed: Deed::Did(event), position: None, joins: None, era: 0 }
    }
}

pub struct World<'a> {
    catalog: &'a Catalog,
    rules: &'a [Rule],
    quiet: &'a [quiet_hours::Window],
    people: Vec<Someone>,
    messages: Vec<Message>,
    /// Slots that are used.
    pub slots: BTreeMap<Subject, Vec<Slot>>,
    /// The suppression list, by the subject of the address.
    pub suppressions: BTreeMap<Subject, Vec<Suppression>>,
    log: i64,
    /// What the log says of timers, messages and events of our own; empty where none is told.
    pub record: Record,
    /// Settings that acts name as their era; none: there is one all along.
    pub eras: Vec<&'a Setting>,
    /// Events of our own that were decided on, and are still to come in the record.
    announced: BTreeSet<EventId>,
    /// Who became another, by their places.
    heirs: BTreeMap<usize, usize>,
    /// The key of each message's enrollment, by which the timeline tells messages apart.
    keys: BTreeMap<MessageId, String>,
    /// Whether there is a timeline, and it is told of every campaign whose pattern did not fit: most of the work where many
    /// live through much.
    pub tells: bool,
    /// Whether members of a segment have their turn in campaigns that ask for them; a world of some people only cannot keep
    /// the pace of all.
    pub gives_turns: bool,
    /// Nobody has a turn in a campaign before.
    turns: BTreeMap<String, Timestamp>,
    pub timeline: Timeline,
    pub happenings: Vec<Happening>,
}

impl<'a> World<'a> {
    /// What these people do is logged behind `log`.
    pub fn new(setting: &'a Setting, people: Vec<Someone>, log: Position) -> Self {
        Self {
            catalog: &setting.catalog,
            rules: &setting.rules,
            quiet: &setting.quiet,
            people,
            messages: Vec::new(),
            slots: BTreeMap::new(),
            suppressions: BTreeMap::new(),
            log: log.0,
            record: Record::default(),
            eras: Vec::new(),
            announced: BTreeSet::new(),
            heirs: BTreeMap::new(),
            keys: BTreeMap::new(),
            tells: true,
            gives_turns: false,
            turns: BTreeMap::new(),
            timeline: Timeline::default(),
            happenings: Vec::new(),
        }
    }

    /// Lets all acts happen, and then time pass until nothing is due or `until` is over. At one instant: waits that end,
    /// then events, then messages.
    ///
    /// # Errors
    /// It does not come to an end.
    pub fn run(&mut self, start: Timestamp, acts: &[Act], until: Option<Timestamp>) -> Result<(), String> {
        let mut next = 0;
        self.begin(start);
        // However many take part: each act may have a few consequences.
        let steps_max = STEPS_MAX.saturating_add(acts.len().saturating_mul(4));
        let mut last = start;
        for _ in 0..steps_max {
            let turn = self.next_turn().map(|at| at.max(last));
            let wake = self.people.iter().filter_map(|one| one.person.wake_at).min();
            let due = self.messages.iter().filter_map(|message| message.status.due_at()).min();
            let Some(now) = [wake, due, turn, acts.get(next).map(|act| act.at)].into_iter().flatten().min() else {
                return Ok(());
            };
            if until.is_some_and(|until| until < now) {
                return Ok(());
            }
            last = now.max(last);
            self.fire_timers(now);
            self.give_turns(now);
            self.claim_recorded(now);
            while let Some(act) = acts.get(next).filter(|act| act.at <= now) {
                next += 1;
                self.happen(act);
                self.claim_recorded(now);
            }
            self.happen_recorded(now);
            self.dispatch(now);
        }
        Err(format!("the story does not come to an end within {steps_max} steps"))
    }

    /// Of one person, campaigns that began with them and neither sent nor gave up, each as often as it waits.
    pub fn waiting(&self, who: usize) -> Vec<&str> {
        self.people.get(who).map_or_else(Vec::new, |one| one.person.active().map(|it| it.campaign.as_str()).collect())
    }

    /// A message that was in the outbox before the first act, of an enrollment its person already has.
    pub fn carry(&mut self, message: Message) {
        self.create(message);
    }

    /// Where everybody stands as the story begins is given; it is nothing that happens. Who waits in a campaign by then
    /// is looked at once it has begun.
    fn begin(&mut self, now: Timestamp) {
        self.tell_who_is_here();
        for Someone { person, loaded, is_new, .. } in &mut self.people {
            // Of whom nothing is known yet, everything is still to be seen.
            if *is_new || self.record.is_told && person.version == 0 && person.profile.history.is_empty() {
                continue;
            }
            let walks = std::mem::take(&mut person.enrollments);
            if self.catalog.follows_people() {
                let snapshot = Snapshot { catalog: self.catalog, person, loaded, settle: Span::ZERO };
                let decision = decide(At { position: Position(self.log), now }, &snapshot, &Input::Timer);
                decision.effects.iter().for_each(|effect| person.apply(effect));
            }
            person.enrollments = walks;
            if person.active().next().is_some() {
                person.wake_at = Some(now);
            }
        }
    }

    fn fire_timers(&mut self, now: Timestamp) {
        for index in 0..self.people.len() {
            let Some(at) = self.people[index].person.wake_at.filter(|at| *at <= now) else { continue };
            // One that was logged comes where it stands.
            if !self.was_logged(index, at) && !self.is_overtaken(index, at) {
                self.decide(index, at, &Input::Timer);
            }
            // A timer that stays in the past has nothing more to say.
            let person = &mut self.people[index].person;
            person.wake_at = person.wake_at.filter(|wake| *wake > at);
        }
    }

    fn happen(&mut self, act: &Act) {
        let who = self.heir(act.who);
        if let Some(setting) = self.eras.get(act.era) {
            (self.catalog, self.rules, self.quiet) = (&setting.catalog, &setting.rules, &setting.quiet);
        }
        let place = match act.position {
            Some(position) => At { position, now: act.as_of },
            None => self.next_place(act.as_of),
        };
        let event = match &act.deed {
            Deed::Did(event) => event,
            Deed::Woke => return self.decide_at(who, place, &Input::Timer, None),
            Deed::Ended { message, status, left } => return self.ended(place, *message, status, left),
        };
        // What decisions made happen then happens if they make it happen now.
        if self.record.own.contains(&event.id) && !self.announced.remove(&event.id) {
            return;
        }
        self.tell_of_given(who, event);
        let Some(one) = self.people.get_mut(who) else { return };
        if self.tells {
            self.timeline.event(act.at, &one.name, &event.name);
        }
        one.loaded.bodies.insert(place.position, event.clone());
        let joins = act.joins.map(|other| self.heir(other)).filter(|other| *other != who);
        self.decide_at(who, place, &Input::Event(event.clone()), joins);
        if let Some(address) = self.change_list(event) {
            self.tell_holders(act.at, &[address]);
        }
        let misfits = if self.tells { self.catalog.misfits(event) } else { Vec::new() };
        for misfit in misfits {
            self.find(who, act.at, &misfit.campaign, misfit.version, misfit.verdict);
        }
    }

    /// A place behind all that is logged.
    fn next_place(&mut self, now: Timestamp) -> At {
        self.log += 1;
        At { position: Position(self.log), now }
    }

    fn decide(&mut self, index: usize, now: Timestamp, input: &Input) {
        let place = self.next_place(now);
        self.decide_at(index, place, input, None);
    }

    fn decide_at(&mut self, index: usize, place: At, input: &Input, joins: Option<usize>) {
        let Some(Someone { person, loaded, .. }) = self.people.get(index) else { return };
        let now = place.now;
        let snapshot = Snapshot { catalog: self.catalog, person, loaded, settle: Span::ZERO };
        let other = joins.and_then(|other| self.people.get(other));
        let other = other.map(|one| Other { person: &one.person, loaded: &one.loaded });
        let Decision { effects, findings } = match other {
            Some(other) => decide_joined(place, &snapshot, other, input),
            None => decide(place, &snapshot, input),
        };
        if let Some(other) = joins {
            self.join(index, other);
        }
        let (mut follow, mut changed) = (Vec::new(), Vec::new());
        for effect in effects {
            self.people[index].person.apply(&effect);
            match effect {
                Effect::CreateMessage(message) => self.create(message),
                Effect::RenewMessage { message, event } => self.renew(message, event),
                Effect::CancelMessage { message, reason } => self.cancel(now, message, reason),
                Effect::Happen(event) => follow.push(event.into_event()),
                Effect::Suppress { channel, address, kind, source, at } => {
                    let profile = Some(self.people[index].person.profile.id);
                    changed.extend(Address::parse(channel, &address));
                    let listed = self.suppressions.entry(Subject::Address(channel, address)).or_default();
                    listed.push(Suppression { kind, source, at, profile });
                }
                Effect::LiftSuppression { channel, address, kind, of_anybody, .. } => {
                    let profile = Some(self.people[index].person.profile.id);
                    changed.extend(Address::parse(channel, &address));
                    let listed = self.suppressions.entry(Subject::Address(channel, address)).or_default();
                    listed.retain(|one| one.kind != kind || !(of_anybody || one.profile == profile));
                }
                _ => {}
            }
        }
        for finding in findings {
            self.find(index, now, &finding.campaign, finding.version, finding.verdict);
        }
        for event in follow {
            if self.record.own.contains(&event.id) {
                self.announced.insert(event.id);
                continue;
            }
            let event = Arc::new(event);
            let place = self.next_place(event.at);
            self.people[index].loaded.bodies.insert(place.position, event.clone());
            self.decide_at(index, place, &Input::Event(event), None);
        }
        self.tell_holders(now, &changed);
    }

    fn create(&mut self, message: Message) {
        let enrollment = self.people.iter().find_map(|one| one.person.enrollments.get(&message.enrollment));
        let key = enrollment.map_or("", |enrollment| enrollment.key.as_str());
        self.keys.insert(message.id, key.to_owned());
        let status = self.record.status_of(&message);
        self.messages.push(Message { status, ..message });
    }

    fn renew(&mut self, id: MessageId, event: Position) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id) {
            message.event = event;
        }
    }

    fn cancel(&mut self, now: Timestamp, id: MessageId, reason: Reason) {
        // One that was claimed meanwhile goes out: the exit came after the claim.
        if self.was_claimed(now, id) {
            return;
        }
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id && !message.status.is_final()) {
            message.status = Status::Cancelled { at: now, reason };
            self.release(id);
        }
    }

    fn find(&mut self, index: usize, now: Timestamp, key: &str, version: u32, verdict: FindingVerdict) {
        if self.tells {
            self.tell(index, now, &format!("{key}@v{version}"), &verdict);
        }
        match verdict {
            FindingVerdict::Entered { .. } => self.note(now, index, key, What::Enrolled),
            FindingVerdict::Exited { by, .. } => {
                self.note(now, index, key, What::Exited { by: by.clone() });
                self.note(now, index, key, What::NotSent(Reason::Exited { by, at: now }));
            }
            FindingVerdict::NotEntered { reason } => self.note(now, index, key, What::NotEntered(reason)),
            FindingVerdict::Converted { .. } => self.note(now, index, key, What::Converted),
            FindingVerdict::Segment { segment, entered, .. } => {
                self.note_of_person(now, index, What::Segment { entered, segment });
            }
            FindingVerdict::Trait { name, to, .. } => self.note_of_person(now, index, What::Trait { name, to }),
            // People of a story are told apart by their names.
            FindingVerdict::Repeated { .. }
            | FindingVerdict::Queued { .. }
            | FindingVerdict::Noted { .. }
            | FindingVerdict::Completed { .. }
            | FindingVerdict::Merged(_) => {}
        }
    }

    fn note(&mut self, at: Timestamp, index: usize, campaign: &str, what: What) {
        let Some(send) = self.catalog.campaign(campaign).map(|campaign| &campaign.send) else { return };
        let (template, channel) = (send.template.clone(), send.channel);
        let (person, campaign) = (self.people[index].name.clone(), campaign.to_owned());
        self.happenings.push(Happening { at, person, campaign, template, channel, what });
    }

    /// Of the person alone, of no campaign.
    fn note_of_person(&mut self, at: Timestamp, index: usize, what: What) {
        let person = self.people[index].name.clone();
        let (campaign, template) = (String::new(), String::new());
        self.happenings.push(Happening { at, person, campaign, template, channel: Channel::Email, what });
    }

    /// Of a message itself: one that asks for a confirmation has no campaign.
    fn note_message(&mut self, at: Timestamp, person: &str, message: &Message, what: What) {
        let Message { campaign, template, channel, .. } = message;
        let (campaign, template) = (campaign.clone(), template.clone());
        self.happenings.push(Happening { at, person: person.to_owned(), campaign, template, channel: *channel, what });
    }
}

fn value_text(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), clipped)
}

fn labelled(name: &str, key: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{name} ({key})") }
}

//! The world of one story: people, a log, an outbox and slots in memory, and the clock that jumps to what is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::audience::condition::{Facts, Received};
use crate::audience::segment::Answers;
use crate::decision::{At, Catalog, Decision, Effect, FindingVerdict, Input, Loaded, Person, Snapshot, decide};
use crate::event::Event;
use crate::event::pattern::clipped;
use crate::guard::{
    Candidate, Draft, GuardState, Neighbour, Rule, Slot, Subject, Verdict, address_of, capped, check, frequency_cap,
    quiet_hours,
};
use crate::ids::{MessageId, Position, Span, Timestamp};
use crate::message::{Channel, Message, Reason, Status, Suppression};
use crate::story::timeline::{Timeline, instant};

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
    Exited { by: String },
    Sent,
    NotSent(Reason),
    NotEntered(Reason),
    Segment { entered: bool, segment: String },
    Trait { name: String, to: Option<Value> },
}

impl Happening {
    pub fn words(&self) -> String {
        let what = match &self.what {
            What::Enrolled => format!("enrolled in {}", self.campaign),
            What::Exited { by } => format!("exited from {} by {by}", self.campaign),
            What::Segment { entered: true, segment } => format!("entered segment {segment}"),
            What::Segment { entered: false, segment } => format!("left segment {segment}"),
            What::Trait { name, to } => format!("{name} changed to {}", value_text(to.as_ref())),
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
}

/// Something one of them does, by their place among the people.
#[derive(Debug, Clone)]
pub struct Act {
    pub at: Timestamp,
    pub who: usize,
    pub event: Arc<Event>,
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
    /// The key of each message's enrollment, by which the timeline tells messages apart.
    keys: BTreeMap<MessageId, String>,
    /// Whether it is told of every campaign whose pattern did not fit; with thousands of campaigns that is most of it.
    pub tells_misfits: bool,
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
            keys: BTreeMap::new(),
            tells_misfits: true,
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
        for _ in 0..steps_max {
            let wake = self.people.iter().filter_map(|one| one.person.wake_at).min();
            let due = self.messages.iter().filter_map(|message| message.status.due_at()).min();
            let Some(now) = [wake, due, acts.get(next).map(|act| act.at)].into_iter().flatten().min() else {
                return Ok(());
            };
            if until.is_some_and(|until| until < now) {
                return Ok(());
            }
            self.fire_timers(now);
            while let Some(act) = acts.get(next).filter(|act| act.at <= now) {
                next += 1;
                self.happen(act);
            }
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
        for Someone { person, loaded, .. } in &mut self.people {
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
            self.decide(index, at, &Input::Timer);
            // A timer that stays in the past has nothing more to say.
            let person = &mut self.people[index].person;
            person.wake_at = person.wake_at.filter(|wake| *wake > at);
        }
    }

    fn happen(&mut self, act: &Act) {
        let Act { at, who, event } = act;
        let Some(one) = self.people.get_mut(*who) else { return };
        self.timeline.event(*at, &one.name, &event.name);
        one.loaded.bodies.insert(Position(self.log + 1), event.clone());
        self.decide(*who, *at, &Input::Event(event.clone()));
        let misfits = if self.tells_misfits { self.catalog.misfits(event) } else { Vec::new() };
        for misfit in misfits {
            self.find(*who, *at, &misfit.campaign, misfit.version, misfit.verdict);
        }
    }

    fn decide(&mut self, index: usize, now: Timestamp, input: &Input) {
        self.log += 1;
        let Someone { person, loaded, .. } = &self.people[index];
        let snapshot = Snapshot { catalog: self.catalog, person, loaded, settle: Span::ZERO };
        let Decision { effects, findings } = decide(At { position: Position(self.log), now }, &snapshot, input);
        let mut follow = Vec::new();
        for effect in effects {
            self.people[index].person.apply(&effect);
            match effect {
                Effect::CreateMessage(message) => self.create(message),
                Effect::RenewMessage { message, event } => self.renew(message, event),
                Effect::CancelMessage { message, reason } => self.cancel(now, message, reason),
                Effect::Happen(event) => follow.push(event.into_event()),
                Effect::Suppress { channel, address, kind, source, at } => {
                    let profile = Some(self.people[index].person.profile.id);
                    let listed = self.suppressions.entry(Subject::Address(channel, address)).or_default();
                    listed.push(Suppression { kind, source, at, profile });
                }
                Effect::LiftSuppression { channel, address, kind, of_anybody, .. } => {
                    let profile = Some(self.people[index].person.profile.id);
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
            let event = Arc::new(event);
            self.people[index].loaded.bodies.insert(Position(self.log + 1), event.clone());
            self.decide(index, event.at, &Input::Event(event));
        }
    }

    fn create(&mut self, message: Message) {
        let enrollment = self.people.iter().find_map(|one| one.person.enrollments.get(&message.enrollment));
        let key = enrollment.map_or("", |enrollment| enrollment.key.as_str());
        self.keys.insert(message.id, key.to_owned());
        self.messages.push(message);
    }

    fn renew(&mut self, id: MessageId, event: Position) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id) {
            message.event = event;
        }
    }

    fn cancel(&mut self, now: Timestamp, id: MessageId, reason: Reason) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id && !message.status.is_final()) {
            message.status = Status::Cancelled { at: now, reason };
        }
    }

    fn find(&mut self, index: usize, now: Timestamp, key: &str, version: u32, verdict: FindingVerdict) {
        let person = self.people[index].name.clone();
        let named = |enrolled: &str| labelled(&format!("{key}@v{version}"), enrolled);
        match verdict {
            FindingVerdict::Entered { key: enrolled, until } => {
                let wait = if until > now { format!(", waits until {}", instant(until)) } else { String::new() };
                self.timeline.did(now, &person, &format!("enrolled {}{wait}", named(&enrolled)));
                self.note(now, &person, key, What::Enrolled);
            }
            FindingVerdict::Repeated { key: enrolled, until } => {
                let wait = until.map_or(String::new(), |until| format!(", waits until {}", instant(until)));
                self.timeline.did(now, &person, &format!("repeated {}{wait}", named(&enrolled)));
            }
            FindingVerdict::Exited { key: enrolled, by } => {
                self.timeline.did(now, &person, &format!("exited {}: {by}", named(&enrolled)));
                self.note(now, &person, key, What::Exited { by: by.clone() });
                self.note(now, &person, key, What::NotSent(Reason::Exited { by, at: now }));
            }
            FindingVerdict::Queued { message, .. } => {
                if let Some(message) = self.messages.iter().find(|known| known.id == message) {
                    let what = format!("queued {}", self.named(message));
                    self.timeline.did(now, &person, &what);
                }
            }
            FindingVerdict::NotEntered { reason } => {
                let what = format!("not enrolled {key}@v{version}: {}", reason.sentence());
                self.timeline.did_not(now, &person, &what);
                self.note(now, &person, key, What::NotEntered(reason));
            }
            FindingVerdict::Converted { .. } => self.timeline.did(now, &person, &format!("converted {key}@v{version}")),
            FindingVerdict::Segment { segment, entered, because, .. } => {
                let verb = if entered { "entered" } else { "left" };
                self.timeline.did(now, &person, &format!("{verb} segment {segment}: {because}"));
                self.note_of_person(now, person, What::Segment { entered, segment });
            }
            FindingVerdict::Trait { name, from, to, because, .. } => {
                let (before, after) = (value_text(from.as_ref()), value_text(to.as_ref()));
                self.timeline.did(now, &person, &format!("{name} changed from {before} to {after}: {because}"));
                self.note_of_person(now, person, What::Trait { name, to });
            }
            FindingVerdict::Noted { reason } => self.timeline.did_not(now, &person, &reason.sentence()),
            // People of a story are told apart by their names.
            FindingVerdict::Completed { .. } | FindingVerdict::Merged(_) => {}
        }
    }

    fn note(&mut self, at: Timestamp, person: &str, campaign: &str, what: What) {
        let Some(send) = self.catalog.campaign(campaign).map(|campaign| campaign.send.clone()) else { return };
        let (person, campaign) = (person.to_owned(), campaign.to_owned());
        self.happenings.push(Happening { at, person, campaign, template: send.template, channel: send.channel, what });
    }

    /// Of the person alone, of no campaign.
    fn note_of_person(&mut self, at: Timestamp, person: String, what: What) {
        let (campaign, template) = (String::new(), String::new());
        self.happenings.push(Happening { at, person, campaign, template, channel: Channel::Email, what });
    }

    /// Of a message itself: one that asks for a confirmation has no campaign.
    fn note_message(&mut self, at: Timestamp, person: &str, message: &Message, what: What) {
        let Message { campaign, template, channel, .. } = message;
        let (campaign, template) = (campaign.clone(), template.clone());
        self.happenings.push(Happening { at, person: person.to_owned(), campaign, template, channel: *channel, what });
    }

    /// Messages that are due, the most important first.
    fn dispatch(&mut self, now: Timestamp) {
        let is_due = |message: &Message| message.status.due_at().is_some_and(|due| due <= now);
        let mut due: Vec<usize> = (0..self.messages.len()).filter(|index| is_due(&self.messages[*index])).collect();
        due.sort_by_key(|index| {
            let message = &self.messages[*index];
            (std::cmp::Reverse(message.priority), message.status.due_at(), *index)
        });
        for index in due {
            // An earlier one of this turn may have ended it.
            if is_due(&self.messages[index]) {
                self.attempt(now, index);
            }
        }
    }

    fn attempt(&mut self, now: Timestamp, index: usize) {
        let message = self.messages[index].clone();
        let Some(owner) = self.people.iter().position(|one| one.person.profile.id == message.profile) else {
            return;
        };
        let verdict = self.verdict(now, owner, &message);
        let person = self.people[owner].name.clone();
        let status = match verdict {
            Some(Verdict::Suppress { reason }) => {
                self.timeline.did_not(
                    now,
                    &person,
                    &format!("not sent {}: {}", self.named(&message), self.sentence(&reason)),
                );
                self.note_message(now, &person, &message, What::NotSent(reason.clone()));
                Status::Suppressed { at: now, reason }
            }
            Some(Verdict::Defer { until, reason }) => {
                let why = self.sentence(&reason);
                self.timeline.did_not(
                    now,
                    &person,
                    &format!("deferred {} to {} ({why})", self.named(&message), instant(until)),
                );
                self.messages[index].wait_for(&reason);
                if matches!(reason, Reason::Capped { .. }) {
                    self.messages[index].capped_at.get_or_insert(now);
                }
                Status::Deferred { until, reason }
            }
            Some(Verdict::NeedsSlots(_) | Verdict::Clear(_)) | None => {
                let what = format!("sent {}", self.named(&message));
                self.timeline.did(now, &person, &what);
                self.note_message(now, &person, &message, What::Sent);
                Status::Sent { at: now, reply: "story".to_owned() }
            }
        };
        self.messages[index].status = status.clone();
        if status.is_final() {
            self.people[owner].person.note_message(message.id, &message.campaign, None);
            if matches!(status, Status::Sent { .. }) {
                let received = Received { campaign: message.campaign.clone(), at: now };
                self.people[owner].loaded.received.push(received);
            }
            self.decide(owner, now, &Input::MessageEnded { message: message.id, status });
        }
    }

    /// The guard's word, with slots asked for and taken; none where slots were granted.
    fn verdict(&mut self, now: Timestamp, owner: usize, message: &Message) -> Option<Verdict> {
        let Someone { person, loaded, .. } = &self.people[owner];
        let profile = &person.profile;
        let address = address_of(profile, message.channel).ok();
        let subject = address.map(|address| Subject::Address(message.channel, address.normalised().to_owned()));
        let listed = subject.as_ref().and_then(|subject| self.suppressions.get(subject));
        let neighbours = subject.as_ref().map_or_else(Vec::new, |subject| self.neighbours(subject));
        let answers = Answers::default();
        let terms = (&self.catalog.terms, &answers);
        let policy = self.catalog.policy(message.channel).cloned().unwrap_or_default();
        let state = GuardState {
            suppressions: listed.map_or(&[], Vec::as_slice),
            unknown_consent: policy.admits_unknown(&Facts::of_person(now, terms, profile, loaded.past())),
            topic: message.topic.as_deref().and_then(|topic| self.catalog.topic(topic)),
            neighbours: &neighbours,
            rules: self.rules,
            quiet: self.quiet,
            zone: self.catalog.terms.zone.clone().unwrap_or(TimeZone::UTC),
            ..GuardState::of(profile)
        };
        let request = match check(now, &state, Draft(message.clone())) {
            Verdict::NeedsSlots(request) => request,
            verdict => return Some(verdict),
        };
        let slot = request.slot(now);
        for subject in request.subjects() {
            let used = self.slots.get(subject).map_or(&[][..], Vec::as_slice);
            let candidate = Candidate { slot: &slot, priority: message.priority, zone: request.zone() };
            if let Err(full) = frequency_cap::fits(request.rules(), used, candidate) {
                return Some(capped(now, message, full, None));
            }
        }
        if request.counts() {
            for subject in request.subjects() {
                self.slots.entry(subject.clone()).or_default().push(slot.clone());
            }
        }
        None
    }

    /// What was sent to this address.
    fn neighbours(&self, subject: &Subject) -> Vec<Neighbour> {
        let to = |message: &Message| {
            let one = self.people.iter().find(|one| one.person.profile.id == message.profile)?;
            let address = address_of(&one.person.profile, message.channel).ok()?;
            Some(Subject::Address(message.channel, address.normalised().to_owned()))
        };
        let sent = self.messages.iter().filter(|message| matches!(message.status, Status::Sent { .. }));
        let there = sent.filter(|message| to(message).as_ref() == Some(subject));
        there
            .map(|message| Neighbour {
                message: message.id,
                profile: message.profile,
                campaign: message.campaign.clone(),
                created_at: message.created_at,
            })
            .collect()
    }

    /// `email cart_reminder (c1)`.
    fn named(&self, message: &Message) -> String {
        let key = self.keys.get(&message.id).map_or("", String::as_str);
        labelled(&format!("{} {}", message.channel.as_str(), message.template), key)
    }

    /// The reason's sentence, with messages called by template and key instead of by id.
    fn sentence(&self, reason: &Reason) -> String {
        let mut text = reason.sentence();
        if let Reason::Capped { by, .. } = reason {
            for message in self.messages.iter().filter(|message| by.contains(&message.id)) {
                text = text.replace(&message.id.to_string(), &self.named(message));
            }
        }
        text
    }
}

fn value_text(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), clipped)
}

fn labelled(name: &str, key: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{name} ({key})") }
}

//! The world of one story: people, a log, an outbox and slots in memory, and the clock that jumps to what is next.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::audience::Profile;
use crate::audience::condition::{Facts, Terms};
use crate::audience::consent::{Consent, Via};
use crate::audience::segment::{Answers, SegmentSet};
use crate::decision::campaign::CampaignStatus;
use crate::decision::{
    At, CONSENT_CHANGED, Catalog, Decision, Effect, FindingVerdict, Input, Loaded, Permissions, Person, Snapshot,
    decide,
};
use crate::definition::story::{Given, Story};
use crate::definition::{Definition, Document};
use crate::event::{Body, Event, Kind, Origin};
use crate::guard::{
    Candidate, Draft, GuardState, Neighbour, Rule, Slot, Subject, Verdict, address_of, capped, check, frequency_cap,
};
use crate::ids::{EventId, MessageId, Position, ProfileId, Span, Timestamp};
use crate::message::{Channel, Message, Reason, Status, Suppression};
use crate::money::Exchange;
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
    Segment { entered: bool, segment: String },
}

impl Happening {
    pub fn words(&self) -> String {
        let what = match &self.what {
            What::Enrolled => format!("enrolled in {}", self.campaign),
            What::Exited { by } => format!("exited from {} by {by}", self.campaign),
            What::Segment { entered: true, segment } => format!("entered segment {segment}"),
            What::Segment { entered: false, segment } => format!("left segment {segment}"),
            What::Sent => format!("sent {} by {}", self.template, self.channel.as_str()),
            What::NotSent(reason) => format!("not sent {} ({}: {})", self.template, reason.code(), reason.sentence()),
        };
        format!("{what} at {}", instant(self.at))
    }
}

pub struct World {
    catalog: Catalog,
    rules: Vec<Rule>,
    people: Vec<(String, Person, Loaded)>,
    messages: Vec<Message>,
    slots: BTreeMap<Subject, Vec<Slot>>,
    /// The suppression list, by the subject of the address.
    suppressions: BTreeMap<Subject, Vec<Suppression>>,
    log: i64,
    /// The key of each message's enrollment, by which the timeline tells messages apart.
    keys: BTreeMap<MessageId, String>,
    pub timeline: Timeline,
    pub happenings: Vec<Happening>,
}

impl World {
    pub fn new(documents: &[Document], story: &Story) -> Self {
        let mut campaigns = Vec::new();
        let mut rules = Vec::new();
        let mut permissions = Permissions::default();
        let (mut segments, mut exchange) = (Vec::new(), Exchange::default());
        for document in documents {
            match &document.definition {
                Definition::Campaign(campaign) if story.campaigns.contains(&campaign.key) => {
                    let mut campaign = campaign.clone();
                    campaign.status = CampaignStatus::Live;
                    campaign.version = campaign.version.max(1);
                    campaigns.push(campaign);
                }
                Definition::Segment(segment) => segments.push((segment.clone(), Position(1))),
                Definition::Rates(rates) => exchange.rates = rates.clone(),
                Definition::Caps(caps) => rules.extend(caps.iter().cloned()),
                Definition::ConsentPolicy(policy) => {
                    let rules = policy.iter().map(|rule| (rule.channel, rule.policy.clone()));
                    permissions.policies.extend(rules);
                }
                Definition::Topic(topic) => drop(permissions.topics.insert(topic.key.clone(), topic.clone())),
                _ => {}
            }
        }
        let start = story.given.first().map_or(Timestamp::from_millis(0), |given| given.at);
        let segments = SegmentSet::new(segments, Position(1));
        let terms = Terms { exchange, segments, ..Terms::default() };
        Self {
            catalog: Catalog::new(campaigns, BTreeSet::new(), permissions).with_terms(terms),
            rules,
            people: people(story, start),
            messages: Vec::new(),
            slots: BTreeMap::new(),
            suppressions: BTreeMap::new(),
            log: 0,
            keys: BTreeMap::new(),
            timeline: Timeline::default(),
            happenings: Vec::new(),
        }
    }

    /// Lets everything given happen, and then time pass until nothing is due. At one instant: waits that end, then
    /// events, then messages.
    pub fn run(&mut self, given: &[Given]) -> Result<(), String> {
        let mut next = 0;
        self.begin();
        for _ in 0..STEPS_MAX {
            let wake = self.people.iter().filter_map(|(_, person, _)| person.wake_at).min();
            let due = self.messages.iter().filter_map(|message| message.status.due_at()).min();
            let Some(now) = [wake, due, given.get(next).map(|given| given.at)].into_iter().flatten().min() else {
                return Ok(());
            };
            self.fire_timers(now);
            while let Some(given) = given.get(next).filter(|given| given.at <= now) {
                next += 1;
                self.happen(given);
            }
            self.dispatch(now);
        }
        Err(format!("the story does not come to an end within {STEPS_MAX} steps"))
    }

    /// Where everybody stands as the story begins is given; it is nothing that happens.
    fn begin(&mut self) {
        if self.catalog.terms.segments.is_empty() {
            return;
        }
        for (_, person, loaded) in &mut self.people {
            let now = person.profile.created_at;
            let snapshot = Snapshot { catalog: &self.catalog, person, loaded, settle: Span::ZERO };
            let decision = decide(At { position: Position(self.log), now }, &snapshot, &Input::Timer);
            decision.effects.iter().for_each(|effect| person.apply(effect));
        }
    }

    fn fire_timers(&mut self, now: Timestamp) {
        for index in 0..self.people.len() {
            let Some(at) = self.people[index].1.wake_at.filter(|at| *at <= now) else { continue };
            self.decide(index, at, &Input::Timer);
            // A timer that stays in the past has nothing more to say.
            let person = &mut self.people[index].1;
            person.wake_at = person.wake_at.filter(|wake| *wake > at);
        }
    }

    fn happen(&mut self, given: &Given) {
        let Some(index) = self.people.iter().position(|(name, ..)| *name == given.person) else { return };
        self.timeline.event(given.at, &given.person, &given.event);
        let event = event(given, self.log + 1, &self.people[index].1.profile);
        self.people[index].2.bodies.insert(Position(self.log + 1), event.clone());
        self.decide(index, given.at, &Input::Event(event));
    }

    fn decide(&mut self, index: usize, now: Timestamp, input: &Input) {
        self.log += 1;
        let (_, person, loaded) = &self.people[index];
        let snapshot = Snapshot { catalog: &self.catalog, person, loaded, settle: Span::ZERO };
        let Decision { effects, findings } = decide(At { position: Position(self.log), now }, &snapshot, input);
        let mut follow = Vec::new();
        for effect in effects {
            self.people[index].1.apply(&effect);
            match effect {
                Effect::CreateMessage(message) => self.create(message),
                Effect::RenewMessage { message, event } => self.renew(message, event),
                Effect::CancelMessage { message, reason } => self.cancel(now, message, reason),
                Effect::Happen(event) => follow.push(event.into_event()),
                Effect::Suppress { channel, address, kind, source, at } => {
                    let profile = Some(self.people[index].1.profile.id);
                    let listed = self.suppressions.entry(Subject::Address(channel, address)).or_default();
                    listed.push(Suppression { kind, source, at, profile });
                }
                Effect::LiftSuppression { channel, address, kind, of_anybody, .. } => {
                    let profile = Some(self.people[index].1.profile.id);
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
            self.people[index].2.bodies.insert(Position(self.log + 1), event.clone());
            self.decide(index, event.at, &Input::Event(event));
        }
    }

    fn create(&mut self, message: Message) {
        let enrollment = self.people.iter().find_map(|(_, person, _)| person.enrollments.get(&message.enrollment));
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
        let person = self.people[index].0.clone();
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
                self.note(now, &person, key, What::NotSent(reason));
            }
            FindingVerdict::Converted { .. } => self.timeline.did(now, &person, &format!("converted {key}@v{version}")),
            FindingVerdict::Segment { segment, entered, because, .. } => {
                let verb = if entered { "entered" } else { "left" };
                self.timeline.did(now, &person, &format!("{verb} segment {segment}: {because}"));
                let what = What::Segment { entered, segment };
                let (campaign, template) = (String::new(), String::new());
                self.happenings.push(Happening { at: now, person, campaign, template, channel: Channel::Email, what });
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
        let Some(owner) = self.people.iter().position(|(_, person, _)| person.profile.id == message.profile) else {
            return;
        };
        let verdict = self.verdict(now, owner, &message);
        let person = self.people[owner].0.clone();
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
            self.people[owner].1.note_outcome(&self.messages[index]);
            self.decide(owner, now, &Input::MessageEnded { message: message.id, status });
        }
    }

    /// The guard's word, with slots asked for and taken; none where slots were granted.
    fn verdict(&mut self, now: Timestamp, owner: usize, message: &Message) -> Option<Verdict> {
        let (_, person, loaded) = &self.people[owner];
        let profile = &person.profile;
        let address = address_of(profile, message.channel).ok();
        let subject = address.map(|address| Subject::Address(message.channel, address.normalised().to_owned()));
        let listed = subject.as_ref().and_then(|subject| self.suppressions.get(subject));
        let neighbours = subject.as_ref().map_or_else(Vec::new, |subject| self.neighbours(subject));
        let (older, bodies) = (loaded.older.as_slice(), &loaded.bodies);
        let answers = Answers::default();
        let terms = (&self.catalog.terms, &answers);
        let policy = self.catalog.policy(message.channel).cloned().unwrap_or_default();
        let state = GuardState {
            suppressions: listed.map_or(&[], Vec::as_slice),
            unknown_consent: policy.admits_unknown(&Facts::of_person(now, terms, profile, (older, bodies))),
            topic: message.topic.as_deref().and_then(|topic| self.catalog.topic(topic)),
            neighbours: &neighbours,
            rules: &self.rules,
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
            let (_, person, _) = self.people.iter().find(|(_, person, _)| person.profile.id == message.profile)?;
            let address = address_of(&person.profile, message.channel).ok()?;
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

fn labelled(name: &str, key: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{name} ({key})") }
}

fn people(story: &Story, start: Timestamp) -> Vec<(String, Person, Loaded)> {
    let mut people = Vec::new();
    for (given, id) in story.profiles.iter().zip(1..) {
        let mut person = Person::new(ProfileId(id), start);
        person.profile.user_id = Some(given.name.clone());
        person.profile.traits = given.traits.clone();
        for (channel, state) in &given.consent {
            let Some(state) = *state else { continue };
            let consent = Consent { state, source: "story".to_owned(), at: start, text_version: None, via: Via::Event };
            person.profile.consent.insert(channel.as_str().to_owned(), consent);
        }
        people.push((given.name.clone(), person, Loaded::default()));
    }
    people
}

/// What a line says happened. An answer that says by which way it came (`via: link`, `page`, `confirmation`, `api`) is
/// our own event: somebody followed the link in a mail to their present address.
fn event(given: &Given, position: i64, profile: &Profile) -> Event {
    let message_id = format!("story-{position}");
    let mut properties = given.properties.clone();
    let text = |name: &str| given.properties.get(name).and_then(Value::as_str);
    let is_ours = given.event == CONSENT_CHANGED && text("via").and_then(Via::parse).is_some();
    let channel = text("channel").and_then(Channel::parse).filter(|_| is_ours);
    if let Some(address) = channel.and_then(|channel| address_of(profile, channel).ok()) {
        properties.insert("address_channel".to_owned(), address.channel().as_str().into());
        properties.insert("address".to_owned(), address.normalised().into());
    }
    let body = json!({
        "type": "track",
        "event": given.event,
        "userId": given.person,
        "messageId": message_id,
        "timestamp": given.at.to_string(),
        "properties": properties,
    });
    Event {
        id: EventId::derive(&[message_id.as_bytes()]),
        kind: if is_ours { Kind::Own } else { Kind::Track },
        name: given.event.clone(),
        message_id,
        version: 1,
        source: "story".to_owned(),
        correlation_id: String::new(),
        user_id: Some(given.person.clone()),
        anonymous_id: None,
        previous_id: None,
        at: given.at,
        received_at: given.at,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body.to_string()),
    }
}

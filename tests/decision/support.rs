//! A person, a catalog read from YAML, and a log of inputs decided one by one, each of them twice.

use std::collections::{BTreeMap, BTreeSet};

use carillon::decision::{
    At, Campaign, Catalog, Decision, Effect, Enrollment, FindingVerdict, Input, Loaded, Permissions, Person, Snapshot,
    State, decide,
};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Body, Event, Kind, Origin};
use carillon::ids::{EventId, MessageId, Position, ProfileId, Span, Timestamp};
use carillon::message::Message;

pub struct Life {
    pub catalog: Catalog,
    pub person: Person,
    pub loaded: Loaded,
    pub position: i64,
    pub messages: BTreeMap<MessageId, Message>,
}

/// Seconds after the beginning of every test.
pub fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
    start.plus(Span::from_seconds(seconds))
}

/// A live campaign `cart`, entered by Product Added, with these fields and those of a trigger.
pub fn campaign(version: u32, fields: &str) -> Campaign {
    campaign_called("cart", version, fields)
}

pub fn campaign_called(key: &str, version: u32, fields: &str) -> Campaign {
    let entry = if fields.starts_with("entry:") || fields.contains("\nentry:") {
        ""
    } else {
        "entry: { event: Product Added }"
    };
    let text = format!(
        "kind: campaign\nkey: {key}\nname: Cart\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\nsend: {{ channel: email, template: note }}\n{entry}\n{fields}\n"
    );
    let documents = read(&[SourceFile { name: "cart.yaml".into(), text }]).unwrap();
    let Definition::Campaign(mut campaign) = documents.into_iter().next().unwrap().definition else { panic!() };
    campaign.version = version;
    campaign
}

pub fn catalog(campaigns: Vec<Campaign>) -> Catalog {
    Catalog::new(campaigns, BTreeSet::new(), Permissions::default())
}

pub fn event(name: &str, happened: Timestamp, received: Timestamp, body: &str) -> Event {
    let kind = if name == "Identified" { Kind::Identify } else { Kind::Track };
    Event {
        id: EventId::derive(&[name.as_bytes(), body.as_bytes(), &happened.millis().to_le_bytes()]),
        kind,
        name: name.into(),
        message_id: "m".into(),
        version: 1,
        source: "web".into(),
        correlation_id: String::new(),
        trace: None,
        user_id: Some("ann".into()),
        anonymous_id: None,
        previous_id: None,
        at: happened,
        received_at: received,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body),
    }
}

impl Life {
    pub fn with(fields: &str) -> Self {
        Self::of(vec![campaign(1, fields)])
    }

    pub fn of(campaigns: Vec<Campaign>) -> Self {
        Self {
            catalog: catalog(campaigns),
            person: Person::new(ProfileId(1), at(0)),
            loaded: Loaded::default(),
            position: 0,
            messages: BTreeMap::new(),
        }
    }

    pub fn decide(&mut self, now: Timestamp, input: &Input) -> Decision {
        self.position += 1;
        let place = At { position: Position(self.position), now };
        if let Input::Event(event) = input {
            self.loaded.bodies.insert(place.position, event.clone());
        }
        let snapshot = Snapshot {
            catalog: &self.catalog,
            person: &self.person,
            loaded: &self.loaded,
            settle: Span::from_seconds(2),
        };
        let decision = decide(place, &snapshot, input);
        assert_eq!(decide(place, &snapshot, input), decision, "deciding twice gives the same effects");
        for effect in &decision.effects {
            self.person.apply(effect);
            match effect {
                Effect::CreateMessage(message) => {
                    let known = self.messages.insert(message.id, message.clone());
                    assert!(known.is_none(), "{} is made twice", message.id);
                }
                Effect::CancelMessage { message, .. } => drop(self.messages.remove(message)),
                _ => {}
            }
        }
        decision
    }

    /// An event that is received as it happens.
    pub fn track(&mut self, seconds: i64, name: &str, properties: &str) -> Decision {
        self.late(seconds, seconds, name, properties)
    }

    pub fn late(&mut self, happened: i64, received: i64, name: &str, properties: &str) -> Decision {
        let body = format!(r#"{{"properties":{properties}}}"#);
        let event = event(name, at(happened), at(received), &body);
        self.decide(at(received), &Input::Event(event.into()))
    }

    pub fn identify(&mut self, seconds: i64, traits: &str) -> Decision {
        let event = event("Identified", at(seconds), at(seconds), &format!(r#"{{"traits":{traits}}}"#));
        self.decide(at(seconds), &Input::Event(event.into()))
    }

    /// The person's timer, at the instant they asked for.
    pub fn wake(&mut self) -> Decision {
        let now = self.person.wake_at.expect("nobody is to be woken");
        self.person.wake_at = None;
        self.decide(now, &Input::Timer)
    }

    pub fn only(&self) -> &Enrollment {
        let mut all = self.person.enrollments.values();
        let one = all.next().expect("no enrollment");
        assert!(all.next().is_none(), "more than one enrollment");
        one
    }

    pub fn waits_until(&self) -> Timestamp {
        match self.only().state {
            State::Waiting { until } => until,
            ref other => panic!("{other:?}"),
        }
    }

    pub fn exited(&self) -> (Timestamp, String) {
        match &self.only().state {
            State::Exited { at, by, .. } => (*at, by.clone()),
            other => panic!("{other:?}"),
        }
    }
}

pub fn verdicts(decision: &Decision) -> Vec<&'static str> {
    let name = |verdict: &FindingVerdict| match verdict {
        FindingVerdict::Entered { .. } => "entered",
        FindingVerdict::Repeated { .. } => "repeated",
        FindingVerdict::Exited { .. } => "exited",
        FindingVerdict::Queued { .. } => "queued",
        FindingVerdict::Completed { .. } => "completed",
        FindingVerdict::Converted { .. } => "converted",
        FindingVerdict::NotEntered { reason } => reason.code(),
        _ => "other",
    };
    decision.findings.iter().map(|finding| name(&finding.verdict)).collect()
}

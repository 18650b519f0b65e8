//! The database in miniature: the message record, and for each cap subject the version of its history, changed only by
//! compare-and-set in one transaction.

use std::collections::BTreeMap;
use std::sync::Mutex;

use carillon::audience::consent::{ConsentState, UnknownConsent};
use carillon::audience::{Consent, Profile};
use carillon::guard::{
    CampaignSwitch, CapVersion, Cleared, Draft, GuardState, Request, Rule, Slot, Subject, Verdict, check,
};
use carillon::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp};
use carillon::message::{CapUse, Channel, Message, OnUnknownSend, Purpose, Status, WhenCapped};

#[derive(Default)]
pub struct Record(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    versions: BTreeMap<Subject, CapVersion>,
    /// By message: its slot, and the subjects it counts for.
    messages: BTreeMap<MessageId, (Slot, Vec<Subject>)>,
}

impl Record {
    pub fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2] {
        let tables = self.0.lock().unwrap();
        [0, 1].map(|n| tables.versions.get(&subjects[n]).copied().unwrap_or_default())
    }

    /// A subject's version and slots, oldest first, in one snapshot.
    pub fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>) {
        let tables = self.0.lock().unwrap();
        let of_subject = tables.messages.values().filter(|(_, subjects)| subjects.contains(subject));
        let mut slots: Vec<Slot> = of_subject.map(|(slot, _)| slot.clone()).collect();
        slots.sort();
        slots.sort_by_key(|slot| slot.at);
        (tables.versions.get(subject).copied().unwrap_or_default(), slots)
    }

    pub fn subjects(&self) -> Vec<Subject> {
        self.0.lock().unwrap().versions.keys().cloned().collect()
    }

    /// The claiming transaction: every version as expected, or nothing.
    pub fn commit(&self, cleared: &Cleared) -> bool {
        let mut tables = self.0.lock().unwrap();
        let moves = cleared.versions();
        let as_expected =
            moves.iter().all(|step| tables.versions.get(&step.subject).copied().unwrap_or_default() == step.from);
        if as_expected {
            for step in moves {
                tables.versions.insert(step.subject.clone(), step.to);
            }
            let message = cleared.message();
            let slot = Slot {
                message: message.id,
                at: cleared.slot_at().unwrap(),
                channel: message.channel,
                topic: message.topic.clone(),
                campaign: message.campaign.clone(),
                enrollment: message.enrollment,
            };
            let subjects = moves.iter().map(|step| step.subject.clone()).collect();
            tables.messages.insert(message.id, (slot, subjects));
        }
        as_expected
    }
}

/// What the guard asks for a marketing e-mail to a person with a granted consent.
pub fn request(profile: i64, address: &str, name: u64, rules: &[Rule], now: Timestamp) -> Request {
    let mut person = Profile::new(ProfileId(profile), now);
    person.traits.insert("email".into(), address.into());
    let consent = Consent { state: ConsentState::Granted, source: "test".into(), at: now, text_version: None };
    person.consent.insert("email".into(), consent);
    let state = GuardState {
        profile: &person,
        suppressed: false,
        unknown_consent: UnknownConsent::Blocked,
        exited: None,
        campaign: CampaignSwitch::Live,
        all_paused: false,
        restore_unconfirmed: false,
        rules,
    };
    match check(now, &state, Draft(message(profile, name, now))) {
        Verdict::NeedsSlots(request) => request,
        other => panic!("{other:?}"),
    }
}

fn message(profile: i64, name: u64, now: Timestamp) -> Message {
    let id = name.to_le_bytes();
    Message {
        id: MessageId::derive(&[&id]),
        profile: ProfileId(profile),
        enrollment: EnrollmentId::derive(&[&id]),
        campaign: "cart_reminder".into(),
        campaign_version: 1,
        topic: None,
        channel: Channel::Email,
        template: "cart".into(),
        purpose: Purpose::Marketing,
        priority: 50,
        caps: CapUse { obey: true, count: true, when_capped: WhenCapped::Drop },
        on_unknown_send: OnUnknownSend::Skip,
        created_at: now,
        expires_at: now.plus(Span::from_hours(24)),
        cause: Position(1),
        event: Position(1),
        entry: Position(1),
        status: Status::Queued { due_at: now },
        attempts: 0,
        attempts_forgiven: 0,
        answer_lost_at: None,
        capped_at: None,
        slot_at: None,
        address: None,
        template_version: None,
    }
}

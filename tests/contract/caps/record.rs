//! The database in miniature: the message record, and for each cap subject the version of its history, changed only by
//! compare-and-set in one transaction. In memory, and in a file that processes share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::OptionalExtension;

use carillon::audience::consent::{ConsentState, Via};
use carillon::audience::{Consent, Profile};
use carillon::guard::{CapVersion, Cleared, Draft, GuardState, Request, Rule, Slot, Subject, Verdict, check};
use carillon::ids::{MessageId, Position, ProfileId, Span, Timestamp};
use carillon::message::{CapUse, Channel, Message, Purpose, WhenCapped};

/// What a claimant needs of a database.
pub trait Book {
    fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2];

    /// A subject's version and slots, oldest first, in one snapshot.
    fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>);

    /// The claiming transaction: every version as expected, or nothing.
    fn commit(&self, cleared: &Cleared) -> bool;

    /// Slots of a person and of an e-mail address.
    fn used(&self, profile: i64, address: &str) -> [usize; 2] {
        let subjects = [Subject::Profile(ProfileId(profile)), Subject::Address(Channel::Email, address.to_owned())];
        subjects.map(|subject| self.history(&subject).1.len())
    }
}

#[derive(Default)]
pub struct Record(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    versions: BTreeMap<Subject, CapVersion>,
    /// By message: its slot, and the subjects it counts for.
    messages: BTreeMap<MessageId, (Slot, Vec<Subject>)>,
}

impl Record {
    /// No window of a day has more than three slots of any subject, counted by hand.
    pub fn at_most_three_a_day(&self) {
        for subject in self.subjects() {
            let slots = self.history(&subject).1;
            for last in &slots {
                let since = last.at.minus(Span::from_days(1));
                let used = slots.iter().filter(|slot| slot.at > since && slot.at <= last.at).count();
                assert!(used <= 3, "{subject} has {used} slots in the day until {}", last.at);
            }
        }
    }

    /// The claim without a look at the versions.
    pub fn force(&self, cleared: &Cleared) {
        self.0.lock().unwrap().keep(cleared);
    }

    pub fn subjects(&self) -> Vec<Subject> {
        self.0.lock().unwrap().versions.keys().cloned().collect()
    }
}

impl Book for Record {
    fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2] {
        let tables = self.0.lock().unwrap();
        [0, 1].map(|n| tables.versions.get(&subjects[n]).copied().unwrap_or_default())
    }

    fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>) {
        let tables = self.0.lock().unwrap();
        let of_subject = tables.messages.values().filter(|(_, subjects)| subjects.contains(subject));
        let mut slots: Vec<Slot> = of_subject.map(|(slot, _)| slot.clone()).collect();
        slots.sort();
        slots.sort_by_key(|slot| slot.at);
        (tables.versions.get(subject).copied().unwrap_or_default(), slots)
    }

    fn commit(&self, cleared: &Cleared) -> bool {
        let mut tables = self.0.lock().unwrap();
        let moves = cleared.versions();
        let as_expected =
            moves.iter().all(|step| tables.versions.get(&step.subject).copied().unwrap_or_default() == step.from);
        if as_expected {
            tables.keep(cleared);
        }
        as_expected
    }
}

impl Tables {
    fn keep(&mut self, cleared: &Cleared) {
        let moves = cleared.versions();
        for step in moves {
            self.versions.insert(step.subject.clone(), step.to);
        }
        let subjects = moves.iter().map(|step| step.subject.clone()).collect();
        self.messages.insert(cleared.message().id, (slot_of(cleared), subjects));
    }
}

fn slot_of(cleared: &Cleared) -> Slot {
    let message = cleared.message();
    Slot {
        message: message.id,
        at: cleared.slot_at().unwrap(),
        channel: message.channel,
        topic: message.topic.clone(),
        campaign: message.campaign.clone(),
        enrollment: message.enrollment,
    }
}

/// A SQLite file; durability is not what is raced for.
pub struct FileRecord(rusqlite::Connection);

impl FileRecord {
    pub fn open(path: &Path) -> Self {
        let file = rusqlite::Connection::open(path).unwrap();
        file.busy_timeout(Duration::from_secs(60)).unwrap();
        file.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
             CREATE TABLE IF NOT EXISTS versions (subject TEXT PRIMARY KEY, version TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS slots (subject TEXT NOT NULL, slot TEXT NOT NULL);",
        )
        .unwrap();
        Self(file)
    }

    /// Used slots by subject.
    pub fn used_by_subject(&self) -> BTreeMap<String, usize> {
        let mut asked = self.0.prepare("SELECT subject, count(*) FROM slots GROUP BY subject").unwrap();
        let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as usize))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn version(&self, subject: &Subject) -> CapVersion {
        let mut asked = self.0.prepare_cached("SELECT version FROM versions WHERE subject = ?1").unwrap();
        let known: Option<String> = asked.query_row([subject.to_string()], |row| row.get(0)).optional().unwrap();
        known.map_or(CapVersion::default(), |text| text.parse().unwrap())
    }

    fn all_as_expected(&self, cleared: &Cleared) -> bool {
        cleared.versions().iter().all(|step| self.version(&step.subject) == step.from)
    }
}

impl Book for FileRecord {
    fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2] {
        subjects.each_ref().map(|subject| self.version(subject))
    }

    fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>) {
        self.0.execute_batch("BEGIN").unwrap();
        let version = self.version(subject);
        let mut asked = self.0.prepare_cached("SELECT slot FROM slots WHERE subject = ?1").unwrap();
        let slots = asked
            .query_map([subject.to_string()], |row| row.get::<_, String>(0))
            .unwrap()
            .map(|slot| serde_json::from_str(&slot.unwrap()).unwrap())
            .collect();
        self.0.execute_batch("COMMIT").unwrap();
        (version, slots)
    }

    fn commit(&self, cleared: &Cleared) -> bool {
        self.0.execute_batch("BEGIN IMMEDIATE").unwrap();
        let as_expected = self.all_as_expected(cleared);
        if as_expected {
            let slot = serde_json::to_string(&slot_of(cleared)).unwrap();
            for step in cleared.versions() {
                let (subject, to) = (step.subject.to_string(), step.to.to_string());
                self.0.execute("INSERT OR REPLACE INTO versions VALUES (?1, ?2)", [&subject, &to]).unwrap();
                self.0.execute("INSERT INTO slots VALUES (?1, ?2)", [&subject, &slot]).unwrap();
            }
        }
        self.0.execute_batch("COMMIT").unwrap();
        as_expected
    }
}

/// What the guard asks for a marketing e-mail to a person with a granted consent.
pub fn request(profile: i64, address: &str, name: u64, rules: &[Rule], now: Timestamp) -> Request {
    let mut person = Profile::new(ProfileId(profile), now);
    person.traits.insert("email".into(), address.into());
    let consent =
        Consent { state: ConsentState::Granted, source: "test".into(), at: now, text_version: None, via: Via::Event };
    person.consent.insert("email".into(), consent);
    let state = GuardState { rules, ..GuardState::of(&person) };
    match check(now, &state, Draft(message(profile, name, now))) {
        Verdict::NeedsSlots(request) => request,
        other => panic!("{other:?}"),
    }
}

fn message(profile: i64, name: u64, now: Timestamp) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart".to_owned(),
        priority: 50,
        caps: CapUse { obey: true, count: true, when_capped: WhenCapped::Drop },
        ..Message::queued(
            &[&name.to_le_bytes()],
            ProfileId(profile),
            Channel::Email,
            Purpose::Marketing,
            Position(1),
            now,
        )
    }
}

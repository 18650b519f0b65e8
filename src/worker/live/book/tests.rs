//! A book that versions are added to one by one answers whatever one answers that is read anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use crate::audience::condition::Terms;
use crate::audience::segment::Stirred;
use crate::decision::{At, Catalog, Decision, Effect, Input, Loaded, Person, Snapshot, decide, needs};
use crate::definition::{SourceFile, read};
use crate::event::{Body, Event, Kind, Origin};
use crate::ids::{EventId, Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::Channel;
use crate::store::definitions::{StoredDefinition, StoredFile};
use crate::worker::live::Live;
use crate::worker::live::book::Book;

const NAMES: [&str; 4] = ["Product Viewed", "Order Completed", "Identified", "Trait Changed"];
const STATUSES: [&str; 5] = ["live", "live", "paused", "archived", "draft"];

/// How a campaign may begin.
const ENTRIES: [&str; 10] = [
    "{ event: Product Viewed, match: { properties: { category: [ shoes ] } }, reentry: always }",
    "{ event: Product Viewed, match: { properties: { price: [ { numeric: [ \">\", 10 ] } ] } } }",
    "{ event: Product Viewed, where: { all: [ { in_segment: s0 }, { not: { cart: { items: { gte: 50 } } } } ] } }",
    "{ event: Order Completed, where: { trait: { orders: { gte: 2 } } }, reentry: always }",
    "{ event: Order Completed, key: properties.order_id, reentry: always }",
    "{ segment: s1, on: entered, reentry: always }",
    "{ segment: s1, on: entered, reentry: never, include_existing: { pace: 500/h } }",
    "{ trait: plan, to: plus, reentry: always }",
    "{ date: { trait: birthday, yearly: true, at: \"09:00\" } }",
    "{ event: Product Viewed, where: { performed: { event: Trait Changed } } }",
];

const REST: [&str; 4] = [
    "delay: 1h",
    "exit: [ { event: Order Completed } ]",
    "goal: { event: Order Completed, within: 7d }",
    "exit: [ { in_segment: s1 } ]\ndelay: 2h\npriority: 70",
];

const SEGMENTS: [&str; 5] = [
    "{ performed: { event: Product Viewed, at_least: 2, within: 1h } }",
    "{ trait: { plan: plus } }",
    "{ not: { in_segment: s0 } }",
    "{ performed: { event: Order Completed, sum: properties.revenue, gte: EUR 20 } }",
    "{ trait: { revenue: { gte: 15 } } }",
];

const OTHERS: [(&str, &str, &str); 12] = [
    ("computed_trait", "views", "compute: { count: true, over: Product Viewed, within: 30m }"),
    ("computed_trait", "views", "compute: { count: true, over: Product Viewed }"),
    ("rates", "default", "base: EUR\nrates: [ { date: 2026-01-01, currency: USD, rate: 0.5 } ]"),
    ("rates", "default", "base: EUR\nrates: [ { date: 2026-01-01, currency: USD, rate: 0.9 } ]"),
    ("caps", "default", "rules: [ { at_most: 2, per: 1d } ]"),
    ("caps", "more", "rules: [ { at_most: 5, per: 7d } ]"),
    ("quiet_hours", "default", "windows: [ { channels: [ sms ], from: \"21:00\", to: \"09:00\" } ]"),
    ("consent_policy", "default", "rules: [ { channel: email, unknown: allowed } ]"),
    ("topic", "offers", "name: Offers\ndefault: unsubscribed"),
    ("template", "note", "email: { subject: Hi, html: <p>Hi</p> }"),
    ("template", "note", "topic: offers\nemail: { subject: Hi, html: \"<p>{{profile.traits.orders}}</p>\" }"),
    ("source", "shop", "name: Shop\nrules: [ { drop: { event: [ Noise ] } } ]"),
];

/// One thing an operator does.
#[derive(Debug, Clone)]
enum Act {
    Campaign { key: u8, status: usize, entry: usize, rest: usize, purpose: bool },
    Segment { key: u8, filter: usize },
    Other(usize),
    Pause(u8, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let campaign = (0..7_u8, 0..STATUSES.len(), 0..ENTRIES.len(), 0..REST.len(), any::<bool>());
    prop_oneof![
        6 => campaign.prop_map(|(key, status, entry, rest, purpose)| Act::Campaign { key, status, entry, rest, purpose }),
        2 => (0..3_u8, 0..SEGMENTS.len()).prop_map(|(key, filter)| Act::Segment { key, filter }),
        2 => (0..OTHERS.len()).prop_map(Act::Other),
        2 => (0..8_u8, any::<bool>()).prop_map(|(key, paused)| Act::Pause(key, paused)),
    ]
}

/// What is stored, as the database has it.
#[derive(Default)]
struct Shelf {
    stored: Vec<StoredDefinition>,
    paused: BTreeSet<String>,
}

impl Shelf {
    fn store(&mut self, kind: &str, key: &str, text: String, position: i64) {
        let version = 1 + self.stored.iter().filter(|one| one.kind == kind && one.key == key).count() as u32;
        let files = vec![StoredFile { name: format!("{key}.yaml"), text }];
        let (kind, key, position) = (kind.to_owned(), key.to_owned(), Position(position));
        self.stored.push(StoredDefinition { kind, key, version, files, position, applied_at: Timestamp::default() });
    }

    fn act(&mut self, act: &Act, position: i64) {
        match act {
            Act::Campaign { key, status, entry, rest, purpose } => {
                let purpose = if *purpose { "marketing" } else { "transactional" };
                let (status, entry, rest) = (STATUSES[*status], ENTRIES[*entry], REST[*rest]);
                let text = format!(
                    "kind: campaign\nkey: c{key}\nname: C\nowner: crm@shop.example\ntype: trigger\nstatus: {status}\n\
                     purpose: {purpose}\nsend: {{ channel: email, template: note }}\nentry: {entry}\n{rest}\n"
                );
                self.store("campaign", &format!("c{key}"), text, position);
            }
            Act::Segment { key, filter } => {
                // None builds on itself.
                let filter = if *key == 0 && *filter == 2 { SEGMENTS[0] } else { SEGMENTS[*filter] };
                let text = format!("kind: segment\nkey: s{key}\nname: S\nowner: crm@shop.example\nwhere: {filter}\n");
                self.store("segment", &format!("s{key}"), text, position);
            }
            Act::Other(n) => {
                let (kind, key, rest) = OTHERS[*n];
                self.store(kind, key, format!("kind: {kind}\nkey: {key}\n{rest}\n"), position);
            }
            Act::Pause(key, paused) => {
                let scope = if *key == 7 { "all".to_owned() } else { format!("c{key}") };
                if *paused {
                    self.paused.insert(scope)
                } else {
                    self.paused.remove(&scope)
                };
            }
        }
    }

    /// As a process reads it that starts now; of each campaign the newest version first, so that nothing has to be taken
    /// out again.
    fn anew(&self) -> Book {
        let mut stored = self.stored.clone();
        let order = |one: &StoredDefinition| {
            let version = i64::from(one.version);
            (one.kind.clone(), one.key.clone(), if one.kind == "campaign" { -version } else { version })
        };
        stored.sort_by_key(order);
        let mut book = Book::new(terms());
        book.add(&stored);
        book.set_paused(self.paused.clone());
        book
    }
}

fn terms() -> Terms {
    Terms { workspace: WorkspaceId(1), ..Terms::default() }
}

fn happened(n: i64, (name, category, price): (usize, usize, i64)) -> Event {
    let at = Timestamp::from_millis(1_772_000_000_000 + n * 1_200_000);
    let category = ["shoes", "hats"][category];
    let body = format!(
        r#"{{"properties":{{"category":"{category}","price":{price},"revenue":{price},"currency":"USD","order_id":"o{n}"}},
            "traits":{{"plan":"{}","birthday":"1990-02-2{}"}}}}"#,
        if price > 15 { "plus" } else { "free" },
        price % 9
    );
    Event {
        id: EventId::derive(&[&n.to_le_bytes()]),
        kind: if NAMES[name] == "Identified" { Kind::Identify } else { Kind::Track },
        name: NAMES[name].to_owned(),
        message_id: format!("m{n}"),
        version: 1,
        source: "shop".to_owned(),
        correlation_id: String::new(),
        trace: None,
        user_id: Some("ann".to_owned()),
        anonymous_id: None,
        previous_id: None,
        at,
        received_at: at,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body),
    }
}

/// Whatever one asks of a catalog without a person.
fn answers(live: &Live, event: &Event) -> Vec<String> {
    let catalog = &live.catalog;
    let named = |key: &str, version: u32| format!("{key}@{version}");
    let mut told = vec![
        format!("{:?}", catalog.entered_by(event).iter().map(|it| named(&it.key, it.version)).collect::<Vec<_>>()),
        format!("{:?}", catalog.misfits(event)),
        format!("{:?} {}", catalog.goal_window(&event.name), catalog.has_goals()),
        format!("{:?}", catalog.dated().iter().collect::<Vec<_>>()),
        format!("{:?}", catalog.dated_by().collect::<Vec<_>>()),
        format!("{:?}", catalog.existing().iter().collect::<Vec<_>>()),
        format!("{:?}", ["s0", "s1"].map(|key| catalog.existing_of(key).collect::<Vec<_>>())),
        format!("{:?}", ["plan", "birthday", "orders", "x"].map(|name| catalog.hears_trait(name))),
        format!("{:?}", catalog.topics().collect::<Vec<_>>()),
        format!("{:?} {}", catalog.policy(Channel::Email), catalog.follows_people()),
        format!("{:?} {:?} {}", live.rules, live.quiet, live.all_paused),
        format!("{:?} {:?}", live.templates.keys().collect::<Vec<_>>(), live.sources),
        format!("{:?} {:?}", catalog.terms.exchange, catalog.terms.topics),
        format!("{:?}", catalog.terms.computed.positions()),
        format!("{:?}", catalog.terms.computed.hearing(Some(&event.name), true)),
    ];
    for campaign in catalog.campaigns() {
        told.push(format!(
            "{} {} {:?} {:?}",
            named(&campaign.key, campaign.version),
            catalog.is_paused(campaign),
            Channel::ALL.map(|channel| catalog.is_contested(&campaign.key, channel)),
            catalog.topic_of(campaign)
        ));
        for version in 1..=campaign.version {
            told.push(format!("{:?}", catalog.pinned(&campaign.key, version)));
        }
    }
    let segments = &catalog.terms.segments;
    told.extend(segments.iter().map(|defined| format!("{defined:?}")));
    let stirred = Stirred { traits: true, consent: true, messages: true };
    told.push(format!("{:?} {:?}", segments.since(), segments.hearing(Some(&event.name), stirred).collect::<Vec<_>>()));
    told.push(format!("{:?}", segments.naming(["plan", "orders"]).collect::<Vec<_>>()));
    told
}

fn decided(catalog: &Catalog, person: &Person, loaded: &Loaded, at: At, input: &Input) -> Decision {
    decide(at, &Snapshot { catalog, person, loaded, settle: Span::from_seconds(2) }, input)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_book_that_grows_by_one_is_the_book_read_anew(
        acts in prop::collection::vec((act(), (0..NAMES.len(), 0..2_usize, 0..30_i64)), 1..40),
    ) {
        let (mut shelf, mut book) = (Shelf::default(), Book::new(terms()));
        let (mut person, mut loaded) = (Person::new(ProfileId(1), Timestamp::default()), Loaded::default());
        let mut older: Vec<(Book, Vec<String>, Event)> = Vec::new();
        for (n, (act, dice)) in (1..).zip(acts) {
            // Of some positions a little is read twice, as a process does that was told before.
            let from = shelf.stored.len().saturating_sub(1);
            shelf.act(&act, n * 10);
            let event = happened(n, dice);
            book.add(&shelf.stored[from..]);
            book.set_paused(shelf.paused.clone());
            let anew = shelf.anew();
            let now_answered = answers(book.live(), &event);
            prop_assert_eq!(&now_answered, &answers(anew.live(), &event), "after {:?}", act);

            let at = At { position: Position(n * 10 + 1), now: event.at };
            let mut open = vec![(at, Input::Event(Arc::new(event.clone()))), (at, Input::Timer)];
            let mut place = at.position.0;
            while !open.is_empty() && place < n * 10 + 9 {
                let (at, input) = open.remove(0);
                if let Input::Event(event) = &input {
                    loaded.bodies.insert(at.position, event.clone());
                }
                let (ours, theirs) = (&book.live().catalog, &anew.live().catalog);
                prop_assert_eq!(needs(ours, &person, &input, at.now), needs(theirs, &person, &input, at.now));
                let decision = decided(ours, &person, &loaded, at, &input);
                prop_assert_eq!(&decision, &decided(theirs, &person, &loaded, at, &input), "after {:?}", act);
                for effect in &decision.effects {
                    person.apply(effect);
                    if let Effect::Happen(own) = effect {
                        place += 1;
                        let at = At { position: Position(place), now: own.at };
                        open.push((at, Input::Event(Arc::new(own.clone().into_event()))));
                    }
                }
                person.version = 1;
            }
            older.push((book.clone(), now_answered, event));
        }
        for (book, told, event) in older {
            prop_assert_eq!(answers(book.live(), &event), told, "a book that was kept is what it was");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn documents_beside_a_book_hold_as_if_they_were_applied_with_their_campaigns_live(
        acts in prop::collection::vec(act(), 1..30),
        instead in prop::collection::vec(act(), 0..12),
        dice in (0..NAMES.len(), 0..2_usize, 0..30_i64),
    ) {
        let mut shelf = Shelf::default();
        (1..).zip(&acts).for_each(|(n, act)| shelf.act(act, n * 10));
        let (book, from) = (shelf.anew(), shelf.stored.len());
        instead.iter().filter(|act| !matches!(act, Act::Pause(..))).for_each(|act| shelf.act(act, 1));
        let live: BTreeSet<String> = ["c0", "c2", "c5"].map(str::to_owned).into();
        let supposed = book.with(&shelf.stored[from..], &live);

        for key in live {
            if let Some(newest) = shelf.stored.iter_mut().rfind(|one| one.key == key) {
                let text = &mut newest.files[0].text;
                STATUSES.iter().for_each(|it| *text = text.replace(&format!("status: {it}\n"), "status: live\n"));
            }
        }
        let event = happened(1, dice);
        prop_assert_eq!(answers(&supposed, &event), answers(shelf.anew().live(), &event));
    }
}

/// What is written above is understood: nothing of it is left out for a mistake in it.
#[test]
fn every_text_of_these_acts_is_read() {
    let mut shelf = Shelf::default();
    for n in 0..ENTRIES.len() {
        shelf.act(&Act::Campaign { key: n as u8, status: 0, entry: n, rest: n % REST.len(), purpose: true }, 1);
    }
    (0..SEGMENTS.len()).for_each(|n| shelf.act(&Act::Segment { key: n as u8 + 3, filter: n }, 1));
    (0..OTHERS.len()).for_each(|n| shelf.act(&Act::Other(n), 1));
    let unread = shelf.stored.iter().filter_map(|one| {
        let file = SourceFile { name: one.key.clone(), text: one.files[0].text.clone() };
        read(&[file]).err().map(|problems| format!("{problems:?}\n{}", one.files[0].text))
    });
    assert_eq!(unread.collect::<Vec<_>>().join("\n"), "");
}

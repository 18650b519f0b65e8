//! People with a past: events that came late or twice, two profiles that became one, dates, answers and messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use carillon::audience::condition::annotated::{Node, annotate};
use carillon::audience::condition::{Detail, Evaluation, Facts, Received, Terms, evaluate};
use carillon::audience::consent::{Consent, ConsentState, Via};
use carillon::audience::segment::{Answers, SegmentSet};
use carillon::audience::{Condition, History, Profile, cart};
use carillon::event::{Event, Kind};
use carillon::ids::{Position, ProfileId, Timestamp};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::baskets;
use super::reach::Reach;
use super::time::{Dice, HOUR, Stamp, millis};
use crate::support::event;

pub const CAMPAIGNS: [&str; 2] = ["spring", "cart"];
pub const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Santiago", "Africa/Cairo"];

/// A hundred and twenty days with the end of a year, a 29 February, and clocks that change.
pub fn start() -> i64 {
    millis("2027-12-29T00:00:00Z")
}

pub fn end() -> i64 {
    millis("2028-05-02T00:00:00Z")
}

/// One event, with what of it is asked for.
#[derive(Debug, Clone)]
pub struct Deed {
    pub name: &'static str,
    pub at: i64,
    pub position: i64,
    /// Made by Carillon.
    pub own: bool,
    pub machine: bool,
    pub skus: Vec<&'static str>,
    pub price: Option<i64>,
    /// The price is text: no number at all.
    pub price_is_text: bool,
    pub due: Option<Stamp>,
    pub campaign: Option<&'static str>,
    pub cart: Option<&'static str>,
    pub quantity: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct World {
    pub deeds: Vec<Deed>,
    pub trigger: Option<Deed>,
    pub entry: Option<Deed>,
    pub received: Vec<(&'static str, i64)>,
    pub tier: Option<&'static str>,
    pub age: Option<i64>,
    pub dates: Vec<Stamp>,
    pub consent: BTreeMap<&'static str, &'static str>,
    /// The trait, and the workspace's.
    pub zones: (Option<&'static str>, &'static str),
    /// When the person moved, and what the trait said from then on; in order.
    pub moves: Vec<(i64, Option<&'static str>)>,
    pub reach: Reach,
    pub is_merged: bool,
    /// The page of history that stands twice.
    twice: bool,
    uncounted: bool,
}

pub fn stamp_json(stamp: Stamp) -> Value {
    match stamp {
        Stamp::At(t) if t % 1_000 == 0 && t % 7 == 0 => json!(t / 1_000),
        Stamp::At(t) => json!(Timestamp::from_millis(t).to_string()),
        Stamp::Day(date) => json!(date.to_string()),
        Stamp::Yearly(month, day) => json!(format!("--{month:02}-{day:02}")),
    }
}

pub fn any_stamp(dice: &mut Dice) -> Stamp {
    match dice.below(6) {
        0 => Stamp::Yearly(2, 29),
        1 => Stamp::Yearly(dice.between(1, 5) as i8, dice.between(1, 28) as i8),
        2 => Stamp::Day("1988-02-29".parse().unwrap()),
        3 => Stamp::Day(format!("2028-0{}-{:02}", dice.between(1, 4), dice.between(1, 29)).parse().unwrap()),
        4 => Stamp::Day(format!("19{}-04-{:02}", dice.between(50, 99), dice.between(1, 30)).parse().unwrap()),
        _ => Stamp::At(any_instant(dice)),
    }
}

/// Whole hours are likelier than others, and UTC's midnights too.
pub fn any_instant(dice: &mut Dice) -> i64 {
    let days = (end() - start()) / (24 * HOUR);
    let day = start() + dice.between(0, days - 1) * 24 * HOUR;
    match dice.below(3) {
        0 => day,
        1 => day + dice.between(0, 23) * HOUR,
        _ => day + dice.between(0, 24 * HOUR - 1),
    }
}

fn any_moves(dice: &mut Dice) -> Vec<(i64, Option<&'static str>)> {
    let count = if dice.one_in(3) { dice.between(1, 3) } else { 0 };
    let mut moves: Vec<_> =
        (0..count).map(|_| (any_instant(dice), (!dice.one_in(4)).then(|| dice.of(&ZONES)))).collect();
    moves.sort_unstable();
    moves
}

impl Deed {
    pub fn any(dice: &mut Dice, position: i64) -> Self {
        let name = match dice.one_in(3) {
            true => dice.of(&baskets::NAMES),
            false => dice.of(&["A", "A", "A", "B", "B", "C", "Email Opened", "Email Link Clicked"]),
        };
        let is_ours = name.starts_with("Email");
        Self {
            name,
            at: any_instant(dice),
            position,
            own: is_ours && !dice.one_in(4),
            machine: is_ours && dice.one_in(4),
            skus: match dice.below(5) {
                0 => vec![],
                1 => vec!["a", "b"],
                _ => vec![dice.of(&["a", "b", "c"])],
            },
            price: (!dice.one_in(6)).then(|| dice.between(0, 9)),
            price_is_text: dice.one_in(8),
            due: dice.one_in(2).then(|| any_stamp(dice)),
            campaign: is_ours.then(|| dice.of(&CAMPAIGNS)),
            cart: dice.of(&[None, Some("c1"), Some("c2")]),
            quantity: dice.one_in(3).then(|| dice.between(0, 3)),
        }
    }

    /// The price as a number.
    pub fn number(&self) -> Option<i64> {
        self.price.filter(|_| !self.price_is_text)
    }

    pub fn event(&self) -> Event {
        let price = self.price.map(|n| if self.price_is_text { json!(n.to_string()) } else { json!(n) });
        let sku = match self.skus.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let products: Vec<Value> = self.skus.iter().map(|sku| json!({ "sku": sku, "price": self.price })).collect();
        let mut properties = json!({ "sku": sku, "price": price, "due": self.due.map(stamp_json), "products": products,
                "product_id": self.skus.first(), "cart_id": self.cart, "quantity": self.quantity });
        if let Some(campaign) = self.campaign {
            properties["campaign"] = json!(campaign);
        }
        if self.machine {
            properties["machine"] = json!("burst");
        }
        let at = Timestamp::from_millis(self.at);
        let mut event = event(self.name, at, at, &json!({ "properties": properties }).to_string());
        event.kind = if self.own { Kind::Own } else { Kind::Track };
        event
    }
}

impl World {
    pub fn any(dice: &mut Dice) -> Self {
        let count = if dice.one_in(20) { 90 } else { dice.below(11) };
        let mut positions: Vec<i64> = (1..=count as i64).collect();
        // Shuffled: events come in another order than they happened.
        (1..count).for_each(|n| positions.swap(n, dice.below(n + 1)));
        let mut deeds: Vec<Deed> = positions.into_iter().map(|position| Deed::any(dice, position)).collect();
        // Some happen at one instant.
        for n in 1..deeds.len() {
            if dice.one_in(6) {
                deeds[n].at = deeds[n - 1].at;
            }
        }
        let own = |dice: &mut Dice| (!dice.one_in(4)).then(|| Deed::any(dice, 0));
        let states = ["granted", "denied", "unknown", "pending"];
        let mut consent = BTreeMap::new();
        for name in ["email", "sms", "topic:offers", "topic:news"] {
            if dice.one_in(2) {
                consent.insert(name, dice.of(&states));
            }
        }
        Self {
            trigger: own(dice),
            entry: own(dice),
            received: (0..dice.below(4)).map(|_| (dice.of(&CAMPAIGNS), any_instant(dice))).collect(),
            tier: dice.of(&[None, Some("gold"), Some("iron")]),
            age: (!dice.one_in(3)).then(|| dice.between(16, 20)),
            dates: (0..dice.below(3)).map(|_| any_stamp(dice)).collect(),
            consent,
            zones: (dice.one_in(2).then(|| dice.of(&ZONES)), dice.of(&ZONES)),
            moves: any_moves(dice),
            reach: Reach::any(dice),
            is_merged: dice.one_in(3),
            twice: dice.one_in(3),
            uncounted: dice.one_in(3),
            deeds,
        }
    }

    pub fn zone(&self) -> TimeZone {
        TimeZone::get(self.zones.0.unwrap_or(self.zones.1)).unwrap()
    }

    /// Where the person lived at an instant is where they live.
    pub fn settled(&self, t: i64) -> Self {
        let mut here = self.clone();
        here.zones.0 = self.moves.iter().rfind(|(at, _)| *at <= t).map_or(self.zones.0, |(_, zone)| *zone);
        here.moves = Vec::new();
        here
    }

    /// The first move after an instant.
    pub fn next_move(&self, t: i64) -> i64 {
        self.moves.iter().map(|(at, _)| *at).find(|at| *at > t).unwrap_or(i64::MAX)
    }

    /// What of it has happened at an instant.
    pub fn until(&self, t: i64) -> Self {
        let mut known = self.settled(t);
        known.deeds.retain(|deed| deed.at <= t);
        known.received.retain(|(_, at)| *at <= t);
        known
    }

    /// As the engine has it, with these segments.
    pub fn known(&self, segments: SegmentSet) -> Known {
        let mut sides = [
            Profile::new(ProfileId(1), Timestamp::from_millis(0)),
            Profile::new(ProfileId(2), Timestamp::from_millis(0)),
        ];
        let (mut older, mut bodies) = (Vec::new(), BTreeMap::new());
        let mut deeds: Vec<&Deed> = self.deeds.iter().collect();
        deeds.sort_by_key(|deed| deed.position);
        for deed in deeds {
            let position = Position(deed.position);
            let side = &mut sides[if self.is_merged { deed.position as usize % 2 } else { 0 }];
            side.history.record(deed.name, Timestamp::from_millis(deed.at), position);
            older.extend(side.history.spill());
            let event = Arc::new(deed.event());
            if let Some(step) = cart::step(&event, position) {
                side.carts.as_mut().unwrap().take(step);
            }
            bodies.insert(position, event);
        }
        self.reach.tell(&mut sides, self.is_merged);
        let [mut profile, other] = sides;
        // Of some nobody has kept count: their past tells.
        if self.uncounted {
            profile.carts = None;
        }
        if self.twice {
            older.push(profile.history.clone());
        }
        if self.is_merged {
            profile.unite(&other);
        }
        let dates: Vec<Value> = self.dates.iter().map(|stamp| stamp_json(*stamp)).collect();
        let traits = json!({ "tier": self.tier, "age": self.age, "timezone": self.zones.0, "dates": dates,
            "email": self.reach.mail.map(|it| it.0), "phone": self.reach.phone.map(|it| it.0) });
        profile.set_traits(traits.as_object().unwrap());
        for (name, state) in &self.consent {
            let (source, at, via) = (String::new(), Timestamp::from_millis(0), Via::Event);
            let state = ConsentState::parse(state).unwrap();
            profile.consent.insert((*name).to_owned(), Consent { state, source, at, text_version: None, via });
        }
        let zone = Some(TimeZone::get(self.zones.1).unwrap());
        let topics = BTreeMap::from([("offers".to_owned(), true), ("news".to_owned(), false)]);
        let received = self.received.iter();
        let received = received
            .map(|(campaign, at)| Received { campaign: (*campaign).to_owned(), at: Timestamp::from_millis(*at) });
        Known {
            profile,
            older,
            bodies,
            received: received.collect(),
            trigger: self.trigger.as_ref().map(Deed::event),
            entry: self.entry.as_ref().map(Deed::event),
            terms: Terms { segments, zone, topics, ..Terms::default() },
        }
    }
}

/// What an evaluation is given.
pub struct Known {
    profile: Profile,
    older: Vec<History>,
    bodies: BTreeMap<Position, Arc<Event>>,
    received: Vec<Received>,
    trigger: Option<Event>,
    entry: Option<Event>,
    terms: Terms,
}

impl Known {
    /// The person says where they live now.
    pub fn lives_in(&mut self, zone: Option<&'static str>) {
        self.profile.set_traits(json!({ "timezone": zone }).as_object().unwrap());
    }

    pub fn ask(&self, condition: &Condition, t: i64) -> Evaluation {
        let whole = self.with_facts(t, |facts| evaluate(condition, facts));
        // Whoever asks for less is told the same.
        let brief = self.with_facts(t, |facts| evaluate(condition, &Facts { detail: Detail::Holds, ..*facts }));
        let until = self.with_facts(t, |facts| evaluate(condition, &Facts { detail: Detail::Until, ..*facts }));
        assert_eq!(brief.holds, whole.holds, "{condition:?}");
        assert_eq!((until.holds, until.until), (whole.holds, whole.until), "{condition:?}");
        assert!(brief.because.is_empty() && until.because.is_empty(), "{condition:?}");
        whole
    }

    pub fn annotate(&self, condition: &Condition, t: i64) -> Node {
        self.with_facts(t, |facts| annotate(condition, facts))
    }

    fn with_facts<T>(&self, t: i64, asks: impl FnOnce(&Facts<'_>) -> T) -> T {
        let answers = Answers::default();
        let facts = Facts {
            detail: Detail::Because,
            now: Timestamp::from_millis(t),
            terms: &self.terms,
            answers: &answers,
            profile: &self.profile,
            event: self.trigger.as_ref(),
            entry: self.entry.as_ref(),
            entry_at: self.entry.as_ref().map(|entry| entry.at),
            item: None,
            older: &self.older,
            bodies: &self.bodies,
            received: &self.received,
        };
        asks(&facts)
    }
}

//! Conditions written from the definitions: each can say itself as a marketer writes it, and judge a person by plain
//! loops over everything that is known. Nothing here knows how the engine does it.

use jiff::tz::TimeZone;

use super::baskets;
use super::reach::CHANNELS;
use super::time::{DateTest, Dice, Long};
use super::world::{CAMPAIGNS, Deed, World, any_instant};

/// Segments that the trees may ask for; the second may build on the first.
pub const SEGMENTS: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone)]
pub enum Ask {
    All(Vec<Ask>),
    Any(Vec<Ask>),
    Not(Box<Ask>),
    Tier(Vec<&'static str>),
    NoTier,
    Age(&'static str, i64),
    Date(DateTest),
    Performed(Performed),
    Sequence(Sequence),
    Consent(&'static str, Vec<&'static str>),
    Subscribed(&'static str),
    Reachable(&'static str),
    Engaged { act: &'static str, campaign: &'static str, window: Window },
    Segment(usize),
    Price(&'static str, i64),
    Item(&'static str, i64),
    Cart(baskets::Ask),
    Random(bool),
}

#[derive(Debug, Clone)]
pub struct Performed {
    pub names: Vec<&'static str>,
    pub price: Option<(&'static str, i64)>,
    pub due: Option<DateTest>,
    pub same: bool,
    count: (Option<i64>, Option<i64>),
    aggregate: Option<(&'static str, &'static str, i64)>,
    window: Window,
}

#[derive(Debug, Clone)]
pub struct Sequence {
    first: (&'static str, Option<(&'static str, i64)>),
    then: (Vec<&'static str>, Option<(&'static str, i64)>),
    /// What is asked of the date in each step.
    due: [Option<DateTest>; 2],
    is_not: bool,
    within: Option<Long>,
    same: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Window {
    Ever,
    Within(Long),
    Between(Long, Long),
    Since(i64),
    SinceEntry,
}

impl Window {
    fn any(dice: &mut Dice, alone: bool) -> Self {
        match dice.below(8) {
            0 => Self::Ever,
            1 => Self::Between(Long::Hours(24 * dice.between(0, 5)), Long::Hours(24 * dice.between(6, 40))),
            2 => Self::Between(Long::Hours(24 * dice.between(1, 20)), Long::Months(dice.of(&[1, 3]))),
            3 => Self::Since(any_instant(dice)),
            4 if !alone => Self::SinceEntry,
            _ => Self::Within(Long::any(dice)),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Ever => String::new(),
            Self::Within(long) => format!(", within: {}", long.text()),
            Self::Between(near, far) => format!(", between: [ {}, {} ]", near.text(), far.text()),
            Self::Since(t) => format!(", since: \"{}\"", carillon::ids::Timestamp::from_millis(t)),
            Self::SinceEntry => ", since: entry".to_owned(),
        }
    }

    fn holds(self, e: i64, t: i64, world: &World, zone: &TimeZone) -> bool {
        match self {
            Self::Ever => e <= t,
            Self::Within(long) => e <= t && t < long.after(e, zone),
            Self::Between(near, far) => near.after(e, zone) <= t && t < far.after(e, zone),
            Self::Since(from) => from <= e && e <= t,
            Self::SinceEntry => world.entry.as_ref().is_some_and(|entry| entry.at <= e) && e <= t,
        }
    }

    fn instants(self, e: i64, zone: &TimeZone) -> Vec<i64> {
        match self {
            Self::Within(long) => vec![e, long.after(e, zone)],
            Self::Between(near, far) => vec![near.after(e, zone), far.after(e, zone)],
            Self::Ever | Self::Since(_) | Self::SinceEntry => vec![e],
        }
    }
}

pub fn compares(op: &str, left: i64, right: i64) -> bool {
    match op {
        "gte" => left >= right,
        "lt" => left < right,
        "eq" => left == right,
        _ => left != right,
    }
}

fn any_price(dice: &mut Dice) -> Option<(&'static str, i64)> {
    dice.one_in(3).then(|| (dice.of(&["gte", "lt", "eq"]), dice.between(1, 8)))
}

pub fn price_fits(deed: &Deed, test: Option<(&str, i64)>) -> bool {
    test.is_none_or(|(op, bound)| deed.number().is_some_and(|price| compares(op, price, bound)))
}

fn shares(one: &Deed, other: &Deed) -> bool {
    one.skus.iter().any(|sku| other.skus.contains(sku))
}

impl Ask {
    /// A tree; `alone` where no event and no enrollment is at hand.
    pub fn any(dice: &mut Dice, depth: u32, alone: bool, segments: usize) -> Self {
        if depth == 0 || dice.one_in(3) {
            return Self::leaf(dice, alone, segments);
        }
        let children = |dice: &mut Dice| {
            let count = dice.below(4);
            (0..count).map(|_| Self::any(dice, depth - 1, alone, segments)).collect()
        };
        match dice.below(3) {
            0 => Self::All(children(dice)),
            1 => Self::Any(children(dice)),
            _ => Self::Not(Box::new(Self::any(dice, depth - 1, alone, segments))),
        }
    }

    pub fn leaf(dice: &mut Dice, alone: bool, segments: usize) -> Self {
        match dice.below(24) {
            0 => Self::Tier(dice.of(&[&["gold"][..], &["gold", "tin"], &["tin"]]).to_vec()),
            1 => Self::NoTier,
            2 => Self::Age(dice.of(&["gte", "lt", "eq", "ne"]), dice.between(16, 20)),
            3..=5 => Self::Date(DateTest::any(dice)),
            6..=9 => Self::Performed(Performed::any(dice, alone)),
            10..=12 => Self::Sequence(Sequence::any(dice)),
            13 => Self::Consent(
                dice.of(&["email", "sms"]),
                dice.of(&[&["granted"][..], &["denied"], &["unknown"], &["granted", "unknown"]]).to_vec(),
            ),
            14 => Self::Subscribed(dice.of(&["offers", "news", "other"])),
            15 | 16 => Self::Engaged {
                act: dice.of(&["received", "opened", "clicked"]),
                campaign: dice.of(&CAMPAIGNS),
                window: Window::any(dice, alone),
            },
            17 if segments > 0 => Self::Segment(dice.below(segments)),
            18 if !alone => Self::Price(dice.of(&["gte", "lt", "ne"]), dice.between(0, 9)),
            19 if !alone => Self::Item(dice.of(&["a", "b", "c"]), dice.between(0, 9)),
            23 => Self::Reachable(dice.of(&CHANNELS)),
            20..=22 => Self::Cart(baskets::Ask::any(dice, alone)),
            _ => Self::Random(dice.one_in(2)),
        }
    }

    /// How many conditions there are, those of the segments included.
    pub fn leaves(&self, segments: &[Self]) -> usize {
        match self {
            Self::All(children) | Self::Any(children) => children.iter().map(|child| child.leaves(segments)).sum(),
            Self::Not(child) => child.leaves(segments),
            Self::Segment(n) => segments[*n].leaves(segments),
            _ => 1,
        }
    }

    pub fn text(&self) -> String {
        let list = |children: &[Self]| children.iter().map(Self::text).collect::<Vec<_>>().join(", ");
        match self {
            Self::All(children) => format!("{{ all: [ {} ] }}", list(children)),
            Self::Any(children) => format!("{{ any: [ {} ] }}", list(children)),
            Self::Not(child) => format!("{{ not: {} }}", child.text()),
            Self::Tier(tiers) => format!("{{ trait: {{ tier: [ {} ] }} }}", tiers.join(", ")),
            Self::NoTier => "{ trait: { tier: { exists: false } } }".to_owned(),
            Self::Age(op, n) => format!("{{ trait: {{ age: {{ {op}: {n} }} }} }}"),
            Self::Date(test) => format!("{{ trait: {{ dates: {} }} }}", test.text()),
            Self::Performed(performed) => performed.text(),
            Self::Sequence(sequence) => sequence.text(),
            Self::Consent(channel, states) => format!("{{ consent: {{ {channel}: [ {} ] }} }}", states.join(", ")),
            Self::Reachable(channel) => format!("{{ reachable: {channel} }}"),
            Self::Subscribed(topic) => format!("{{ subscribed: {{ topic: {topic} }} }}"),
            Self::Engaged { act, campaign, window } => {
                format!("{{ {act}: {{ campaign: {campaign}{} }} }}", window.text())
            }
            Self::Segment(n) => format!("{{ in_segment: {} }}", SEGMENTS[*n]),
            Self::Price(op, n) => format!("{{ event: {{ properties.price: {{ {op}: {n} }} }} }}"),
            Self::Item(sku, n) => {
                format!("{{ item: {{ in: properties.products, where: {{ sku: {sku}, price: {{ gte: {n} }} }} }} }}")
            }
            Self::Cart(ask) => ask.text(),
            Self::Random(all) => format!("{{ random: {{ percent: {}, salt: x }} }}", if *all { 100 } else { 0 }),
        }
    }

    pub fn holds(&self, world: &World, segments: &[Self], t: i64) -> bool {
        let zone = world.zone();
        match self {
            Self::All(children) => children.iter().all(|child| child.holds(world, segments, t)),
            Self::Any(children) => children.iter().any(|child| child.holds(world, segments, t)),
            Self::Not(child) => !child.holds(world, segments, t),
            Self::Tier(tiers) => world.tier.is_some_and(|tier| tiers.contains(&tier)),
            Self::NoTier => world.tier.is_none(),
            // A missing value is different from everything, and neither above nor below anything.
            Self::Age(op, n) => world.age.map_or(*op == "ne", |age| compares(op, age, *n)),
            Self::Date(test) => world.dates.iter().any(|stamp| test.holds(*stamp, t, &zone)),
            Self::Performed(performed) => performed.holds(world, t, &zone),
            Self::Sequence(sequence) => sequence.holds(world, t, &zone),
            Self::Consent(channel, states) => {
                let state = world.consent.get(channel).copied().unwrap_or("unknown");
                states.contains(&if state == "pending" { "unknown" } else { state })
            }
            Self::Reachable(channel) => world.reach.is_open(channel, world.is_merged),
            Self::Subscribed(topic) => match world.consent.get(format!("topic:{topic}").as_str()).copied() {
                Some("granted") => true,
                Some("denied" | "pending") => false,
                _ => *topic != "news",
            },
            Self::Engaged { act, campaign, window } => {
                engagements(world, act, campaign).into_iter().any(|e| window.holds(e, t, world, &zone))
            }
            Self::Segment(n) => {
                // A segment sees the person alone; these ask for nothing else.
                segments[*n].holds(world, segments, t)
            }
            Self::Price(op, n) => match world.trigger.as_ref() {
                None => *op == "ne",
                Some(deed) if deed.price.is_none() => *op == "ne",
                // Text is another thing than a number.
                Some(deed) => deed.number().map_or(*op == "ne", |price| compares(op, price, *n)),
            },
            Self::Item(sku, n) => world
                .trigger
                .as_ref()
                .is_some_and(|deed| deed.skus.contains(sku) && deed.price.is_some_and(|price| price >= *n)),
            Self::Cart(ask) => ask.holds(world, t, &zone),
            Self::Random(all) => *all,
        }
    }

    /// Where the answer may turn.
    pub fn instants(&self, world: &World, segments: &[Self]) -> Vec<i64> {
        let zone = world.zone();
        match self {
            Self::All(children) | Self::Any(children) => {
                children.iter().flat_map(|child| child.instants(world, segments)).collect()
            }
            Self::Not(child) => child.instants(world, segments),
            Self::Date(test) => world.dates.iter().flat_map(|stamp| test.instants(*stamp, &zone)).collect(),
            Self::Performed(performed) => performed.instants(world, &zone),
            Self::Sequence(Sequence { within, due, .. }) => {
                let ends = |e: i64| within.map(|within| within.after(e, &zone)).into_iter().chain([e]);
                let dates = |deed: &Deed| {
                    let tests = due.iter().flatten().zip(deed.due);
                    tests.flat_map(|(test, due)| test.instants(due, &zone)).collect::<Vec<_>>()
                };
                world.deeds.iter().flat_map(|deed| ends(deed.at).chain(dates(deed))).collect()
            }
            Self::Engaged { act, campaign, window } => {
                engagements(world, act, campaign).into_iter().flat_map(|e| window.instants(e, &zone)).collect()
            }
            Self::Segment(n) => segments[*n].instants(world, segments),
            Self::Cart(ask) => ask.instants(world, &zone),
            _ => Vec::new(),
        }
    }
}

fn engagements(world: &World, act: &str, campaign: &str) -> Vec<i64> {
    let name = match act {
        "received" => {
            return world.received.iter().filter(|(of, _)| *of == campaign).map(|(_, at)| *at).collect();
        }
        "opened" => "Email Opened",
        _ => "Email Link Clicked",
    };
    let ours = world.deeds.iter().filter(|deed| deed.name == name && deed.own && !deed.machine);
    ours.filter(|deed| deed.campaign == Some(campaign)).map(|deed| deed.at).collect()
}

impl Performed {
    pub fn any(dice: &mut Dice, alone: bool) -> Self {
        let aggregate = dice.one_in(3).then(|| {
            let function = dice.of(&["sum", "avg", "min", "max", "distinct"]);
            // What everybody or nobody meets is refused.
            (function, dice.of(&["gte", "lt", "eq"]), dice.between(i64::from(function == "distinct"), 12))
        });
        let least = dice.between(0, 2);
        let count = match dice.below(4) {
            0 => (Some(least.max(1)), None),
            1 => (None, Some(least)),
            2 => (Some(least), Some(least)),
            _ => (None, None),
        };
        Self {
            names: dice.of(&[&["A"][..], &["A", "B"], &["C"]]).to_vec(),
            price: any_price(dice),
            due: dice.one_in(4).then(|| DateTest::any(dice)),
            same: !alone && dice.one_in(5),
            count,
            aggregate,
            window: Window::any(dice, alone),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{{ performed: {{ event: [ {} ]{}", self.names.join(", "), self.window.text());
        let mut tests = Vec::new();
        tests.extend(self.price.map(|(op, n)| format!("properties.price: {{ {op}: {n} }}")));
        tests.extend(self.due.map(|test| format!("properties.due: {}", test.text())));
        if !tests.is_empty() {
            text.push_str(&format!(", where: {{ {} }}", tests.join(", ")));
        }
        if self.same {
            text.push_str(", same: properties.sku");
        }
        match self.count {
            (Some(n), Some(_)) => text.push_str(&format!(", exactly: {n}")),
            (Some(n), None) => text.push_str(&format!(", at_least: {n}")),
            (None, Some(n)) => text.push_str(&format!(", at_most: {n}")),
            (None, None) => {}
        }
        if let Some((function, op, n)) = self.aggregate {
            let path = if function == "distinct" { "properties.sku" } else { "properties.price" };
            text.push_str(&format!(", {function}: {path}, {op}: {n}"));
        }
        text.push_str(" } }");
        text
    }

    fn holds(&self, world: &World, t: i64, zone: &TimeZone) -> bool {
        let mut counted = Vec::new();
        for deed in &world.deeds {
            let is_due = self.due.is_none_or(|test| deed.due.is_some_and(|due| test.holds(due, t, zone)));
            let is_same = !self.same || world.entry.as_ref().is_some_and(|entry| shares(entry, deed));
            let inside = self.window.holds(deed.at, t, world, zone);
            if self.names.contains(&deed.name) && price_fits(deed, self.price) && is_due && is_same && inside {
                counted.push(deed);
            }
        }
        let n = counted.len() as i64;
        let enough = match self.count {
            (None, None) => self.aggregate.is_some() || n >= 1,
            (least, most) => least.is_none_or(|least| n >= least) && most.is_none_or(|most| n <= most),
        };
        enough && self.aggregate.is_none_or(|(function, op, bound)| aggregate_holds(&counted, function, op, bound))
    }

    fn instants(&self, world: &World, zone: &TimeZone) -> Vec<i64> {
        let named = world.deeds.iter().filter(|deed| self.names.contains(&deed.name));
        named
            .flat_map(|deed| {
                let due = self.due.zip(deed.due).map(|(test, due)| test.instants(due, zone)).unwrap_or_default();
                self.window.instants(deed.at, zone).into_iter().chain(due)
            })
            .collect()
    }
}

fn aggregate_holds(counted: &[&Deed], function: &str, op: &str, bound: i64) -> bool {
    let numbers: Vec<i64> = counted.iter().filter_map(|deed| deed.number()).collect();
    match function {
        "sum" => compares(op, numbers.iter().sum(), bound),
        // A mean is compared without dividing.
        "avg" => !numbers.is_empty() && compares(op, numbers.iter().sum(), bound * numbers.len() as i64),
        "min" => numbers.iter().min().is_some_and(|least| compares(op, *least, bound)),
        "max" => numbers.iter().max().is_some_and(|most| compares(op, *most, bound)),
        _ => {
            let mut skus: Vec<&str> = counted.iter().flat_map(|deed| deed.skus.iter().copied()).collect();
            skus.sort_unstable();
            skus.dedup();
            compares(op, skus.len() as i64, bound)
        }
    }
}

impl Sequence {
    fn any(dice: &mut Dice) -> Self {
        let is_not = dice.one_in(2);
        Self {
            first: (dice.of(&["A", "B"]), any_price(dice)),
            then: (dice.of(&[&["B"][..], &["A", "C"], &["C"]]).to_vec(), any_price(dice)),
            due: [0, 1].map(|_| dice.one_in(4).then(|| DateTest::any(dice))),
            is_not,
            within: (is_not || !dice.one_in(3)).then(|| Long::any(dice)),
            same: dice.one_in(3),
        }
    }

    fn text(&self) -> String {
        let step = |names: &[&str], price: Option<(&str, i64)>, due: Option<DateTest>| {
            let price = price.map(|(op, n)| format!("properties.price: {{ {op}: {n} }}"));
            let due = due.map(|test| format!("properties.due: {}", test.text()));
            let tests: Vec<String> = price.into_iter().chain(due).collect();
            let tests = if tests.is_empty() { String::new() } else { format!(", where: {{ {} }}", tests.join(", ")) };
            format!("{{ event: [ {} ]{tests} }}", names.join(", "))
        };
        let then = if self.is_not { "then_not" } else { "then" };
        let within = self.within.map_or_else(String::new, |long| format!(", within: {}", long.text()));
        let same = if self.same { ", same: properties.sku" } else { "" };
        let (first, second) =
            (step(&[self.first.0], self.first.1, self.due[0]), step(&self.then.0, self.then.1, self.due[1]));
        format!("{{ sequence: {{ first: {first}, {then}: {second}{within}{same} }} }}")
    }

    fn holds(&self, world: &World, t: i64, zone: &TimeZone) -> bool {
        let is_due = |deed: &Deed, test: Option<DateTest>| {
            test.is_none_or(|test| deed.due.is_some_and(|due| test.holds(due, t, zone)))
        };
        let is_first =
            |deed: &&Deed| deed.name == self.first.0 && price_fits(deed, self.first.1) && is_due(deed, self.due[0]);
        for first in world.deeds.iter().filter(is_first) {
            if self.same && first.skus.is_empty() {
                continue;
            }
            let ends = self.within.map(|within| within.after(first.at, zone));
            let follows = |deed: &&Deed| {
                self.then.0.contains(&deed.name)
                    && price_fits(deed, self.then.1)
                    && is_due(deed, self.due[1])
                    && (deed.at, deed.position) > (first.at, first.position)
                    && ends.is_none_or(|ends| deed.at < ends)
                    && (!self.same || shares(first, deed))
            };
            let holds = match self.is_not {
                false => world.deeds.iter().filter(follows).any(|deed| deed.at <= t),
                true => ends.is_some_and(|ends| ends <= t) && !world.deeds.iter().any(|deed| follows(&deed)),
            };
            if holds {
                return true;
            }
        }
        false
    }
}

//! Computed traits followed: by events, refunds, late ones and time passing; and what comes of a trait that changes.

use std::collections::{BTreeMap, BTreeSet};

use carillon::audience::computed::{ComputedSet, shipped};
use carillon::audience::condition::Terms;
use carillon::audience::segment::{Bases, SegmentSet};
use carillon::decision::{Effect, Input};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Event, Origin};
use carillon::ids::{Position, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::segments::segments;
use crate::support::{Life, at, campaign_called, event, verdicts};

const DAY: i64 = 24 * 3600;

/// A life under these computed traits (key, `compute`, position), segments and campaigns.
fn life(computed: &[(&str, &str, i64)], texts: &[(&str, &str, i64)], campaigns: &[(&str, &str)]) -> Life {
    let campaigns = campaigns.iter().map(|(key, fields)| campaign_called(key, 1, fields)).collect();
    let mut life = Life::of(campaigns);
    define(&mut life, computed, texts);
    life
}

fn define(life: &mut Life, computed: &[(&str, &str, i64)], texts: &[(&str, &str, i64)]) {
    let read_one = |(key, compute, since): &(&str, &str, i64)| {
        let position = Position(*since);
        if compute.is_empty() {
            return (shipped(key).unwrap(), position);
        }
        let text = format!("kind: computed_trait\nkey: {key}\ncompute: {compute}\n");
        let documents = read(&[SourceFile { name: "t.yaml".into(), text }]).unwrap();
        let Definition::ComputedTrait(computed) = documents.into_iter().next().unwrap().definition else { panic!() };
        (computed, position)
    };
    let computed = ComputedSet::new(computed.iter().map(read_one).collect(), Position(0));
    let bases = Bases { computed: computed.positions(), ..Bases::default() };
    let known = segments(texts).iter().map(|it| (it.segment.clone(), it.since)).collect();
    let terms = Terms { computed, segments: SegmentSet::new(known, &bases), ..Terms::default() };
    life.catalog = std::mem::take(&mut life.catalog).with_terms(terms);
}

/// Decides an input and whatever follows from it; the answer is what followed: `tier: bronze → gold`, `+vip`, with `!`
/// where it is of a backfill, and every verdict of a campaign.
fn live(life: &mut Life, now: Timestamp, input: &Input) -> Vec<String> {
    let mut told = Vec::new();
    let mut open = vec![(now, input.clone())];
    while !open.is_empty() {
        let (now, input) = open.remove(0);
        let decision = life.decide(now, &input);
        told.extend(verdicts(&decision).into_iter().filter(|it| *it != "other").map(str::to_owned));
        for effect in decision.effects {
            let Effect::Happen(own) = effect else { continue };
            let mark = if own.properties.contains_key("cause") { "!" } else { "" };
            let text = |name: &str| own.properties.get(name).map_or_else(|| "nothing".to_owned(), plain);
            told.push(match own.name.as_str() {
                "Trait Changed" => format!("{}: {} → {}{mark}", text("trait"), text("from"), text("to")),
                "Segment Entered" => format!("+{}{mark}", text("segment")),
                _ => format!("-{}{mark}", text("segment")),
            });
            open.push((own.at, Input::Event(own.into_event().into())));
        }
    }
    told
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn happened(life: &mut Life, seconds: i64, name: &str, body: &str) -> Vec<String> {
    live(life, at(seconds), &Input::Event(event(name, at(seconds), at(seconds), body).into()))
}

fn wake(life: &mut Life) -> Vec<String> {
    let now = life.person.wake_at.take().expect("nobody is to be woken");
    live(life, now, &Input::Timer)
}

fn value(life: &Life, key: &str) -> Option<Value> {
    life.person.profile.remembered.computed.get(key).and_then(|worked| worked.value.clone())
}

fn order(id: &str, revenue: &str, category: &str) -> String {
    format!(r#"{{"properties":{{"order_id":"{id}","revenue":{revenue},"products":[{{"category":"{category}"}}]}}}}"#)
}

#[test]
fn what_is_shipped_tells_of_orders_that_were_kept() {
    let all = ["orders", "revenue", "last_order_at", "top_category", "days_between_orders"];
    let mut life = life(&all.map(|key| (key, "", 1)), &[], &[]);
    happened(&mut life, 0, "Page Viewed", "{}");
    let of = |life: &Life| all.map(|key| value(life, key).unwrap_or(Value::Null));
    assert_eq!(of(&life), [json!(0), json!(0), Value::Null, Value::Null, Value::Null]);
    happened(&mut life, 60, "Order Completed", &order("o1", "0.10", "shoes"));
    happened(&mut life, 60 + DAY, "Order Completed", &order("o2", "0.20", "hats"));
    happened(&mut life, 60 + 4 * DAY, "Order Completed", &order("o3", "9.70", "hats"));
    let last = at(60 + 4 * DAY).to_string();
    assert_eq!(of(&life), [json!(3), json!(10), json!(last), json!("hats"), json!(2)], "to the cent");
    assert_eq!(life.person.wake_at, None, "nothing of it changes by itself");
    // One is given back whole, of another a part.
    happened(&mut life, 5 * DAY, "Order Refunded", r#"{"properties":{"order_id":"o3"}}"#);
    happened(&mut life, 6 * DAY, "Order Refunded", r#"{"properties":{"order_id":"o2","revenue":0.05}}"#);
    let last = at(60 + DAY).to_string();
    let revenue: Value = serde_json::from_str("0.25").unwrap();
    assert_eq!(of(&life), [json!(2), revenue, json!(last), json!("hats"), json!(1)], "of two once each, the later");
}

#[test]
fn an_order_in_a_currency_without_a_rate_leaves_the_revenue_unknown_and_text_has_no_currency() {
    let all = [("revenue", "", 1), ("top", "{ last: properties.products.category, over: Order Completed }", 1)];
    let rich = ("hello", "entry: { event: Page Viewed, where: { trait: { revenue: { gte: EUR 150 } } } }\ndelay: 1d");
    let mut life = life(&all, &[], &[rich]);
    happened(&mut life, 60, "Order Completed", &order("o1", "180", "a"));
    let yen = r#"{"properties":{"order_id":"o2","revenue":9000,"currency":"JPY","products":[{"category":"b"}]}}"#;
    happened(&mut life, 120, "Order Completed", yen);
    assert_eq!(value(&life, "revenue"), None);
    assert_eq!(life.person.profile.remembered.unrated("revenue"), Some("JPY"));
    assert_eq!(life.person.profile.remembered.computed["top"].currency, None, "a category is no amount");
    let event = event("Page Viewed", at(180), at(180), "{}");
    let decision = life.decide(at(180), &Input::Event(event.into()));
    let told = format!("{:?}", decision.findings);
    assert!(told.contains("CurrencyUnknown") && told.contains("(JPY has no rate)"), "{told}");
}

#[test]
fn a_segment_on_a_computed_trait_follows_it_in_the_same_event_and_at_the_same_instant() {
    let busy = ("busy", "{ count: true, over: Order Completed, within: 30d }", 1);
    let vip = ("vip", "{ trait: { busy: { gte: 2 } } }", 1);
    let mut life = life(&[busy], &[vip], &[("hello", "entry: { segment: vip, on: entered }\ndelay: 40d")]);
    assert_eq!(happened(&mut life, 0, "Order Completed", "{}"), Vec::<String>::new());
    assert_eq!(happened(&mut life, DAY, "Order Completed", "{}"), ["+vip", "entered"]);
    assert_eq!(life.person.wake_at, Some(at(30 * DAY)), "the first order leaves the window");
    assert_eq!(wake(&mut life), ["-vip"]);
    assert_eq!(value(&life, "busy"), Some(json!(1)));
}

#[test]
fn a_changed_trait_begins_a_campaign_once_and_only_where_it_fits() {
    let up = ("up", "entry: { trait: tier, from: [ bronze, silver ], to: gold }");
    let mut life = life(&[], &[], &[up]);
    let mut tier = |seconds: i64, tier: &str| {
        happened(&mut life, seconds, "Identified", &format!(r#"{{"traits":{{"tier":{tier},"age":{seconds}}}}}"#))
    };
    assert_eq!(tier(0, "\"gold\""), ["tier: nothing → gold"], "from nothing is from neither");
    assert_eq!(tier(60, "\"silver\""), ["tier: gold → silver"]);
    assert_eq!(tier(120, "\"gold\""), ["tier: silver → gold", "entered", "queued"]);
    assert_eq!(tier(180, "\"gold\""), Vec::<String>::new(), "it is what it was, and nobody waits for ages");
    assert_eq!(tier(240, "null"), ["tier: gold → nothing"]);
}

#[test]
fn a_client_cannot_say_that_a_trait_changed_and_an_import_starts_nothing() {
    let up = ("up", "entry: { trait: tier, to: gold }");
    let mut life = life(&[], &[], &[up]);
    let forged = r#"{"properties":{"trait":"tier","from":"silver","to":"gold"}}"#;
    assert_eq!(happened(&mut life, 0, "Trait Changed", forged), Vec::<String>::new());
    let row = event("Identified", at(60), at(60), r#"{"traits":{"tier":"gold"}}"#);
    let row = Event { origin: Origin::Import { file: "a.csv".into(), row: 1 }, ..row };
    assert_eq!(live(&mut life, at(60), &Input::Event(row.into())), ["tier: nothing → gold!", "backfill"]);
}

#[test]
fn a_definition_applied_today_holds_for_what_was_done_before_and_starts_nothing() {
    let many = ("many", "entry: { trait: bought, to: [ 2, 3 ] }");
    let mut life = life(&[], &[], &[many]);
    happened(&mut life, 0, "Order Completed", "{}");
    happened(&mut life, 60, "Order Completed", "{}");
    define(&mut life, &[("bought", "{ count: true, over: Order Completed }", 2)], &[]);
    assert_eq!(live(&mut life, at(120), &Input::Timer), ["bought: nothing → 2!", "backfill"]);
    assert_eq!(live(&mut life, at(180), &Input::Timer), Vec::<String>::new(), "once");
    assert_eq!(happened(&mut life, 240, "Order Completed", "{}"), ["bought: 2 → 3", "entered", "queued"]);
}

#[test]
fn a_computed_trait_wins_over_one_of_the_same_name_that_somebody_set() {
    let vip = ("vip", "{ trait: { orders: { gte: 100 } } }", 1);
    let mut life = life(&[("orders", "", 1)], &[vip], &[]);
    assert_eq!(happened(&mut life, 0, "Identified", r#"{"traits":{"orders":500}}"#), Vec::<String>::new());
    assert_eq!(life.person.profile.all_traits()["orders"], json!(0));
    assert_eq!(life.person.profile.traits["orders"], json!(500), "what was said is kept");
}

/// What happens: seconds before it, what it is, which order, how late it comes, and what it says.
type Step = (i64, u8, u8, i64, u8);

const COMPUTED: [(&str, &str, i64); 6] = [
    ("orders", "{ count: true, over: Order Completed, within: 30d }", 1),
    (
        "revenue",
        "{ sum: properties.revenue, over: Order Completed, within: 40d, \
         net_of: { event: Order Refunded, same: properties.order_id } }",
        1,
    ),
    ("dear", "{ last: properties.category, over: Order Completed, where: { properties.revenue: { gte: 5 } } }", 1),
    ("since", "{ first: timestamp, over: [ Order Completed, Order Refunded ], within: 20d }", 1),
    ("top", "{ most_frequent: properties.category, over: Order Completed, between: [ 5d, 25d ] }", 1),
    ("pace", "{ average_interval: hours, over: Order Completed, within: 30d }", 1),
];

/// One thing that happened: when, in what order, what, which order, what it says.
type Done = (i64, usize, u8, u8, u8);

/// The same by plain loops over all that happened, at one instant.
fn oracle(done: &[Done], now: i64) -> BTreeMap<&'static str, Value> {
    let mut orders: Vec<Done> = done.iter().copied().filter(|it| it.2 == 0).collect();
    orders.sort_by_key(|it| (it.0, it.1));
    let within = |it: &Done, days: i64| it.0 <= now && now < it.0 + days * DAY;
    let recent: Vec<Done> = orders.iter().copied().filter(|it| within(it, 30)).collect();
    let mut told = BTreeMap::from([("orders", json!(recent.len()))]);
    let mut revenue = 0;
    for it in orders.iter().filter(|it| within(it, 40)) {
        let back = done.iter().filter(|other| other.2 == 1 && other.3 == it.3 && other.0 <= now);
        let back: i64 = back.map(|other| i64::from(other.4)).sum();
        revenue += (i64::from(it.4) - back).max(0);
    }
    told.insert("revenue", json!(revenue));
    if let Some(last) = orders.iter().rev().find(|it| it.4 >= 5 && it.0 <= now) {
        told.insert("dear", json!(category(last.3)));
    }
    let mut all: Vec<Done> = done.iter().copied().filter(|it| it.2 <= 1 && within(it, 20)).collect();
    all.sort_by_key(|it| (it.0, it.1));
    if let Some(first) = all.first() {
        told.insert("since", json!(at(first.0).to_string()));
    }
    let mut best: Option<(usize, usize, Reverse)> = None;
    let middle: Vec<&Done> = orders.iter().filter(|it| it.0 + 5 * DAY <= now && now < it.0 + 25 * DAY).collect();
    for name in middle.iter().map(|it| category(it.3)).collect::<BTreeSet<_>>() {
        let count = middle.iter().filter(|it| category(it.3) == name).count();
        let last = middle.iter().rposition(|it| category(it.3) == name).unwrap();
        best = best.max(Some((count, last, std::cmp::Reverse(name))));
    }
    if let Some((.., std::cmp::Reverse(name))) = best {
        told.insert("top", json!(name));
    }
    if recent.len() > 1 {
        let mean = (recent[recent.len() - 1].0 - recent[0].0) as f64 / 3600.0 / (recent.len() - 1) as f64;
        told.insert("pace", json!(mean));
    }
    told
}

type Reverse = std::cmp::Reverse<&'static str>;

const fn category(order: u8) -> &'static str {
    ["shoes", "hats", "scarves"][order as usize % 3]
}

fn agrees(life: &Life, expected: &BTreeMap<&'static str, Value>, when: &str) -> Result<(), TestCaseError> {
    for (key, ..) in COMPUTED {
        let found = value(life, key);
        match (key, &found, expected.get(key)) {
            ("pace", Some(found), Some(wanted)) => {
                let gap = found.as_f64().unwrap() - wanted.as_f64().unwrap();
                prop_assert!(gap.abs() <= 0.00006, "pace {} {} {}", found, wanted, when);
            }
            (_, found, wanted) => prop_assert_eq!(found.as_ref(), wanted, "{} {}", key, when),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// After every input, at every instant at which somebody is woken, and in the millisecond before it, what is kept is
    /// what plain loops over everything say.
    #[test]
    fn computed_traits_are_what_the_whole_history_says(
        steps in prop::collection::vec((1..9 * DAY, 0_u8..4, 0_u8..4, 0..6 * DAY, 1_u8..9), 1..20),
    ) {
        let steps: Vec<Step> = steps;
        let mut life = life(&COMPUTED, &[], &[]);
        let (mut now, mut done): (i64, Vec<Done>) = (0, Vec::new());
        for (n, (passed, what, which, late, says)) in steps.into_iter().enumerate() {
            let until = now + passed;
            for _ in 0..500 {
                let Some(due) = life.person.wake_at.filter(|due| *due <= at(until)) else { break };
                let seconds = (due.millis() - at(0).millis()) / 1000;
                agrees(&life, &oracle(&done, seconds - 1), "before the instant")?;
                wake(&mut life);
                agrees(&life, &oracle(&done, seconds), "at the instant")?;
            }
            now = until;
            let then = (now - late).max(0);
            done.push((then, n, what, which, says));
            let body = format!(
                r#"{{"properties":{{"order_id":"{which}","revenue":{says},"category":"{}"}}}}"#, category(which)
            );
            let name = ["Order Completed", "Order Refunded", "Page Viewed", "Identified"][usize::from(what)];
            live(&mut life, at(now), &Input::Event(event(name, at(then), at(now), &body).into()));
            agrees(&life, &oracle(&done, now), "after the event")?;
            prop_assert!(life.person.wake_at.is_none_or(|wake| wake > at(now)));
        }
    }
}

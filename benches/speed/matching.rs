//! How fast the patterns that an event fits are found: beside quamina with five patterns of each kind it accepts,
//! beside ourselves with ten as there come to be thousands, and beside asking each campaign.
//!
//! Both sides read the event's bytes anew each time, on one core. Before anything is timed, the answers are compared.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use carillon::clock::Clock;
use carillon::decision::{Campaign, Catalog, Permissions};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::pattern::{Index, Pattern};
use carillon::event::{Body, Event};
use carillon::ids::{Span, Timestamp};
use quamina::Quamina;
use serde_json::{Value, json};

use crate::Plan;
use crate::report::{Figures, Row, Target};

const EVENTS: u64 = 1_000;
/// quamina's automaton for overlapping ranges of numbers grows beyond memory at ten thousand.
const QUAMINA_OVERLAPPING_MAX: u64 = 1_000;

/// An event of about 850 bytes, as a shop sends it: five products in an order, and where the customer is.
pub fn order(n: u64) -> String {
    let products = (0..5).map(|at| {
        let n = mixed(n * 5 + at);
        json!({ "product_id": format!("p-{:06}", n % 1_000_000), "quantity": 1 + at % 3,
                "category": format!("category-{:02}", n % 25), "price": 5 + n % 200 })
    });
    let event = json!({
        "type": "track", "event": "Order Completed", "userId": format!("customer-{n:07}"), "messageId": format!("m-{n}"),
        "context": { "ip": format!("10.0.{}.{}", n / 250 % 250, n % 250), "locale": "en-GB", "country": country(n + 7),
                     "page": { "path": format!("/checkout/{}", n % 17), "title": "Thank you for your order" } },
        "properties": { "order_id": format!("o-{n:06}"), "total": mixed(n) % 1_000, "currency": "EUR",
                        "coupon": format!("{}-{}", coupon(n, 5), n % 90), "products": products.collect::<Vec<_>>() },
    });
    event.to_string()
}

/// Spreads numbers that are near to each other.
fn mixed(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

fn country(n: u64) -> String {
    format!("C{:02}", mixed(n) / 1_000 % 20)
}

/// How coupon `n` begins: ten letters are possible at each place, all equally often.
fn coupon(n: u64, letters: u32) -> String {
    let letter = |place: u32| char::from(b'A' + (n / 10_u64.pow(place) % 10) as u8);
    format!("WINTER-{}", (0..letters).map(letter).collect::<String>())
}

fn five(pattern: impl Fn(u64) -> Value) -> Vec<Value> {
    (0..5).map(pattern).collect()
}

/// Five patterns of each kind.
fn kinds() -> Vec<(&'static str, Vec<Value>)> {
    let of = |name: &str, test: Value| json!({ "properties": { name: [test] } });
    let coupons =
        |operator: &'static str, text: fn(u64) -> String| five(move |n| of("coupon", json!({ operator: text(n) })));
    vec![
        ("exact", five(|n| of("order_id", json!(format!("o-{:06}", n * 91))))),
        ("prefix", coupons("prefix", |n| coupon(n * 7, 2))),
        ("suffix", coupons("suffix", |n| format!("-{}", 10 + n * 7))),
        ("wildcard", coupons("wildcard", |n| format!("WINTER-A*-{n}*"))),
        ("equals-ignore-case", coupons("equals-ignore-case", |n| format!("{}-{n}", coupon(n, 5)).to_lowercase())),
        ("numeric", five(|n| of("total", json!({ "numeric": [">=", n * 100, "<", n * 100 + 20] })))),
        ("anything-but", five(|n| of("currency", json!({ "anything-but": ["EUR", format!("X{n}")] })))),
        (
            "arrays of objects",
            five(|n| {
                let both = json!({ "category": [format!("category-{:02}", n * 3)], "quantity": [3] });
                json!({ "properties": { "products": both } })
            }),
        ),
    ]
}

/// Of these at most one is met: the event's name, one product, and a total that half of the orders have.
fn selective(count: u64) -> Vec<Value> {
    let one = |n: u64| {
        json!({ "event": ["Order Completed"], "properties": { "order_id": [format!("o-{n:06}")],
                "total": [{ "numeric": [">", 500] }] } })
    };
    (0..count).map(one).collect()
}

/// Each shares its country with one in twenty others, its range with half of them, and its coupon's first letters with
/// all that have the same: with a letter more for ten times as many patterns, an event meets as many as before.
pub fn overlapping(count: u64, letters: u32) -> Vec<Value> {
    let one = |n: u64| {
        json!({ "event": ["Order Completed"], "context": { "country": [country(n)] },
                "properties": { "total": [{ "numeric": [">", mixed(n * 3) % 1_000] }],
                                "coupon": [{ "prefix": coupon(n, letters) }] } })
    };
    (0..count).map(one).collect()
}

/// The same patterns read by both.
struct Sides {
    index: Index,
    quamina: Option<Quamina<usize>>,
    /// Microseconds to add one pattern, read before.
    added_in: f64,
}

impl Sides {
    fn of(patterns: &[Value], with_quamina: bool) -> anyhow::Result<Self> {
        let read: Vec<Pattern> = patterns.iter().map(Pattern::from_json).collect::<Result<_, _>>()?;
        let clock = Clock::system(Span::ZERO);
        let started = clock.monotonic();
        let mut index = Index::default();
        read.iter().zip(0..).for_each(|(pattern, rule)| index.add(rule, pattern));
        let added_in = (clock.monotonic() - started).as_secs_f64() * 1e6 / read.len() as f64;
        let quamina = with_quamina.then(|| accepted(patterns)).transpose()?;
        Ok(Self { index, quamina, added_in })
    }

    /// How many patterns an event meets on average; both sides find the same ones.
    fn compared(&self, events: &[Body]) -> anyhow::Result<f64> {
        let mut matches = 0;
        for event in events {
            let ours: BTreeSet<usize> = self.index.matches(event).into_iter().map(|rule| rule as usize).collect();
            matches += ours.len();
            if let Some(quamina) = &self.quamina {
                let theirs: BTreeSet<usize> = found(quamina, event)?.into_iter().collect();
                ensure!(ours == theirs, "quamina finds {theirs:?}, we find {ours:?} in {}", event.text());
            }
        }
        Ok(matches as f64 / events.len() as f64)
    }

    fn ours(&self, plan: &Plan, events: &[Body]) -> anyhow::Result<f64> {
        per_second(plan, events, |event| Ok(self.index.matches(event).len()))
    }

    fn theirs(&self, plan: &Plan, events: &[Body]) -> anyhow::Result<f64> {
        let quamina = self.quamina.as_ref().context("quamina was not asked")?;
        per_second(plan, events, |event| Ok(found(quamina, event)?.len()))
    }
}

fn accepted(patterns: &[Value]) -> anyhow::Result<Quamina<usize>> {
    let mut quamina = Quamina::new();
    for (n, pattern) in patterns.iter().enumerate() {
        quamina.add_pattern(n, &pattern.to_string()).map_err(|error| anyhow::anyhow!("{pattern}: {error}"))?;
    }
    Ok(quamina)
}

fn found(quamina: &Quamina<usize>, event: &Body) -> anyhow::Result<Vec<usize>> {
    quamina.matches_for_event(event.text().as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Events a second, over all of them again and again.
fn per_second(
    plan: &Plan,
    events: &[Body],
    mut ask: impl FnMut(&Body) -> anyhow::Result<usize>,
) -> anyhow::Result<f64> {
    let clock = Clock::system(Span::ZERO);
    let (started, mut count) = (clock.monotonic(), 0);
    loop {
        for event in events {
            std::hint::black_box(ask(event)?);
        }
        count += events.len();
        let seconds = (clock.monotonic() - started).as_secs_f64();
        if seconds >= plan.seconds / 10.0 {
            return Ok(count as f64 / seconds);
        }
    }
}

/// All rows about matching.
///
/// # Errors
/// The two sides disagree, or quamina refuses a pattern.
pub fn measure(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let events: Vec<Body> = (0..EVENTS).map(|n| Body::new(order(n))).collect();
    let bytes = events.iter().map(|event| event.text().len()).sum::<usize>() / events.len();
    let mut rows = of_each_kind(plan, &events)?;
    let overlap = |count: u64| overlapping(count, count.ilog10() - 1);
    rows.extend(as_they_grow(plan, &events, "selective", &selective, 10_000, Target::None)?);
    rows.extend(as_they_grow(
        plan,
        &events,
        "overlapping",
        &overlap,
        QUAMINA_OVERLAPPING_MAX,
        Target::RatioAtLeast(0.4),
    )?);
    rows.extend(as_they_grow(
        plan,
        &events,
        "fanning out",
        &|count| overlapping(count, 1),
        QUAMINA_OVERLAPPING_MAX,
        Target::None,
    )?);
    rows.extend(of_campaigns(plan)?);
    notes.push(format!(
        "Matching: orders of {bytes} bytes, read anew each time, one core; the answers of both sides are compared before \
         they are timed. Overlapping patterns share a country with one in twenty others and a range of totals with half of \
         them, and however many there are, an event meets as many; fanning out, an event meets more the more there are."
    ));
    Ok(rows)
}

fn of_each_kind(plan: &Plan, events: &[Body]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, patterns) in kinds() {
        let sides = Sides::of(&patterns, true)?;
        let matches = sides.compared(events)?;
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..plan.repetitions {
            ours.0.push(sides.ours(plan, events)?);
            theirs.0.push(sides.theirs(plan, events)?);
        }
        rows.push(Row {
            what: format!("match, 5 patterns: {kind} ({matches:.2} met)"),
            unit: "events/s per core",
            ours,
            yardstick: Some(("quamina".to_owned(), theirs)),
            target: Target::RatioAtLeast(0.3),
        });
    }
    Ok(rows)
}

/// Ten, a thousand and ten thousand patterns; the rate at ten is the yardstick of the others.
fn as_they_grow(
    plan: &Plan,
    events: &[Body],
    what: &str,
    patterns: &dyn Fn(u64) -> Vec<Value>,
    quamina_max: u64,
    target: Target,
) -> anyhow::Result<Vec<Row>> {
    let (mut rows, mut at_ten) = (Vec::new(), Figures::default());
    for count in [10_u64, 1_000, 10_000] {
        let sides = Sides::of(&patterns(count), count <= quamina_max)?;
        let matches = sides.compared(events)?;
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..plan.repetitions {
            ours.0.push(sides.ours(plan, events)?);
            if sides.quamina.is_some() {
                theirs.0.push(sides.theirs(plan, events)?);
            }
        }
        let row = |what: String, yardstick, target| Row {
            what,
            unit: "events/s per core",
            ours: ours.clone(),
            yardstick,
            target,
        };
        let named = format!("match, {count} {what} patterns ({matches:.2} met)");
        if count == 10 {
            at_ten = ours.clone();
        } else {
            let target = if count == 10_000 { target } else { Target::None };
            rows.push(row(named.clone(), Some(("ours with 10".to_owned(), at_ten.clone())), target));
        }
        if sides.quamina.is_some() {
            rows.push(row(named, Some(("quamina".to_owned(), theirs)), Target::None));
        }
        if count == 10_000 {
            let (what, ours) = (format!("add one of 10000 {what} patterns"), Figures(vec![sides.added_in]));
            rows.push(Row { what, unit: "µs", ours, yardstick: None, target: Target::AtMost(50.0) });
        }
    }
    Ok(rows)
}

/// A thousand live campaigns on one event: found through the catalog, beside asking each for its pattern.
fn of_campaigns(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let patterns = overlapping(1_000, 2);
    let campaigns =
        patterns.iter().enumerate().map(|(n, pattern)| campaign(n, pattern)).collect::<anyhow::Result<Vec<_>>>()?;
    let catalog = Catalog::new(campaigns.clone(), BTreeSet::new(), Permissions::default());
    let now: Timestamp = "2026-03-01T11:00Z".parse()?;
    let event = |n: u64| {
        let mut event = crate::shop::event("matching", n, n, 1, now);
        event.name = "Order Completed".to_owned();
        event.body = Body::new(order(n));
        event
    };
    let events: BTreeMap<u64, Event> = (0..EVENTS).map(|n| (n, event(n))).collect();
    let each = |event: &Event| -> usize {
        let document: Value = serde_json::from_str(event.body.text()).unwrap_or_default();
        let fits =
            |campaign: &&Campaign| campaign.entry.pattern.as_ref().is_none_or(|pattern| pattern.matches(&document));
        campaigns.iter().filter(fits).count()
    };
    for event in events.values() {
        let (found, asked) = (catalog.entered_by(event).len(), each(event));
        ensure!(found == asked, "the catalog finds {found} campaigns, {asked} fit");
    }
    let bodies: Vec<Body> = (0..EVENTS).map(|n| Body::new(n.to_string())).collect();
    let at = |body: &Body| -> anyhow::Result<&Event> {
        events.get(&body.text().parse::<u64>()?).context("an event that was not made")
    };
    let (mut ours, mut asked) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        ours.0.push(per_second(plan, &bodies, |body| Ok(catalog.entered_by(at(body)?).len()))?);
        asked.0.push(per_second(plan, &bodies[..20], |body| Ok(each(at(body)?)))?);
    }
    Ok(vec![Row {
        what: "campaigns an event may enter, of 1000 live ones on its name".to_owned(),
        unit: "events/s per core",
        ours,
        yardstick: Some(("asking each".to_owned(), asked)),
        target: Target::None,
    }])
}

fn campaign(n: usize, pattern: &Value) -> anyhow::Result<Campaign> {
    let text = json!({
        "kind": "campaign", "key": format!("campaign_{n:04}"), "name": "One", "owner": "crm@shop.example",
        "type": "trigger", "status": "live", "purpose": "transactional",
        "entry": { "event": "Order Completed", "match": pattern }, "send": { "channel": "email", "template": "note" },
    });
    let file = SourceFile { name: "one.json".to_owned(), text: text.to_string() };
    let documents = read(&[file]).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    match documents.into_iter().next().map(|one| one.definition) {
        Some(Definition::Campaign(campaign)) => Ok(campaign),
        other => anyhow::bail!("not a campaign: {other:?}"),
    }
}

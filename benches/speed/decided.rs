//! What deciding one event costs as there come to be thousands of live campaigns: the whole decision, with conditions on
//! segments, past events, traits and carts, beside ten campaigns of which an event meets as many.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use carillon::audience::Carts;
use carillon::audience::condition::Terms;
use carillon::audience::segment::{Bases, SegmentSet};
use carillon::clock::Clock;
use carillon::decision::{At, Campaign, Catalog, Input, Loaded, Permissions, Person, Snapshot, decide, needs};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::Body;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use serde_json::{Value, json};

use crate::Plan;
use crate::matching::{order, overlapping};
use crate::report::{Figures, Row, Target};

const PEOPLE: u64 = 500;
const SEGMENTS: u64 = 20;
const PAST: i64 = 30;

/// The rows about deciding.
///
/// # Errors
/// A campaign is refused.
pub fn measure(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let now: Timestamp = "2026-03-01T11:00Z".parse()?;
    let people: Vec<Person> = (0..PEOPLE).map(|n| person(n, now)).collect();
    let inputs: Vec<Input> = (0..PEOPLE).map(|n| input(n, now)).collect();
    let (mut rows, mut at_ten) = (Vec::new(), Figures::default());
    for count in [10_u64, 1_000, 10_000] {
        let catalog = catalog(&overlapping(count, count.ilog10() - 1))?;
        let (mut met, mut entered) = (0, 0);
        for (person, input) in people.iter().zip(&inputs) {
            let Input::Event(event) = input else { continue };
            met += catalog.entered_by(event).len();
            entered += decided(&catalog, person, input, now);
        }
        let each = |count: usize| count as f64 / PEOPLE as f64;
        ensure!(met > 0 && entered > 0, "nothing is decided");
        let mut ours = Figures::default();
        for _ in 0..plan.repetitions {
            ours.0.push(per_second(plan, &catalog, &people, &inputs, now));
        }
        if count == 10 {
            at_ten = ours.clone();
        }
        let yardstick = (count > 10).then(|| ("ours with 10".to_owned(), at_ten.clone()));
        let target = if count == 10_000 { Target::RatioAtLeast(0.5) } else { Target::None };
        let what = format!(
            "decide an event, {count} live campaigns with full conditions ({:.2} met, {:.2} effects)",
            each(met),
            each(entered)
        );
        rows.push(Row { what, unit: "events/s per core", ours, yardstick, target });
    }
    notes.push(format!(
        "Deciding: what must be loaded, and the decision, of an order by one of {PEOPLE} people who did {PAST} things \
         before, beside {SEGMENTS} segments; nothing is read or written."
    ));
    Ok(rows)
}

fn per_second(plan: &Plan, catalog: &Catalog, people: &[Person], inputs: &[Input], now: Timestamp) -> f64 {
    let clock = Clock::system(Span::ZERO);
    let (started, mut count) = (clock.monotonic(), 0);
    loop {
        for (person, input) in people.iter().zip(inputs) {
            std::hint::black_box(decided(catalog, person, input, now));
        }
        count += people.len();
        let seconds = (clock.monotonic() - started).as_secs_f64();
        if seconds >= plan.seconds / 5.0 {
            return count as f64 / seconds;
        }
    }
}

/// How many effects come of it.
fn decided(catalog: &Catalog, person: &Person, input: &Input, now: Timestamp) -> usize {
    std::hint::black_box(needs(catalog, person, input, now));
    let loaded = Loaded::default();
    let snapshot = Snapshot { catalog, person, loaded: &loaded, settle: Span::from_seconds(2) };
    decide(At { position: Position(1_000_000), now }, &snapshot, input).effects.len()
}

fn input(n: u64, now: Timestamp) -> Input {
    let mut event = crate::shop::event("decided", n, n, 1, now);
    // Each body is read anew, as from the log.
    event.name = "Order Completed".to_owned();
    event.body = Body::new(order(n));
    Input::Event(Arc::new(event))
}

fn person(n: u64, now: Timestamp) -> Person {
    let mut person = Person::new(ProfileId(n as i64 + 1), now);
    person.version = 1;
    let traits = json!({ "email": format!("{n}@example.com"), "plan": if n.is_multiple_of(3) { "plus" } else { "free" },
                         "city": format!("City {}", n % 50), "points": n % 100 });
    if let Value::Object(traits) = traits {
        person.profile.set_traits(&traits.into_iter().collect());
    }
    for back in (0..PAST).rev() {
        let name = format!("Product Viewed {}", (n as i64 + back) % 7);
        person.profile.history.record(
            &name,
            now.plus_millis(-back * 3_600_000),
            Position(n as i64 * 100 + PAST - back),
        );
    }
    person.profile.carts = Some(Carts::default());
    person
}

fn catalog(patterns: &[Value]) -> anyhow::Result<Catalog> {
    let segment = |n: u64| {
        json!({ "kind": "segment", "key": format!("segment_{n:02}"), "name": "S", "owner": "crm@shop.example",
                "where": { "any": [ { "performed": { "event": format!("Product Viewed {}", n % 7), "at_least": 4, "within": "1d" } },
                                    { "trait": { "city": format!("City {n}") } } ] } })
    };
    let campaign = |(n, pattern): (usize, &Value)| {
        json!({ "kind": "campaign", "key": format!("campaign_{n:05}"), "name": "One", "owner": "crm@shop.example",
                "type": "trigger", "status": "live", "purpose": "marketing",
                "entry": { "event": "Order Completed", "match": pattern, "reentry": "always", "where": { "all": [
                    { "performed": { "event": format!("Product Viewed {}", n % 7), "at_least": 3, "within": "7d" } },
                    { "trait": { "points": { "gte": n % 50 } } },
                    { "not": { "cart": { "items": { "gte": 20 } } } },
                    { "not": { "in_segment": format!("segment_{:02}", n as u64 % SEGMENTS) } } ] } },
                "exit": [ { "in_segment": format!("segment_{:02}", n as u64 % SEGMENTS) } ],
                "goal": { "event": format!("Goal {}", n % 40), "within": "3d" },
                "delay": "1h", "send": { "channel": "email", "template": "note" } })
    };
    let texts = (0..SEGMENTS).map(segment).chain(patterns.iter().enumerate().map(campaign));
    let files: Vec<SourceFile> =
        texts.enumerate().map(|(n, text)| SourceFile { name: format!("{n}.json"), text: text.to_string() }).collect();
    let documents = read(&files).map_err(|problems| anyhow::anyhow!("{:?}", problems.first()))?;
    let (mut campaigns, mut segments): (Vec<Campaign>, BTreeMap<String, _>) = (Vec::new(), BTreeMap::new());
    for document in documents {
        match document.definition {
            Definition::Campaign(campaign) => campaigns.push(Campaign { version: 1, ..campaign }),
            Definition::Segment(segment) => drop(segments.insert(segment.key.clone(), (segment, Position(0)))),
            other => anyhow::bail!("not asked for: {other:?}"),
        }
    }
    let segments = SegmentSet::new(segments.into_values().collect(), &Bases::default());
    let terms = Terms { segments, ..Terms::default() };
    Ok(Catalog::new(campaigns, Default::default(), Permissions::default()).with_terms(terms))
}

//! How fast people live through it again: events a second of the pure run, on one core, with a campaign, a cap and a
//! condition that looks into the past. Reading them from a database is not in it.

use std::sync::Arc;

use anyhow::ensure;
use carillon::clock::Clock;
use carillon::decision::{Catalog, Loaded, Permissions, Person};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Body, Event, Kind, Origin};
use carillon::ids::{EventId, Position, ProfileId, Span, Timestamp};
use carillon::story::{Act, Setting, Someone, World};

use crate::Plan;
use crate::report::{Figures, Row, Target};

/// Of one person.
const EVENTS: usize = 20;

const DEFINITIONS: &str = "\
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Product Added, where: { performed: { event: Product Viewed, at_least: 2, within: 1d } } }
delay: 1h
exit: [ { event: Order Completed } ]
send: { channel: email, template: note }
";

fn setting() -> anyhow::Result<Setting> {
    let files = [SourceFile { name: "cart.yaml".to_owned(), text: DEFINITIONS.to_owned() }];
    let documents = read(&files).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let campaigns = documents.into_iter().filter_map(|document| match document.definition {
        Definition::Campaign(campaign) => Some(campaign),
        _ => None,
    });
    let catalog = Catalog::new(campaigns.collect(), Default::default(), Permissions::default());
    Ok(Setting { catalog, ..Setting::default() })
}

/// What one person does within a day: mostly looking, sometimes a cart, rarely an order.
fn acts(person: usize) -> Vec<Act> {
    let act = |n: usize| {
        let name = match (n + person) % 20 {
            7 => "Product Added",
            15 => "Order Completed",
            _ => "Product Viewed",
        };
        let at = Timestamp::from_millis(1_772_000_000_000).plus(Span::from_seconds(n as i64 * 1_800));
        let body = format!(r#"{{"properties":{{"product_id":"p{}","price":{}}}}}"#, n % 7, 5 + n);
        let event = Event {
            id: EventId::derive(&[&person.to_le_bytes(), &n.to_le_bytes()]),
            kind: Kind::Track,
            name: name.to_owned(),
            message_id: format!("{person}-{n}"),
            version: 1,
            source: "bench".to_owned(),
            correlation_id: String::new(),
            trace: None,
            user_id: Some(format!("p{person}")),
            anonymous_id: None,
            previous_id: None,
            at,
            received_at: at,
            original_at: None,
            sent_at: None,
            origin: Origin::Live,
            body: Body::new(body),
        };
        Act::of(at, 0, Arc::new(event))
    };
    (0..EVENTS).map(act).collect()
}

fn someone(id: usize) -> Someone {
    let mut person = Person::new(ProfileId(id as i64), Timestamp::default());
    person.profile.traits.insert("email".to_owned(), format!("p{id}@example.com").into());
    Someone { name: format!("p{id}"), person, loaded: Loaded::default() }
}

/// # Errors
/// The definitions cannot be read, or nothing came of it.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let scale: f64 = std::env::var("CARILLON_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let people = ((50_000.0 * scale) as usize).max(50);
    let (setting, clock) = (setting()?, Clock::system(Span::ZERO));
    let lives: Vec<Vec<Act>> = (0..people.min(5_000)).map(acts).collect();
    let mut ours = Figures::default();
    for _ in 0..plan.repetitions {
        let (began, mut sent) = (clock.boot_time(), 0);
        for id in 0..people {
            let acts = &lives[id % lives.len()];
            let mut world = World::new(&setting, vec![someone(id)], Position(0));
            world.tells_misfits = false;
            world.run(Timestamp::default(), acts, None).map_err(anyhow::Error::msg)?;
            sent += world.messages().len();
        }
        ensure!(sent > people / 4, "only {sent} messages of {people} people");
        ours.0.push((people * EVENTS) as f64 / (clock.boot_time() - began).as_secs_f64());
    }
    let what = "backtest, the pure run, one core".to_owned();
    Ok(vec![Row { what, unit: "events/s", ours, yardstick: None, target: Target::AtLeast(200_000.0) }])
}

//! How fast people live through it again, a week of a shop: events a second of the pure run on one core, and of a whole
//! backtest that reads a million stored events of a hundred thousand people from SQLite, with its memory.
//!
//! Four campaigns look on, of which three are marketing under two caps and quiet hours, and each asks something of the
//! past.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use carillon::audience::History;
use carillon::clock::Clock;
use carillon::decision::{Catalog, Loaded, Permissions, Person};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Body, Event, Kind};
use carillon::guard::quiet_hours;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use carillon::store::entries::{Entry, Logged};
use carillon::store::{Store, open};
use carillon::story::{Act, Setting, Someone, World};
use carillon::worker::live::Definitions;
use carillon::worker::plan::backtest::{Asked, backtest};
use serde::{Deserialize, Serialize};

use crate::child::{self, On};
use crate::report::{Figures, Row, Target};
use crate::{Plan, shop};

/// Of one person, in the pure run and in the store.
const EVENTS: usize = 20;
const EVENTS_STORED: usize = 10;
/// Monday, 2 March 2026.
const BEGINNING: i64 = 1_772_409_600_000;
const WEEK: Span = Span::from_days(7);

const DEFINITIONS: &str = r#"
kind: campaign
key: browse
name: Browse
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
priority: 30
entry:
  event: Product Viewed
  match: { properties: { price: [ { numeric: [ ">=", 8 ] } ] } }
  where: { performed: { event: Product Viewed, at_least: 2, within: 4d, same: properties.product_id } }
  reentry: { after: 2d }
delay: 2h
exit: [ { event: [ Product Added, Order Completed ] } ]
goal: { event: Order Completed, within: 2d }
send: { channel: email, template: note }
---
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
priority: 80
entry: { event: Product Added, key: properties.product_id }
delay: 1h
exit: [ { event: Order Completed } ]
goal: { event: Order Completed, within: 2d, value: properties.price }
send: { channel: email, template: note }
---
kind: campaign
key: regulars
name: Regulars
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry:
  event: Order Completed
  where: { performed: { event: Order Completed, sum: properties.price, gte: EUR 20, within: 7d } }
delay: 1d
send: { channel: email, template: note }
---
kind: campaign
key: thanks
name: Thanks
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Completed, reentry: always }
send: { channel: email, template: note }
---
kind: caps
rules: [ { at_most: 1, per: 1d }, { at_most: 3, per: 7d } ]
---
kind: quiet_hours
windows: [ { channels: [ email ], from: "22:00", to: "08:00", purposes: [ marketing ] } ]
---
kind: consent_policy
rules: [ { channel: email, unknown: allowed } ]
---
kind: template
key: note
defaults: { profile.traits.first_name: there }
sample: { profile: { traits: { first_name: Ann } } }
email: { subject: A note, html: "<p>Hello {{profile.traits.first_name}} <a href=\"{{links.unsubscribe}}\">stop</a></p>" }
"#;

fn files() -> Vec<SourceFile> {
    vec![SourceFile { name: "shop.yaml".to_owned(), text: DEFINITIONS.to_owned() }]
}

fn setting() -> anyhow::Result<Setting> {
    let (mut campaigns, mut rules, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
    let mut permissions = Permissions::default();
    for document in read(&files()).map_err(|problems| anyhow::anyhow!("{problems:?}"))? {
        match document.definition {
            Definition::Campaign(campaign) => campaigns.push(campaign),
            Definition::Caps(caps) => rules.extend(caps),
            Definition::QuietHours(windows) => quiet.push(windows),
            Definition::ConsentPolicy(policy) => {
                permissions.policies.extend(policy.into_iter().map(|rule| (rule.channel, rule.policy)));
            }
            _ => {}
        }
    }
    let catalog = Catalog::new(campaigns, Default::default(), permissions);
    Ok(Setting { catalog, rules, quiet: quiet_hours::in_force(quiet.into_iter()) })
}

/// What one person does within a week: mostly looking, sometimes a cart, rarely an order.
fn event(person: usize, n: usize, of: usize) -> Event {
    let name = match (n * 20 / of + person) % 20 {
        7 | 12 => "Product Added",
        15 => "Order Completed",
        _ => "Product Viewed",
    };
    let step = WEEK.millis() / of as i64;
    let at = Timestamp::from_millis(BEGINNING + n as i64 * step + (person as i64 * 7_919) % step);
    let body = format!(
        r#"{{"type":"track","userId":"{}","event":"{name}","properties":{{"product_id":"p{}","category":"lamps","name":"Walnut desk lamp","price":{},"currency":"EUR"}}}}"#,
        shop::user_id(person as u64),
        (n + person) % 4,
        5 + (n * 3 + person) % 17
    );
    let (kind, name, body) = match n {
        // Who somebody is, is what they said of themselves.
        0 => (Kind::Identify, Kind::Identify.event_name(), format!(r#"{{"traits":{{"email":"{}"}}}}"#, email(person))),
        _ => (Kind::Track, name, body),
    };
    let nonce = format!("backtest-{person}");
    Event { kind, name: name.to_owned(), body: Body::new(body), ..shop::event(&nonce, n as u64, person as u64, 0, at) }
}

fn acts(person: usize) -> Vec<Act> {
    let all = (0..EVENTS).map(|n| event(person, n, EVENTS));
    all.map(|event| Act::of(event.at, 0, Arc::new(event))).collect()
}

fn email(person: usize) -> String {
    format!("{}@example.com", shop::user_id(person as u64))
}

fn someone(id: usize) -> Someone {
    let mut person = Person::new(ProfileId(id as i64), Timestamp::from_millis(BEGINNING));
    person.profile.traits.insert("email".to_owned(), email(id).into());
    Someone { name: format!("p{id}"), person, loaded: Loaded::default(), is_new: false }
}

/// # Errors
/// The definitions cannot be read, or nothing came of it.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let scale: f64 = std::env::var("CARILLON_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let mut rows = vec![pure(plan, ((50_000.0 * scale) as usize).max(50))?];
    let people = ((100_000.0 * scale) as usize).max(100);
    let folder = plan.folder()?;
    stored(&folder.path().join("carillon.db"), people)?;
    let (mut speed, mut memory) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        let told: Whole = child::ask(On::Server, "backtest", &folder.path())?;
        ensure!(told.events == (people * EVENTS_STORED) as u64, "{told:?}");
        ensure!(told.sent > people as u64 / 4 && told.capped > 0, "{told:?}");
        eprintln!("backtest: {told:?}");
        speed.0.push(told.events as f64 / told.seconds);
        memory.0.push(told.memory);
    }
    let what = |of: &str| format!("backtest of {} stored events, {people} people, {of}", people * EVENTS_STORED);
    let row = |what, unit, ours, target| Row { what, unit, ours, yardstick: None, target };
    rows.push(row(what("SQLite, one core"), "events/s", speed, Target::None));
    rows.push(row(what("resident memory, highest"), "MiB", memory, Target::AtMost(300.0)));
    Ok(rows)
}

fn pure(plan: &Plan, people: usize) -> anyhow::Result<Row> {
    let (setting, clock) = (setting()?, Clock::system(Span::ZERO));
    let lives: Vec<Vec<Act>> = (0..people.min(5_000)).map(acts).collect();
    let mut ours = Figures::default();
    for _ in 0..plan.repetitions {
        let (began, mut sent) = (clock.boot_time(), 0);
        for id in 0..people {
            let acts = &lives[id % lives.len()];
            let mut world = World::new(&setting, vec![someone(id)], Position(0));
            world.tells = false;
            world.run(Timestamp::from_millis(BEGINNING), acts, None).map_err(anyhow::Error::msg)?;
            sent += world.messages().len();
        }
        ensure!(sent > people / 2, "only {sent} messages of {people} people");
        ours.0.push((people * EVENTS) as f64 / (clock.boot_time() - began).as_secs_f64());
    }
    let what = "backtest, the pure run, one core".to_owned();
    Ok(Row { what, unit: "events/s", ours, yardstick: None, target: Target::AtLeast(200_000.0) })
}

/// A database with these people and what they did in a week, in the order in which it came.
fn stored(path: &Path, people: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        open(path).await?.close().await;
        anyhow::Ok(())
    })?;
    let mut connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = connection.transaction()?;
    {
        let mut profile = transaction.prepare(
            "INSERT INTO profiles (id, workspace, version, user_id, traits, consent, history, created_at, last_seen_at)
             VALUES (?, 1, 1, ?, ?, '{}', ?, ?, ?)",
        )?;
        let mut term = transaction.prepare("INSERT INTO people_terms (workspace, term, profile) VALUES (1, ?, ?)")?;
        let mut entry = transaction.prepare(
            "INSERT INTO entries (position, workspace, profile, kind, name, event_id, at, now, meta, body)
             VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for person in 0..people {
            let (id, email, mut history) = (person as i64 + 1, email(person), History::default());
            for n in 0..EVENTS_STORED {
                let event = event(person, n, EVENTS_STORED);
                let position = (n * people + person) as i64 + 2;
                history.record(&event.name, event.at, Position(position));
                let kind = event.kind.as_str();
                let (name, at, body) = (event.name.clone(), event.at.millis(), event.body.text().to_owned());
                let (event_id, meta) = (event.id.as_bytes().to_vec(), meta_of(event)?);
                entry.execute(rusqlite::params![position, id, kind, name, event_id, at, at, meta, body])?;
            }
            let traits = format!(r#"{{"email":"{email}"}}"#);
            let began = BEGINNING;
            profile.execute(rusqlite::params![
                id,
                shop::user_id(person as u64),
                traits,
                history.pack(),
                began,
                began
            ])?;
            term.execute(rusqlite::params![email.into_bytes(), id])?;
        }
        let last = (people * EVENTS_STORED) as i64 + 1;
        transaction.execute("INSERT INTO cursors (name, position) VALUES ('processed', ?)", [last])?;
    }
    transaction.commit()?;
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").or_else(|error| match error {
        rusqlite::Error::ExecuteReturnedResults => Ok(()),
        other => Err(other),
    })?;
    Ok(())
}

fn meta_of(event: Event) -> anyhow::Result<Vec<u8>> {
    let (now, logged) = (event.at, Logged::Event(Arc::new(event)));
    let entry = Entry {
        position: Position(1),
        workspace: shop::WORKSPACE,
        profile: Some(ProfileId(1)),
        now,
        joins: None,
        logged,
    };
    match entry.values().into_iter().nth(8) {
        Some(sea_orm::Value::Bytes(Some(bytes))) => Ok(bytes),
        other => anyhow::bail!("the meta of an entry is {other:?}"),
    }
}

/// What a whole backtest came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Whole {
    events: u64,
    sent: u64,
    capped: u64,
    seconds: f64,
    /// MiB, at its highest.
    memory: f64,
}

/// The process that backtests the files over the folder.
///
/// # Errors
/// It cannot be read.
pub fn whole(folder: &Path) -> anyhow::Result<Whole> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = open(folder.join("carillon.db").as_path()).await?;
        let store = Store::new(database.reader.clone());
        let definitions = Definitions::load(store.clone()).await?;
        let clock = Clock::system(Span::ZERO);
        let from = Timestamp::from_millis(BEGINNING);
        let asked = Asked { files: files(), from, to: from.plus(WEEK), against_live: false };
        let began = clock.boot_time();
        let told = backtest(&store, &definitions, shop::WORKSPACE, &asked, &|_, _| true).await?;
        let seconds = (clock.boot_time() - began).as_secs_f64();
        let told = told.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let totals = |of: fn(&carillon::worker::plan::Tally) -> u64| {
            told.campaigns.iter().map(|one| of(&one.totals)).sum::<u64>()
        };
        let status = std::fs::read_to_string("/proc/self/status")?;
        let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no memory figure")?;
        let memory = highest.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1_024.0;
        let (sent, capped) = (totals(|it| it.sent.count), totals(|it| it.capped.count));
        Ok(Whole { events: told.events, sent, capped, seconds, memory })
    })
}

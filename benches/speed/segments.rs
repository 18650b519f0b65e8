//! Segments over a database in use: counting the people of one that nobody has saved, looking at everybody after one was
//! published while events keep coming, and how soon after an event somebody is seen in one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use carillon::app::{Carillon, WORKSPACE};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::ids::{Position, Span};
use carillon::store::controls::setting;
use carillon::store::segments::looked_at_setting;
use carillon::store::{Store, open};
use carillon::worker::head_count::head_count;
use carillon::worker::live::Definitions;
use rusqlite::{Connection, OpenFlags, params};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::Plan;
use crate::child::{On, Server, ask, memory_of};
use crate::client::{Answers, Load, percentile};
use crate::report::{Figures, Row, Target};
use crate::{fresh_nonce, prepare, publishing, whole};

/// Whatever the number of people: a few pages of them.
const COUNTED_MIB_MAX: f64 = 256.0;
const WHILE_LOOKING: f64 = 500.0;
const WHILE_PROBING: f64 = 5_000.0;
/// Between one person who is waited for and the next.
const PROBES_APART: Duration = Duration::from_millis(25);

/// What is counted: (what it looks at, condition).
const COUNTED: [(&str, &str); 3] = [
    ("traits", "{ trait: { plan: plus, points: { gte: 30 } } }"),
    ("past events", "{ performed: { event: Product Viewed, at_least: 5, within: 3650d } }"),
    (
        "traits and past events",
        "{ all: [ { trait: { points: { gte: 20 } } }, { not: { performed: { event: Order Completed, within: 30d } } } ] }",
    ),
];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookedAt {
    seconds: f64,
    people: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probed {
    count: usize,
    p50: f64,
    p99: f64,
    answers: Answers,
}

/// The rows about segments.
///
/// # Errors
/// The database cannot be prepared, or what is counted is wrong.
pub fn measure(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let scale = prepare::Scale::from_env()?;
    let prepared = prepare::prepare(scale)?;
    let mut rows = Vec::new();
    for (what, filter) in COUNTED {
        let (mut ours, mut memory) = (Figures::default(), Figures::default());
        for _ in 0..plan.repetitions {
            let (seconds, people, highest): (f64, u64, f64) = ask(On::AllCores, "counted", &(&prepared, filter))?;
            eprintln!("counted by {what}: {people} in {seconds:.2} s, {highest:.0} MiB");
            anyhow::ensure!(people > 0, "nobody is in it");
            ours.0.push(seconds);
            memory.0.push(highest);
        }
        let what = format!("count an unsaved segment on {what}, over {} people", scale.people);
        rows.push(Row { what, unit: "s", ours, yardstick: None, target: Target::AtMost(2.0) });
        let what = "memory while it is counted, at its highest".to_owned();
        rows.push(Row { what, unit: "MiB", ours: memory, yardstick: None, target: Target::AtMost(COUNTED_MIB_MAX) });
    }
    rows.extend(live(plan, scale, &prepared)?);
    notes.push(format!(
        "Segments: {} people with ten past events each and {} stored events. Counting uses both cores and reads a database \
         nobody is writing to. While everybody is looked at after a segment was published, {WHILE_LOOKING} events a second \
         come in; memberships are waited for at {WHILE_PROBING} events a second, over a connection of its own to the \
         database.",
        scale.people, scale.events
    ));
    Ok(rows)
}

fn live(plan: &Plan, scale: prepare::Scale, prepared: &Path) -> anyhow::Result<Vec<Row>> {
    // What is published stays; other parts must not find it.
    let folder = plan.folder()?;
    for entry in std::fs::read_dir(prepared)? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    let server = Server::role("segments", &folder.path())?;
    let load = |rate, seconds| Load {
        address: server.address,
        connections: 64,
        seconds,
        warm_up: 0.5,
        batch: 1,
        rate: Some(rate),
        nonce: fresh_nonce(),
        people: scale.people,
        event: None,
    };
    let before: Answers = ask(On::Load, "load", &load(WHILE_LOOKING, plan.seconds))?;
    std::fs::write(folder.path().join("go"), "")?;
    let (mut meanwhile, done) = (Figures::default(), folder.path().join("looked_at.json"));
    while !done.exists() {
        let answers: Answers = ask(On::Load, "load", &load(WHILE_LOOKING, plan.seconds))?;
        anyhow::ensure!(answers.refused == 0, "events were refused");
        meanwhile.0.push(answers.p99_ms);
    }
    let looked_at: LookedAt = serde_json::from_str(&std::fs::read_to_string(done)?)?;
    eprintln!("{looked_at:?}; ingest p99 {meanwhile:?} ms, before {:.2} ms", before.p99_ms);
    let highest = server.memory()?.1;
    let (mut p50, mut p99, mut reached) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        let order = (load(WHILE_PROBING, plan.seconds * 2.0), folder.path().join("carillon.db"));
        let probed: Probed = ask(On::Load, "probed", &order)?;
        eprintln!("{probed:?}");
        anyhow::ensure!(probed.answers.refused == 0, "events were refused");
        p50.0.push(probed.p50);
        p99.0.push(probed.p99);
        reached.0.push(probed.answers.events_per_second);
    }
    let of_people = format!("{} people with {} past events", scale.people, scale.events);
    let row = |what: String, unit, ours, yardstick, target| Row { what, unit, ours, yardstick, target };
    let one = |figure: f64| Figures(vec![figure]);
    let rate = looked_at.people as f64 / looked_at.seconds;
    let events = rate * scale.events as f64 / scale.people as f64;
    let quiet = Some(("before".to_owned(), one(before.p99_ms)));
    let seen = |what: &str| format!("event to membership seen, at {WHILE_PROBING} events/s, {what}");
    Ok(vec![
        row(
            format!("look at {of_people} after a segment was published"),
            "s",
            one(looked_at.seconds),
            None,
            Target::None,
        ),
        row("the same".to_owned(), "people/s", one(rate), None, Target::None),
        row("the same".to_owned(), "past events/s", one(events), None, Target::None),
        row("memory of the service meanwhile, at its highest".to_owned(), "MiB", one(highest), None, Target::None),
        row("ingest p99 meanwhile".to_owned(), "ms", meanwhile, quiet, Target::None),
        row(seen("p50"), "ms", p50, None, Target::None),
        row(seen("p99"), "ms", p99, None, Target::AtMost(1_000.0)),
        // A rate is kept to a part in a hundred.
        row(seen("as many as came"), "events/s", reached, None, Target::AtLeast(WHILE_PROBING * 0.99)),
    ])
}

/// Seconds to count, how many there are, and the memory it took at its highest, MiB.
///
/// # Errors
/// The database cannot be read.
pub fn counted(folder: &Path, filter: &str) -> anyhow::Result<(f64, u64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = open(&folder.join("carillon.db")).await?;
        let store = Store::new(database.reader.clone());
        let definitions = Definitions::load(store.clone()).await?;
        let clock = Clock::system(Span::ZERO);
        let started = clock.monotonic();
        let files = [segment("draft", filter)];
        let counted = head_count(&store, &definitions, WORKSPACE, &files, clock.now()).await?;
        let seconds = (clock.monotonic() - started).as_secs_f64();
        let Ok(counted) = counted else { bail!("the segment is refused") };
        anyhow::ensure!(counted.unreadable == 0, "{} rows cannot be read", counted.unreadable);
        let people = counted.segments.first().context("nothing is counted")?.people;
        database.close().await;
        Ok((seconds, people, memory_of(std::process::id())?.1))
    })
}

fn segment(key: &str, filter: &str) -> SourceFile {
    let text = format!("kind: segment\nkey: {key}\nname: S\nowner: crm@shop.example\nwhere: {filter}\n");
    SourceFile { name: format!("{key}.yaml"), text }
}

/// The service until standard input closes; when it is told to, it publishes two segments and waits until everybody was
/// looked at.
///
/// # Errors
/// It cannot be composed or served.
pub fn serve(folder: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let carillon = Carillon::open(whole::options(folder.clone(), ([127, 0, 0, 1], 9).into())?).await?;
        whole::add_key(&carillon).await?;
        let service = publishing::Service::of(&carillon);
        let looking = tokio::spawn(async move {
            if let Err(error) = look(&service, &folder).await {
                eprintln!("nobody is looked at: {error:#}");
            }
        });
        whole::serve_until_told(carillon).await?;
        looking.abort();
        Ok(())
    })
}

async fn look(service: &publishing::Service, folder: &Path) -> anyhow::Result<()> {
    while !folder.join("go").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let files = vec![
        segment("viewers", "{ performed: { event: Product Viewed, at_least: 5, within: 3650d } }"),
        segment("buyers", "{ performed: { event: Order Completed } }"),
    ];
    let clock = service.log.clock().clone();
    let started = clock.monotonic();
    service.put(files).await?;
    let store = service.store.workspace(WORKSPACE);
    let people = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let since = service.definitions.live(WORKSPACE).catalog.terms.segments.since();
        let looked_at = store.pass().await?.filter(|pass| pass.since == since);
        let done = setting(service.store.reader(), &looked_at_setting(WORKSPACE)).await?;
        if looked_at.is_some() && done.and_then(|text| text.parse().ok()).map_or(Position(0), Position) >= since {
            break looked_at.map_or(0, |pass| pass.looked_at);
        }
    };
    let looked_at = LookedAt { seconds: (clock.monotonic() - started).as_secs_f64(), people };
    let unfinished = folder.join("looked_at");
    std::fs::write(&unfinished, serde_json::to_string(&looked_at)?)?;
    Ok(std::fs::rename(unfinished, folder.join("looked_at.json"))?)
}

/// Posts the load, and beside it orders by people who are new, one at a time; each is waited for in the segment of buyers.
///
/// # Errors
/// Somebody is not seen within ten seconds.
pub fn probed(load: &Load, database: &Path) -> anyhow::Result<Probed> {
    let (address, nonce) = (load.address, load.nonce.clone());
    let clock = Clock::system(Span::ZERO);
    let end = clock.monotonic() + Duration::from_secs_f64(load.warm_up + load.seconds);
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let probing = std::thread::spawn(move || -> anyhow::Result<Vec<u32>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut is_in = connection.prepare(
                "SELECT 1 FROM identifiers JOIN segment_members ON segment_members.profile = identifiers.profile
                 WHERE identifiers.workspace = 1 AND identifiers.kind = 0 AND identifiers.value = ?
                 AND segment_members.workspace = 1 AND segment_members.segment = 'buyers'",
            )?;
            let mut times = Vec::new();
            while clock.monotonic() < end {
                let user = format!("probe-{nonce}-{}", times.len());
                let body = format!(
                    r#"{{"messageId":"{user}","userId":"{user}","event":"Order Completed","properties":{{"order_id":"{user}"}}}}"#
                );
                let sent = clock.monotonic();
                whole::post(&mut stream, "track", &body).await?;
                while !is_in.exists(params![user])? {
                    anyhow::ensure!(clock.monotonic() < sent + Duration::from_secs(10), "{user} is not seen");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                times.push(u32::try_from((clock.monotonic() - sent).as_micros()).unwrap_or(u32::MAX));
                tokio::time::sleep(PROBES_APART).await;
            }
            Ok(times)
        })
    });
    let answers = crate::client::run(load)?;
    let mut times = probing.join().map_err(|_| anyhow::anyhow!("the probe broke"))??;
    times.sort_unstable();
    Ok(Probed { count: times.len(), p50: percentile(&times, 0.50), p99: percentile(&times, 0.99), answers })
}

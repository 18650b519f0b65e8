//! `make bench`: measures Carillon beside yardsticks of the same run and writes `benches/RESULTS.md`.
//!
//! `cargo bench` measures everything; `cargo bench -- ingest` one part and only prints it. Servers and loads run as
//! processes of their own, each on one core. `CARILLON_BENCH_SCALE=0.01` shrinks the prepared database for a quick try.

mod backtest;
mod caps;
mod child;
mod client;
mod decided;
mod file;
mod hanging;
mod ingest;
mod letter;
mod matching;
mod outbox;
#[allow(dead_code, reason = "some of it serves tests")]
#[path = "../../tests/services/postgres.rs"]
mod own_postgres;
mod postgres;
mod postgres_probe;
mod prepare;
mod probe;
mod processed;
mod publishing;
mod queued;
mod report;
mod segments;
mod server;
mod shop;
mod smtp;
mod whole;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use carillon::clock::Clock;
use carillon::ids::Span;
use child::On;
use report::{Figures, Row, Target};

// As the service itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTS: [&str; 14] = [
    "render",
    "matching",
    "decided",
    "publishing",
    "segments",
    "backtest",
    "smtp",
    "outbox",
    "whole",
    "hanging",
    "ingest",
    "processed",
    "postgres",
    "caps",
];

/// How often and how long.
pub struct Plan {
    pub repetitions: usize,
    pub seconds: f64,
}

impl Plan {
    /// An empty folder on the disk the bench runs on: where syncing costs what it costs.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self) -> anyhow::Result<tempfile::TempDir> {
        std::fs::create_dir_all("target/bench-data")?;
        Ok(tempfile::Builder::new().prefix("run-").tempdir_in("target/bench-data")?)
    }
}

/// A text that no other run and no other load of this run has.
pub fn fresh_nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = Clock::system(Span::ZERO).now().millis();
    format!("{now:x}{:02x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", order] => print(&client::run(&serde_json::from_str(order)?)?),
        ["smtp", order] if order.starts_with('{') => print(&smtp::ours(&serde_json::from_str(order)?)?),
        ["server", order] => {
            let (behind, folder): (server::Behind, PathBuf) = serde_json::from_str(order)?;
            server::run(behind, &folder)
        }
        ["outbox", order] if order.starts_with('[') => {
            let (folder, sink, connections): (PathBuf, std::net::SocketAddr, usize) = serde_json::from_str(order)?;
            print(&outbox::emptied(&folder, sink, connections)?)
        }
        ["backtest", order] => print(&backtest::whole(&serde_json::from_str::<PathBuf>(order)?)?),
        ["timed", order] => print(&whole::timed(&serde_json::from_str::<PathBuf>(order)?)?),
        ["hanging", order] => {
            let (folder, letters): (PathBuf, u64) = serde_json::from_str(order)?;
            print(&hanging::timed(&folder, letters)?)
        }
        ["publishing", order] if order.starts_with('[') => {
            let (folder, seconds) = serde_json::from_str(order)?;
            publishing::serve(folder, seconds)
        }
        ["counted", order] => {
            let (folder, filter): (PathBuf, String) = serde_json::from_str(order)?;
            print(&segments::counted(&folder, &filter)?)
        }
        ["segments", order] if order.starts_with('"') => segments::serve(serde_json::from_str(order)?),
        ["probed", order] => {
            let (load, database): (client::Load, PathBuf) = serde_json::from_str(order)?;
            print(&segments::probed(&load, &database)?)
        }
        ["whole", order] => {
            let (folder, mail) = serde_json::from_str(order)?;
            whole::serve(folder, mail)
        }
        [role @ ("caps-ours" | "caps-bare"), order] => {
            let (url, nonce): (String, String) = serde_json::from_str(order)?;
            let run = if role == "caps-ours" { caps::ours } else { caps::bare };
            print(&run(&url, &nonce)?)
        }
        [role @ ("postgres-ours" | "postgres-probe"), order] => {
            let (url, seconds, people, nonce): (String, f64, u64, String) = serde_json::from_str(order)?;
            match role {
                "postgres-ours" => print(&postgres::ours(&url, seconds, people, &nonce)?),
                _ => print(&postgres_probe::processed(&url, seconds, people, &nonce)?),
            }
        }
        [role @ ("processed-ours" | "processed-probe"), order] => {
            let (folder, seconds, people, nonce): (PathBuf, f64, u64, String) = serde_json::from_str(order)?;
            let run = if role == "processed-ours" { processed::ours } else { processed::probe };
            print(&run(&folder, seconds, people, &nonce)?)
        }
        ref parts => measure(parts),
    }
}

fn print(answer: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

fn measure(parts: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        anyhow::bail!("there is no part `{unknown}`; there are {}", PARTS.join(", "));
    }
    let number = |name: &str, default: f64| -> anyhow::Result<f64> {
        std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} must be a number")))
    };
    let plan = Plan {
        repetitions: number("CARILLON_BENCH_REPETITIONS", 3.0)? as usize,
        seconds: number("CARILLON_BENCH_SECONDS", 5.0)?,
    };
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    if !child::can_pin() {
        notes.push("Server and load shared their cores: this machine has one core or no `taskset`.".to_owned());
    }
    if wanted("render") {
        rows.extend(letter::measure(&plan)?);
    }
    if wanted("matching") {
        rows.extend(matching::measure(&plan, &mut notes)?);
    }
    if wanted("decided") {
        rows.extend(decided::measure(&plan, &mut notes)?);
    }
    if wanted("segments") {
        rows.extend(segments::measure(&plan, &mut notes)?);
    }
    if wanted("publishing") {
        rows.extend(publishing::measure(&plan, &mut notes)?);
    }
    if wanted("backtest") {
        rows.extend(backtest::measure(&plan)?);
    }
    if wanted("ingest") {
        rows.extend(ingest::measure(&plan)?);
        notes.push(ingest::NOTE.to_owned());
    }
    if wanted("processed") {
        rows.extend(accepted_and_processed(&plan, &mut notes)?);
    }
    if wanted("postgres") {
        rows.extend(postgres::measure(&plan, &mut notes)?);
    }
    if wanted("caps") {
        rows.extend(caps::measure(&plan)?);
    }
    if wanted("smtp") {
        rows.extend(smtp::measure(&plan)?);
    }
    if wanted("outbox") {
        rows.extend(outbox::measure(&plan)?);
    }
    if wanted("whole") {
        rows.extend(whole::measure(&plan)?);
    }
    if wanted("hanging") {
        rows.extend(hanging::measure(&plan)?);
    }
    let page = report::page(&rows, &notes, "make bench");
    println!("{page}");
    if parts.is_empty() {
        std::fs::write("benches/RESULTS.md", page)?;
    }
    Ok(())
}

fn accepted_and_processed(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let scale = prepare::Scale::from_env()?;
    let folder = prepare::prepare(scale)?;
    let run = |on, role: &str| -> anyhow::Result<f64> {
        let order = (&folder, plan.seconds * 2.0, scale.people, fresh_nonce());
        let done: processed::Processed = child::ask(on, role, &order)?;
        eprintln!(
            "{role}: {:.0} events/s, {} messages of {} events",
            done.events_per_second, done.messages, done.events
        );
        let share = done.messages as f64 / done.events as f64;
        anyhow::ensure!((0.005..0.02).contains(&share), "one in a hundred should match, {share} did");
        Ok(done.events_per_second)
    };
    let (mut probe, mut ours, mut both_cores) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        probe.0.push(run(On::Server, "processed-probe")?);
        ours.0.push(run(On::Server, "processed-ours")?);
        both_cores.0.push(run(On::AllCores, "processed-ours")?);
    }
    notes.push(format!(
        "Accepted and processed: {} people and {} stored events, uniform; {} live campaigns on 20 event names, told apart \
         by category; 5% of the events carry such a name, 1% start a campaign. The probe writes the same rows with one \
         commit for accepting 512 events and one for their effects.",
        scale.people,
        scale.events,
        shop::CAMPAIGNS
    ));
    let what = |where_: &str| format!("accepted and processed, {where_}");
    let yardstick = Some(("bare SQL, one core".to_owned(), probe));
    Ok(vec![
        Row { what: what("one core"), unit: "events/s", ours, yardstick, target: Target::RatioAtLeast(0.70) },
        Row {
            what: what("two cores"),
            unit: "events/s",
            ours: both_cores,
            yardstick: None,
            target: Target::AtLeast(15_000.0),
        },
    ])
}

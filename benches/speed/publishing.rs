//! Publishing: one campaign is changed again and again among ten thousand live ones, and events keep coming. The clock of
//! a publication stops when what is in force in the service is the new version, and again when it is answered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use carillon::app::{Carillon, WORKSPACE};
use carillon::definition::SourceFile;
use carillon::worker::apply::apply;
use serde::{Deserialize, Serialize};

use crate::Plan;
use crate::child::{On, Server, ask};
use crate::client::{Answers, Load, percentile};
use crate::report::{Figures, Row, Target};
use crate::{fresh_nonce, shop, whole};

const LIVE: u64 = 10_000;
const EVENTS_PER_SECOND: f64 = 2_000.0;
/// Between the beginning of one publication and that of the next.
const PAUSE: Duration = Duration::from_millis(50);
const PEOPLE: u64 = 10_000;

/// Milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Published {
    count: usize,
    in_force_p50: f64,
    in_force_p99: f64,
    answered_p99: f64,
}

/// The rows about publishing.
///
/// # Errors
/// The service does not start, or refuses a campaign.
pub fn measure(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let (mut p50, mut p99, mut answered) = (Figures::default(), Figures::default(), Figures::default());
    let (mut before, mut during) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        let folder = plan.folder()?;
        let server = Server::role("publishing", &(folder.path(), plan.seconds))?;
        let load = |warm_up| Load {
            address: server.address,
            connections: 32,
            seconds: plan.seconds,
            warm_up,
            batch: 1,
            rate: Some(EVENTS_PER_SECOND),
            nonce: fresh_nonce(),
            people: PEOPLE,
            event: None,
        };
        let quiet: Answers = ask(On::Load, "load", &load(2.0))?;
        std::fs::write(folder.path().join("go"), "")?;
        let busy: Answers = ask(On::Load, "load", &load(0.2))?;
        let published = told(folder.path())?;
        eprintln!("publishing: {published:?}; ingest p99 {:.2} ms, before {:.2} ms", busy.p99_ms, quiet.p99_ms);
        anyhow::ensure!(quiet.refused + busy.refused == 0, "events were refused");
        before.0.push(quiet.p99_ms);
        during.0.push(busy.p99_ms);
        p50.0.push(published.in_force_p50);
        p99.0.push(published.in_force_p99);
        answered.0.push(published.answered_p99);
    }
    notes.push(format!(
        "Publishing: {LIVE} live campaigns with conditions on segments, past events, traits and carts; one of them is \
         changed every {} ms while {EVENTS_PER_SECOND} events a second come in.",
        PAUSE.as_millis()
    ));
    let row = |what: &str, ours, yardstick, target| Row {
        what: format!("publish one of {LIVE} live campaigns, {what}"),
        unit: "ms",
        ours,
        yardstick,
        target,
    };
    Ok(vec![
        row("request to in force, p50", p50, None, Target::None),
        row("request to in force, p99", p99, None, Target::AtMost(20.0)),
        row("request to answer with its warnings, p99", answered, None, Target::None),
        row("ingest p99 meanwhile", during, Some(("before".to_owned(), before)), Target::RatioAtMost(2.0)),
    ])
}

/// Waits for what the service says of itself.
fn told(folder: &Path) -> anyhow::Result<Published> {
    for _ in 0..600 {
        if let Ok(text) = std::fs::read_to_string(folder.join("published.json")) {
            return Ok(serde_json::from_str(&text)?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the service has published nothing");
}

/// Campaign `n` in its `version`th text, with every kind of condition.
pub fn campaign(n: u64, version: u64) -> SourceFile {
    let (name, category) = (shop::watched_name(n % 20), n / 20);
    let text = format!(
        "kind: campaign\nkey: campaign_{n:05}\nname: Campaign {n}\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\npriority: {}\nentry:\n  event: {name}\n  match: {{ properties: {{ category: [ category-{category:02} ] }} }}\n  \
         reentry: always\n  where:\n    all:\n      - {{ in_segment: segment_{:02} }}\n      - {{ performed: {{ event: Product Viewed, at_least: 3, within: 7d }} }}\n      \
         - {{ trait: {{ plan: plus }} }}\n      - {{ not: {{ cart: {{ items: {{ gte: 20 }} }} }} }}\n\
         send: {{ channel: email, template: note }}\n",
        version % 100,
        n % 20,
    );
    SourceFile { name: format!("campaign_{n:05}.yaml"), text }
}

/// What the campaigns name beside themselves.
pub fn beside() -> Vec<SourceFile> {
    let note = "kind: template\nkey: note\nemail: { subject: Hi, html: <p>Hi</p> }\n";
    let segment = |n: u64| {
        let text = format!(
            "kind: segment\nkey: segment_{n:02}\nname: S {n}\nowner: crm@shop.example\nwhere:\n  any:\n    - {{ performed: {{ event: {}, at_least: 2, within: 30d }} }}\n    \
             - {{ trait: {{ city: \"City {n}\" }} }}\n",
            shop::watched_name(n)
        );
        SourceFile { name: format!("segment_{n:02}.yaml"), text }
    };
    let note = SourceFile { name: "note.yaml".to_owned(), text: note.to_owned() };
    (0..20).map(segment).chain([note]).collect()
}

/// The service, until standard input closes; when it is told to, it publishes for a while.
///
/// # Errors
/// It cannot be composed or served.
pub fn serve(folder: PathBuf, seconds: f64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let carillon = Carillon::open(whole::options(folder.clone(), ([127, 0, 0, 1], 9).into())?).await?;
        whole::add_key(&carillon).await?;
        let service = Service::of(&carillon);
        service.put(beside().into_iter().chain((0..LIVE).map(|n| campaign(n, 0))).collect()).await?;
        let publishing = tokio::spawn(publish(service, folder, seconds));
        whole::serve_until_told(carillon).await?;
        publishing.abort();
        Ok(())
    })
}

/// What publishing needs of the service.
pub struct Service {
    pub log: carillon::eventlog::EventLog,
    pub store: carillon::store::Store,
    pub definitions: Arc<carillon::worker::live::Definitions>,
}

impl Service {
    pub fn of(carillon: &Carillon) -> Self {
        let (log, store, definitions) = (carillon.log.clone(), carillon.store.clone(), carillon.definitions.clone());
        Self { log, store, definitions }
    }

    /// Applies these; none may be refused.
    ///
    /// # Errors
    /// One is.
    pub async fn put(&self, files: Vec<SourceFile>) -> anyhow::Result<()> {
        let applied = apply(&self.log, &self.store, &self.definitions, WORKSPACE, files, false).await?;
        if let Err(problems) = applied {
            bail!("refused: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        Ok(())
    }

    /// Publishes one campaign; the answer is the microseconds until it was in force and until it was answered.
    async fn one(&self, n: u64, version: u64) -> anyhow::Result<(u32, u32)> {
        let clock = self.log.clock().clone();
        let (definitions, key) = (self.definitions.clone(), format!("campaign_{n:05}"));
        let priority = (version % 100) as u8;
        let watched = clock.clone();
        let started = clock.monotonic();
        let in_force = std::thread::spawn(move || {
            loop {
                let live = definitions.live(WORKSPACE);
                if live.catalog.campaign(&key).is_some_and(|campaign| campaign.priority == priority) {
                    return watched.monotonic();
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let files = vec![campaign(n, version)];
        let (log, store, definitions) = (self.log.clone(), self.store.clone(), self.definitions.clone());
        let runtime = tokio::runtime::Handle::current();
        // On a thread of its own, as the API does it.
        let applying = move || runtime.block_on(apply(&log, &store, &definitions, WORKSPACE, files, false));
        let applied = tokio::task::spawn_blocking(applying).await??;
        let answered = clock.monotonic() - started;
        anyhow::ensure!(applied.is_ok_and(|applied| applied.changed.len() == 1), "it was not published");
        let in_force = tokio::task::spawn_blocking(move || in_force.join()).await?;
        let in_force = in_force.ok().context("nobody looked")? - started;
        Ok((in_force.as_micros() as u32, answered.as_micros() as u32))
    }
}

async fn publish(service: Service, folder: PathBuf, seconds: f64) -> anyhow::Result<()> {
    while !folder.join("go").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let count = (seconds / PAUSE.as_secs_f64()) as u64;
    let (mut in_force, mut answered) = (Vec::new(), Vec::new());
    // The first reads the log for its warnings; those after it what came since.
    service.one(1, 50).await?;
    for n in 0..count {
        let next = service.log.clock().monotonic() + PAUSE;
        // Every version is told from the one before by its priority.
        let (one, other) =
            service.one(n * 7_919 % LIVE, n % 99 + 1).await.inspect_err(|error| eprintln!("{error:#}"))?;
        in_force.push(one);
        answered.push(other);
        tokio::time::sleep(next.saturating_sub(service.log.clock().monotonic())).await;
    }
    in_force.sort_unstable();
    answered.sort_unstable();
    let published = Published {
        count: in_force.len(),
        in_force_p50: percentile(&in_force, 0.50),
        in_force_p99: percentile(&in_force, 0.99),
        answered_p99: percentile(&answered, 0.99),
    };
    std::fs::write(folder.join("published.json"), serde_json::to_string(&published)?)?;
    Ok(())
}

//! Rows about PostgreSQL, one that the bench starts: what the door accepts a second with it behind, and what is accepted
//! and processed together, each beside bare SQL on the same server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use carillon::clock::Clock;
use carillon::eventlog::EventLog;
use carillon::ids::Span;
use carillon::store::{Address, open};
use sqlx::{Connection, Executor, PgConnection};
use tokio::runtime::Runtime;

use crate::child::{On, Server, ask, pinned};
use crate::client::Answers;
use crate::ingest::{post, row};
use crate::own_postgres::OwnPostgres;
use crate::processed::{Backlog, Processed, append_all, messages};
use crate::report::{Figures, Row, Target};
use crate::server::Behind;
use crate::{Plan, fresh_nonce, postgres_probe, prepare, server, shop};

/// All rows of PostgreSQL.
///
/// # Errors
/// A server or a load failed, or a request was refused.
pub fn measure(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
    let mut rows = at_the_door(plan)?;
    rows.push(accepted_and_processed(plan, notes)?);
    Ok(rows)
}

/// A PostgreSQL and its databases, each new.
struct Databases {
    server: OwnPostgres,
    runtime: Runtime,
}

impl Databases {
    fn start(plan: &Plan, how: fn(&Path) -> std::process::Command) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { server: OwnPostgres::start_in(plan.folder()?, how)?, runtime })
    }

    fn new_one(&self) -> anyhow::Result<String> {
        self.copy_of("template0")
    }

    /// The address of a new database that is like this one.
    fn copy_of(&self, template: &str) -> anyhow::Result<String> {
        let (name, server) = (format!("bench_{}", fresh_nonce()), self.server.url());
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&format!("{server}/postgres")).await?;
            let sql = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY");
            connection.execute(sqlx::AssertSqlSafe(sql)).await?;
            // What one load left to write is not the next one's.
            connection.execute("CHECKPOINT").await?;
            connection.close().await?;
            Ok(format!("{server}/{name}"))
        })
    }
}

fn at_the_door(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    // On the core of the program that it serves.
    let databases = Databases::start(plan, |script| pinned(On::Server, script))?;
    let mut rows = Vec::new();
    let per_second = |answers: &[Answers]| Figures(answers.iter().map(|it| it.events_per_second).collect());
    let (bare, probe) = ("the same server storing nothing", "bare SQL behind the same door");
    let [nothing, sql, log] = compare(plan, &databases, 1, 64)?;
    let single = || row("single `POST /v1/track`, durable on PostgreSQL, accepting only", "events/s", per_second(&log));
    rows.push(single().beside(bare, per_second(&nothing), 0.28));
    let again = |batch: &[Answers]| row("the same", "events/s", per_second(batch));
    rows.push(Row { target: Target::None, ..again(&log).beside(probe, per_second(&sql), 0.0) });
    rows.push(row("answer, p50", "ms", Figures(log.iter().map(|it| it.p50_ms).collect())));
    rows.push(row("answer, p99", "ms", Figures(log.iter().map(|it| it.p99_ms).collect())));
    let [nothing, sql, log] = compare(plan, &databases, 100, 16)?;
    let batches = row("batches of 100, durable on PostgreSQL, accepting only", "events/s", per_second(&log));
    rows.push(batches.beside(probe, per_second(&sql), 0.60));
    rows.push(Row { target: Target::None, ..again(&log).beside(bare, per_second(&nothing), 0.0) });
    Ok(rows)
}

/// The same load on each of the three, one after the other, as often as planned.
fn compare(plan: &Plan, databases: &Databases, batch: usize, connections: usize) -> anyhow::Result<[Vec<Answers>; 3]> {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..plan.repetitions {
        for (answers, behind) in all.iter_mut().zip([Behind::Nothing, Behind::Probe, Behind::Log]) {
            let place = PathBuf::from(databases.new_one()?);
            let server = Server::start(behind, &place)?;
            let answer = post(plan, &server, batch, connections, None)?;
            eprintln!(
                "PostgreSQL, {behind:?}, {batch} a request: {:.0} events/s, p99 {:.1} ms",
                answer.events_per_second, answer.p99_ms
            );
            answers.push(answer);
        }
    }
    Ok(all)
}

fn accepted_and_processed(plan: &Plan, notes: &mut Vec<String>) -> anyhow::Result<Row> {
    let people = prepare::Scale::from_env()?.people;
    let databases = Databases::start(plan, |script| pinned(On::AllCores, script))?;
    let prepared = databases.new_one()?;
    eprintln!("preparing {people} people on PostgreSQL");
    databases
        .runtime
        .block_on(postgres_probe::prepare(&prepared, people))
        .context("the people could not be prepared")?;
    let template = prepared.rsplit('/').next().unwrap_or_default();
    let run = |role: &str| -> anyhow::Result<f64> {
        let order = (databases.copy_of(template)?, plan.seconds * 2.0, people, fresh_nonce());
        let done: Processed = ask(On::AllCores, role, &order)?;
        eprintln!(
            "{role}: {:.0} events/s, {} messages of {} events",
            done.events_per_second, done.messages, done.events
        );
        let share = done.messages as f64 / done.events as f64;
        anyhow::ensure!((0.005..0.02).contains(&share), "one in a hundred should match, {share} did");
        Ok(done.events_per_second)
    };
    let (mut probe, mut ours) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        probe.0.push(run("postgres-probe")?);
        ours.0.push(run("postgres-ours")?);
    }
    notes.push(format!(
        "PostgreSQL: its own server with `fsync` and `synchronous_commit` on, beside the program on its core where only \
         accepting, and on both cores where processing too. There it begins with {people} people and no events; the \
         campaigns are the same. The probe writes by `UNNEST` over one connection: one commit for accepting {} events and \
         one for their effects, while ours does both at once for 16 shards.",
        crate::processed::PROBE_COMMIT
    ));
    let yardstick = Some(("bare SQL, one connection".to_owned(), probe));
    let what = "accepted and processed on PostgreSQL, two cores".to_owned();
    Ok(Row { what, unit: "events/s", ours, yardstick, target: Target::None })
}

/// Carillon's own log and processors over PostgreSQL.
///
/// # Errors
/// The database cannot be used.
pub fn ours(url: &str, seconds: f64, people: u64, nonce: &str) -> anyhow::Result<Processed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::system(Span::ZERO);
        let database = open(Address::Postgres(url.into())).await?;
        let log = EventLog::start(&database, clock.clone()).await?;
        server::apply(&log, shop::campaigns()).await?;
        let mut processors = server::processors(&log, &database).await?;
        let created = messages(&database).await?;
        let started = clock.monotonic();
        let backlog = Arc::new(Backlog::default());
        let mut load = append_all(&log, &backlog, started, seconds, people, nonce);
        let mut appended = log.appended();
        let mut done = false;
        loop {
            appended.borrow_and_update();
            let count = processors.tick().await?;
            if count > 0 {
                backlog.decided(count);
                continue;
            }
            if done && backlog.count().1 == 0 {
                break;
            }
            tokio::select! {
                ended = load.join_next(), if !done => match ended {
                    Some(result) => result??,
                    None => done = true,
                },
                changed = appended.changed() => changed?,
            }
        }
        let events = backlog.count().0;
        let events_per_second = events as f64 / (clock.monotonic() - started).as_secs_f64();
        let messages = messages(&database).await? - created;
        log.stop().await;
        database.close().await;
        Ok(Processed { events, events_per_second, messages })
    })
}

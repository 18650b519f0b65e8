//! Rows about the door: what is accepted a second, one event or a hundred a request, beside the same server with
//! nothing behind it and beside a bare-SQL probe behind it; and how long an answer takes while the processor works.

use std::path::Path;

use carillon::clock::Clock;
use carillon::ids::Span;

use crate::child::{On, Server, ask};
use crate::client::{Answers, Load};
use crate::report::{Figures, Row, Target};
use crate::server::Behind;
use crate::{Plan, fresh_nonce};

const PEOPLE: u64 = 10_000;
/// Seconds.
const WARM_UP: f64 = 1.5;
/// How the rows came about.
pub const NOTE: &str = "Ingest: the server on one core, the load on the other; 64 connections post single events, 16 \
    post batches, each waiting for its answer, about 10,000 people whom the first 1.5 s, which do not count, have \
    made known. The bare SQL behind the same door writes the same rows by prepared statements over one connection, \
    one commit for all that waits.";

/// All rows of the door.
///
/// # Errors
/// A server or a load failed, or a request was refused.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let bare = "the same server storing nothing".to_owned();
    let probe = "bare SQL behind the same door".to_owned();
    let file = "a file appended and synced behind the same door".to_owned();
    let [nothing, floor, sql, log] = compare(plan, 1, 64)?;
    let per_second = |answers: &[Answers]| Figures(answers.iter().map(|it| it.events_per_second).collect());
    rows.push(row("single `POST /v1/track`, durable, accepting only", "events/s", per_second(&log)).beside(
        &bare,
        per_second(&nothing),
        0.35,
    ));
    rows.push(Row {
        target: Target::None,
        ..row("the same", "events/s", per_second(&log)).beside(&probe, per_second(&sql), 0.0)
    });
    rows.push(Row {
        target: Target::None,
        ..row("the same", "events/s", per_second(&log)).beside(&file, per_second(&floor), 0.0)
    });
    rows.push(row("answer, p50", "ms", Figures(log.iter().map(|it| it.p50_ms).collect())));
    rows.push(row("answer, p99", "ms", Figures(log.iter().map(|it| it.p99_ms).collect())));
    let [nothing, floor, sql, log] = compare(plan, 100, 16)?;
    rows.push(row("batches of 100, durable, accepting only", "events/s", per_second(&log)).beside(
        &probe,
        per_second(&sql),
        0.60,
    ));
    rows.push(Row {
        target: Target::None,
        ..row("the same", "events/s", per_second(&log)).beside(&bare, per_second(&nothing), 0.0)
    });
    rows.push(Row {
        target: Target::None,
        ..row("the same", "events/s", per_second(&log)).beside(&file, per_second(&floor), 0.0)
    });
    rows.extend(with_processor(plan)?);
    Ok(rows)
}

pub fn row(what: &str, unit: &'static str, ours: Figures) -> Row {
    Row { what: what.to_owned(), unit, ours, yardstick: None, target: Target::None }
}

impl Row {
    pub fn beside(self, name: &str, figures: Figures, at_least: f64) -> Self {
        Self { yardstick: Some((name.to_owned(), figures)), target: Target::RatioAtLeast(at_least), ..self }
    }
}

/// The same load on each of the four, one after the other, as often as planned.
fn compare(plan: &Plan, batch: usize, connections: usize) -> anyhow::Result<[Vec<Answers>; 4]> {
    let mut all = [const { Vec::new() }; 4];
    for _ in 0..plan.repetitions {
        for (answers, behind) in all.iter_mut().zip([Behind::Nothing, Behind::File, Behind::Probe, Behind::Log]) {
            let folder = plan.folder()?;
            let server = Server::start(behind, folder.path())?;
            let answer = post(plan, &server, batch, connections, None)?;
            eprintln!(
                "{behind:?}, {batch} a request: {:.0} events/s, p99 {:.1} ms",
                answer.events_per_second, answer.p99_ms
            );
            answers.push(answer);
        }
    }
    Ok(all)
}

/// One load on a server, of which nothing may be refused.
///
/// # Errors
/// The load failed, or a request was refused.
pub fn post(
    plan: &Plan,
    server: &Server,
    batch: usize,
    connections: usize,
    rate: Option<f64>,
) -> anyhow::Result<Answers> {
    let (address, seconds, nonce) = (server.address, plan.seconds, fresh_nonce());
    let load =
        Load { address, connections, seconds, warm_up: WARM_UP, batch, rate, nonce, people: PEOPLE, event: None };
    let answers: Answers = ask(On::Load, "load", &load)?;
    anyhow::ensure!(answers.refused == 0, "{} of {} requests were refused", answers.refused, answers.requests);
    Ok(answers)
}

/// Answers while the processor works on what comes in, at half of what it could take; memory; the start.
fn with_processor(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let (mut most, mut p99, mut rest, mut load, mut start) =
        (Figures::default(), Figures::default(), Figures::default(), Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        let folder = plan.folder()?;
        let server = Server::start(Behind::LogAndProcessor, folder.path())?;
        let saturated = post(plan, &server, 1, 64, None)?.requests_per_second;
        most.0.push(saturated);
        drop(server);
        let folder = plan.folder()?;
        start.0.push(first_answer(folder.path())?);
        let server = Server::start(Behind::LogAndProcessor, folder.path())?;
        rest.0.push(server.memory()?.0);
        let answers = post(plan, &server, 1, 64, Some(saturated / 2.0))?;
        eprintln!("with the processor: {saturated:.0} events/s at most, p99 {:.1} ms at half", answers.p99_ms);
        p99.0.push(answers.p99_ms);
        drop(server);
        let folder = plan.folder()?;
        let server = Server::start(Behind::LogAndProcessor, folder.path())?;
        post(plan, &server, 10, 16, Some(1_000.0))?;
        load.0.push(server.memory()?.1);
    }
    Ok(vec![
        row("single, durable, the processor running on the same core", "events/s", most),
        Row { target: Target::AtMost(50.0), ..row("answer at half of that, p99", "ms", p99) },
        Row { target: Target::AtMost(60.0), ..row("resident memory at rest", "MiB", rest) },
        Row { target: Target::AtMost(300.0), ..row("resident memory at 10,000 events/s, highest", "MiB", load) },
        Row {
            target: Target::AtMost(300.0),
            ..row("start on an existing database to the first accepted event", "ms", start)
        },
    ])
}

/// Milliseconds from starting the process to the first 200, on a database that exists.
fn first_answer(folder: &Path) -> anyhow::Result<f64> {
    let clock = Clock::system(Span::ZERO);
    drop(Server::start(Behind::LogAndProcessor, folder)?);
    let started = clock.monotonic();
    let server = Server::start(Behind::LogAndProcessor, folder)?;
    let load = Load {
        address: server.address,
        connections: 1,
        seconds: 0.001,
        warm_up: 0.0,
        batch: 1,
        rate: None,
        nonce: fresh_nonce(),
        people: PEOPLE,
        event: None,
    };
    let answers = crate::client::run(&load)?;
    let took = (clock.monotonic() - started).as_secs_f64() * 1_000.0;
    anyhow::ensure!(answers.refused == 0 && answers.requests > 0, "the first event was refused");
    Ok(took)
}

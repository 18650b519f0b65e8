//! From the outbox to what is recorded: letters that wait are claimed, guarded, rendered, sent to `smtp-sink` and their
//! answers stored. The whole service as `serve` composes it, on one core; the sink is on the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use carillon::app::{Carillon, WORKSPACE};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Kind};
use carillon::ids::Span;
use carillon::store::Rows;
use carillon::worker::apply::apply;

use crate::child::{On, ask, processor_seconds};
use crate::report::{Figures, Row, Target};
use crate::smtp::Sink;
use crate::{Plan, fresh_nonce, letter, shop, whole};

const LETTERS: u64 = 20_000;
/// So many that no domain is paced.
const DOMAINS: u64 = 2_000;
const HTML_BYTES: usize = 8_000;
/// As shipped, and as whoever sends this much would have it: so many messages are with the relay, and twice as many
/// marked, at once.
const CONNECTIONS: [(usize, Target); 2] = [(8, Target::None), (32, Target::AtLeast(4_000.0))];
const TOGETHER: usize = 1_000;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The row about the outbox.
///
/// # Errors
/// A letter was not accepted.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (connections, target) in CONNECTIONS {
        let mut ours = Figures::default();
        for _ in 0..plan.repetitions {
            let (folder, sink) = (plan.folder()?, Sink::start()?);
            let (per_second, micros): (f64, f64) =
                ask(On::Server, "outbox", &(folder.path(), sink.address, connections))?;
            eprintln!(
                "from the outbox to what is recorded: {per_second:.0} e-mails/s over {connections} connections, \
                 {micros:.0} µs of the processor each"
            );
            ours.0.push(per_second);
        }
        let what = format!("outbox, guard, render, send, recorded; {connections} connections, {LETTERS} letters");
        rows.push(Row { what, unit: "e-mails/s per core", ours, yardstick: None, target });
    }
    Ok(rows)
}

/// E-mails a second, from the start of the loops until the last answer is stored, and the processor's µs for each.
///
/// # Errors
/// A letter was not accepted, or the service failed.
pub fn emptied(folder: &Path, sink: SocketAddr, connections: usize) -> anyhow::Result<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let carillon = filled(folder.to_owned(), sink, connections).await?;
        let clock = Clock::system(Span::ZERO);
        let (started, used) = (clock.monotonic(), processor_seconds()?);
        let running = carillon.start();
        while !is_empty(&carillon).await? {
            ensure!((clock.monotonic() - started).as_secs() < 120, "{} of {LETTERS} are sent", sent(&carillon).await?);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let (took, used) = (clock.monotonic() - started, processor_seconds()? - used);
        ensure!(sent(&carillon).await? == LETTERS, "{} of {LETTERS} are sent", sent(&carillon).await?);
        running.stop().await;
        carillon.close().await;
        Ok((LETTERS as f64 / took.as_secs_f64(), used * 1_000_000.0 / LETTERS as f64))
    })
}

/// Whether nothing is on its way any more: a look at an index, which costs those who send next to nothing.
async fn is_empty(carillon: &Carillon) -> anyhow::Result<bool> {
    let sql = "SELECT 1 FROM messages WHERE workspace = 1 AND status IN ('queued', 'claimed', 'sending') LIMIT 1";
    Ok(Rows(carillon.store.reader()).one(sql, vec![]).await?.is_none())
}

async fn sent(carillon: &Carillon) -> anyhow::Result<u64> {
    let sql = "SELECT count(*) FROM messages WHERE workspace = 1 AND status = 'sent'";
    let count: i64 = Rows(carillon.store.reader()).scalar(sql, vec![]).await?.context("no count")?;
    Ok(count.unsigned_abs())
}

/// A service whose outbox has everything in it, and whose loops stand still.
async fn filled(folder: PathBuf, sink: SocketAddr, connections: usize) -> anyhow::Result<Carillon> {
    let mut options = whole::options(folder, sink)?;
    options.smtp.iter_mut().for_each(|smtp| smtp.connections = connections);
    let carillon = Carillon::open(options).await?;
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let (key, campaign) = shop::receipt_campaign();
    let files = vec![
        file("receipt/template.yaml", "kind: template\nkey: receipt\nname: Receipt\n"),
        file("receipt/subject", letter::SUBJECT),
        file("receipt/email.html", &letter::html(HTML_BYTES)),
        file(&format!("{key}.yaml"), &campaign),
    ];
    let applied = apply(&carillon.log, &carillon.store, &carillon.definitions, WORKSPACE, files, false).await?;
    ensure!(applied.is_ok(), "the definitions are refused: {:?}", applied.err());
    let nonce = fresh_nonce();
    let calls: Vec<Event> = (0..LETTERS).flat_map(|person| calls_of(&nonce, person, &carillon.clock)).collect();
    for together in calls.chunks(TOGETHER) {
        carillon.log.append(WORKSPACE, together.to_vec()).await?;
    }
    carillon.workers.decide().await?;
    Ok(carillon)
}

/// Who it is, and what was ordered.
fn calls_of(nonce: &str, person: u64, clock: &Clock) -> [Event; 2] {
    let (user, domain) = (shop::user_id(person), person % DOMAINS);
    let mut known = shop::event(nonce, 2 * person, person, 1, clock.now());
    (known.kind, known.name) = (Kind::Identify, String::new());
    known.body = Body::new(format!(
        r#"{{"type":"identify","userId":"{user}","traits":{{"first_name":"Ann","email":"{user}@shop-{domain}.example"}}}}"#
    ));
    let mut ordered = shop::event(nonce, 2 * person + 1, person, 1, clock.now());
    ordered.name = "Order Completed".to_owned();
    let product = r#"{"name":"Walnut desk lamp","url":"https://shop.test/p/1","price":"40.50"}"#;
    let products = [product; 5].join(",");
    ordered.body = Body::new(format!(
        r#"{{"type":"track","userId":"{user}","event":"Order Completed","properties":{{"order_id":"o-{person}","products":[{products}]}}}}"#
    ));
    [known, ordered]
}

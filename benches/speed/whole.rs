//! From POST to DATA: an order is posted, its receipt arrives. The whole service, as `serve` composes it, between our
//! own client and our own mail server, which share a clock.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use carillon::app::{Carillon, Options, WORKSPACE};
use carillon::channel::smtp::Settings;
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::eventlog::Queue;
use carillon::fault::Faults;
use carillon::http::auth::WriteKey;
use carillon::http::config::Config;
use carillon::ids::Span;
use carillon::message::RetryPolicy;
use carillon::render::{Sender, Workspace};
use carillon::store::keys::StoredKey;
use carillon::store::workspace;
use carillon::worker::apply::apply;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Plan;
use crate::child::{On, Server, ask};
use crate::client::{KEY, percentile};
use crate::hanging::DOMAIN;
use crate::report::{Figures, Row, Target};
use crate::shop;

const STEADY: u64 = 200;
const STEADY_PER_SECOND: f64 = 20.0;
const BURST: u64 = 600;

/// Milliseconds from POST to DATA.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timed {
    p50: f64,
    p99: f64,
    burst_p50: f64,
    burst_p99: f64,
}

/// The rows about the whole way.
///
/// # Errors
/// A letter did not arrive.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut all = [Figures::default(), Figures::default(), Figures::default(), Figures::default()];
    for _ in 0..plan.repetitions {
        let folder = plan.folder()?;
        let timed: Timed = ask(On::Load, "timed", &folder.path())?;
        eprintln!("POST to DATA: {timed:?}");
        for (figures, value) in all.iter_mut().zip([timed.p50, timed.p99, timed.burst_p50, timed.burst_p99]) {
            figures.0.push(value);
        }
    }
    let names = ["at 20/s, p50", "at 20/s, p99", "burst of 600, p50", "burst of 600, p99"];
    let targets = [Target::AtMost(10.0), Target::AtMost(25.0), Target::None, Target::AtMost(500.0)];
    let rows = names.into_iter().zip(all).zip(targets);
    Ok(rows
        .map(|((name, ours), target)| {
            let what = format!("POST to DATA accepted, transactional trigger, {name}");
            Row { what, unit: "ms", ours, yardstick: None, target }
        })
        .collect())
}

/// When each recipient's letter was accepted.
pub type Arrived = Arc<Mutex<BTreeMap<String, Duration>>>;

/// Starts the mail server and the service, posts, and waits for the letters.
///
/// # Errors
/// As for `measure`.
pub fn timed(folder: &Path) -> anyhow::Result<Timed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (clock, arrived) = (Clock::system(Span::ZERO), Arrived::default());
        let sink = TcpListener::bind("127.0.0.1:0").await?;
        let address = sink.local_addr()?;
        tokio::spawn(receive(sink, arrived.clone(), clock.clone()));
        let order = (folder.to_owned(), address);
        let server = tokio::task::spawn_blocking(move || Server::role("whole", &order)).await??;
        let mut stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let people = STEADY + BURST + 20;
        for person in 0..people {
            post(&mut stream, "identify", &identify(person)).await?;
        }
        let mut posted = BTreeMap::new();
        // The first ones open connections and warm what is cold; they are not counted.
        for person in people - 20..people {
            order_of(&mut stream, person, &clock).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for person in 0..STEADY {
            posted.insert(shop::user_id(person), order_of(&mut stream, person, &clock).await?);
            tokio::time::sleep(Duration::from_secs_f64(1.0 / STEADY_PER_SECOND)).await;
        }
        let (p50, p99) = waited(&posted, &arrived).await?;
        posted.clear();
        for person in STEADY..STEADY + BURST {
            posted.insert(shop::user_id(person), order_of(&mut stream, person, &clock).await?);
        }
        let (burst_p50, burst_p99) = waited(&posted, &arrived).await?;
        Ok(Timed { p50, p99, burst_p50, burst_p99 })
    })
}

pub async fn waited(posted: &BTreeMap<String, Duration>, arrived: &Arrived) -> anyhow::Result<(f64, f64)> {
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let known = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let times: Vec<Duration> =
            posted.iter().filter_map(|(user, sent)| Some(known.get(user)?.saturating_sub(*sent))).collect();
        if times.len() == posted.len() {
            let mut micros: Vec<u32> =
                times.iter().map(|it| u32::try_from(it.as_micros()).unwrap_or(u32::MAX)).collect();
            micros.sort_unstable();
            return Ok((percentile(&micros, 0.50), percentile(&micros, 0.99)));
        }
    }
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner).len();
    bail!("{} letters were due and {arrived} have come in all", posted.len())
}

fn identify(person: u64) -> String {
    let user = shop::user_id(person);
    format!(r#"{{"messageId":"identify-{user}","userId":"{user}","traits":{{"email":"{user}@example.com"}}}}"#)
}

pub async fn order_of(stream: &mut TcpStream, person: u64, clock: &Clock) -> anyhow::Result<Duration> {
    let user = shop::user_id(person);
    let body = format!(
        r#"{{"messageId":"order-{user}","userId":"{user}","event":"Order Completed","properties":{{"order_id":"o-{person}","revenue":40.5}}}}"#
    );
    let sent = clock.monotonic();
    post(stream, "track", &body).await?;
    Ok(sent)
}

pub async fn post(stream: &mut TcpStream, call: &str, body: &str) -> anyhow::Result<()> {
    use base64::Engine;
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{KEY}:"));
    let length = body.len();
    let request = format!(
        "POST /v1/{call} HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Basic {credentials}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let status = crate::client::read_answer(stream, &mut Vec::new()).await?;
    anyhow::ensure!(status == 200, "`{call}` was answered {status}");
    Ok(())
}

/// A mail server that takes everything and notes when; to one domain's letters it then says nothing.
pub async fn receive(listener: TcpListener, arrived: Arrived, clock: Clock) {
    while let Ok((stream, _)) = listener.accept().await {
        let (arrived, clock) = (arrived.clone(), clock.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &arrived, &clock).await {
                eprintln!("a mail connection broke: {error}");
            }
        });
    }
}

async fn converse(stream: TcpStream, arrived: &Arrived, clock: &Clock) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let (mut line, mut recipient, mut in_letter, mut hangs) = (String::new(), String::new(), false, false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = if in_letter {
            if line != ".\r\n" {
                continue;
            }
            if hangs {
                return std::future::pending().await;
            }
            in_letter = false;
            let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.insert(std::mem::take(&mut recipient), clock.monotonic());
            b"250 taken\r\n"
        } else {
            if let Some(address) = line.strip_prefix("RCPT TO:<") {
                recipient = address.split('@').next().unwrap_or_default().to_owned();
                hangs = address.contains(DOMAIN);
            }
            in_letter = line == "DATA\r\n";
            if in_letter { b"354 go on\r\n" } else { b"250 ok\r\n" }
        };
        stream.write_all(answer).await?;
    }
}

/// The service itself, until standard input closes.
///
/// # Errors
/// It cannot be composed or served.
pub fn serve(folder: PathBuf, mail: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let carillon = Carillon::open(options(folder, mail)?).await?;
        put_in_force(&carillon).await?;
        serve_until_told(carillon).await
    })
}

/// Serves until standard input closes; the first line printed is the address.
///
/// # Errors
/// It cannot be served.
pub async fn serve_until_told(carillon: Carillon) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let closed = async {
        let read = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
        if !matches!(read, Ok(Ok(_))) {
            eprintln!("standard input broke; stopping");
        }
    };
    carillon.serve(listener, |_| {}, closed).await
}

/// As `serve` has them, with this mail server.
///
/// # Errors
/// An address is not understood.
pub fn options(folder: PathBuf, mail: SocketAddr) -> anyhow::Result<Options> {
    let most = std::num::NonZeroU32::MAX;
    Ok(Options {
        data: folder,
        database: None,
        ingest: Config { requests_per_second: most, requests_burst: most, ..Config::default() },
        smtp: Some(Settings::from_url(&format!("smtp://{mail}?tls=none"))?),
        sender: Sender::new(Some("The Shop"), "hello@shop.example", None)?,
        workspace: Workspace { name: "Shop".to_owned(), postal_address: None, timezone: String::new() },
        currency: carillon::money::Currency::EUR,
        public_url: "https://news.shop.example".to_owned(),
        tracks: carillon::render::links::Tracks::NONE,
        resolver: None,
        inside: Vec::new(),
        redis: None,
        zone: jiff::tz::TimeZone::UTC,
        settle: Span::from_seconds(2),
        looked_at_per_second: None,
        per_second: std::collections::BTreeMap::new(),
        retry: RetryPolicy::default(),
        clock: None,
        faults: Faults::none(),
        threads: 1,
        carrier: None,
    })
}

/// The key with which events are posted.
///
/// # Errors
/// It cannot be stored.
pub async fn add_key(carillon: &Carillon) -> anyhow::Result<()> {
    let key = StoredKey {
        id: "key-bench".to_owned(),
        source: "shop".to_owned(),
        name: "bench".to_owned(),
        prefix: KEY.to_owned(),
        hash: WriteKey::hash_of(KEY).to_vec(),
        created_at: carillon.clock.now(),
        revoked_at: None,
    };
    carillon
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(workspace(tx, WORKSPACE).add_key(&key).await?) }))
        .await?;
    carillon.refresh_keys().await.context("the key is not in force")
}

async fn put_in_force(carillon: &Carillon) -> anyhow::Result<()> {
    add_key(carillon).await?;
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let mut files = vec![
        file("receipt/template.yaml", "kind: template\nkey: receipt\nname: Receipt\n"),
        file("receipt/subject", "Your order {{event.properties.order_id}}"),
        file("receipt/email.html", "<h1>Thank you</h1><p>Order {{event.properties.order_id}} is on its way.</p>"),
    ];
    let campaigns = shop::campaigns().into_iter().chain([shop::receipt_campaign()]);
    files.extend(campaigns.map(|(key, text)| file(&format!("{key}.yaml"), &text.replace("cart_reminder", "receipt"))));
    let applied = apply(&carillon.log, &carillon.store, &carillon.definitions, WORKSPACE, files, false).await?;
    if let Err(problems) = applied {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("the definitions are refused: {}", texts.join("; "));
    }
    carillon.refresh_keys().await.context("the key is not in force")
}

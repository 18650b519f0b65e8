//! The load: keep-alive HTTP connections that post track calls, as fast as they are answered or at a fixed rate.
//!
//! At a fixed rate an answer's time counts from the instant the request was due, so a stall is seen by everyone it
//! delayed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use carillon::clock::Clock;
use carillon::ids::Span;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The write key every server of the bench knows.
pub const KEY: &str = "bench";

/// What to post.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub seconds: f64,
    /// Seconds before those that count: until the people have been met and memory is mapped.
    #[serde(default)]
    pub warm_up: f64,
    /// Events of one request; 1 posts to `/v1/track`, more to `/v1/batch`.
    pub batch: usize,
    /// Requests a second over all connections; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// Told apart from other runs, so that no id repeats.
    pub nonce: String,
    /// People the events are about, uniform.
    pub people: u64,
    /// The event's name; without one, the shop's mix.
    pub event: Option<String>,
}

/// What came back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answers {
    pub requests: u64,
    pub events_per_second: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Requests answered with anything but 200.
    pub refused: u64,
}

/// Runs the load on this thread.
///
/// # Errors
/// No connection, or one that broke.
pub fn run(load: &Load) -> anyhow::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::system(Span::ZERO);
    runtime.block_on(async {
        let started = clock.monotonic();
        let mut tasks = Vec::new();
        for lane in 0..load.connections {
            tasks.push(tokio::spawn(connection(load.clone(), lane as u64, clock.clone(), started)));
        }
        let (mut times, mut in_time, mut refused) = (Vec::new(), 0, 0);
        for task in tasks {
            let lane = task.await??;
            times.extend(lane.times);
            in_time += lane.in_time;
            refused += lane.refused;
        }
        times.sort_unstable();
        let requests = times.len() as u64;
        // What was answered within the seconds that count. Over the time until the last answer, a fixed rate would fall
        // short by as much as that answer took.
        let requests_per_second = in_time as f64 / load.seconds;
        Ok(Answers {
            requests,
            requests_per_second,
            events_per_second: requests_per_second * load.batch as f64,
            p50_ms: percentile(&times, 0.50),
            p99_ms: percentile(&times, 0.99),
            refused,
        })
    })
}

/// Milliseconds; `times` are sorted microseconds.
pub fn percentile(times: &[u32], share: f64) -> f64 {
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Lane {
    /// Microseconds, of each request sent within the seconds that count.
    times: Vec<u32>,
    /// Requests answered within them.
    in_time: u64,
    refused: u64,
}

async fn connection(load: Load, lane: u64, clock: Clock, started: Duration) -> anyhow::Result<Lane> {
    let mut stream = TcpStream::connect(load.address).await.context("the server is not there")?;
    stream.set_nodelay(true)?;
    let mut writer = Writer::new(&load, lane, &clock);
    let counted = started + Duration::from_secs_f64(load.warm_up);
    let end = counted + Duration::from_secs_f64(load.seconds);
    let pause = load.rate.map(|rate| Duration::from_secs_f64(load.connections as f64 / rate));
    // Lanes start one after the other, so that a fixed rate is even.
    let mut due = started + pause.unwrap_or_default().mul_f64(lane as f64 / load.connections as f64);
    let mut seen = Lane::default();
    let mut answer = Vec::with_capacity(4_096);
    loop {
        let now = clock.monotonic();
        let sent = match pause {
            None => now,
            Some(pause) => {
                tokio::time::sleep(due.saturating_sub(now)).await;
                let was_due = due;
                due += pause;
                was_due
            }
        };
        // Each lane posts at least once: a load of no length is one request.
        if sent >= end && !seen.times.is_empty() {
            return Ok(seen);
        }
        stream.write_all(writer.request()).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        let answered = clock.monotonic();
        seen.refused += u64::from(status != 200);
        seen.in_time += u64::from((counted..end).contains(&answered));
        if sent >= counted {
            seen.times.push(u32::try_from((answered - sent).as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Reads one answer whole; the result is its status.
///
/// # Errors
/// The connection broke, or what came is not an answer.
pub async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?;
        let status = text.get(9..12).context("no status")?.parse()?;
        let length: usize = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.parse())?;
        if buffer.len() >= head + 4 + length {
            return Ok(status);
        }
    }
}

/// Builds requests in one buffer: about 400 bytes of JSON an event.
struct Writer {
    head: String,
    load: Load,
    lane: u64,
    count: u64,
    random: Random,
    at: String,
    body: String,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(load: &Load, lane: u64, clock: &Clock) -> Self {
        use base64::Engine;
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{KEY}:"));
        let path = if load.batch == 1 { "track" } else { "batch" };
        let head = format!(
            "POST /v1/{path} HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Basic {credentials}\r\nContent-Type: application/json\r\nContent-Length: "
        );
        let seed = load.nonce.bytes().fold(lane + 1, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let (body, bytes) = (String::new(), Vec::new());
        let at = clock.now().to_string();
        Self { head, load: load.clone(), lane, count: 0, random: Random(seed), at, body, bytes }
    }

    fn request(&mut self) -> &[u8] {
        self.body.clear();
        if self.load.batch == 1 {
            self.event();
        } else {
            self.body.push_str(r#"{"batch":["#);
            for n in 0..self.load.batch {
                if n > 0 {
                    self.body.push(',');
                }
                self.event();
            }
            self.body.push_str("]}");
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(self.head.as_bytes());
        self.bytes.extend_from_slice(self.body.len().to_string().as_bytes());
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self.bytes.extend_from_slice(self.body.as_bytes());
        &self.bytes
    }

    fn event(&mut self) {
        self.count += 1;
        let (person, dice) = (self.random.below(self.load.people), self.random.below(100_000));
        let name = self.load.event.as_deref().map_or_else(|| crate::shop::name_of(dice), ToOwned::to_owned);
        let (nonce, lane, count, at) = (&self.load.nonce, self.lane, self.count, &self.at);
        // Writing to a String cannot fail.
        let _ = write!(
            self.body,
            r#"{{"type":"track","messageId":"ajs-{nonce}-{lane:03}-{count:09}","userId":"{}","event":"{name}","timestamp":"{at}","properties":{},"context":{{"ip":"203.0.113.7","userAgent":"Mozilla/5.0 (X11; Linux x86_64)","page":{{"url":"https://shop.test/p/{dice}"}}}}}}"#,
            crate::shop::user_id(person),
            crate::shop::properties(dice),
        );
    }
}

/// A small generator of even numbers; the bench needs no better.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

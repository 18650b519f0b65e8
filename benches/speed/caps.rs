//! Frequency caps on Redis: reservations through the cap store beside the same script called with nothing in between.
//! One message each to many people, over one connection, against four windows with two slots in use.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, ensure};
use carillon::caps::redis::Server;
use carillon::caps::{Ask, CapStore, History, Redis, Reserved};
use carillon::clock::Clock;
use carillon::guard::{CapVersion, Rule, Scope, Slot, Subject, Window};
use carillon::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp, WorkspaceId};
use carillon::message::Channel;
use futures::{StreamExt, TryStreamExt};
use jiff::tz::TimeZone;

use crate::child::{On, ask, pinned};
use crate::report::{Figures, Row, Target};
use crate::{Plan, fresh_nonce};

const PEOPLE: u32 = 50_000;
const IN_FLIGHT: usize = 64;
const NOW: i64 = 1_772_000_000_000;
const DAY_MS: i64 = 86_400_000;
const ROOM: u32 = 10;
const SCRIPT: &str = include_str!("../../src/caps/redis/reserve.lua");

/// The row about frequency caps.
///
/// # Errors
/// There is no Redis, or it gives another answer than it must.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let folder = plan.folder()?;
    let redis = OwnRedis::start(folder.path())?;
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        for (role, figures) in [("caps-bare", &mut bare), ("caps-ours", &mut ours)] {
            let per_second: f64 = ask(On::Load, role, &(&redis.url, fresh_nonce()))?;
            eprintln!("{role}: {per_second:.0} reservations/s");
            figures.0.push(per_second);
        }
    }
    Ok(vec![Row {
        what: "frequency caps on Redis, four windows, 64 in flight".to_owned(),
        unit: "reservations/s",
        ours,
        yardstick: Some(("the bare script".to_owned(), bare)),
        target: Target::RatioAtLeast(0.70),
    }])
}

struct OwnRedis {
    url: String,
    running: Child,
}

impl OwnRedis {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = pinned(On::Server, Path::new("redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        let mut running = command.stdout(Stdio::piped()).spawn().context("no redis-server; run: make services")?;
        let said = running.stdout.take().context("no output")?;
        let own = Self { url: format!("redis://127.0.0.1:{port}"), running };
        let is_ready = |line: &String| line.to_lowercase().contains("ready to accept connections");
        let ready = BufReader::new(said).lines().map_while(Result::ok).find(is_ready);
        ready.context("redis-server did not start; run: make services")?;
        Ok(own)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

fn at(minutes_ago: i64) -> Timestamp {
    Timestamp::from_millis(NOW - minutes_ago * 60_000)
}

fn slot(person: u32, name: u8, channel: Channel, at: Timestamp) -> Slot {
    let id = [&person.to_le_bytes()[..], &[name]];
    Slot {
        message: MessageId::derive(&id),
        at,
        channel,
        topic: Some("offers".to_owned()),
        campaign: "cart_reminder".to_owned(),
        enrollment: EnrollmentId::derive(&id),
    }
}

fn used(person: u32) -> Vec<Slot> {
    vec![slot(person, 1, Channel::Sms, at(120)), slot(person, 2, Channel::Email, at(60))]
}

/// Reservations a second through the cap store.
///
/// # Errors
/// As for `measure`.
pub fn ours(url: &str, nonce: &str) -> anyhow::Result<f64> {
    let scopes = [
        Scope::Any,
        Scope::Channel(Channel::Email),
        Scope::Topic("offers".to_owned()),
        Scope::EachCampaign { per_step: true },
    ];
    let rules = scopes.map(|scope| Rule::new(ROOM, Window::Rolling(Span::from_days(1)), scope));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Redis::new(Server::new(url)?, nonce, WorkspaceId(1));
        let (store, rules) = (&store, &rules);
        let seeding = (0..PEOPLE).map(|person| async move {
            let history = History { version: CapVersion::default(), since: at(2 * 1_440), slots: used(person) };
            store.reseed(&Subject::Profile(ProfileId(person.into())), history).await
        });
        futures::stream::iter(seeding).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
        let reserving = (0..PEOPLE).map(|person| async move {
            let subject = &Subject::Profile(ProfileId(person.into()));
            let (slot, zone) = (&slot(person, 3, Channel::Email, at(0)), &TimeZone::UTC);
            let (expected, horizon) = (CapVersion::default(), Span::from_days(1));
            let asked = Ask { subject, expected, horizon, rules, slot, priority: 50, zone, counts: true };
            let answer = store.reserve(asked).await?;
            ensure!(matches!(answer, Reserved::Granted { .. }), "not granted: {answer:?}");
            Ok(())
        });
        timed(reserving).await
    })
}

/// Calls of the script a second, their arguments made before.
///
/// # Errors
/// As for `measure`.
pub fn bare(url: &str, nonce: &str) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let (first, after) = ([0_u8; 24], [1_u8; 24]);
        let conditions = conditions();
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).to_owned();
        let sha: String = load.query_async(&mut connection.clone()).await?;
        let (connection, sha) = (&connection, &sha);
        let seeding = (0..PEOPLE).map(|person| async move {
            let mut value = [&first[..], &number(at(2 * 1_440).millis())].concat();
            used(person).iter().for_each(|slot| value.extend(record(slot)));
            redis::cmd("SET").arg(key(nonce, person)).arg(value).exec_async(&mut connection.clone()).await
        });
        futures::stream::iter(seeding).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
        let calls: Vec<redis::Cmd> = (0..PEOPLE)
            .map(|person| {
                let wish = record(&slot(person, 3, Channel::Email, at(0)));
                let mut call = redis::cmd("EVALSHA");
                call.arg(sha).arg(1).arg(key(nonce, person));
                call.arg(&first[..]).arg(&after[..]).arg(wish).arg(&conditions).arg(DAY_MS);
                call
            })
            .collect();
        timed(calls.iter().map(|call| async move {
            let answer: i64 = call.query_async(&mut connection.clone()).await?;
            ensure!(answer == 1, "the bare script answered {answer}");
            Ok(())
        }))
        .await
    })
}

async fn timed(calls: impl Iterator<Item = impl Future<Output = anyhow::Result<()>>>) -> anyhow::Result<f64> {
    let clock = Clock::system(Span::ZERO);
    let started = clock.monotonic();
    futures::stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
    Ok(f64::from(PEOPLE) / (clock.monotonic() - started).as_secs_f64())
}

fn key(nonce: &str, person: u32) -> String {
    format!("bare:{nonce}:{{{person}}}")
}

// The script's layout, written once more by hand.

fn number(value: i64) -> [u8; 8] {
    (value as f64).to_be_bytes()
}

fn record(slot: &Slot) -> Vec<u8> {
    let channel = if slot.channel == Channel::Email { b'e' } else { b's' };
    let mut bytes = [&number(slot.at.millis())[..], slot.message.as_bytes(), &[channel]].concat();
    bytes.extend([[7; 16], [8; 16], *slot.enrollment.as_bytes()].concat());
    bytes
}

/// All messages, those of the channel, of the topic, of the campaign.
fn conditions() -> Vec<u8> {
    let since = number(NOW - DAY_MS);
    let mut bytes = since.to_vec();
    for kind in 0..4_u8 {
        bytes.push(kind);
        bytes.extend(ROOM.to_be_bytes());
        bytes.extend([since, number(DAY_MS), number(0)].concat());
    }
    bytes
}

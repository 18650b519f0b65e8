//! The yardstick on PostgreSQL: the rows that Carillon writes, written to the same schema by one `UNNEST` a table and
//! commit, with nothing in between.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use carillon::audience::History;
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::eventlog::{AppendError, Receipt, Taken};
use carillon::http::append::Append;
use carillon::ids::{MessageId, Position, Span, WorkspaceId};
use carillon::store::event_ids::range_of;
use carillon::store::{Address, open};
use futures::future::{BoxFuture, FutureExt};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::sync::{mpsc, oneshot};

use crate::client::Random;
use crate::probe::Stored;
use crate::processed::{PROBE_COMMIT, Processed, group, seed};

const EVENTS_PER_COMMIT_MAX: usize = 4_096;
const EVENTS_IN_HISTORY: u32 = 10;

/// A schema and people with a short history, known by the ids of the bench's load.
///
/// # Errors
/// The database cannot be written.
pub async fn prepare(url: &str, people: u64) -> anyhow::Result<()> {
    open(Address::Postgres(url.into())).await?.close().await;
    let mut connection = PgConnection::connect(url).await?;
    let now = Clock::system(Span::ZERO).now();
    let mut history = History::default();
    for n in 0..EVENTS_IN_HISTORY {
        history.record("Product Viewed", now.plus_millis(i64::from(n) * 3_600_000 - 36_000_000), Position(16));
    }
    let people = i64::try_from(people)?;
    let identifiers = "INSERT INTO identifiers (workspace, kind, value, profile)
                       SELECT 1, 0, 'customer-' || lpad(CAST(n AS TEXT), 7, '0'), n + 1 FROM generate_series(0, $1 - 1) AS n";
    sqlx::query(identifiers).bind(people).execute(&mut connection).await?;
    let profiles = "INSERT INTO profiles
                    (id, workspace, version, user_id, traits, consent, history, created_at, last_seen_at)
                    SELECT n + 1, 1, 1, 'customer-' || lpad(CAST(n AS TEXT), 7, '0'),
                    '{\"email\":\"customer-' || lpad(CAST(n AS TEXT), 7, '0')
                        || '@example.com\",\"first_name\":\"Ann\",\"city\":\"Ghent\",\"plan\":\"plus\",\"orders\":7}',
                    '{}', $2, $3, $3 FROM generate_series(0, $1 - 1) AS n";
    sqlx::query(profiles).bind(people).bind(history.pack()).bind(now.millis()).execute(&mut connection).await?;
    connection.execute("VACUUM ANALYZE").await?;
    connection.close().await?;
    Ok(())
}

/// One connection.
pub struct PostgresProbe {
    connection: PgConnection,
    head: i64,
    next_profile: i64,
    /// Who is known by which id; what Carillon keeps in memory, the probe keeps too.
    known: BTreeMap<String, i64>,
}

impl PostgresProbe {
    /// # Errors
    /// The database cannot be opened.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let numbers = "SELECT (SELECT coalesce(max(position), 0) FROM entries),
                       (SELECT coalesce(max(profile), 0) + 1 FROM identifiers)";
        let row = sqlx::query(numbers).fetch_one(&mut connection).await?;
        let (head, next_profile) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Self { connection, head, next_profile, known: BTreeMap::new() })
    }

    /// One commit: ids, identifiers, entries and their count.
    ///
    /// # Errors
    /// The database cannot be written, or an event is not new.
    pub async fn append(&mut self, events: &[&Event], now: i64) -> anyhow::Result<Vec<Stored>> {
        self.connection.execute("BEGIN").await?;
        let ids: Vec<&[u8]> = events.iter().map(|event| &event.id.as_bytes()[..]).collect();
        let insert =
            "INSERT INTO event_ids (id, day) SELECT id, $2 FROM UNNEST($1::BYTEA[]) AS id ON CONFLICT DO NOTHING";
        let day = range_of(now / 86_400_000);
        let new = sqlx::query(insert).bind(&ids).bind(day).execute(&mut self.connection).await?.rows_affected();
        anyhow::ensure!(new == events.len() as u64, "an event came again");
        self.learn(events).await?;
        let mut stored = Vec::with_capacity(events.len());
        for event in events {
            let user = event.user_id.as_deref().context("an event about nobody")?;
            self.head += 1;
            let (position, profile) = (self.head, *self.known.get(user).context("somebody unknown")?);
            stored.push(Stored { position, profile, at: event.at.millis(), matched: crate::shop::is_matched(event) });
        }
        let positions: Vec<i64> = stored.iter().map(|one| one.position).collect();
        let profiles: Vec<i64> = stored.iter().map(|one| one.profile).collect();
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        let times: Vec<i64> = stored.iter().map(|one| one.at).collect();
        let metas: Vec<Vec<u8>> = events.iter().map(|event| meta_of(event)).collect();
        let bodies: Vec<&str> = events.iter().map(|event| event.body.text()).collect();
        let insert = "INSERT INTO entries (position, workspace, profile, kind, name, event_id, at, now, meta, body)
                      SELECT position, 1, profile, 'track', name, id, at, $7, meta, body
                      FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::TEXT[], $4::BYTEA[], $5::BIGINT[], $6::BYTEA[], $8::TEXT[])
                      AS rows (position, profile, name, id, at, meta, body)";
        let query = sqlx::query(insert).bind(positions).bind(profiles).bind(names).bind(&ids).bind(times);
        query.bind(metas).bind(now).bind(bodies).execute(&mut self.connection).await?;
        self.count("events_accepted", events.len() as i64).await?;
        self.connection.execute("COMMIT").await?;
        Ok(stored)
    }

    /// Finds the profiles of everybody, and makes those that are new.
    async fn learn(&mut self, events: &[&Event]) -> anyhow::Result<()> {
        if self.known.len() >= 200_000 {
            self.known.clear();
        }
        let users = events.iter().filter_map(|event| event.user_id.as_deref());
        let mut unknown: BTreeSet<&str> = users.filter(|user| !self.known.contains_key(*user)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let asked: Vec<&str> = unknown.iter().copied().collect();
        let find = "SELECT value, profile FROM identifiers WHERE workspace = 1 AND kind = 0 AND value = ANY($1)";
        for row in sqlx::query(find).bind(asked).fetch_all(&mut self.connection).await? {
            let (value, profile): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            unknown.remove(value.as_str());
            self.known.insert(value, profile);
        }
        let (values, profiles): (Vec<&str>, Vec<i64>) = unknown.into_iter().zip(self.next_profile..).unzip();
        self.next_profile += values.len() as i64;
        self.known.extend(values.iter().map(|value| (*value).to_owned()).zip(profiles.iter().copied()));
        if !values.is_empty() {
            let insert = "INSERT INTO identifiers (workspace, kind, value, profile)
                          SELECT 1, 0, * FROM UNNEST($1::TEXT[], $2::BIGINT[])";
            sqlx::query(insert).bind(values).bind(profiles).execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// One commit: each person's row read and written with one more thing in its history, reasons, enrollment and
    /// message for the events that match, counters and cursor.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn process(&mut self, events: &[Stored]) -> anyhow::Result<()> {
        self.connection.execute("BEGIN").await?;
        self.update_people(events).await?;
        let matched: Vec<&Stored> = events.iter().filter(|event| event.matched).collect();
        if !matched.is_empty() {
            self.create_messages(&matched).await?;
        }
        self.count("events_processed", events.len() as i64).await?;
        self.count("messages_created", matched.len() as i64).await?;
        let cursor = "UPDATE cursors SET position = $1 WHERE name = 'processed/0'";
        sqlx::query(cursor).bind(self.head).execute(&mut self.connection).await?;
        self.connection.execute("COMMIT").await?;
        Ok(())
    }

    async fn update_people(&mut self, events: &[Stored]) -> anyhow::Result<()> {
        let mut people: BTreeMap<i64, Person> = BTreeMap::new();
        for event in events {
            let person = people.entry(event.profile).or_default();
            (person.done, person.last) = (person.done + 1, person.last.max(event.at));
        }
        let ids: Vec<i64> = people.keys().copied().collect();
        let select = "SELECT id, version, user_id, traits, consent, history FROM profiles
                      WHERE workspace = 1 AND id = ANY($1)";
        for row in sqlx::query(select).bind(&ids).fetch_all(&mut self.connection).await? {
            let Some(person) = people.get_mut(&row.try_get(0)?) else { continue };
            person.version = row.try_get(1)?;
            (person.user_id, person.traits) = (row.try_get(2)?, row.try_get(3)?);
            (person.consent, person.history) = (row.try_get(4)?, row.try_get(5)?);
        }
        let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, mut person) in people {
            person.history.resize(person.history.len() + 11 * person.done, 0);
            columns.0.push(person.version + 1);
            columns.1.push(person.user_id.unwrap_or_else(|| format!("customer-{id}")));
            columns.2.push(if person.traits.is_empty() { "{}".to_owned() } else { person.traits });
            columns.3.push(if person.consent.is_empty() { "{}".to_owned() } else { person.consent });
            columns.4.push(person.history);
            columns.5.push(person.last);
        }
        let upsert = "INSERT INTO profiles
                      (id, workspace, version, user_id, traits, consent, history, created_at, last_seen_at)
                      SELECT id, 1, version, user_id, traits, consent, history, seen, seen FROM UNNEST(
                        $1::BIGINT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BYTEA[], $7::BIGINT[])
                      AS rows (id, version, user_id, traits, consent, history, seen)
                      ON CONFLICT (id) DO UPDATE SET version = excluded.version, user_id = excluded.user_id,
                      traits = excluded.traits, consent = excluded.consent, history = excluded.history,
                      last_seen_at = excluded.last_seen_at WHERE profiles.version = excluded.version - 1";
        let query = sqlx::query(upsert).bind(ids).bind(columns.0).bind(columns.1).bind(columns.2).bind(columns.3);
        query.bind(columns.4).bind(columns.5).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn create_messages(&mut self, matched: &[&Stored]) -> anyhow::Result<()> {
        let positions: Vec<i64> = matched.iter().map(|event| event.position).collect();
        let profiles: Vec<i64> = matched.iter().map(|event| event.profile).collect();
        let times: Vec<i64> = matched.iter().map(|event| event.at).collect();
        let ids: Vec<MessageId> =
            positions.iter().map(|position| MessageId::derive(&[&position.to_le_bytes(), b"probe"])).collect();
        let state = |(id, at): (&MessageId, &i64)| {
            format!(r#"{{"entry_event_at":{at},"state":{{"state":"sending","message":"{id}"}}}}"#)
        };
        let states: Vec<String> = ids.iter().zip(&times).map(state).collect();
        let ids: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
        let tables = [
            "INSERT INTO reasons (position, workspace, profile, packed)
             SELECT position, 1, profile, repeat('x', 250)",
            "INSERT INTO enrollments (id, workspace, profile, campaign, version, entry_key, entered_at, entry, event, ended_at, state)
             SELECT id, 1, profile, 'campaign_000', 1, '', at, position, position, 1, state",
            "INSERT INTO messages (id, workspace, profile, enrollment, campaign, campaign_version, channel, template,
             purpose, priority, rules, created_at, expires_at, cause, entry, event, status, state, due_at, attempts)
             SELECT id, 1, profile, id, 'campaign_000', 1, 'email', 'cart_reminder', 'transactional', 50,
             '{\"caps\":{\"obey\":false,\"count\":false,\"when_capped\":\"drop\"},\"on_unknown_send\":\"retry_once\"}',
             at, at + 86400000, position, position, position, 'queued', state, at, 0",
            "INSERT INTO message_states (message, step, at, state) SELECT id, 1, at, state",
        ];
        for head in tables {
            let rows = "FROM UNNEST($1::BYTEA[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::TEXT[])
                        AS rows (id, position, profile, at, state)";
            let query = sqlx::query(sqlx::AssertSqlSafe(format!("{head} {rows}"))).bind(&ids).bind(&positions);
            query.bind(&profiles).bind(&times).bind(&states).execute(&mut self.connection).await?;
        }
        Ok(())
    }

    async fn count(&mut self, name: &str, by: i64) -> anyhow::Result<()> {
        let upsert = "INSERT INTO counters (workspace, name, part, value) VALUES (1, $1, 0, $2)
                      ON CONFLICT (workspace, name, part) DO UPDATE SET value = counters.value + excluded.value";
        sqlx::query(upsert).bind(name).bind(by).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// A person's row, and what a batch adds to it.
#[derive(Default)]
struct Person {
    done: usize,
    last: i64,
    version: i64,
    user_id: Option<String>,
    traits: String,
    consent: String,
    history: Vec<u8>,
}

fn meta_of(event: &Event) -> Vec<u8> {
    let user = event.user_id.as_deref().unwrap_or_default();
    format!("{}{}{}{user}{:024}", event.message_id, event.source, event.correlation_id, 0).into_bytes()
}

type Job = (Vec<Event>, oneshot::Sender<Result<Vec<Taken>, AppendError>>);

/// The probe behind the door: one connection, one commit for all that waits.
pub struct PostgresProbeLog(mpsc::Sender<Job>);

impl PostgresProbeLog {
    /// # Errors
    /// The database cannot be opened.
    pub async fn start(url: &SecretString, clock: Clock) -> anyhow::Result<Self> {
        let mut probe = PostgresProbe::open(url.expose_secret()).await?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(8_192);
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let (mut events, mut taken) = (first.0.len(), vec![first]);
                while events < EVENTS_PER_COMMIT_MAX
                    && let Ok(job) = waiting.try_recv()
                {
                    events += job.0.len();
                    taken.push(job);
                }
                let all: Vec<&Event> = taken.iter().flat_map(|(events, _)| events).collect();
                let stored = probe.append(&all, clock.now().millis()).await;
                for (events, answer) in taken {
                    // A caller that has gone away needs no answer.
                    let _ = answer.send(match &stored {
                        Ok(_) => Ok(vec![
                            Ok(Receipt::Stored { position: Position(probe.head), profile: None });
                            events.len()
                        ]),
                        Err(error) => Err(AppendError::Failing(error.to_string())),
                    });
                }
            }
        });
        Ok(Self(jobs))
    }
}

impl Append for PostgresProbeLog {
    fn append(&self, _: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send((events, answer)).map_err(|_| AppendError::Overloaded);
        async move {
            sent?;
            answered.await.unwrap_or(Err(AppendError::Stopping))
        }
        .boxed()
    }
}

/// Accepted and processed by bare SQL, on one connection.
///
/// # Errors
/// The database cannot be used.
pub fn processed(url: &str, seconds: f64, people: u64, nonce: &str) -> anyhow::Result<Processed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::system(Span::ZERO);
        let mut probe = PostgresProbe::open(url).await?;
        let (mut random, mut count, mut messages) = (Random(seed(nonce)), 0, 0);
        let started = clock.monotonic();
        while (clock.monotonic() - started).as_secs_f64() < seconds {
            let now = clock.now();
            let events = group(&mut random, &mut count, PROBE_COMMIT, people, nonce, now);
            let stored = probe.append(&events.iter().collect::<Vec<_>>(), now.millis()).await?;
            probe.process(&stored).await?;
            messages += stored.iter().filter(|event| event.matched).count() as i64;
        }
        let events_per_second = count as f64 / (clock.monotonic() - started).as_secs_f64();
        Ok(Processed { events: count, events_per_second, messages })
    })
}

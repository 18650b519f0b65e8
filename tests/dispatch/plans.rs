//! What is known by its key is found by its key: on SQLite, which counts nothing beforehand, no question of the sending
//! path walks through all messages of a workspace. A connection that explains each question before it asks it.
//!
//! To see it fail, take a `+` from a `+workspace` of `src/store`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use carillon::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use carillon::message::{CapUse, Channel, Message, Outcome, Purpose, Status, WhenCapped};
use carillon::store::dispatch::{Shut, changed_since, due_after, in_hand, is_any_due};
use carillon::store::shards::ShardSet;
use carillon::store::slow_domains::waiting;
use carillon::store::steps::{Ended, Step};
use carillon::store::trace::MessageFilter;
use carillon::store::{self, Workspace, workspace};
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::database::{Backend, Place};

const HERE: WorkspaceId = WorkspaceId(1);
/// As many as a batch has.
const MANY: u8 = 64;

struct Explained {
    inner: DatabaseConnection,
    /// Each question with the steps of its plan.
    plans: Mutex<Vec<(String, Vec<String>)>>,
}

impl Explained {
    async fn explain(&self, asked: &Statement) -> Result<(), DbErr> {
        let explained = Statement { sql: format!("EXPLAIN QUERY PLAN {}", asked.sql), ..asked.clone() };
        let rows = self.inner.query_all_raw(explained).await?;
        let steps = rows.iter().map(|row| row.try_get_by_index(3).unwrap()).collect();
        self.plans.lock().unwrap().push((asked.sql.clone(), steps));
        Ok(())
    }
}

#[async_trait]
impl ConnectionTrait for Explained {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, asked: Statement) -> Result<ExecResult, DbErr> {
        self.explain(&asked).await?;
        self.inner.execute_raw(asked).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, asked: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.explain(&asked).await?;
        self.inner.query_one_raw(asked).await
    }

    async fn query_all_raw(&self, asked: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.explain(&asked).await?;
        self.inner.query_all_raw(asked).await
    }
}

/// Walks through a table, or through all that a workspace has in one.
fn is_walk(step: &str) -> bool {
    const LARGE: [&str; 9] = [
        "messages",
        "message_states",
        "attempts",
        "enrollments",
        "entries",
        "profiles",
        "suppressed_addresses",
        "hits",
        "reasons",
    ];
    let of_workspace = step.contains("(workspace=?");
    let scans =
        LARGE.iter().any(|table| step == format!("SCAN {table}") || step.starts_with(&format!("SCAN {table} ")));
    (of_workspace && step.contains(" messages")) || scans
}

#[tokio::test]
async fn what_is_known_by_its_key_is_found_by_its_key() {
    let place = Place::new(Backend::Sqlite).await;
    let database = store::open(place.address()).await.unwrap();
    let conn = Explained { inner: database.writer.clone(), plans: Mutex::default() };
    ask(workspace(&conn, HERE)).await;
    let shards = ShardSet::EVERY;
    is_any_due(&conn, shards, Timestamp::default()).await.unwrap();
    due_after(&conn, shards, Timestamp::default(), &[]).await.unwrap();
    in_hand(&conn, shards).await.unwrap();
    changed_since(&conn, &(0..64).map(|n| (ProfileId(n), 1)).collect()).await.unwrap();
    waiting(&conn, shards, "slow.example", Timestamp::default(), 64).await.unwrap();
    let plans = conn.plans.into_inner().unwrap();
    let walks = plans.iter().filter(|(_, steps)| steps.iter().any(|step| is_walk(step)));
    let walks: Vec<String> = walks.map(|(sql, steps)| format!("{steps:?}: {:.300}", sql)).collect();
    assert!(walks.is_empty(), "{walks:#?}");
    assert!(plans.len() > 20, "{}", plans.len());
}

/// Everything the sending path asks about messages, people and addresses that it names.
async fn ask(here: Workspace<'_, Explained>) {
    let now = Timestamp::from_millis(1_772_000_000_000);
    let message = message(now);
    let ids: Vec<MessageId> = (0..MANY).map(|n| MessageId::derive(&[&[n]])).collect();
    let people: Vec<ProfileId> = (0..i64::from(MANY)).map(ProfileId).collect();
    let subjects: BTreeSet<String> = (0..MANY).map(|n| format!("email:p{n}@example.com")).collect();
    for ids in [&ids[..1], &ids[..12], &ids[..]] {
        here.messages(ids).await.unwrap();
        here.messages_apart(ids).await.unwrap();
        let enrollments: Vec<EnrollmentId> = ids.iter().map(|id| EnrollmentId::derive(&[id.as_bytes()])).collect();
        here.enrollments_by_id(&enrollments).await.unwrap();
        here.capped_beside(ids, now, &Shut::default()).await.unwrap();
        let queued = Status::Queued { due_at: now };
        let expected: BTreeMap<_, _> = ids.iter().map(|id| (*id, &queued)).collect();
        here.still(&expected).await.unwrap();
        here.call_up(ids, now).await.unwrap();
        let step = Step { expected: &queued, message: &message };
        let many = ids.len();
        here.claim_messages(&vec![(step, "email:ann@example.com"); many], now).await.unwrap();
        here.begin_messages(&vec![(step, 1, ""); many], now).await.unwrap();
        here.conclude_sent(&vec![step; many], now).await.unwrap();
        here.note_sent(&vec![(message.id, now); many]).await.unwrap();
        let outcome = Outcome::Accepted { reply: String::new() };
        here.finish_attempts(&vec![Ended { message: message.id, attempt: 1, outcome: &outcome }; many], now)
            .await
            .unwrap();
    }
    here.rival_due(&message, now).await.unwrap();
    here.wake_capped(message.profile, now).await.unwrap();
    here.slots_of_profile(message.profile, now).await.unwrap();
    here.slots_of_address("email:ann@example.com", now).await.unwrap();
    here.neighbours_of(&subjects, now).await.unwrap();
    here.suppressions_of(&subjects).await.unwrap();
    here.suppressions_by(&people).await.unwrap();
    here.sent_since(&people, now).await.unwrap();
    here.messages_from(message.profile, message.entry, 10).await.unwrap();
    let of_person = MessageFilter { profile: Some(message.profile), limit: 10, ..MessageFilter::default() };
    here.list_messages(&of_person).await.unwrap();
    here.advance_message(&message.status, &message, now).await.unwrap();
    here.cancel_message(message.id, &Status::Queued { due_at: now }, now).await.unwrap();
    here.move_rows(ProfileId(3), ProfileId(4)).await.unwrap();
}

fn message(now: Timestamp) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart_reminder".to_owned(),
        caps: CapUse { obey: true, count: true, when_capped: WhenCapped::Drop },
        address: Some("ann@example.com".to_owned()),
        ..Message::queued(&[b"one"], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now)
    }
}

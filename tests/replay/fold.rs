//! Replay: everything that the log led to is taken away, the log is read again from its beginning, and what comes of it
//! is compared with what there was, row by row.
//!
//! What others did, a provider or a cap store, is not decided again: the log tells at a message's end what came of it, how
//! often it was tried, which slot it holds and for whose address, and whether the mailbox is unknown. That is compared
//! with the rows. What is only on the way there is not in the log: the states in between, what was said to a try that
//! another followed, and versions, which count how often something was written.

use std::collections::{BTreeMap, BTreeSet};

use carillon::ids::{MessageId, Timestamp};
use carillon::message::{Reason, Status};
use carillon::store::Rows;
use carillon::store::entries::{Logged, read_after};
use carillon::store::shards::Layout;
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult};

/// What the log leads to.
const DERIVED: [&str; 17] = [
    "profiles",
    "history_pages",
    "consents",
    "enrollments",
    "messages",
    "message_states",
    "attempts",
    "conversions",
    "cap_subjects",
    "suppressed_addresses",
    "segment_members",
    "inclusions",
    "people_terms",
    "address_holders",
    "reach_marks",
    "reasons",
    "parked",
];

/// Tables compared, with the columns that follow from the log; the first ones tell rows apart.
const COMPARED: [(&str, &str, usize); 14] = [
    (
        "profiles",
        "id, workspace, wake_at, user_id, traits, consent, history, created_at, last_seen_at, merged_into, segments,
         segments_seen, last_zone, carts, remembered, shard",
        1,
    ),
    ("history_pages", "profile, page, packed", 2),
    ("consents", "profile, channel, position, state, source, at, text_version, via", 3),
    (
        "enrollments",
        "id, workspace, profile, campaign, version, entry_key, entered_at, entry, event, ended_at, state",
        1,
    ),
    (
        "messages",
        "id, workspace, profile, enrollment, campaign, campaign_version, channel, template, purpose, priority, rules,
         created_at, expires_at, cause, entry, sent_at",
        1,
    ),
    // What people said, that is; what a provider said is told by the ends of messages.
    ("suppressed_addresses", "workspace, subject, kind, profile, at, channel, source, removed_at, removed_by", 5),
    ("conversions", "message, position, workspace, campaign, profile, at, value, currency", 2),
    ("segment_members", "workspace, segment, profile, since", 3),
    ("inclusions", "workspace, campaign, profile, since, place", 3),
    ("people_terms", "workspace, term, profile", 3),
    ("address_holders", "workspace, subject, profile", 3),
    ("reasons", "position, workspace, profile, packed", 1),
    ("parked", "position, workspace, profile, cause", 1),
    ("counters", "workspace, name, value", 2),
];

/// What there is at an instant at which nothing is due.
pub struct State {
    tables: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Where each message stands, and what the log says of its end.
    messages: BTreeMap<String, Standing>,
    ended: BTreeMap<String, Standing>,
    /// Tries with a provider, of messages and in all.
    tries: BTreeMap<String, i64>,
    /// Mailboxes that a provider does not know, with its words, by the rows and by the log.
    bounced: [BTreeSet<String>; 2],
    /// When messages were sent, by the log.
    sent: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Standing {
    status: String,
    attempts: i64,
    slot_at: Option<i64>,
    /// Only where it holds a slot, or had an end: until then it is wherever its person is.
    address: Option<String>,
}

impl State {
    pub async fn read(conn: &DatabaseConnection) -> Self {
        let mut tables = BTreeMap::new();
        for (table, columns, keys) in COMPARED {
            let (from, columns) = match table {
                "counters" => (
                    "(SELECT workspace, name, CAST(sum(value) AS BIGINT) AS value FROM counters
                      WHERE name IN ('events_processed', 'messages_created') GROUP BY workspace, name) AS sums",
                    columns,
                ),
                "suppressed_addresses" => {
                    ("(SELECT * FROM suppressed_addresses WHERE profile <> 0) AS theirs", columns)
                }
                _ => (table, columns),
            };
            let count = columns.split(',').count();
            let rows = Rows(conn).all(&format!("SELECT {columns} FROM {from}"), vec![]).await.unwrap();
            let text = |row: &QueryResult, of: std::ops::Range<usize>| {
                of.map(|n| cell(row, n)).collect::<Vec<_>>().join(" | ")
            };
            let rows = rows.iter().map(|row| (text(row, 0..keys), text(row, keys..count))).collect();
            tables.insert(table, rows);
        }
        let Ends { ended, sent, bounced: by_log } = ends(conn).await;
        let bounced = [bounced(conn).await, by_log];
        Self { tables, messages: standing(conn).await, ended, tries: tries(conn).await, bounced, sent }
    }

    /// Messages of which the log says that they were sent, and that no goal would find.
    #[allow(dead_code, reason = "for shops that have goals")]
    pub fn unnoted(&self) -> Vec<String> {
        let noted = |(message, at): &(&String, &i64)| {
            let row = self.tables["messages"].get(*message);
            row.is_some_and(|row| row.ends_with(&format!(" | {at}")))
        };
        self.sent.iter().filter(|one| !noted(one)).map(|(message, at)| format!("{message} was sent at {at}")).collect()
    }

    /// How many rows a table has.
    pub fn rows_of(&self, table: &str) -> usize {
        self.tables[table].len()
    }
}

async fn standing(conn: &DatabaseConnection) -> BTreeMap<String, Standing> {
    let sql = "SELECT id, state, attempts, slot_at, address FROM messages";
    let rows = Rows(conn).all(sql, vec![]).await.unwrap();
    let one = |row: &QueryResult| Standing {
        status: row.try_get_by_index(1).unwrap(),
        attempts: row.try_get_by_index(2).unwrap(),
        slot_at: row.try_get_by_index(3).unwrap(),
        address: row.try_get_by_index(4).unwrap(),
    };
    rows.iter().map(|row| (cell(row, 0), one(row))).collect()
}

async fn tries(conn: &DatabaseConnection) -> BTreeMap<String, i64> {
    let sql = "SELECT message, count(*) FROM attempts JOIN messages ON message = id WHERE attempt <= attempts
               GROUP BY message";
    let rows = Rows(conn).all(sql, vec![]).await.unwrap();
    rows.iter().map(|row| (cell(row, 0), row.try_get_by_index(1).unwrap())).collect()
}

async fn bounced(conn: &DatabaseConnection) -> BTreeSet<String> {
    let sql = "SELECT subject, at, source FROM suppressed_addresses WHERE profile = 0 AND kind = 'bounced'";
    let rows = Rows(conn).all(sql, vec![]).await.unwrap();
    rows.iter().map(|row| [0, 1, 2].map(|n| cell(row, n)).join(" | ")).collect()
}

/// The last end of each message, as the log tells it; when those were sent that were; and mailboxes that are unknown.
struct Ends {
    ended: BTreeMap<String, Standing>,
    sent: BTreeMap<String, i64>,
    bounced: BTreeSet<String>,
}

async fn ends(conn: &DatabaseConnection) -> Ends {
    let (mut ended, mut sent) = (BTreeMap::new(), BTreeMap::new());
    let mut bounced = BTreeMap::<String, (i64, String)>::new();
    for shard in Layout::of(conn.get_database_backend()).all().iter() {
        let mut after = shard.start();
        loop {
            let entries = read_after(conn, after, 4_096).await.unwrap();
            let Some(last) = entries.last() else { break };
            after = last.as_ref().map_or_else(|damaged| damaged.position, |entry| entry.position);
            for entry in entries.into_iter().flatten() {
                let Logged::MessageEnded { message, status, tried } = entry.logged else { continue };
                let address = tried.address.clone().unwrap_or_default();
                if let Status::Sent { at, .. } = &status {
                    sent.insert(named(message), at.millis());
                }
                if let (true, Status::Failed { at, reason: Reason::ProviderRefused { cause } }) =
                    (tried.bounced, &status)
                {
                    // Only the first puts it onto the list.
                    let first = bounced.entry(format!("email:{address}")).or_insert((at.millis(), cause.clone()));
                    *first = first.clone().min((at.millis(), cause.clone()));
                }
                let standing = Standing {
                    status: serde_json::to_string(&status).unwrap(),
                    attempts: tried.attempts.into(),
                    slot_at: tried.slot_at.map(Timestamp::millis),
                    address: tried.address,
                };
                ended.insert(named(message), standing);
            }
        }
    }
    let row = |(subject, (at, cause)): (String, (i64, String))| {
        format!("'{subject}' | {at} | 'rejected by the provider: {cause}'")
    };
    Ends { ended, sent, bounced: bounced.into_iter().map(row).collect() }
}

fn named(message: MessageId) -> String {
    hex(message.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cell(row: &QueryResult, n: usize) -> String {
    if let Ok(number) = row.try_get_by_index::<Option<i64>>(n) {
        return number.map_or("-".to_owned(), |number| number.to_string());
    }
    if let Ok(text) = row.try_get_by_index::<Option<String>>(n) {
        return text.map_or("-".to_owned(), |text| format!("'{text}'"));
    }
    row.try_get_by_index::<Option<Vec<u8>>>(n).unwrap().map_or("-".to_owned(), |bytes| hex(&bytes))
}

/// Takes away what the log led to, and has all of it decided on again. Nothing is sent.
pub async fn fold(writer: &DatabaseConnection, decide: impl AsyncFnOnce()) {
    let emptied = DERIVED.map(|table| format!("DELETE FROM {table};")).concat();
    let sql = format!(
        "{emptied} DELETE FROM counters WHERE name IN ('events_processed', 'messages_created');
         UPDATE cursors SET position = shard; UPDATE merges SET rest = 0"
    );
    writer.execute_unprepared(&sql).await.unwrap();
    let head = head(writer).await;
    decide().await;
    assert_eq!(self::head(writer).await, head, "whoever reads the log again adds nothing to it");
}

async fn head(conn: &DatabaseConnection) -> Option<i64> {
    Rows(conn).scalar("SELECT max(position) FROM entries", vec![]).await.unwrap()
}

/// The first of what differs, for people; nothing where all is equal.
pub fn differences(live: &State, folded: &State) -> Vec<String> {
    let mut found = Vec::new();
    for (table, rows) in &live.tables {
        let again = &folded.tables[table];
        for (key, row) in rows {
            match again.get(key) {
                None => found.push(format!("{table} {key} is missing: {row}")),
                Some(other) if other != row => found.push(format!("{table} {key}\n  lived:  {row}\n  folded: {other}")),
                Some(_) => {}
            }
        }
        let more = again.iter().filter(|(key, _)| !rows.contains_key(*key));
        found.extend(more.map(|(key, row)| format!("{table} {key} was not there: {row}")));
    }
    for (message, standing) in &live.messages {
        match live.ended.get(message) {
            Some(again) if again != standing => {
                found.push(format!("message {message}\n  is {standing:?}\n  by the log {again:?}"))
            }
            Some(_) => {}
            // What a decision cancelled before it went anywhere, it cancels again.
            None if folded.messages.get(message).map(|again| &again.status) != Some(&standing.status) => {
                found.push(format!("message {message} is {standing:?}, and no end of it is in the log"));
            }
            None => {}
        }
        let tries = live.tries.get(message).copied().unwrap_or(0);
        if tries != standing.attempts {
            found.push(format!("message {message} has {tries} tries of {}", standing.attempts));
        }
    }
    let [rows, by_log] = &live.bounced;
    let only_one = rows.symmetric_difference(by_log);
    found.extend(only_one.map(|one| {
        format!("unknown mailbox {one}: by its row {}, by the log {}", rows.contains(one), by_log.contains(one))
    }));
    found.truncate(20);
    found
}

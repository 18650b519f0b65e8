//! Replay: everything that the log led to is taken away, the log is read again from its beginning, and what comes of it
//! is compared with what there was, row by row.
//!
//! What others did is not in the log and is not folded: which state a message had on its way (its end is an entry), the
//! tries to send it, slots and versions of frequency caps, bounces on the suppression list. A row's version counts how
//! often it was written, which depends on what was decided together.

use std::collections::BTreeMap;

use carillon::ids::MessageId;
use carillon::store::Rows;
use carillon::store::entries::{Logged, read_after};
use carillon::store::shards::Layout;
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult};

/// What the log leads to.
const DERIVED: [&str; 14] = [
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
    "people_terms",
    "reasons",
    "parked",
];

/// Tables compared, with the columns that follow from the log; the first ones tell rows apart.
const COMPARED: [(&str, &str, usize); 11] = [
    (
        "profiles",
        "id, workspace, wake_at, user_id, traits, consent, history, created_at, last_seen_at, merged_into, segments,
         segments_seen, shard",
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
         created_at, expires_at, cause, entry",
        1,
    ),
    ("conversions", "message, position, workspace, campaign, profile, at, value, currency", 2),
    ("segment_members", "workspace, segment, profile, since", 3),
    ("people_terms", "workspace, term, profile", 3),
    ("reasons", "position, workspace, profile, packed", 1),
    ("parked", "position, workspace, profile, cause", 1),
    ("counters", "workspace, name, value", 2),
];

/// What there is at an instant at which nothing is due.
pub struct State {
    tables: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Where each message stands, and where the log says it ended.
    messages: BTreeMap<String, String>,
    ended: BTreeMap<String, String>,
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
        let rows = Rows(conn).all("SELECT id, status FROM messages", vec![]).await.unwrap();
        let messages = rows.iter().map(|row| (cell(row, 0), cell(row, 1))).collect();
        Self { tables, messages, ended: ended(conn).await }
    }

    /// How many rows a table has.
    #[allow(dead_code, reason = "for whoever wants to know that it says something")]
    pub fn rows_of(&self, table: &str) -> usize {
        self.tables[table].len()
    }
}

/// The last end of each message, as the log tells it.
async fn ended(conn: &DatabaseConnection) -> BTreeMap<String, String> {
    let mut ended = BTreeMap::new();
    for shard in Layout::of(conn.get_database_backend()).all().iter() {
        let mut after = shard.start();
        loop {
            let entries = read_after(conn, after, 4_096).await.unwrap();
            let Some(last) = entries.last() else { break };
            after = last.as_ref().map_or_else(|damaged| damaged.position, |entry| entry.position);
            for entry in entries.into_iter().flatten() {
                if let Logged::MessageEnded { message, status } = entry.logged {
                    ended.insert(named(message), format!("'{}'", status.name()));
                }
            }
        }
    }
    ended
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
    for (message, status) in &live.messages {
        // What ended by itself did so in the log; what a decision cancelled, it cancels again.
        let again = live.ended.get(message).or_else(|| folded.messages.get(message));
        if again != Some(status) {
            found.push(format!("message {message} is {status}, and by the log {again:?}"));
        }
    }
    found.truncate(20);
    found
}

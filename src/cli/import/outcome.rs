//! What came of an import, counted from the stored rows, each number with the command that opens it.

use std::fmt;

use sea_orm::DatabaseConnection;
use serde_json::{Value, json};

use crate::app::WORKSPACE;
use crate::cli::trace::SHOWN;
use crate::store::Rows;
use crate::store::shards::Heads;

/// Counts of what this run made, by campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Events of this run in the log.
    events: i64,
    /// Enrollments that began, by campaign.
    matched: Vec<(String, i64)>,
    messages: Vec<Messages>,
}

/// Messages of one campaign that ended alike.
#[derive(Debug, Clone, PartialEq)]
struct Messages {
    campaign: String,
    status: String,
    /// The reason's code; empty for states that need none.
    reason: String,
    count: i64,
}

impl Messages {
    fn open(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(" --reason {}", self.reason) };
        let is_cut = usize::try_from(self.count).is_ok_and(|count| count > SHOWN.get());
        let limit = if is_cut { format!(" --limit {}", self.count) } else { String::new() };
        format!("carillon messages --campaign {} --status {}{reason}{limit}", self.campaign, self.status)
    }
}

impl Outcome {
    /// What was made by log entries after `before`.
    pub async fn since(conn: &DatabaseConnection, before: &Heads) -> anyhow::Result<Self> {
        let rows = Rows(conn);
        let here = || vec![WORKSPACE.0.into()];
        let after = |column: &str| before.before(conn.get_database_backend(), column);
        let sql = format!(
            "SELECT count(*) FROM entries WHERE workspace = ? AND {} AND event_id IS NOT NULL",
            after("position")
        );
        let events = rows.scalar(&sql, here()).await?.unwrap_or(0);
        let sql = format!(
            "SELECT campaign, count(*) FROM enrollments WHERE workspace = ? AND {} GROUP BY campaign ORDER BY campaign",
            after("entry")
        );
        let mut matched = Vec::new();
        for row in rows.all(&sql, here()).await? {
            matched.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        }
        let sql = format!(
            "SELECT campaign, status, coalesce(reason, '') AS code, count(*) FROM messages WHERE workspace = ? AND {}
             GROUP BY campaign, status, code ORDER BY campaign, status, code",
            after("cause")
        );
        let mut messages = Vec::new();
        for row in rows.all(&sql, here()).await? {
            messages.push(Messages {
                campaign: row.try_get_by_index(0)?,
                status: row.try_get_by_index(1)?,
                reason: row.try_get_by_index(2)?,
                count: row.try_get_by_index(3)?,
            });
        }
        Ok(Self { events, matched, messages })
    }

    fn sum(&self, fits: impl Fn(&Messages) -> bool) -> i64 {
        self.messages.iter().filter(|one| fits(one)).map(|one| one.count).sum()
    }

    fn totals(&self) -> [(&'static str, i64); 6] {
        let matched = self.matched.iter().map(|(_, count)| count).sum();
        [
            ("events", self.events),
            ("matched", matched),
            ("messages", self.sum(|_| true)),
            ("sent", self.sum(|one| one.status == "sent")),
            ("capped", self.sum(|one| one.status != "sent" && one.reason == "capped")),
            ("suppressed", self.sum(|one| one.status == "suppressed" && one.reason != "capped")),
        ]
    }

    pub fn to_json(&self) -> Value {
        let mut answer = json!({
            "campaigns": self.matched.iter().map(|(campaign, count)| json!({ "campaign": campaign, "matched": count }))
                .collect::<Vec<Value>>(),
            "outcomes": self.messages.iter().map(|one| json!({
                "campaign": one.campaign, "status": one.status, "count": one.count, "open": one.open(),
                "reason": Some(&one.reason).filter(|reason| !reason.is_empty()),
            })).collect::<Vec<Value>>(),
        });
        for (name, count) in self.totals() {
            answer[name] = count.into();
        }
        answer
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.totals() {
            writeln!(f, "{name:<28} {count:>12}")?;
        }
        if self.matched.is_empty() {
            writeln!(f, "\nNo campaign matched: apply some to this folder and import into it again.")?;
        }
        for (campaign, count) in &self.matched {
            writeln!(f, "\n{campaign}\n  entered {count}")?;
            for one in self.messages.iter().filter(|one| one.campaign == *campaign) {
                let what = format!("{} {}", one.status, one.reason);
                writeln!(f, "  {:<32} {:>8}   {}", what.trim_end(), one.count, one.open())?;
            }
        }
        Ok(())
    }
}

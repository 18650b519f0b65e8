//! What came of an import, counted from the stored rows, each number with the command that opens it.

use std::fmt;
use std::iter::Sum;

use sea_orm::{DatabaseConnection, DbErr, QueryResult};
use serde_json::{Value, json};

use crate::app::WORKSPACE;
use crate::cli::trace::SHOWN;
use crate::store::Rows;
use crate::store::shards::Heads;

/// The same file again would change nothing: its events are stored, and decided with the campaigns that were there.
const NO_CAMPAIGN: &str = "No campaign matched, and what is stored is not lived through again. To see what campaigns would \
    have made of it: carillon backtest DEFINITIONS --from DAY --to DAY. To live through the file with them: apply them to \
    a new folder (--data), and import into that one.";

/// What stands in the folder, by campaign, and how much of it this run made: an import that was stopped and goes on made
/// a part, and whoever opens a number sees all.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Events in the log.
    events: Made,
    /// Enrollments that began, by campaign.
    matched: Vec<(String, Made)>,
    messages: Vec<Messages>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Made {
    all: i64,
    /// Of these: by this run.
    now: i64,
}

impl Made {
    /// From two columns of a row.
    fn read(row: &QueryResult, first: usize) -> Result<Self, DbErr> {
        Ok(Self { all: row.try_get_by_index(first)?, now: row.try_get_by_index(first + 1)? })
    }

    /// What is said beside the number: nothing where this run made all of it.
    fn share(self) -> String {
        if self.now == self.all { String::new() } else { format!("   {} of them in this run", self.now) }
    }
}

impl Sum for Made {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self { all: sum.all + one.all, now: sum.now + one.now })
    }
}

/// Messages of one campaign that ended alike.
#[derive(Debug, Clone, PartialEq)]
struct Messages {
    campaign: String,
    status: String,
    /// The reason's code; empty for states that need none.
    reason: String,
    count: Made,
}

impl Messages {
    fn open(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(" --reason {}", self.reason) };
        let is_cut = usize::try_from(self.count.all).is_ok_and(|count| count > SHOWN.get());
        let limit = if is_cut { format!(" --limit {}", self.count.all) } else { String::new() };
        format!("carillon messages --campaign {} --status {}{reason}{limit}", self.campaign, self.status)
    }
}

impl Outcome {
    /// What stands; of this run is what was made by log entries after `before`.
    pub async fn since(conn: &DatabaseConnection, before: &Heads) -> anyhow::Result<Self> {
        let rows = Rows(conn);
        let here = || vec![WORKSPACE.0.into()];
        let counted = |column: &str| {
            let now = before.before(conn.get_database_backend(), column);
            format!("count(*), count(CASE WHEN {now} THEN 1 END)")
        };
        let sql = format!("SELECT {} FROM entries WHERE workspace = ? AND event_id IS NOT NULL", counted("position"));
        let events = rows.one(&sql, here()).await?.as_ref().map_or(Ok(Made::default()), |row| Made::read(row, 0))?;
        let sql = format!(
            "SELECT campaign, {} FROM enrollments WHERE workspace = ? GROUP BY campaign ORDER BY campaign",
            counted("entry")
        );
        let mut matched = Vec::new();
        for row in rows.all(&sql, here()).await? {
            matched.push((row.try_get_by_index(0)?, Made::read(&row, 1)?));
        }
        let sql = format!(
            "SELECT campaign, status, coalesce(reason, '') AS code, {} FROM messages WHERE workspace = ?
             GROUP BY campaign, status, code ORDER BY campaign, status, code",
            counted("cause")
        );
        let mut messages = Vec::new();
        for row in rows.all(&sql, here()).await? {
            messages.push(Messages {
                campaign: row.try_get_by_index(0)?,
                status: row.try_get_by_index(1)?,
                reason: row.try_get_by_index(2)?,
                count: Made::read(&row, 3)?,
            });
        }
        Ok(Self { events, matched, messages })
    }

    fn sum(&self, fits: impl Fn(&Messages) -> bool) -> Made {
        self.messages.iter().filter(|one| fits(one)).map(|one| one.count).sum()
    }

    fn totals(&self) -> [(&'static str, Made); 6] {
        let matched = self.matched.iter().map(|(_, count)| *count).sum();
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
            "campaigns": self.matched.iter().map(|(campaign, count)| {
                json!({ "campaign": campaign, "matched": count.all, "this_run": count.now })
            })
                .collect::<Vec<Value>>(),
            "outcomes": self.messages.iter().map(|one| json!({
                "campaign": one.campaign, "status": one.status, "count": one.count.all, "this_run": one.count.now,
                "open": one.open(),
                "reason": Some(&one.reason).filter(|reason| !reason.is_empty()),
            })).collect::<Vec<Value>>(),
        });
        for (name, count) in self.totals() {
            answer[name] = count.all.into();
            answer["this_run"][name] = count.now.into();
        }
        answer
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.totals() {
            writeln!(f, "{name:<28} {:>12}{}", count.all, count.share())?;
        }
        if self.matched.is_empty() {
            writeln!(f, "\n{NO_CAMPAIGN}")?;
        }
        for (campaign, count) in &self.matched {
            writeln!(f, "\n{campaign}\n  entered {}{}", count.all, count.share())?;
            for one in self.messages.iter().filter(|one| one.campaign == *campaign) {
                let what = format!("{} {}", one.status, one.reason);
                let (count, share) = (one.count.all, one.count.share());
                writeln!(f, "  {:<32} {count:>8}{share}   {}", what.trim_end(), one.open())?;
            }
        }
        Ok(())
    }
}

//! Imports beside a running service: each with what was asked, how far it is and the rows that were refused. Its file
//! lies in the data folder of one process, which alone carries it out; whoever shares the database sees it here.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, decode_plain, encode};

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportState {
    Waiting,
    Running,
    Done,
    /// Somebody stopped it; what was stored until then stays.
    Stopped,
    Failed,
}

impl ImportState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Done, Self::Stopped, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::unreadable("state of an import", text))
    }
}

/// What was asked for beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImportOptions {
    pub source: String,
    /// How a table is read.
    pub map: Option<String>,
    /// `email=granted`.
    pub consent: Option<String>,
    /// Of a suppression list, where its rows name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImportProgress {
    /// Of the file, as it was sent.
    pub bytes_read: u64,
    pub rows: u64,
    pub rows_in_events: u64,
    /// By the code of the reason.
    pub rows_without_event: BTreeMap<String, u64>,
    /// Without those that are left out by intention.
    pub rows_rejected: u64,
    pub events: u64,
    pub people: u64,
    /// Events about the people that `consent` asks for.
    pub added: u64,
    pub stored: u64,
    /// Known already.
    pub repeated: u64,
    /// Events that the database does not take for what they are.
    #[serde(default)]
    pub refused: u64,
    /// Rejected rows that are listed.
    pub rejects_listed: u64,
    /// The name of the file before, where the same was imported under another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoredImport {
    pub id: String,
    pub home: String,
    pub name: String,
    pub format: String,
    pub options: ImportOptions,
    pub state: ImportState,
    pub bytes: u64,
    pub progress: ImportProgress,
    pub failure: Option<String>,
    pub stop_asked: bool,
    pub created_at: Timestamp,
    /// When its process last spoke of it.
    pub told_at: Timestamp,
    pub began_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub n: i64,
    pub line: Option<i64>,
    pub row: i64,
    pub rows: i64,
    pub field: Option<String>,
    pub code: String,
    /// None: it may have been of somebody who was erased since.
    pub message: Option<String>,
}

const SELECT: &str = "SELECT id, home, name, format, options, state, bytes, progress, failure, stop_asked, created_at,
    told_at, began_at, ended_at FROM imports WHERE workspace = ?";

fn read(row: &QueryResult) -> Result<StoredImport, Error> {
    let instant = |index: usize| -> Result<Option<Timestamp>, Error> {
        Ok(row.try_get_by_index::<Option<i64>>(index)?.map(Timestamp::from_millis))
    };
    let text = |index: usize| -> Result<String, Error> { Ok(row.try_get_by_index(index)?) };
    Ok(StoredImport {
        id: text(0)?,
        home: text(1)?,
        name: text(2)?,
        format: text(3)?,
        options: decode_plain("options of an import", &text(4)?)?,
        state: ImportState::parse(&text(5)?)?,
        bytes: row.try_get_by_index::<i64>(6)?.unsigned_abs(),
        progress: decode_plain("progress of an import", &text(7)?)?,
        failure: row.try_get_by_index(8)?,
        stop_asked: row.try_get_by_index::<i64>(9)? != 0,
        created_at: Timestamp::from_millis(row.try_get_by_index(10)?),
        told_at: Timestamp::from_millis(row.try_get_by_index(11)?),
        began_at: instant(12)?,
        ended_at: instant(13)?,
    })
}

fn read_reject(row: &QueryResult) -> Result<Reject, Error> {
    Ok(Reject {
        n: row.try_get_by_index(0)?,
        line: row.try_get_by_index(1)?,
        row: row.try_get_by_index(2)?,
        rows: row.try_get_by_index(3)?,
        field: row.try_get_by_index(4)?,
        code: row.try_get_by_index(5)?,
        message: row.try_get_by_index(6)?,
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn add_import(&self, import: &StoredImport) -> Result<(), Error> {
        let sql = "INSERT INTO imports (id, workspace, home, name, format, options, state, bytes, progress, stop_asked,
                   created_at, told_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)";
        let values: Values = vec![
            import.id.clone().into(),
            self.id.0.into(),
            import.home.clone().into(),
            import.name.clone().into(),
            import.format.clone().into(),
            encode(&import.options).into(),
            import.state.as_str().into(),
            i64::try_from(import.bytes).unwrap_or(i64::MAX).into(),
            encode(&import.progress).into(),
            import.created_at.millis().into(),
            import.told_at.millis().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// The name under which rows of a file with this content are known: of whoever brought it first.
    pub async fn file_known_as(&self, digest: &str, name: &str) -> Result<String, Error> {
        let sql = "INSERT INTO imported_files (workspace, digest, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        Rows(self.conn).run(sql, vec![self.id.0.into(), digest.into(), name.into()]).await?;
        let sql = "SELECT name FROM imported_files WHERE workspace = ? AND digest = ?";
        let known = Rows(self.conn).scalar(sql, vec![self.id.0.into(), digest.into()]).await?;
        Ok(known.unwrap_or_else(|| name.to_owned()))
    }

    pub async fn import(&self, id: &str) -> Result<Option<StoredImport>, Error> {
        let sql = format!("{SELECT} AND id = ?");
        Rows(self.conn).one(&sql, vec![self.id.0.into(), id.into()]).await?.as_ref().map(read).transpose()
    }

    /// The newest first, behind this place.
    pub async fn imports(&self, before: Option<(i64, String)>, limit: u32) -> Result<Vec<StoredImport>, Error> {
        let (at, id) = before.unwrap_or((i64::MAX, String::new()));
        let sql = format!(
            "{SELECT} AND (created_at < ? OR (created_at = ? AND id < ?)) ORDER BY created_at DESC, id DESC LIMIT ?"
        );
        let values: Values = vec![self.id.0.into(), at.into(), at.into(), id.into(), i64::from(limit).into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Those whose file is in this home and that have not ended, the oldest first.
    pub async fn unfinished_imports(&self, home: &str) -> Result<Vec<StoredImport>, Error> {
        let sql = format!("{SELECT} AND home = ? AND ended_at IS NULL ORDER BY created_at, id");
        Rows(self.conn).all(&sql, vec![self.id.0.into(), home.into()]).await?.iter().map(read).collect()
    }

    /// Begins one, or goes on with it; false if it was stopped before.
    pub async fn begin_import(&self, id: &str, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE imports SET state = 'running', began_at = coalesce(began_at, ?), told_at = ?
                   WHERE workspace = ? AND id = ? AND ended_at IS NULL AND stop_asked = 0";
        let values = vec![now.millis().into(), now.millis().into(), self.id.0.into(), id.into()];
        Ok(Rows(self.conn).run(sql, values).await? > 0)
    }

    /// Says how far one is, and that its process lives; the answer is whether it is to go on.
    pub async fn note_import(
        &self,
        (home, id): (&str, &str),
        state: ImportState,
        progress: &ImportProgress,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let sql = "UPDATE imports SET told_at = ? WHERE workspace = ? AND home = ? AND ended_at IS NULL";
        Rows(self.conn).run(sql, vec![now.millis().into(), self.id.0.into(), home.into()]).await?;
        let sql = "UPDATE imports SET state = ?, progress = ? WHERE workspace = ? AND id = ? AND ended_at IS NULL
                   AND stop_asked = 0";
        let values: Values = vec![state.as_str().into(), encode(progress).into(), self.id.0.into(), id.into()];
        Ok(Rows(self.conn).run(sql, values).await? > 0)
    }

    pub async fn end_import(
        &self,
        id: &str,
        (state, failure): (ImportState, Option<String>),
        progress: &ImportProgress,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = "UPDATE imports SET state = ?, failure = ?, progress = ?, told_at = ?, ended_at = ?
                   WHERE workspace = ? AND id = ? AND ended_at IS NULL";
        let values: Values = vec![
            state.as_str().into(),
            failure.into(),
            encode(progress).into(),
            now.millis().into(),
            now.millis().into(),
            self.id.0.into(),
            id.into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// Asks its process to stop one. What waits, and what nobody has spoken of since `silent_since`, ends here.
    pub async fn stop_import(&self, id: &str, silent_since: Timestamp, now: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE imports SET stop_asked = 1 WHERE workspace = ? AND id = ? AND ended_at IS NULL";
        Rows(self.conn).run(sql, vec![self.id.0.into(), id.into()]).await?;
        let sql =
            "UPDATE imports SET state = 'stopped', ended_at = ? WHERE workspace = ? AND id = ? AND ended_at IS NULL
                   AND (state = 'waiting' OR told_at < ?)";
        let values = vec![now.millis().into(), self.id.0.into(), id.into(), silent_since.millis().into()];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    pub async fn add_rejects(&self, import: &str, rejects: &[Reject]) -> Result<(), Error> {
        let rows = rejects.iter().map(|one| {
            vec![
                import.into(),
                one.n.into(),
                self.id.0.into(),
                one.line.into(),
                one.row.into(),
                one.rows.into(),
                one.field.clone().into(),
                one.code.clone().into(),
                one.message.clone().into(),
            ]
        });
        let head = "INSERT INTO import_rejects (import, n, workspace, line, row_at, row_count, field, code, message)";
        Rows(self.conn).insert(head, "ON CONFLICT DO NOTHING", 9, rows.collect()).await?;
        Ok(())
    }

    /// In the order of the file, behind this one.
    pub async fn rejects(&self, import: &str, after: i64, limit: u32) -> Result<Vec<Reject>, Error> {
        let sql = "SELECT n, line, row_at, row_count, field, code, message FROM import_rejects
                   WHERE workspace = ? AND import = ? AND n > ? ORDER BY n LIMIT ?";
        let values: Values = vec![self.id.0.into(), import.into(), after.into(), i64::from(limit).into()];
        Rows(self.conn).all(sql, values).await?.iter().map(read_reject).collect()
    }

    /// The file is read again from its beginning.
    pub async fn drop_rejects(&self, import: &str) -> Result<(), Error> {
        let sql = "DELETE FROM import_rejects WHERE workspace = ? AND import = ?";
        Rows(self.conn).run(sql, vec![self.id.0.into(), import.into()]).await?;
        Ok(())
    }

    /// Empties what is said of rows, a slice at a time: nobody can tell of whom it is. Returns how many.
    pub async fn empty_rejects(&self, limit: u32) -> Result<u64, Error> {
        let sql = "UPDATE import_rejects SET message = NULL WHERE (import, n) IN
                   (SELECT import, n FROM import_rejects WHERE workspace = ? AND message IS NOT NULL LIMIT ?)";
        Rows(self.conn).run(sql, vec![self.id.0.into(), limit.into()]).await
    }
}

/// Forgets the rejected rows of imports that ended before, a slice at a time; returns how many went.
pub async fn forget_rejects<C: ConnectionTrait>(conn: &C, before: Timestamp, limit: u32) -> Result<u64, Error> {
    let sql = "DELETE FROM import_rejects WHERE (import, n) IN
               (SELECT r.import, r.n FROM import_rejects r JOIN imports i ON i.id = r.import
                WHERE i.ended_at <= ? LIMIT ?)";
    Rows(conn).run(sql, vec![before.millis().into(), limit.into()]).await
}

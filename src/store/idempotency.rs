//! Answers to writes that were named by their caller, so that a repeat is told what the first was. What is stored of an
//! answer is sealed by whoever stores it.

use sea_orm::ConnectionTrait;

use crate::ids::{Span, Timestamp};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

/// How long an answer is kept.
pub const KEPT_FOR: Span = Span::from_hours(24);
/// A request that has not answered by now never will: its process is gone.
const HELD_FOR: Span = Span::from_seconds(600);

/// A request that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Of the caller and the name they gave.
    pub key: [u8; 32],
    /// Of what they ask.
    pub fingerprint: [u8; 32],
    /// Of this very try.
    pub turn: [u8; 16],
}

/// What is known of a named request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is this try's to do.
    Ours,
    /// The name stands for another request.
    Other,
    /// Another try is doing it.
    InHand,
    Answered {
        status: u16,
        sealed: Vec<u8>,
    },
    /// It was carried out, and what it was answered went with a person.
    Erased {
        status: u16,
    },
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Takes a request in hand, or says what became of it.
    pub async fn begin_named(&self, named: &Named, now: Timestamp) -> Result<Known, Error> {
        let sql = "INSERT INTO idempotent_answers (key, workspace, fingerprint, turn, began_at) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, turn = excluded.turn,
                   began_at = excluded.began_at, status = NULL, answer = NULL
                   WHERE idempotent_answers.began_at <= ?
                   OR (idempotent_answers.status IS NULL AND idempotent_answers.began_at <= ?)";
        let values: Values = vec![
            named.key.to_vec().into(),
            self.id.0.into(),
            named.fingerprint.to_vec().into(),
            named.turn.to_vec().into(),
            now.millis().into(),
            now.minus(KEPT_FOR).millis().into(),
            now.minus(HELD_FOR).millis().into(),
        ];
        if Rows(self.conn).run(sql, values).await? > 0 {
            return Ok(Known::Ours);
        }
        let sql = "SELECT fingerprint, status, answer FROM idempotent_answers WHERE key = ?";
        // Gone between the two: somebody gave it up just now.
        let Some(row) = Rows(self.conn).one(sql, vec![named.key.to_vec().into()]).await? else {
            return Ok(Known::InHand);
        };
        let fingerprint: Vec<u8> = row.try_get_by_index(0)?;
        if fingerprint != named.fingerprint {
            return Ok(Known::Other);
        }
        let Some(status) = row.try_get_by_index::<Option<i64>>(1)? else { return Ok(Known::InHand) };
        let status = u16::try_from(status).map_err(|error| Error::unreadable("status of an answer", error))?;
        let sealed: Vec<u8> = row.try_get_by_index::<Option<Vec<u8>>>(2)?.unwrap_or_default();
        Ok(if sealed.is_empty() { Known::Erased { status } } else { Known::Answered { status, sealed } })
    }

    /// Keeps the answer of the try that has it in hand. Where somebody was erased meanwhile, only that it is done; but
    /// all of it where it `is_of_nobody`.
    pub async fn answer_named(
        &self,
        named: &Named,
        status: u16,
        sealed: Vec<u8>,
        is_of_nobody: bool,
    ) -> Result<(), Error> {
        let sql = "UPDATE idempotent_answers SET status = ?,
                   answer = CASE WHEN answer IS NULL OR ? = 1 THEN ? ELSE answer END WHERE key = ? AND turn = ?";
        let values: Values = vec![
            i64::from(status).into(),
            i64::from(is_of_nobody).into(),
            sealed.into(),
            named.key.to_vec().into(),
            named.turn.to_vec().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// Empties answers to requests that began up to then, also those that are being made, a slice at a time: nobody but
    /// their callers can read of whom they are. Returns how many.
    pub async fn empty_answers(&self, until: Timestamp, limit: u32) -> Result<u64, Error> {
        let nothing = Vec::<u8>::new;
        let sql = "UPDATE idempotent_answers SET answer = ? WHERE key IN
                   (SELECT key FROM idempotent_answers WHERE began_at <= ? AND workspace = ?
                    AND (answer IS NULL OR answer <> ?) LIMIT ?)";
        let values: Values =
            vec![nothing().into(), until.millis().into(), self.id.0.into(), nothing().into(), limit.into()];
        Rows(self.conn).run(sql, values).await
    }

    /// Lets the name go: the next try does the work.
    pub async fn drop_named(&self, named: &Named) -> Result<(), Error> {
        let sql = "DELETE FROM idempotent_answers WHERE key = ? AND turn = ?";
        Rows(self.conn).run(sql, vec![named.key.to_vec().into(), named.turn.to_vec().into()]).await?;
        Ok(())
    }
}

/// Forgets answers that are out of date, a slice at a time; returns how many went.
pub async fn forget_answers<C: ConnectionTrait>(conn: &C, now: Timestamp, limit: u32) -> Result<u64, Error> {
    let sql = "DELETE FROM idempotent_answers WHERE key IN
               (SELECT key FROM idempotent_answers WHERE began_at <= ? ORDER BY began_at LIMIT ?)";
    Rows(conn).run(sql, vec![now.minus(KEPT_FOR).millis().into(), limit.into()]).await
}

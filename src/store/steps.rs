//! The outbox, many messages at once: a batch that is claimed, a group that begins to be sent, what was sent. Each is one
//! statement, and writes no column, and so no index, that such a step leaves as it is.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbBackend, Value};

use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Outcome, Status};
use crate::store::Workspace;
use crate::store::filed::filed_under;
use crate::store::outbox::CapSubject;
use crate::store::rows::{Error, Rows, Values, encode, padded};

/// A message as it is now, and the state its row must still have.
#[derive(Debug, Clone, Copy)]
pub struct Step<'m> {
    pub expected: &'m Status,
    pub message: &'m Message,
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'m> {
    pub message: MessageId,
    pub attempt: u32,
    pub outcome: &'m Outcome,
}

fn key(id: MessageId) -> Value {
    id.as_bytes().to_vec().into()
}

fn id_of(bytes: Vec<u8>) -> Result<MessageId, Error> {
    MessageId::try_from(bytes.as_slice()).map_err(|error| Error::unreadable("message", error))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Of these messages, those whose rows still have these states; they keep them to the end of the transaction.
    pub async fn still(&self, expected: &BTreeMap<MessageId, &Status>) -> Result<BTreeSet<MessageId>, Error> {
        let mut still: BTreeSet<MessageId> = expected.keys().copied().collect();
        let (lock, rows_of) = match self.conn.get_database_backend() {
            DbBackend::Postgres => (
                ", locked AS (SELECT id, workspace, state FROM messages WHERE id IN (SELECT message FROM seen)
                     ORDER BY id FOR UPDATE)",
                "locked",
            ),
            _ => ("", "messages"),
        };
        for chunk in expected.iter().collect::<Vec<_>>().chunks(512) {
            let row = |(id, status): &(&MessageId, &&Status)| -> Values { vec![key(**id), encode(**status).into()] };
            let (rows, mut values) = Rows(self.conn).table(padded(chunk.iter().map(row).collect()));
            // Those that have moved, as a rule nobody: SQLite's thread hands over row by row.
            let sql = format!(
                "WITH seen (message, state) AS ({rows}){lock}
                 SELECT message FROM seen WHERE NOT EXISTS (SELECT 1 FROM {rows_of} AS now
                 WHERE now.id = seen.message AND +now.workspace = ? AND now.state = seen.state)"
            );
            values.push(self.id.0.into());
            for row in Rows(self.conn).all(&sql, values).await? {
                still.remove(&id_of(row.try_get_by_index(0)?)?);
            }
        }
        Ok(still)
    }

    /// Stores messages that were claimed, each with the subject of its address; the answer is those whose rows had the
    /// state expected.
    pub async fn claim_messages(
        &self,
        steps: &[(Step<'_>, &str)],
        at: Timestamp,
    ) -> Result<BTreeSet<MessageId>, Error> {
        let columns = "due_at, slot_at, address, address_subject, template_version";
        let set =
            "reason = NULL, slow_domain = NULL, due_at = step.due_at, slot_at = step.slot_at, address = step.address,
                   address_subject = step.address_subject, template_version = step.template_version";
        let rest = |message: &Message, subject: &str| -> Values {
            vec![
                message.status.due_at().map(Timestamp::millis).into(),
                message.slot_at.map(Timestamp::millis).into(),
                message.address.clone().into(),
                filed_under(subject).into_owned().into(),
                message.template_version.map(i64::from).into(),
            ]
        };
        let rows = steps.iter().map(|(step, subject)| (*step, rest(step.message, subject))).collect();
        self.advance_together((columns, set), rows, at).await
    }

    /// Stores messages that begin to be sent, each for the attempt of that number and the request that led to it; the
    /// answer is those whose rows had the state expected.
    pub async fn begin_messages(
        &self,
        steps: &[(Step<'_>, u32, &str)],
        at: Timestamp,
    ) -> Result<BTreeSet<MessageId>, Error> {
        let rows = steps.iter().map(|(step, ..)| (*step, vec![0_i64.into()])).collect();
        let begun = self.advance_together(("unused", "due_at = NULL"), rows, at).await?;
        let attempts = steps.iter().filter(|(step, ..)| begun.contains(&step.message.id));
        let attempts = attempts.map(|(step, attempt, correlation)| -> Values {
            let correlation = Some(*correlation).filter(|id| !id.is_empty()).map(str::to_owned);
            vec![key(step.message.id), i64::from(*attempt).into(), at.millis().into(), correlation.into()]
        });
        let head = "INSERT INTO attempts (message, attempt, started_at, correlation)";
        let again = "ON CONFLICT (message, attempt) DO UPDATE SET started_at = excluded.started_at, finished_at = NULL,
                     outcome = NULL";
        Rows(self.conn).insert(head, again, 4, attempts.collect()).await?;
        Ok(begun)
    }

    /// Stores messages that were sent; the answer is those whose rows had the state expected.
    pub async fn conclude_sent(&self, steps: &[Step<'_>], at: Timestamp) -> Result<BTreeSet<MessageId>, Error> {
        let columns = "attempts, answer_lost_at";
        let set = "attempts = step.attempts, answer_lost_at = step.answer_lost_at";
        let rest = |message: &Message| -> Values {
            vec![i64::from(message.attempts).into(), message.answer_lost_at.map(Timestamp::millis).into()]
        };
        let rows = steps.iter().map(|step| (*step, rest(step.message))).collect();
        self.advance_together((columns, set), rows, at).await
    }

    async fn advance_together(
        &self,
        (columns, set): (&str, &str),
        mut steps: Vec<(Step<'_>, Values)>,
        at: Timestamp,
    ) -> Result<BTreeSet<MessageId>, Error> {
        let mut moved = BTreeSet::new();
        for chunk in steps.chunks_mut(512) {
            let row = |(step, rest): &mut (Step<'_>, Values)| -> Values {
                let (status, state) = (step.message.status.name(), encode(&step.message.status));
                let mut row: Values = Vec::with_capacity(4 + rest.len());
                row.extend([key(step.message.id), encode(step.expected).into(), status.into(), state.into()]);
                row.append(rest);
                row
            };
            // The same row twice moves one message.
            let (rows, mut values) = Rows(self.conn).table(padded(chunk.iter_mut().map(row).collect()));
            let update = format!(
                "WITH step (message, expected, status, state, {columns}) AS ({rows})
                 UPDATE messages SET status = step.status, state = step.state, {set} FROM step
                 WHERE messages.id = step.message AND +messages.workspace = ? AND messages.state = step.expected"
            );
            values.push(self.id.0.into());
            moved.extend(self.moved_by(&update, values, chunk).await?);
        }
        let steps = steps.iter().filter(|(step, _)| moved.contains(&step.message.id));
        self.add_steps(steps.map(|(step, _)| (step.message.id, at, step.message.status.clone())).collect()).await?;
        Ok(moved)
    }

    /// Which of these steps the statement stored. SQLite's thread hands over row by row, and a number costs nothing: where
    /// it has moved as many as there are, nobody asks which. Otherwise it moved who stands there now and did not before.
    async fn moved_by(
        &self,
        update: &str,
        values: Values,
        steps: &[(Step<'_>, Values)],
    ) -> Result<BTreeSet<MessageId>, Error> {
        if self.conn.get_database_backend() != DbBackend::Sqlite {
            let moved = Rows(self.conn).all(&format!("{update} RETURNING id"), values).await?;
            return moved.iter().map(|row| id_of(row.try_get_by_index(0)?)).collect();
        }
        let wanted: BTreeMap<MessageId, &Status> =
            steps.iter().map(|(step, _)| (step.message.id, &step.message.status)).collect();
        match Rows(self.conn).run(update, values).await? {
            0 => Ok(BTreeSet::new()),
            all if all == wanted.len() as u64 => Ok(wanted.into_keys().collect()),
            _ => {
                let mut moved = self.still(&wanted).await?;
                for (id, status) in wanted {
                    if moved.contains(&id) && self.steps_of(id).await?.last().is_some_and(|last| last.state == *status)
                    {
                        moved.remove(&id);
                    }
                }
                Ok(moved)
            }
        }
    }

    /// The log has said when these messages were sent.
    pub async fn note_sent(&self, sent: &[(MessageId, Timestamp)]) -> Result<(), Error> {
        for chunk in sent.chunks(512) {
            let row = |(message, at): &(MessageId, Timestamp)| -> Values { vec![key(*message), at.millis().into()] };
            let (rows, mut values) = Rows(self.conn).table(padded(chunk.iter().map(row).collect()));
            let sql = format!(
                "WITH sent (message, at) AS ({rows}) UPDATE messages SET sent_at = sent.at FROM sent
                 WHERE messages.id = sent.message AND +messages.workspace = ?"
            );
            values.push(self.id.0.into());
            Rows(self.conn).run(&sql, values).await?;
        }
        Ok(())
    }

    /// Stores how attempts ended.
    pub async fn finish_attempts(&self, ended: &[Ended<'_>], at: Timestamp) -> Result<(), Error> {
        for chunk in ended.chunks(512) {
            let row = |one: &Ended<'_>| -> Values {
                vec![key(one.message), i64::from(one.attempt).into(), at.millis().into(), encode(one.outcome).into()]
            };
            let (rows, values) = Rows(self.conn).table(padded(chunk.iter().map(row).collect()));
            let sql = format!(
                "WITH ended (message, attempt, at, outcome) AS ({rows})
                 UPDATE attempts SET finished_at = ended.at, outcome = ended.outcome FROM ended
                 WHERE attempts.message = ended.message AND attempts.attempt = ended.attempt"
            );
            Rows(self.conn).run(&sql, values).await?;
        }
        Ok(())
    }

    /// Compare and set: moves subjects from what they were (none: they have no row yet), each named once; false if one
    /// has moved since.
    pub async fn move_cap_subjects(&self, moves: &[(&str, Option<&CapSubject>, &CapSubject)]) -> Result<bool, Error> {
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for (name, from, to) in moves {
            let name = filed_under(name).into_owned();
            let named: Values = match from {
                None => vec![self.id.0.into(), name.into()],
                Some(from) => vec![name.into(), from.step.into(), from.chain.clone().into()],
            };
            let rows = if from.is_none() { &mut new } else { &mut known };
            rows.push(named.into_iter().chain(to.values()).collect::<Values>());
        }
        let (wanted, mut moved) = (moves.len() as u64, 0);
        let head = "INSERT INTO cap_subjects (workspace, subject, step, chain, horizon, last_slot_at)";
        moved += Rows(self.conn).insert(head, "ON CONFLICT DO NOTHING", 6, new).await?;
        for chunk in known.chunks(512) {
            let (rows, mut values) = Rows(self.conn).table(padded(chunk.to_vec()));
            let sql = format!(
                "WITH moved (subject, from_step, from_chain, step, chain, horizon, last_slot_at) AS ({rows})
                 UPDATE cap_subjects SET step = moved.step, chain = moved.chain, horizon = moved.horizon,
                     last_slot_at = moved.last_slot_at FROM moved
                 WHERE cap_subjects.workspace = ? AND cap_subjects.subject = moved.subject
                     AND cap_subjects.step = moved.from_step AND cap_subjects.chain = moved.from_chain"
            );
            values.push(self.id.0.into());
            moved += Rows(self.conn).run(&sql, values).await?;
        }
        Ok(moved == wanted)
    }
}

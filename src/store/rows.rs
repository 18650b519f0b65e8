//! The few moves every query shares: bind values, read rows, decode stored JSON, insert many rows at once.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, TryGetable, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::dialect::{Unnested, array, translated};

/// A query that failed, or a stored row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] DbErr),
    #[error("somebody was erased while this waited")]
    Overtaken,
    #[error("a stored {what} cannot be read: {cause}")]
    Unreadable { what: &'static str, cause: String },
}

impl Error {
    pub fn unreadable(what: &'static str, cause: impl ToString) -> Self {
        Self::Unreadable { what, cause: cause.to_string() }
    }
}

/// Bound parameters of one statement.
pub type Values = Vec<Value>;

/// Parameters bound by one statement, far below SQLite's own limit of 32,766: a hundred rows or so already spread the
/// cost of a statement thin, and their values stay in the processor's cache on the way.
const PARAMETERS_MAX: usize = 2_000;

/// So many rows are worth waiting for.
const ROWS_MANY: usize = 64;
/// About what a row takes that is in memory: how long rows may gather before whoever waits for many of them looks.
const ROW_GATHERS: Duration = Duration::from_micros(2);
/// And before they look again.
const REST_GATHERS: Duration = Duration::from_micros(200);

/// Queries on anything that takes statements.
pub struct Rows<'c, C: ConnectionTrait>(pub &'c C);

impl<C: ConnectionTrait> Rows<'_, C> {
    fn statement(&self, sql: &str, values: Values) -> Statement {
        let backend = self.0.get_database_backend();
        Statement::from_sql_and_values(backend, translated(backend, sql), values)
    }

    pub async fn all(&self, sql: &str, values: Values) -> Result<Vec<QueryResult>, Error> {
        Ok(self.0.query_all_raw(self.statement(sql, values)).await?)
    }

    /// The same for questions that may have hundreds of answers. SQLite's thread hands over row by row and wakes the
    /// reader for each it finds asleep: two switches of threads a row, which cost more than the row. A reader that is
    /// late by a moment finds many at once.
    pub async fn many(&self, sql: &str, values: Values, count: usize) -> Result<Vec<QueryResult>, Error> {
        let gather = count >= ROWS_MANY && self.0.get_database_backend() == DbBackend::Sqlite;
        let first = ROW_GATHERS * u32::try_from(count).unwrap_or(512).min(512);
        let mut answer = pin!(self.all(sql, values));
        let mut asked = 0;
        poll_fn(|context| {
            if asked > 0 && gather {
                // Shorter than any timer of the runtime.
                std::thread::sleep(if asked == 1 { first } else { REST_GATHERS });
            }
            asked += 1;
            answer.as_mut().poll(context)
        })
        .await
    }

    pub async fn one(&self, sql: &str, values: Values) -> Result<Option<QueryResult>, Error> {
        Ok(self.0.query_one_raw(self.statement(sql, values)).await?)
    }

    /// The first column of the first row.
    pub async fn scalar<T: TryGetable>(&self, sql: &str, values: Values) -> Result<Option<T>, Error> {
        match self.one(sql, values).await? {
            Some(row) => Ok(Some(row.try_get_by_index(0)?)),
            None => Ok(None),
        }
    }

    /// Returns the number of rows changed.
    pub async fn run(&self, sql: &str, values: Values) -> Result<u64, Error> {
        Ok(self.0.execute_raw(self.statement(sql, values)).await?.rows_affected())
    }

    /// `head VALUES (..),(..) tail`, in as few statements as fit. Returns the number of rows changed.
    pub async fn insert(&self, head: &str, tail: &str, columns: usize, rows: Vec<Values>) -> Result<u64, Error> {
        self.insert_as(head, &marks(columns), tail, columns, rows).await
    }

    /// The same with each row's text given, for values that are computed: `columns` counts its question marks.
    pub async fn insert_as(
        &self,
        head: &str,
        row: &str,
        tail: &str,
        columns: usize,
        mut rows: Vec<Values>,
    ) -> Result<u64, Error> {
        let backend = self.0.get_database_backend();
        if let Some(rows) = Unnested::of(backend, &mut rows) {
            return self.run(&format!("{head} {} {tail}", rows.select(row)), rows.into_values()).await;
        }
        // A statement that may stop half way keeps a copy of every page it changes. Here whoever is told that it failed
        // keeps nothing of what was written, so SQLite need not undo its part.
        let is_alone = tail.is_empty() && backend == DbBackend::Sqlite;
        let head = if is_alone { head.replacen("INSERT", "INSERT OR FAIL", 1) } else { head.to_owned() };
        let mut changed = 0;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let fits = (PARAMETERS_MAX / columns.max(1)).max(1);
            let size = step_below(rows.len().min(fits));
            let mut values: Values = Vec::with_capacity(size * columns);
            rows.by_ref().take(size).for_each(|row| values.extend(row));
            changed +=
                self.run(&format!("{head} VALUES {} {tail}", repeated(&format!("({row})"), size)), values).await?;
        }
        Ok(changed)
    }

    /// Rows as the text of a query, to be joined with, and its values.
    pub fn table(&self, mut rows: Vec<Values>) -> (String, Values) {
        let columns = rows.first().map_or(0, Vec::len);
        match Unnested::of(self.0.get_database_backend(), &mut rows) {
            Some(rows) => (rows.select(&marks(columns)), rows.into_values()),
            None => {
                let row = format!("({})", marks(columns));
                (format!("VALUES {}", repeated(&row, rows.len())), rows.into_iter().flatten().collect())
            }
        }
    }

    /// That a column is one of at most 512 keys, as the text of a condition, and its values.
    pub fn among(&self, column: &str, mut keys: Values) -> (String, Values) {
        match array(self.0.get_database_backend(), &mut keys) {
            Some(keys) => (format!("{column} = ANY(?)"), vec![keys]),
            None => {
                let keys = padded(keys);
                (format!("{column} IN ({})", marks(keys.len())), keys)
            }
        }
    }
}

/// The largest step that is not above `count`. Steps are few, so that prepared statements are reused, and near to each
/// other where commits are small: 1 to 16, then every eighth to 128, then powers of two.
fn step_below(count: usize) -> usize {
    match count {
        0..=16 => count,
        17..=128 => count - count % 8,
        _ => 1 << count.ilog2(),
    }
}

/// Repeats the last of at most 512 keys until their number is a step: questions about keys are the same question
/// when one is asked twice, and the statement is known.
pub fn padded<T: Clone>(mut keys: Vec<T>) -> Vec<T> {
    let size = match keys.len() {
        0..=4 => keys.len(),
        5..=64 => keys.len().next_multiple_of(8),
        _ => keys.len().next_power_of_two(),
    };
    if let Some(last) = keys.last().cloned() {
        keys.resize(size, last);
    }
    keys
}

/// `text,text,text`.
pub fn repeated(text: &str, count: usize) -> String {
    let mut all = String::with_capacity((text.len() + 1) * count);
    for n in 0..count {
        if n > 0 {
            all.push(',');
        }
        all.push_str(text);
    }
    all
}

/// `?,?,?` for `count` values; for none a NULL, which nothing is `IN`.
pub fn marks(count: usize) -> String {
    if count == 0 { "NULL".to_owned() } else { repeated("?", count) }
}

/// An integer of any width: every column of integers is a BIGINT.
pub fn int<T: TryFrom<i64>>(row: &QueryResult, index: usize) -> Result<T, Error> {
    let value: i64 = row.try_get_by_index(index)?;
    T::try_from(value).map_err(|_| Error::unreadable("number", format!("{value} is out of range")))
}

/// As [`int`], where NULL means none.
pub fn maybe_int<T: TryFrom<i64>>(row: &QueryResult, index: usize) -> Result<Option<T>, Error> {
    match row.try_get_by_index::<Option<i64>>(index)? {
        Some(value) => {
            T::try_from(value).map(Some).map_err(|_| Error::unreadable("number", format!("{value} is out of range")))
        }
        None => Ok(None),
    }
}

pub fn encode<T: Serialize>(value: &T) -> String {
    // Our own types serialise into memory without fail: string keys, no custom errors.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads JSON we stored. Goes through a document: numbers are kept as text (`arbitrary_precision`), which tagged enums
/// can only take from there.
pub fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|error| Error::unreadable(what, error))?;
    serde_json::from_value(document).map_err(|error| Error::unreadable(what, error))
}

/// The same straight from the text, for what has no tagged enum and nothing flattened in it.
pub fn decode_plain<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::unreadable(what, error))
}

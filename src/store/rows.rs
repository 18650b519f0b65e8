//! The few moves every query shares: bind values, read rows, decode stored JSON, insert many rows at once.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, TryGetable, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A query that failed, or a stored row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] DbErr),
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

/// Parameters bound by one statement; SQLite's own limit is 32,766.
const PARAMETERS_MAX: usize = 16_000;

/// Queries on anything that takes statements.
pub struct Rows<'c, C: ConnectionTrait>(pub &'c C);

impl<C: ConnectionTrait> Rows<'_, C> {
    pub async fn all(&self, sql: &str, values: Values) -> Result<Vec<QueryResult>, Error> {
        Ok(self.0.query_all_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await?)
    }

    pub async fn one(&self, sql: &str, values: Values) -> Result<Option<QueryResult>, Error> {
        Ok(self.0.query_one_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await?)
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
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
        Ok(self.0.execute_raw(statement).await?.rows_affected())
    }

    /// `head VALUES (..),(..) tail`, in as few statements as fit. Sizes are powers of two, so that the prepared
    /// statements are few and reused. Returns the number of rows changed.
    pub async fn insert(&self, head: &str, tail: &str, columns: usize, rows: Vec<Values>) -> Result<u64, Error> {
        let mut changed = 0;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let fits = (PARAMETERS_MAX / columns.max(1)).max(1);
            let size = 1 << rows.len().min(fits).ilog2();
            let values: Values = rows.by_ref().take(size).flatten().collect();
            changed += self.run(&insert_sql(head, tail, columns, size), values).await?;
        }
        Ok(changed)
    }
}

fn insert_sql(head: &str, tail: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{head} VALUES {} {tail}", vec![row; rows].join(","))
}

/// `?,?,?` for `count` values.
pub fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
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

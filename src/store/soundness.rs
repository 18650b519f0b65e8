//! What the database says about itself: is the file whole, and does it keep what it was told to keep.

use sea_orm::ConnectionTrait;

use crate::ids::{Position, Timestamp};
use crate::store::rows::{Error, Rows};

/// SQLite's own look at its file: the first complaints, none where it is whole. Reads the whole file.
pub async fn quick_check<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, Error> {
    let rows = Rows(conn).all("PRAGMA quick_check(10)", vec![]).await?;
    let said: Vec<String> = rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect::<Result<_, Error>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// (`synchronous`, `journal_mode`) of a connection; (`2`, `wal`) loses nothing.
pub async fn durability<C: ConnectionTrait>(conn: &C) -> Result<(String, String), Error> {
    let sql = "SELECT CAST((SELECT synchronous FROM pragma_synchronous) AS TEXT),
               CAST((SELECT journal_mode FROM pragma_journal_mode) AS TEXT)";
    match Rows(conn).one(sql, vec![]).await? {
        Some(row) => Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)),
        None => Ok((String::new(), String::new())),
    }
}

/// Where the log ends, and the instant its last entry is decided at.
pub async fn last_entry<C: ConnectionTrait>(conn: &C) -> Result<Option<(Position, Timestamp)>, Error> {
    let sql = "SELECT position, now FROM entries ORDER BY position DESC LIMIT 1";
    let Some(row) = Rows(conn).one(sql, vec![]).await? else { return Ok(None) };
    Ok(Some((Position(row.try_get_by_index(0)?), Timestamp::from_millis(row.try_get_by_index(1)?))))
}

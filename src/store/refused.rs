//! Whether what was to be stored is refused for what it is, and will be whenever it is tried: one person's decision that
//! breaks a constraint, or has a value that is too long or none of its kind. What passes by itself is none of it: a
//! connection that is lost, a lock, a deadlock, a full disk.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::Error as Cause;

use crate::store::rows::Error;

/// PostgreSQL's classes of errors of data, of integrity, of what is larger than it takes, and of a trigger's own word, which
/// is what `RAISE EXCEPTION` is: a trigger that means a database in trouble says so by another code.
const CLASSES: &[&str] = &["22", "23", "54", "P0"];
/// SQLite's errors: too big, a constraint (a trigger's word included), a value of the wrong type.
const ERRORS: &[u32] = &[18, 19, 20];

/// Why something is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In the database's words, which may repeat a value.
    pub cause: String,
    /// In a word that repeats none: its code.
    pub code: String,
}

/// Why the database does not take it; none: it may, another time.
pub fn refusal(error: &anyhow::Error) -> Option<Refusal> {
    error.chain().find_map(|cause| cause.downcast_ref::<Error>().and_then(of_query).or_else(|| of_database(cause)))
}

fn of_query(error: &Error) -> Option<Refusal> {
    match error {
        Error::Unreadable { what, .. } => {
            Some(Refusal { cause: error.to_string(), code: format!("unreadable {what}") })
        }
        Error::Database(_) | Error::Overtaken => None,
    }
}

fn of_database(cause: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        cause.downcast_ref::<DbErr>()?
    else {
        return None;
    };
    match &**cause {
        Cause::Database(said) => {
            let code = said.code().filter(|code| is_final(code))?;
            Some(Refusal { cause: format!("the database refused it ({code}): {}", said.message()), code: code.into() })
        }
        // It did not even leave here.
        Cause::Encode(error) => {
            Some(Refusal { cause: format!("the database cannot be given it: {error}"), code: "encoding".to_owned() })
        }
        _ => None,
    }
}

/// Of five characters it is PostgreSQL's; SQLite's are numbers whose lowest eight bits say the kind.
fn is_final(code: &str) -> bool {
    match code.len() {
        5 => CLASSES.iter().any(|class| code.starts_with(class)),
        _ => code.parse::<u32>().is_ok_and(|code| ERRORS.contains(&(code & 0xff))),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::sync::Arc;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;
    use crate::store::lost::NotCommitted;

    #[derive(Debug, thiserror::Error)]
    #[error("the database said {0}")]
    struct Said(&'static str);

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            "no"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn stored(cause: Cause) -> anyhow::Error {
        Error::from(DbErr::Exec(RuntimeErr::SqlxError(Arc::new(cause)))).into()
    }

    fn says(code: &'static str) -> anyhow::Error {
        stored(Cause::Database(Box::new(Said(code))))
    }

    #[test]
    fn values_that_are_not_taken_are_told_from_what_passes_by_itself() {
        // PostgreSQL: too long, out of range, no text, a constraint, an index row that is too large, a trigger; SQLite: too
        // big, a check, a trigger, a key that is there, a type.
        for code in
            ["22001", "22003", "22021", "23502", "23505", "23514", "54000", "P0001", "18", "275", "1811", "2067", "20"]
        {
            let found = refusal(&says(code));
            assert_eq!(found.as_ref().map(|one| one.code.as_str()), Some(code), "{found:?}");
            assert_eq!(found.map(|one| one.cause), Some(format!("the database refused it ({code}): no")));
        }
        // PostgreSQL: a connection, a serialisation failure, a deadlock, an idle transaction, a full disk, too many
        // connections, a lock not had, a cancelled query, a shutdown, a table that is not there, a read-only server, a
        // damaged file; SQLite: busy, locked, read-only, interrupted, a failing disk, damaged, full.
        for code in [
            "08006", "40001", "40P01", "25P03", "53100", "53300", "55P03", "57014", "57P01", "42P01", "25006", "XX001",
            "5", "517", "6", "8", "9", "10", "522", "11", "13", "", "odd",
        ] {
            assert_eq!(refusal(&says(code)), None, "{code}");
        }
    }

    #[test]
    fn what_is_no_word_of_the_database_about_values_is_no_refusal() {
        for passing in [Cause::PoolTimedOut, Cause::WorkerCrashed, Cause::Io(std::io::Error::other("23514"))] {
            let text = passing.to_string();
            assert_eq!(refusal(&stored(passing)), None, "{text}");
        }
        assert_eq!(refusal(&NotCommitted("code: 23514".to_owned()).into()), None);
        assert_eq!(refusal(&anyhow::anyhow!("the lease of shard 3 went to another process")), None);
    }

    #[test]
    fn values_that_cannot_be_sent_and_rows_that_cannot_be_read_are_final() {
        let found = refusal(&stored(Cause::Encode("too many bytes".into())).context("storing"));
        assert_eq!(found.map(|one| one.cause).as_deref(), Some("the database cannot be given it: too many bytes"));
        let found = refusal(&Error::unreadable("message", "ann@example.com").into());
        assert_eq!(found.map(|one| one.code).as_deref(), Some("unreadable message"));
    }
}

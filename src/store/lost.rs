//! Whether an error is of the connection and not of what was asked: what was to be done is as due as before.

use std::error::Error as _;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::Error as Cause;

/// PostgreSQL ended the connection: whoever idled in a transaction for too long, as a program does that its machine starves,
/// an administrator's word, a server that stops or starts; and all that is wrong with the connection as such (class 08).
const ENDINGS: &[&str] = &["25P03", "57P01", "57P02", "57P03", "57P05"];
const OF_THE_CONNECTION: &str = "08";

/// Nothing of a transaction was kept, for the sake of the connection or of a neighbour in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotCommitted(pub String);

/// Whether what failed may go well when it is done again.
pub fn may_go_well_again(error: &anyhow::Error) -> bool {
    is_of_connection(error) || error.chain().any(|cause| cause.is::<NotCommitted>())
}

/// Whether the database was not reached, or went away.
pub fn is_of_connection(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<DbErr>().is_some_and(is_lost))
}

fn is_lost(error: &DbErr) -> bool {
    let cause = match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => cause,
        DbErr::ConnectionAcquire(_) => return true,
        _ => return false,
    };
    match &**cause {
        Cause::Io(_) | Cause::Protocol(_) | Cause::PoolTimedOut | Cause::PoolClosed | Cause::WorkerCrashed => true,
        Cause::Database(said) => {
            said.code().is_some_and(|code| ENDINGS.contains(&&*code) || code.starts_with(OF_THE_CONNECTION))
        }
        other => other.source().is_some_and(|cause| cause.is::<std::io::Error>()),
    }
}

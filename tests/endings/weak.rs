//! A PostgreSQL that answers before a commit is on disk is refused when it is connected to.
//!
//! To see it fail, let `weaknesses` in `src/store/soundness.rs` find none.

use carillon::store::{self, Database};
use sea_orm::ConnectionTrait;

use crate::database::Place;
use crate::postgres::OwnPostgres;

/// The server reads its settings anew a moment after it is told to.
const TRIES: usize = 1_000;

async fn set(database: &Database, sql: &str) {
    database.writer.execute_unprepared(sql).await.unwrap();
    database.writer.execute_unprepared("SELECT pg_reload_conf()").await.unwrap();
}

async fn is_refused_for(place: &Place, weakness: &str) -> bool {
    for _ in 0..TRIES {
        match store::open(place.address()).await {
            Ok(database) => database.close().await,
            Err(error) if error.to_string().contains(weakness) => return true,
            Err(_) => {}
        }
    }
    false
}

#[tokio::test]
async fn a_postgres_that_may_lose_what_was_answered_is_refused_by_the_setting() {
    let postgres = OwnPostgres::start().unwrap();
    let place = Place::on(&postgres.url()).await;
    let database = store::open(place.address()).await.unwrap();
    let weak = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("synchronous_commit", "remote_write"),
    ];
    for (name, value) in weak {
        set(&database, &format!("ALTER SYSTEM SET {name} = {value}")).await;
        let weakness = format!("{name}={value} (on is needed)");
        assert!(is_refused_for(&place, &weakness).await, "{weakness}");
        set(&database, &format!("ALTER SYSTEM RESET {name}")).await;
    }
    database.close().await;
}

//! Texts are ordered by their bytes, wherever a database would order them as a dictionary does: whoever pages through them
//! goes on behind the last one, and compares it so.

use std::collections::{BTreeMap, BTreeSet};

use carillon::store::Rows;
use carillon::store::suppressions::{ListFilter, subject};
use sea_orm::ConnectionTrait;

use super::BACKEND;
use super::reach::suppress;
use super::support::House;
use crate::database::Backend;

/// In a dictionary signs stand before digits and letters, or count for nothing.
const ADDRESSES: [&str; 9] = [
    "a-b@shop.example",
    "a.b@shop.example",
    "a_b@shop.example",
    "ab@shop.example",
    "aa@shop.example",
    "a+c@shop.example",
    "~a@shop.example",
    "z@shop.example",
    "7@shop.example",
];

/// Text of ours that this database would order its own way.
const OTHERWISE: &str = "SELECT CAST(c.relname AS text), CAST(a.attname AS text) FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_collation AS o ON o.oid = a.attcollation
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    AND c.relname <> 'seaql_migrations' AND o.collname";

async fn listed(house: &House, limit: u32) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let filter = ListFilter { after, limit, ..ListFilter::default() };
        let page = house.workspace().list_suppressions(&filter).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(subject(last.channel, &last.address));
        all.extend(page.into_iter().map(|one| one.address));
    }
}

async fn columns<C: ConnectionTrait>(conn: &C, which: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in Rows(conn).all(&format!("{OTHERWISE} {which}"), vec![]).await.unwrap() {
        found.entry(row.try_get_by_index(0).unwrap()).or_default().insert(row.try_get_by_index(1).unwrap());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_in_the_order_of_their_bytes_whatever_the_locale_of_the_database() {
    let house = House::new().await;
    for address in ADDRESSES {
        suppress(&house, address).await;
    }
    let mut wanted = ADDRESSES.map(str::to_owned);
    wanted.sort();
    for limit in 1..=10 {
        assert_eq!(listed(&house, limit).await, wanted, "{limit} at a time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_text_had_its_own_order_is_put_right_at_the_next_start() {
    if BACKEND == Backend::Sqlite {
        return;
    }
    let house = House::new().await;
    for address in ADDRESSES {
        suppress(&house, address).await;
    }
    let beside = house.beside().await;
    let words_first: Option<bool> = Rows(&beside).scalar("SELECT 'b' < 'B'", vec![]).await.unwrap();
    assert_eq!(words_first, Some(true), "the server's own order is that of bytes, and nothing is shown here");
    assert_eq!(columns(&beside, "<> 'C'").await, BTreeMap::new());
    let ours = columns(&beside, "= 'C'").await;
    assert!(ours.len() > 30, "{ours:?}");
    for (table, columns) in &ours {
        let changes = columns.iter().map(|column| format!("ALTER COLUMN \"{column}\" TYPE text COLLATE \"default\""));
        let sql = format!("ALTER TABLE {table} {}", changes.collect::<Vec<_>>().join(", "));
        beside.execute_unprepared(&sql).await.unwrap();
    }
    assert_eq!(columns(&beside, "<> 'C'").await, ours);
    let rows = Rows(&beside).all("SELECT subject FROM suppressed_addresses ORDER BY subject", vec![]).await.unwrap();
    let before: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert!(before.len() == ADDRESSES.len() && !before.is_sorted(), "{before:?}");
    let house = house.restart().await;
    assert_eq!(columns(&beside, "<> 'C'").await, BTreeMap::new());
    let mut wanted = ADDRESSES.map(str::to_owned);
    wanted.sort();
    assert_eq!(listed(&house, 2).await, wanted);
}

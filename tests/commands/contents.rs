//! Everything an installation holds: each row of each table, and its keys in Redis.

use std::collections::BTreeMap;

use carillon::store::{Rows, open};
use sea_orm::DbBackend;

use crate::program::Folder;

/// What every start of a process writes.
const OF_THE_PROCESS: [&str; 3] = ["nodes", "boots", "leases"];

/// By table, and by key.
pub type Contents = BTreeMap<String, Vec<String>>;

pub fn contents(folder: &Folder) -> Contents {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut all = tables(folder).await;
        all.extend(keys(folder).await);
        all
    })
}

async fn tables(folder: &Folder) -> Contents {
    let database = open(folder.address()).await.unwrap();
    let rows = Rows(&database.reader);
    let is_postgres = database.reader.get_database_backend() == DbBackend::Postgres;
    let names = match is_postgres {
        true => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        false => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    };
    let mut all = Contents::new();
    for row in rows.all(names, vec![]).await.unwrap() {
        let table: String = row.try_get_by_index(0).unwrap();
        if OF_THE_PROCESS.contains(&table.as_str()) {
            continue;
        }
        let sql = match is_postgres {
            true => format!("SELECT x::text FROM {table} x"),
            false => {
                let columns =
                    rows.all(&format!("SELECT name FROM pragma_table_info('{table}')"), vec![]).await.unwrap();
                let quoted = columns.iter().map(|row| format!("quote({})", row.try_get_by_index::<String>(0).unwrap()));
                format!("SELECT {} FROM {table}", quoted.collect::<Vec<_>>().join("||','||"))
            }
        };
        let read = rows.all(&sql, vec![]).await.unwrap();
        let mut texts: Vec<String> = read.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        texts.sort();
        all.insert(table, texts);
    }
    database.close().await;
    all
}

async fn keys(folder: &Folder) -> Contents {
    let (url, mut all) = (folder.redis(), Contents::new());
    if url.is_empty() {
        return all;
    }
    let database = open(folder.address()).await.unwrap();
    let sql = "SELECT value FROM settings WHERE name = 'installation'";
    let installation: String = Rows(&database.reader).scalar(sql, vec![]).await.unwrap().unwrap();
    database.close().await;
    let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
    let pattern = format!("carillon:{installation}:*");
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut redis).unwrap();
    // With every start of a process that number goes up.
    for key in keys.into_iter().filter(|key| !key.ends_with(":generation")) {
        let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut redis).unwrap();
        all.insert(key, vec![format!("{value:?}")]);
    }
    all
}

//! Who is erased is gone: from every table, every file and every page of them, and nothing else is.

use std::path::{Path, PathBuf};

use carillon::app::WORKSPACE;
use carillon::event::Kind;
use carillon::event::engagement::Hit;
use carillon::ids::ProfileId;
use carillon::message::{Channel, Suppression, SuppressionKind};
use carillon::store::hits::StoredHit;
use carillon::store::idempotency::{Known, Named};
use carillon::store::personal::Erasure;
use carillon::store::suppressions::subject;
use carillon::store::{Address, Database, Rows};
use carillon::worker::pause::set_paused;
use carillon::worker::personal_data::export;

use super::BACKEND;
use sea_orm::ConnectionTrait;

use crate::database::{Backend, Place};
use crate::house::{START, Shop};

const HOUR: i64 = 3_600_000;
/// Planted wherever a person's data goes; none is part of another word.
pub const PLANTED: [&str; 7] = [
    "zebedee@canary.example",
    "+4917099988877",
    "Quillfeather",
    "user-canary-17",
    "device-canary-4",
    "cart-canary-9",
    "answer-canary-5",
];

async fn shop(place: &Place) -> Shop {
    let shop = Shop::with(place.folder.path(), place.address(), START, None, None).await;
    shop.furnish().await;
    shop.identify("bob", r#"{"email":"bob@example.com","name":"Bob"}"#).await;
    shop.track("bob", "Order Placed", "b1").await;
    shop
}

/// Somebody who came anonymously, said who they are, was written to, left a topic, and waits for another message.
async fn somebody(shop: &Shop) -> ProfileId {
    shop.on_device("device-canary-4", "Product Viewed", r#"{"properties":{"note":"Quillfeather looks"}}"#).await;
    let traits = r#"{"email":"zebedee@canary.example","phone":"+4917099988877","name":"Quillfeather"}"#;
    shop.log_in("user-canary-17", "device-canary-4", traits).await;
    shop.track("user-canary-17", "Order Placed", "cart-canary-9").await;
    shop.track("user-canary-17", "Product Added", "cart-canary-9").await;
    shop.settle().await;
    let why = Suppression {
        kind: SuppressionKind::Unsubscribed,
        source: "by Quillfeather".to_owned(),
        at: shop.clock.now(),
        profile: None,
    };
    let log = &shop.house.log;
    log.writer()
        .change(carillon::eventlog::Queue::Effects, move |tx, _| {
            Box::pin(async move {
                let store = carillon::store::workspace(tx, WORKSPACE);
                Ok(store.suppress(Channel::Email, "zebedee@canary.example", &why).await?)
            })
        })
        .await
        .unwrap();
    let known = shop.house.store.workspace(WORKSPACE).profile_by_id("user-canary-17").await.unwrap().unwrap();
    click(shop, known).await;
    ask_twice(shop).await;
    known
}

/// Somebody asked for something about them by a name, so the answer is kept; and asks for more, which goes on.
async fn ask_twice(shop: &Shop) {
    let named = |n: u8| Named { key: [n; 32], fingerprint: [n; 32], turn: [n; 16] };
    let now = shop.clock.now();
    let change = shop.house.log.writer().change(carillon::eventlog::Queue::Effects, move |tx, _| {
        Box::pin(async move {
            let store = carillon::store::workspace(tx, WORKSPACE);
            assert_eq!(store.begin_named(&named(1), now).await?, Known::Ours);
            // Only who asked can read it; here, everybody.
            store.answer_named(&named(1), 200, PLANTED[6].as_bytes().to_vec(), false).await?;
            assert_eq!(store.begin_named(&named(2), now).await?, Known::Ours);
            Ok(())
        })
    });
    change.await.unwrap();
}

/// They follow a link of what they were sent, with a browser that says who they are; nobody has judged it yet.
async fn click(shop: &Shop, profile: ProfileId) {
    let message = shop.messages().await.into_iter().find(|one| one.profile == profile).unwrap();
    let hit = StoredHit {
        workspace: WORKSPACE,
        id: [7; 16],
        message: message.id,
        profile,
        channel: Channel::Email,
        hit: Hit {
            at: shop.clock.now(),
            target: Some("https://shop.example/carts/cart-canary-9?to=zebedee@canary.example".to_owned()),
            is_head: false,
            user_agent: "Quillfeather/1.0".to_owned(),
        },
    };
    let change = shop.house.log.writer().change(carillon::eventlog::Queue::Effects, move |tx, _| {
        Box::pin(async move { Ok(carillon::store::workspace(tx, WORKSPACE).keep_hit(&hit).await?) })
    });
    assert!(change.await.unwrap());
}

pub async fn erase(shop: &Shop, profile: ProfileId) -> Erasure {
    shop.house.privacy.erase(WORKSPACE, profile, "the officer", "request 12").await.unwrap()
}

/// Files of the folder in which a planted text is found as it is.
pub fn files_with(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

/// Tables with a row in which a planted text is found, in words or in packed bytes.
pub async fn tables_with(database: &Database, needle: &str) -> Vec<String> {
    let rows = Rows(&database.reader);
    let tables = match database.is_postgres() {
        true => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        false => "SELECT name FROM sqlite_schema WHERE type = 'table'",
    };
    let mut found = Vec::new();
    for row in rows.all(tables, vec![]).await.unwrap() {
        let table: String = row.try_get_by_index(0).unwrap();
        let columns = match database.is_postgres() {
            true => format!("SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'"),
            false => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        for row in rows.all(&columns, vec![]).await.unwrap() {
            let column: String = row.try_get_by_index(0).unwrap();
            let hex: String = needle.bytes().map(|byte| format!("{byte:02X}")).collect();
            let sql = match database.is_postgres() {
                true => format!(
                    "SELECT count(*) FROM \"{table}\" WHERE \"{column}\"::text LIKE '%{needle}%'
                     OR upper(\"{column}\"::text) LIKE '%{hex}%'"
                ),
                false => format!("SELECT count(*) FROM \"{table}\" WHERE hex(\"{column}\") LIKE '%{hex}%'"),
            };
            if rows.scalar::<i64>(&sql, vec![]).await.unwrap().unwrap() > 0 {
                found.push(format!("{table}.{column}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn nothing_planted_is_left_in_any_table_or_file() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    for needle in PLANTED {
        assert!(!tables_with(&shop.house.database, needle).await.is_empty(), "{needle} was stored before");
    }
    assert!(!files_with(&place.folder.path().join("inbox"), PLANTED[0]).is_empty(), "the sandbox kept a message");
    let erasure = erase(&shop, profile).await;
    assert!(erasure.finished_at.is_some());
    for needle in PLANTED {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
        assert_eq!(files_with(place.folder.path(), needle), Vec::<PathBuf>::new(), "{needle}, the service running");
    }
    shop.close().await;
    for needle in PLANTED {
        assert_eq!(files_with(place.folder.path(), needle), Vec::<PathBuf>::new(), "{needle}, stopped");
    }
}

#[tokio::test]
async fn a_request_about_them_is_not_done_again_though_its_answer_is_gone() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    erase(&shop, profile).await;
    let named = |n: u8, turn: u8| Named { key: [n; 32], fingerprint: [n; 32], turn: [turn; 16] };
    let now = shop.clock.now();
    let change = shop.house.log.writer().change(carillon::eventlog::Queue::Effects, move |tx, _| {
        Box::pin(async move {
            let store = carillon::store::workspace(tx, WORKSPACE);
            assert_eq!(store.begin_named(&named(1, 9), now).await?, Known::Erased { status: 200 });
            assert_eq!(store.begin_named(&named(2, 9), now).await?, Known::InHand);
            store.answer_named(&named(2, 2), 201, PLANTED[6].as_bytes().to_vec(), false).await?;
            assert_eq!(store.begin_named(&named(2, 9), now).await?, Known::Erased { status: 201 });
            store.answer_named(&named(2, 2), 202, b"an erasure".to_vec(), true).await?;
            let sealed = b"an erasure".to_vec();
            assert_eq!(store.begin_named(&named(2, 9), now).await?, Known::Answered { status: 202, sealed });
            assert_eq!(store.begin_named(&named(3, 3), now).await?, Known::Ours);
            store.answer_named(&named(3, 3), 200, b"later".to_vec(), false).await?;
            let sealed = b"later".to_vec();
            assert_eq!(store.begin_named(&named(3, 9), now).await?, Known::Answered { status: 200, sealed });
            Ok(())
        })
    });
    change.await.unwrap();
}

/// What the files of a database's tables and indexes hold, byte by byte, once it is written to disk.
async fn relations_with(database: &Database, needle: &str) -> Vec<String> {
    let rows = Rows(&database.writer);
    rows.run("CHECKPOINT", vec![]).await.unwrap();
    let folder: String = rows.scalar("SELECT current_setting('data_directory')", vec![]).await.unwrap().unwrap();
    let sql = "SELECT relname::text, pg_relation_filepath(oid)::text FROM pg_class
               WHERE relkind IN ('r', 'i', 't', 'm') AND pg_relation_filepath(oid) IS NOT NULL";
    let mut found = Vec::new();
    for row in rows.all(sql, vec![]).await.unwrap() {
        let (name, path): (String, String) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
        let Ok(bytes) = std::fs::read(Path::new(&folder).join(path)) else { continue };
        if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            found.push(name);
        }
    }
    found
}

/// Waits for every transaction on the server that began before now: `VACUUM FULL` copies what one of them, in whichever
/// database, might still want to see. Other tests share this server.
async fn older_transactions_end(database: &Database) {
    let rows = Rows(&database.writer);
    let now: i64 = rows.scalar("SELECT pg_current_xact_id()::text::bigint", vec![]).await.unwrap().unwrap();
    let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM pg_sleep(0.02)";
    for _ in 0..1500 {
        if rows.scalar::<i64>(sql, vec![]).await.unwrap().unwrap() > now {
            return;
        }
    }
    panic!("a transaction that is older than {now} runs on");
}

#[tokio::test]
async fn on_postgresql_no_byte_is_left_in_the_files_of_tables_that_were_written_anew() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    if !shop.house.database.is_postgres() {
        // SQLite overwrites what it frees, which the test above looks at.
        return;
    }
    let profile = somebody(&shop).await;
    for needle in PLANTED {
        assert!(!relations_with(&shop.house.database, needle).await.is_empty(), "{needle} was on disk before");
    }
    erase(&shop, profile).await;
    older_transactions_end(&shop.house.database).await;
    shop.house.database.writer.execute_unprepared("VACUUM FULL").await.unwrap();
    for needle in PLANTED {
        assert_eq!(relations_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
    }
}

#[tokio::test]
async fn others_stay_and_the_books_balance() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("cem", r#"{"email":"cem@example.com","name":"Cem"}"#).await;
    shop.track("cem", "Product Added", "c3").await;
    shop.settle().await;
    set_paused(&shop.house.log, WORKSPACE, "cart", true).await.unwrap();
    shop.after(5 * 60).await;
    let profile = shop.house.store.workspace(WORKSPACE).profile_by_id("cem").await.unwrap().unwrap();
    let accounts = || async { shop.house.store.workspace(WORKSPACE).accounts().await.unwrap() };
    let before = accounts().await;
    erase(&shop, profile).await;
    let after = accounts().await;
    assert_eq!(after.events, before.events);
    assert_eq!(after.messages.created, before.messages.created);
    assert_eq!(after.imbalances(), Vec::<String>::new());
    assert_eq!(after.messages.by_status.get("cancelled"), Some(&1), "what waited is ended: {after:?}");
    let bob = shop.house.store.workspace(WORKSPACE).profile_by_id("bob").await.unwrap().unwrap();
    let data = export(&shop.house.store, &shop.house.sandbox, WORKSPACE, bob, shop.clock.now()).await.unwrap();
    assert_eq!(data["profile"]["traits"]["name"], "Bob");
    assert_eq!(data["events"].as_array().unwrap().len(), 2, "{data:#}");
    let entries = Rows(shop.house.store.reader());
    let sql = "SELECT count(*) FROM entries WHERE profile = ? AND kind = 'track' AND name = 'Product Added'";
    let kept: i64 = entries.scalar(sql, vec![profile.0.into()]).await.unwrap().unwrap();
    assert_eq!(kept, 1, "position and class stay");
    shop.after(6 * 60).await;
    let reasons: Vec<_> = shop.messages().await.iter().filter(|one| one.profile == profile).map(code).collect();
    assert!(reasons.contains(&"erased".to_owned()), "{reasons:?}");
}

fn code(message: &carillon::message::Message) -> String {
    message.status.reason().map_or_else(|| message.status.name().to_owned(), |reason| reason.code().to_owned())
}

#[tokio::test]
async fn a_later_event_begins_a_new_empty_profile_and_the_address_stays_stopped() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    erase(&shop, profile).await;
    assert_eq!(erase(&shop, profile).await.reason, "request 12", "once is enough");
    let store = shop.house.store.workspace(WORKSPACE);
    assert_eq!(store.profile_by_id("user-canary-17").await.unwrap(), None);
    let name = subject(Channel::Email, "zebedee@canary.example");
    let stops = store.suppressions_of(&[name.clone()].into()).await.unwrap();
    assert_eq!(stops[&name][0].kind, SuppressionKind::Unsubscribed, "found by its hash alone");
    shop.track("user-canary-17", "Product Viewed", "c1").await;
    shop.settle().await;
    let again = store.profile_by_id("user-canary-17").await.unwrap().unwrap();
    assert_ne!(again, profile);
    let person = store.person(again).await.unwrap().unwrap();
    assert!(person.profile.traits.is_empty());
    assert_eq!(person.profile.history.iter().count(), 1);
    shop.close().await;
    let shop = Shop::open(place.folder.path(), place.address(), START + HOUR, None).await;
    shop.hear("new-canary", Kind::Track, "Product Viewed", "{}").await;
    let newer = shop.house.store.workspace(WORKSPACE).profile_by_id("new-canary").await.unwrap().unwrap();
    assert!(newer > again, "no number is given twice");
}

#[tokio::test]
async fn what_came_back_to_somebody_erased_goes_with_the_next_erasure() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    erase(&shop, profile).await;
    // As the release before left it.
    let rows = Rows(&shop.house.database.writer);
    let sql = "UPDATE profiles SET user_id = ?, traits = ? WHERE id = ?";
    let traits = format!(r#"{{"email":"{}"}}"#, PLANTED[0]);
    rows.run(sql, vec![PLANTED[3].into(), traits.into(), profile.0.into()]).await.unwrap();
    let sql = "INSERT INTO identifiers (workspace, kind, value, profile) VALUES (?, 0, ?, ?)";
    rows.run(sql, vec![WORKSPACE.0.into(), PLANTED[3].into(), profile.0.into()]).await.unwrap();
    let again = shop.house.privacy.erase(WORKSPACE, profile, "the officer", "request 13").await.unwrap();
    assert_eq!((again.reason.as_str(), again.finished_at.is_some()), ("request 13", true));
    for needle in PLANTED {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
    }
    assert_eq!(erase(&shop, profile).await.reason, "request 13", "once is enough");
}

#[tokio::test]
async fn a_person_gets_everything_that_is_stored_of_them() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    let data = export(&shop.house.store, &shop.house.sandbox, WORKSPACE, profile, shop.clock.now()).await.unwrap();
    let text = data.to_string();
    for needle in &PLANTED[..6] {
        assert!(text.contains(needle), "{needle}");
    }
    assert!(!text.contains("bob@example.com"));
    let length = |name: &str| data[name].as_array().unwrap().len();
    assert_eq!((length("identifiers"), length("events"), length("suppressions")), (2, 4, 1), "{data:#}");
    assert!(data["readme"].as_str().unwrap().contains("events"));
    let sent = data["messages"].as_array().unwrap().iter().find(|one| one["message"]["campaign"] == "receipt").unwrap();
    assert!(sent["content"].to_string().contains("cart-canary-9"), "{sent:#}");
    assert!(!sent["path"].as_array().unwrap().is_empty() && !sent["attempts"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_erasure_that_was_cut_short_goes_on_and_one_undone_by_a_backup_is_done_again() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    let before = tempfile::tempdir().unwrap();
    shop.close().await;
    let kept = match place.address() {
        Address::Sqlite(file) => {
            std::fs::copy(&file, before.path().join("carillon.db")).unwrap();
            None
        }
        Address::Postgres(_) => Some(Place::copy_of(&place).await),
    };
    let shop = Shop::with(place.folder.path(), place.address(), START + HOUR, None, None).await;
    erase(&shop, profile).await;
    shop.close().await;
    let address = match (place.address(), &kept) {
        (Address::Sqlite(file), _) => {
            std::fs::copy(before.path().join("carillon.db"), &file).unwrap();
            Address::Sqlite(file)
        }
        (address, None) => address,
        (_, Some(kept)) => kept.address(),
    };
    let shop = Shop::with(place.folder.path(), address, START + 2 * HOUR, None, None).await;
    assert!(!tables_with(&shop.house.database, PLANTED[2]).await.is_empty(), "the backup brought them back");
    shop.house.privacy.resume().await.unwrap();
    for needle in PLANTED {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
    }
    let begun = "UPDATE erasures SET finished_at = NULL, done = 0";
    shop.house
        .log
        .writer()
        .change(carillon::eventlog::Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(Rows(tx).run(begun, vec![]).await?) })
        })
        .await
        .unwrap();
    shop.house.privacy.resume().await.unwrap();
    let erasure = shop.house.store.workspace(WORKSPACE).erasure(profile).await.unwrap().unwrap();
    assert!(erasure.finished_at.is_some());
    if BACKEND == Backend::Sqlite {
        assert_eq!(files_with(place.folder.path(), PLANTED[2]), Vec::<PathBuf>::new());
    }
}

//! The same shop before and after its database was put back.

use std::path::{Path, PathBuf};

use carillon::app::WORKSPACE;
use carillon::ids::Timestamp;
use carillon::store::boots::MADE_AT;
use carillon::store::controls::setting;
use carillon::store::{Address, Rows};
use carillon::worker::backup::{Draft, copy_sqlite, unpack_sqlite, verify};
use carillon::worker::restored::{self, Boots, confirm, look};
use tempfile::TempDir;

use super::BACKEND;
use crate::database::{Backend, Place};
use crate::house::{START, Shop};

const HOUR: i64 = 3_600_000;
/// Five hours and ten minutes.
const LATER: i64 = 5 * HOUR + 600_000;

/// A cart was left at the start; its reminder is due four hours later.
async fn a_cart_is_left(place: &Place) -> Shop {
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.furnish().await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Product Added", "c1").await;
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (0, 0));
    shop
}

/// A copy of the database as it is now, the service running on SQLite.
async fn copied(shop: &Shop, place: &Place, to: &Path) -> Option<Place> {
    match place.address() {
        Address::Sqlite(file) => {
            let draft = Draft::begin(to).unwrap();
            let key = place.folder.path().join("signing.key");
            let contents = copy_sqlite(&draft, &file, &key, shop.clock.now()).await.unwrap();
            draft.finish("sqlite", shop.clock.now(), contents, |_| ()).unwrap();
            None
        }
        Address::Postgres(_) => None,
    }
}

async fn marketing_waits_and_the_rest_goes_on(shop: &Shop) {
    shop.identify("bob", r#"{"email":"bob@example.com","name":"Bob"}"#).await;
    shop.track("bob", "Order Placed", "c2").await;
    shop.settle().await;
    shop.after(60).await;
    assert_eq!(shop.carrier.taken(), (0, 1), "the receipt alone");
    let held = shop.messages().await.into_iter().find(|message| message.campaign == "cart").unwrap();
    assert_eq!(held.status.reason().map(carillon::message::Reason::code), Some("restore_unconfirmed"));
    let seen = look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap();
    assert!(seen.is_held);
    assert_eq!((seen.waiting, seen.oldest), (1, Some(held.created_at)));
    let checks = shop.house.doctor().await;
    assert!(checks.iter().any(|check| check.name == "restore" && !check.ok), "{checks:?}");
}

async fn confirmed_it_goes(shop: &Shop) {
    assert_eq!(confirm(&shop.house.log, WORKSPACE, "ann of operations").await.unwrap(), Some(1));
    assert_eq!(confirm(&shop.house.log, WORKSPACE, "ann of operations").await.unwrap(), None, "once");
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (1, 1));
    let rows = Rows(shop.house.store.reader());
    let said: String =
        rows.scalar("SELECT body FROM entries WHERE kind = 'administered'", vec![]).await.unwrap().unwrap();
    assert!(said.contains("restore_confirmed") && said.contains("ann of operations"), "{said}");
}

#[tokio::test]
async fn a_plain_outage_of_five_hours_is_followed_by_what_is_due() {
    let place = Place::new(BACKEND).await;
    a_cart_is_left(&place).await.close().await;
    let shop = Shop::open(place.folder.path(), place.address(), START + LATER, None).await;
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (1, 0));
    assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held);
    shop.close().await;
    for hours in [30, 24 * 400] {
        let shop = Shop::open(place.folder.path(), place.address(), START + hours * HOUR, None).await;
        assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held, "{hours} hours");
        shop.close().await;
    }
}

#[tokio::test]
async fn a_database_that_lost_what_its_folder_counted_sends_no_marketing_until_it_is_confirmed() {
    let place = Place::new(BACKEND).await;
    let shop = a_cart_is_left(&place).await;
    let before = TempDir::new().unwrap();
    shop.close().await;
    put_away(&place, before.path()).await;
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.after(5 * 60 + 10).await;
    assert_eq!(shop.carrier.taken(), (1, 0));
    shop.close().await;
    put_back(&place, before.path()).await;
    let shop = Shop::open(place.folder.path(), place.address(), START + LATER, None).await;
    if BACKEND == Backend::Sqlite {
        marketing_waits_and_the_rest_goes_on(&shop).await;
        confirmed_it_goes(&shop).await;
        shop.close().await;
        let shop = Shop::open(place.folder.path(), place.address(), START + 2 * LATER, None).await;
        assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held, "confirmed is confirmed");
    } else {
        assert!(look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held);
    }
}

/// What a copy of the files, or of the server's disk, keeps.
async fn put_away(place: &Place, to: &Path) {
    if let Address::Sqlite(file) = place.address() {
        std::fs::copy(&file, to.join("carillon.db")).unwrap();
    }
}

async fn put_back(place: &Place, from: &Path) {
    match place.address() {
        Address::Sqlite(file) => {
            for end in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(PathBuf::from(format!("{}{end}", file.display())));
            }
            std::fs::copy(from.join("carillon.db"), &file).unwrap();
        }
        address => {
            let database = carillon::store::open(address).await.unwrap();
            Rows(&database.writer).run("UPDATE boots SET generation = generation - 1", vec![]).await.unwrap();
            database.close().await;
        }
    }
}

#[tokio::test]
async fn a_backup_five_hours_and_ten_minutes_old_sends_no_marketing_until_it_is_confirmed() {
    let place = Place::new(BACKEND).await;
    let shop = a_cart_is_left(&place).await;
    let backup = TempDir::new().unwrap().keep().join("monday");
    let elsewhere = match BACKEND {
        Backend::Sqlite => {
            // Made while the service runs.
            copied(&shop, &place, &backup).await;
            shop.after(5 * 60 + 10).await;
            assert_eq!(shop.carrier.taken(), (1, 0));
            shop.close().await;
            let manifest = verify(&backup, |_| ()).unwrap();
            assert_eq!((manifest.profiles, manifest.made_at.millis()), (1, START));
            let elsewhere = Place::new(BACKEND).await;
            let Address::Sqlite(file) = elsewhere.address() else { panic!("a file") };
            unpack_sqlite(&backup, &file, &elsewhere.folder.path().join("signing.key")).await.unwrap();
            let (ours, theirs) = (place.folder.path(), elsewhere.folder.path());
            let key = |folder: &Path| std::fs::read(folder.join("signing.key")).unwrap();
            assert_eq!(key(ours), key(theirs), "links in mails of before go on");
            elsewhere
        }
        Backend::Postgres => {
            shop.close().await;
            Place::copy_of(&place).await
        }
    };
    let shop = Shop::open(elsewhere.folder.path(), elsewhere.address(), START + LATER, None).await;
    marketing_waits_and_the_rest_goes_on(&shop).await;
    shop.close().await;
    let shop = Shop::open(elsewhere.folder.path(), elsewhere.address(), START + LATER + HOUR, None).await;
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (0, 0), "a new start does not let it go");
    assert_eq!(confirm(&shop.house.log, WORKSPACE, "ann").await.unwrap(), Some(1));
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (1, 0));
    shop.close().await;
    let _ = std::fs::remove_dir_all(backup.parent().unwrap());
}

#[tokio::test]
async fn a_copied_database_without_its_folder_is_held_and_a_new_process_beside_others_is_not() {
    let place = Place::new(BACKEND).await;
    a_cart_is_left(&place).await.close().await;
    let folder = TempDir::new().unwrap();
    let shop = Shop::open(folder.path(), place.address(), START + LATER, None).await;
    shop.settle().await;
    let is_held = look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held;
    match BACKEND {
        Backend::Sqlite => assert_eq!((is_held, shop.carrier.taken()), (true, (0, 0))),
        Backend::Postgres => assert_eq!((is_held, shop.carrier.taken()), (false, (1, 0))),
    }
}

#[tokio::test]
async fn a_folder_and_its_database_put_back_together_are_recognised_by_redis() {
    let server = std::env::var("CARILLON_TEST_REDIS").expect("run: eval \"$(tests/services/servers start)\"");
    let place = Place::new(BACKEND).await;
    let (folder, address) = (place.folder.path(), place.address());
    let redis = Some(server.as_str());
    let shop = Shop::open(folder, address.clone(), START, redis).await;
    shop.furnish().await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Product Added", "c1").await;
    shop.settle().await;
    shop.close().await;
    let shop = Shop::open(folder, address.clone(), START + HOUR, redis).await;
    assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held, "an outage");
    shop.close().await;
    // Both a start back: as the whole machine was.
    let file = folder.join("generation");
    let text = std::fs::read_to_string(&file).unwrap();
    let (node, generation) = text.trim().split_once(' ').unwrap();
    let back = generation.parse::<i64>().unwrap() - 2;
    std::fs::write(&file, format!("{node} {back}\n")).unwrap();
    let database = carillon::store::open(address.clone()).await.unwrap();
    Rows(&database.writer).run("UPDATE boots SET generation = ?", vec![back.into()]).await.unwrap();
    database.close().await;
    let shop = Shop::open(folder, address.clone(), START + LATER, redis).await;
    shop.settle().await;
    assert!(look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held);
    assert_eq!(shop.carrier.taken(), (0, 0));
    assert_eq!(confirm(&shop.house.log, WORKSPACE, "ann").await.unwrap(), Some(1));
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (1, 0));
    shop.close().await;
    let shop = Shop::open(folder, address, START + 2 * LATER, redis).await;
    assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held, "confirmed is confirmed");
}

#[tokio::test]
async fn a_database_put_back_under_a_running_service_sends_no_marketing_from_the_first_batch_on() {
    let anew = ["CREATE TABLE anew (LIKE settings INCLUDING ALL)", "INSERT INTO anew SELECT * FROM settings"];
    let anew = [&anew[..], &["DROP TABLE settings", "ALTER TABLE anew RENAME TO settings"]].concat();
    let marked = format!("INSERT INTO settings (name, value) VALUES ('{MADE_AT}', '{START}')");
    let ways: [(&str, Vec<&str>); 3] = [
        ("a backup was restored", vec![&marked]),
        ("the database went back in time while the service ran", vec!["UPDATE boots SET generation = 0"]),
        ("the database was made anew from a dump or a copy", anew),
    ];
    for (because, way) in ways.into_iter().take(if BACKEND == Backend::Postgres { 3 } else { 2 }) {
        let place = Place::new(BACKEND).await;
        let shop = a_cart_is_left(&place).await;
        let house = &shop.house;
        let boots = Boots::begin(&house.database, &house.log, place.folder.path(), None).await.unwrap();
        for sql in way {
            Rows(&house.database.writer).run(sql, vec![]).await.unwrap();
        }
        shop.after(5 * 60 + 10).await;
        assert_eq!(shop.carrier.taken(), (0, 0), "{because}: before the minute is over");
        boots.go_on(&house.log, &house.store).await.unwrap();
        let seen = look(&house.store, WORKSPACE, shop.clock.now()).await.unwrap();
        assert_eq!(seen.recognised.unwrap().because, because);
        shop.settle().await;
        assert_eq!(shop.carrier.taken(), (0, 0), "{because}");
        assert_eq!(confirm(&house.log, WORKSPACE, "ann").await.unwrap(), Some(1), "{because}");
        shop.settle().await;
        assert_eq!(shop.carrier.taken(), (1, 0), "{because}: confirmed is confirmed");
        boots.go_on(&house.log, &house.store).await.unwrap();
        assert!(!look(&house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held, "{because}: once");
        shop.close().await;
    }
}

#[tokio::test]
async fn what_restore_puts_back_says_itself_that_marketing_waits_whoever_comes_and_goes_on_when_confirmed() {
    let place = Place::new(BACKEND).await;
    let shop = a_cart_is_left(&place).await;
    let (house, made_at) = (&shop.house, Timestamp::from_millis(START - HOUR));
    restored::put_back(&house.database.writer, made_at, shop.clock.now()).await.unwrap();
    let seen = look(&house.store, WORKSPACE, shop.clock.now()).await.unwrap();
    assert_eq!(seen.recognised.unwrap().backup_at, Some(made_at), "before anybody has started");
    shop.after(5 * 60 + 10).await;
    assert_eq!(shop.carrier.taken(), (0, 0));
    assert_eq!(confirm(&house.log, WORKSPACE, "ann").await.unwrap(), Some(1));
    assert_eq!(setting(house.store.reader(), MADE_AT).await.unwrap(), None);
    shop.settle().await;
    assert_eq!(shop.carrier.taken(), (1, 0));
    shop.close().await;
}

#[tokio::test]
async fn a_database_in_which_nothing_was_ever_logged_is_put_back_and_nobody_waits() {
    let place = Place::new(BACKEND).await;
    let database = carillon::store::open(place.address()).await.unwrap();
    restored::put_back(&database.writer, Timestamp::from_millis(START - HOUR), Timestamp::from_millis(START))
        .await
        .unwrap();
    database.close().await;
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    assert!(!look(&shop.house.store, WORKSPACE, shop.clock.now()).await.unwrap().is_held);
    assert_eq!(setting(shop.house.store.reader(), MADE_AT).await.unwrap(), None);
    shop.close().await;
}

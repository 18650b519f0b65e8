//! A disk without room, played by SQLite's own limit of pages.

use sea_orm::ConnectionTrait;

use crate::on_sqlite::support::{self, House, event, position};

#[tokio::test]
async fn a_full_disk_is_an_answer_and_what_was_answered_is_there_when_there_is_room_again() {
    let house = House::new().await;
    house.append(vec![event("m0", "ann", "Product Viewed")]).await;
    let big = format!("{{\"note\":\"{}\"}}", "x".repeat(20_000));
    let mut stored = 1;
    let mut refused = 0;
    for n in 1..40 {
        // SQLite takes the present size where less is asked for: the file cannot grow. A connection whose transaction
        // failed may be another by now.
        house.database.writer.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
        let kind = carillon::event::Kind::Track;
        let event = support::build(&format!("m{n}"), kind, "Big", Some(&format!("u{n}")), None, &big);
        match house.log.append(support::WORKSPACE, vec![event]).await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert!(matches!(error, carillon::eventlog::AppendError::Failing(_)), "{error}");
                refused += 1;
                house.database.writer.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
                let unready = house.log.writer().check().await.unwrap_err();
                assert_eq!(unready, "the log cannot be written: the disk is full");
            }
        }
    }
    assert!(refused > 0, "the disk was never full");
    house.database.writer.execute_unprepared("PRAGMA max_page_count = 1073741823").await.unwrap();
    let receipts = house.append(vec![event("m39", "u39", "Product Viewed"), event("m0", "ann", "Again")]).await;
    assert_eq!(
        receipts.iter().map(position).collect::<Vec<_>>(),
        [Some(stored + 1), None],
        "no hole, nothing forgotten"
    );
    assert_eq!(house.log.writer().check().await, Ok(()), "what is appended is kept again");
    assert_eq!(house.workspace().accounts().await.unwrap().events.accepted, stored + 1);
}

//! Appending: stored once, without holes, under the right person.

use carillon::eventlog::Receipt;
use carillon::ids::{Position, Span};
use carillon::store::event_ids;

use super::support::{self, House, event, identify, position};

#[tokio::test]
async fn positions_have_no_holes_and_repeats_are_recognised() {
    let house = House::new().await;
    let one = house.append(vec![event("m1", "ann", "Product Viewed"), event("m2", "ann", "Product Added")]).await;
    let two = house.append(vec![event("m2", "ann", "Order Completed"), event("m3", "ann", "Product Viewed")]).await;
    let positions: Vec<_> = one.iter().chain(&two).map(position).collect();
    assert_eq!(positions, [Some(1), Some(2), None, Some(3)]);
    let entries = house.workspace().events_page(Position(0), 10, true).await.unwrap();
    let names: Vec<_> = entries.iter().map(support::name_of).collect();
    assert_eq!(names, ["Product Viewed", "Product Added", "Product Viewed"], "the first of two with one id is kept");
    assert_eq!(house.workspace().accounts().await.unwrap().events.duplicates, 1);
}

#[tokio::test]
async fn a_repeat_within_one_append_is_recognised_too() {
    let house = House::new().await;
    let receipts = house.append(vec![event("m1", "ann", "A"), event("m1", "ann", "B")]).await;
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), [Some(1), None]);
}

#[tokio::test]
async fn a_thousand_ids_posted_a_hundred_times_at_once_are_a_thousand_events() {
    let house = House::new().await;
    let mut posts = Vec::new();
    for _ in 0..100 {
        let log = house.log.clone();
        let events: Vec<_> = (0..1_000).map(|n| event(&format!("m{n}"), &format!("u{}", n % 50), "Viewed")).collect();
        posts.push(tokio::spawn(async move { log.append(support::WORKSPACE, events).await.unwrap() }));
    }
    let mut stored = 0;
    for post in posts {
        stored += post.await.unwrap().iter().filter(|receipt| matches!(receipt, Receipt::Stored { .. })).count();
    }
    assert_eq!(stored, 1_000);
    assert_eq!(house.workspace().accounts().await.unwrap().events.accepted, 1_000);
}

#[tokio::test]
async fn what_was_appended_survives_a_restart() {
    let house = House::new().await;
    house.append(vec![event("m1", "ann", "Product Viewed"), event("m2", "ann", "Product Viewed")]).await;
    let house = house.restart().await;
    let receipts = house.append(vec![event("m1", "ann", "Product Viewed"), event("m3", "ann", "Product Added")]).await;
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), [None, Some(3)]);
    let entries = house.workspace().events_page(Position(0), 10, true).await.unwrap();
    assert_eq!(entries[0].profile, entries[2].profile, "ann is still ann");
}

#[tokio::test]
async fn a_change_that_fails_does_not_make_two_people_one() {
    let house = House::new().await;
    let ann = house.profiles(vec![identify("m1", Some("ann"), Some("device-1"))]).await[0];
    house.profiles(vec![support::anonymous("m2", "device-1", "Product Viewed")]).await;
    house.fail_a_change().await;
    let bob = house.profiles(vec![identify("m3", Some("bob"), Some("device-1"))]).await[0];
    assert_ne!(ann, bob, "what is known of ann's device survives a change that was rolled back");
}

#[tokio::test]
async fn a_failed_change_that_appended_leaves_no_trace() {
    let house = House::new().await;
    house.append(vec![event("m1", "ann", "A")]).await;
    let draft = carillon::eventlog::Draft::event(support::WORKSPACE, identify("m2", Some("eve"), Some("device-2")));
    let failed: anyhow::Result<()> = house
        .log
        .writer()
        .change(carillon::eventlog::Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                appender.append(tx, vec![vec![draft]]).await?;
                anyhow::bail!("no")
            })
        })
        .await;
    assert!(failed.is_err());
    let receipts = house.append(vec![support::anonymous("m3", "device-2", "B"), event("m2", "eve", "C")]).await;
    // With many shards each of them is the first of its own.
    let expected = if house.store.layout().is_shared() { [Some(1), Some(1)] } else { [Some(2), Some(3)] };
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), expected, "no hole, and m2 is new");
    let Receipt::Stored { profile: device, .. } = receipts[0] else { panic!("m3 is new") };
    let Receipt::Stored { profile: eve, .. } = receipts[1] else { panic!("m2 is new") };
    assert_ne!(device, eve, "the device was never linked to eve");
}

#[tokio::test]
async fn a_log_that_was_stopped_can_be_stopped_again_and_refuses_what_comes() {
    let house = House::new().await;
    house.log.stop().await;
    tokio::time::timeout(std::time::Duration::from_secs(5), house.log.stop()).await.expect("the second stop hangs");
    assert!(house.log.append(support::WORKSPACE, vec![event("m1", "ann", "A")]).await.is_err());
}

#[tokio::test]
async fn a_change_that_panics_keeps_nothing_and_the_writer_goes_on() {
    let house = House::new().await;
    let writer = house.log.writer();
    let panicked: anyhow::Result<()> = writer
        .change(carillon::eventlog::Queue::Effects, |tx, _| {
            Box::pin(async move {
                carillon::store::workspace(tx, support::WORKSPACE).count("half done", 1).await?;
                panic!("a bug")
            })
        })
        .await;
    assert!(panicked.is_err());
    assert!(house.workspace().counters().await.unwrap().is_empty(), "what it wrote is gone");
    let receipts = house.append(vec![event("m1", "ann", "Product Viewed")]).await;
    assert_eq!(receipts.iter().map(position).collect::<Vec<_>>(), [Some(1)]);
}

#[tokio::test]
async fn more_bytes_than_may_wait_are_told_to_come_back() {
    let house = House::new().await;
    let big = format!("{{\"note\":\"{}\"}}", "x".repeat(30_000));
    let mut posts = Vec::new();
    for n in 0..60 {
        let events: Vec<_> = (0..100)
            .map(|m| support::build(&format!("m{n}-{m}"), carillon::event::Kind::Track, "Big", Some("ann"), None, &big))
            .collect();
        posts.push(house.log.append(support::WORKSPACE, events));
    }
    // All are asked before the writer runs: 180 MB at once.
    let answers = futures::future::join_all(posts).await;
    let refused = answers.iter().filter(|it| matches!(it, Err(carillon::eventlog::AppendError::Overloaded))).count();
    let stored = answers.iter().filter(|it| it.is_ok()).count();
    assert!(refused > 0 && stored > 0 && refused + stored == 60, "{refused} refused, {stored} stored");
    assert_eq!(house.workspace().accounts().await.unwrap().events.accepted, i64::try_from(stored * 100).unwrap());
}

#[tokio::test]
async fn an_event_id_is_known_for_seven_days_from_any_day_and_forgotten_after_thirty_six() {
    let house = House::new().await;
    for day in 0..30 {
        let id = format!("m{day}");
        let again = || vec![event(&id, "ann", "Product Viewed")];
        assert!(position(&house.append(again()).await[0]).is_some());
        house.clock.advance_to(house.clock.now().plus(Span::from_days(6)));
        assert_eq!(house.forget_ids().await, 0, "day {day}");
        assert_eq!(house.append(again()).await, [Receipt::Duplicate], "day {day}");
        house.clock.advance_to(house.clock.now().plus(Span::from_days(30)));
        assert_eq!(house.forget_ids().await, 1, "day {day}");
        assert!(position(&house.append(again()).await[0]).is_some(), "day {day}");
        house.clock.advance_to(house.clock.now().plus(Span::from_days(37)));
        assert_eq!(house.forget_ids().await, 1, "day {day}");
    }
}

#[tokio::test]
async fn old_ids_are_forgotten_in_slices_over_all_their_months_and_newer_ones_stay() {
    let house = House::new().await;
    for (day, count) in [(0, 150), (31, 90), (32, 10), (80, 5)] {
        house.clock.advance_to(house.clock.now().plus(Span::from_days(day)));
        let events = (0..count).map(|n| event(&format!("d{day}-{n}"), "ann", "Product Viewed"));
        house.append(events.collect()).await;
    }
    let mut rounds = Vec::new();
    for _ in 0..4 {
        rounds.push(house.forget_ids().await);
    }
    assert_eq!(rounds, [100, 100, 50, 0]);
    let again = (0..5).map(|n| event(&format!("d80-{n}"), "ann", "Product Viewed"));
    assert_eq!(house.append(again.collect()).await, [Receipt::Duplicate; 5]);
}

#[tokio::test]
async fn an_event_is_found_by_its_id_while_that_is_remembered_and_later_where_something_was_decided() {
    let house = House::new().await;
    let events = || vec![event("m1", "ann", "Product Viewed"), event("m2", "bob", "Product Added")];
    let Receipt::Stored { position: at, .. } = house.append(events()).await[1] else { panic!() };
    house.append(events()).await;
    let found = async |id| house.workspace().entry_of_event(id).await.unwrap().map(|entry| entry.position);
    let noted = async |id| event_ids::position_of(house.store.reader(), id).await.unwrap();
    let (second, other) = (events()[1].id, event("m3", "bob", "Product Added").id);
    // Where several processes append, an index of the entries does it.
    let at_hand = (!house.store.layout().is_shared()).then_some(at);
    assert_eq!((noted(second).await, noted(other).await), (at_hand, None));
    assert_eq!((found(second).await, found(other).await), (Some(at), None));
    house.clock.advance_to(house.clock.now().plus(Span::from_days(40)));
    // Something was decided on the first; of the second, nobody asks by its id where that costs a reading of the log.
    let decided = house.at("m1").await;
    house.damage(&format!("INSERT INTO reasons (position, workspace, packed) VALUES ({}, 1, '[]')", decided.0)).await;
    assert_eq!(house.forget_ids().await, 2);
    let (first, still) = (events()[0].id, house.store.layout().is_shared().then_some(at));
    assert_eq!((noted(second).await, found(second).await), (None, still));
    assert_eq!((noted(first).await, found(first).await), (at_hand.map(|_| decided), Some(decided)));
}

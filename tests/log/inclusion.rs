//! Members of a segment who were in it before the campaign, or came by a changed definition or an import, enter a campaign
//! that asks for them: at its pace, in its order, once, and through the log.

use carillon::event::{Event, Kind};
use carillon::fault::Faults;
use carillon::ids::{Span, Timestamp};
use carillon::store::entries::Logged;

use super::support::{House, WORKSPACE, build, event, identify};

const VIP: &str = "kind: segment\nkey: vip\nname: VIP\nowner: crm@shop.example\n\
    where: { all: [ { performed: { event: Order Completed } }, { not: { performed: { event: Gone Away } } } ] }\n";

fn campaign(entry: &str) -> String {
    format!(
        "kind: campaign\nkey: hello\nname: Hello\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\nentry: {{ segment: vip, on: entered{entry} }}\ndelay: 30d\n\
         send: {{ channel: email, template: hello }}\n---\nkind: template\nkey: hello\n\
         email: {{ subject: Hi, html: '<p>Hi</p>' }}\n"
    )
}

const NEWEST: &str = ", include_existing: { pace: 2/h, newest_first: true }";

/// Orders a minute apart, the first of user0.
async fn ordered(house: &House, users: u32) {
    for n in 0..users {
        let order = build(&format!("o{n}"), Kind::Track, "Order Completed", Some(&format!("user{n}")), None, "{}");
        let at: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let at = at.plus(Span::from_seconds(60 * i64::from(n)));
        house.clock.advance_to(at);
        house.append(vec![Event { at, received_at: at, ..order }]).await;
        house.process().await;
    }
}

/// Everything that is due now is done: decisions, looks at everybody, turns.
async fn settle(house: &House) -> usize {
    let mut turns = 0;
    loop {
        let worked = house.look_at_everybody().await;
        let inclusions = house.processor(Faults::none()).await.inclusions();
        let given = inclusions.tick(house.clock.now()).await.unwrap();
        turns += given;
        if worked + given == 0 {
            return turns;
        }
    }
}

async fn next(house: &House) -> Option<Span> {
    let next = house.processor(Faults::none()).await.inclusions().next_due().await.unwrap();
    next.map(|at| Span::from_millis(at.millis() - house.clock.now().millis()))
}

async fn wait(house: &House, minutes: i64) {
    house.clock.advance_to(house.clock.now().plus(Span::from_seconds(60 * minutes)));
}

/// Who is in the campaign, by the order in which they came.
async fn entered(house: &House, users: u32) -> Vec<String> {
    let mut all = Vec::new();
    for n in 0..users {
        let user = format!("user{n}");
        if house.workspace().profile_by_id(&user).await.unwrap().is_none() {
            continue;
        }
        all.extend(house.enrollments(&user).await.into_iter().map(|one| (one.entered_at, one.entry, user.clone())));
    }
    all.sort();
    all.into_iter().map(|(.., user)| user).collect()
}

#[tokio::test]
async fn who_was_a_member_before_enters_at_the_pace_the_newest_first_and_once() {
    let house = House::new().await;
    house.apply(VIP).await;
    ordered(&house, 4).await;
    house.apply(&campaign(NEWEST)).await;
    assert_eq!((settle(&house).await, entered(&house, 4).await), (1, vec!["user3".to_owned()]));
    assert_eq!(next(&house).await, Some(Span::from_seconds(1_800)));
    wait(&house, 29).await;
    assert_eq!(settle(&house).await, 0, "half an hour has to pass");
    wait(&house, 1).await;
    assert_eq!(settle(&house).await, 1);
    // Whoever comes into it by what they do enters at once, and has no turn.
    wait(&house, 1).await;
    house.append(vec![event("new", "user4", "Order Completed")]).await;
    assert_eq!(
        (settle(&house).await, entered(&house, 5).await),
        (0, ["user3", "user2", "user4"].map(str::to_owned).to_vec())
    );
    // A stop, the same text again and another text give nobody a second turn.
    let house = house.restart().await;
    house.apply(&campaign(NEWEST)).await;
    assert_eq!(settle(&house).await, 0);
    house.apply(&campaign(NEWEST).replace("Hello\nowner", "Good day\nowner")).await;
    wait(&house, 600).await;
    assert_eq!(settle(&house).await, 1, "a downtime is not made up for");
    for _ in 0..5 {
        wait(&house, 30).await;
        settle(&house).await;
    }
    let all = ["user3", "user2", "user4", "user1", "user0"].map(str::to_owned).to_vec();
    assert_eq!((entered(&house, 5).await, next(&house).await), (all, None));
}

#[tokio::test]
async fn without_the_field_they_enter_nothing_and_with_it_a_backfill_brings_them_by_what_they_did_last() {
    let house = House::new().await;
    ordered(&house, 3).await;
    let at = house.clock.now().plus(Span::from_seconds(60));
    house.append(vec![Event { at, received_at: at, ..event("late", "user0", "Page Viewed") }]).await;
    wait(&house, 10).await;
    let other = campaign("").replace("hello", "other");
    let asking = campaign(", include_existing: { pace: 1/min }");
    house.apply(&format!("{VIP}---\n{other}---\n{asking}")).await;
    for _ in 0..3 {
        assert_eq!(settle(&house).await, 1);
        wait(&house, 1).await;
    }
    assert_eq!(entered(&house, 3).await, ["user1", "user2", "user0"]);
    let names = house.enrollments("user0").await;
    assert_eq!(names.iter().map(|one| one.campaign.as_str()).collect::<Vec<_>>(), ["hello"]);
    let entry = house.workspace().entries_at(&[names[0].entry]).await.unwrap().remove(&names[0].entry).unwrap();
    let Logged::Event(event) = entry.logged else { panic!() };
    assert_eq!(
        (event.name.as_str(), event.lookup("properties.cause").and_then(|cause| cause.as_str())),
        ("Member Included", Some("include_existing"))
    );
}

#[tokio::test]
async fn who_leaves_before_their_turn_does_not_enter_and_who_comes_back_enters_by_that() {
    let house = House::new().await;
    house.apply(VIP).await;
    ordered(&house, 3).await;
    house.apply(&campaign(", include_existing: { pace: 2/h }")).await;
    assert_eq!(settle(&house).await, 1);
    house.append(vec![event("gone", "user1", "Gone Away")]).await;
    // A turn that was given before the leaving was decided on begins nothing.
    wait(&house, 30).await;
    house.append(vec![event("gone2", "user2", "Gone Away")]).await;
    let mut processor = house.processor(Faults::none()).await;
    processor.inclusions().tick(house.clock.now()).await.unwrap();
    while processor.tick().await.unwrap() > 0 {}
    wait(&house, 600).await;
    settle(&house).await;
    assert_eq!((entered(&house, 3).await, next(&house).await), (vec!["user0".to_owned()], None));
    assert_eq!(house.workspace().count_included("hello").await.unwrap(), 0);
}

#[tokio::test]
async fn a_pause_and_an_archived_campaign_stop_the_pace_and_lose_nobody() {
    let house = House::new().await;
    house.apply(VIP).await;
    ordered(&house, 3).await;
    house.apply(&campaign(NEWEST)).await;
    assert_eq!(settle(&house).await, 1);
    let live = campaign(NEWEST);
    for status in ["paused", "archived", "draft"] {
        house.apply(&live.replace("status: live", &format!("status: {status}"))).await;
        wait(&house, 600).await;
        assert_eq!((settle(&house).await, next(&house).await), (0, None), "{status}");
    }
    house.apply(&live).await;
    assert_eq!(settle(&house).await, 1);
    // A pause that comes into the log between the turn and its decision.
    wait(&house, 30).await;
    let given = house.processor(Faults::none()).await.inclusions();
    house.append(vec![event("x", "user0", "Page Viewed")]).await;
    let paused = live.replace("status: live", "status: paused");
    carillon::worker::apply::apply(
        &house.log,
        &house.store,
        &house.definitions,
        WORKSPACE,
        vec![carillon::definition::SourceFile { name: "shop.yaml".into(), text: paused }],
        false,
    )
    .await
    .unwrap()
    .unwrap();
    given.tick(house.clock.now()).await.unwrap();
    settle(&house).await;
    assert_eq!(entered(&house, 3).await.len(), 2);
    house.apply(&live).await;
    wait(&house, 30).await;
    settle(&house).await;
    assert_eq!(entered(&house, 3).await, ["user2", "user1", "user0"]);
}

#[tokio::test]
async fn two_profiles_of_one_person_have_one_turn() {
    let house = House::new().await;
    house.apply(VIP).await;
    ordered(&house, 2).await;
    house.append(vec![build("a1", Kind::Track, "Order Completed", None, Some("anon"), "{}")]).await;
    house.process().await;
    house.apply(&campaign(", include_existing: { pace: 1/d }")).await;
    settle(&house).await;
    assert_eq!(house.workspace().count_included("hello").await.unwrap(), 2);
    house.append(vec![identify("join", Some("user1"), Some("anon"))]).await;
    house.process().await;
    assert_eq!(house.workspace().count_included("hello").await.unwrap(), 1);
    for _ in 0..4 {
        wait(&house, 24 * 60).await;
        settle(&house).await;
    }
    assert_eq!(entered(&house, 2).await, ["user0", "user1"]);
}

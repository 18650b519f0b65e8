//! The log and its people as they are looked for: newest first in pages, by what somebody typed, and one life in order.

use std::collections::BTreeSet;

use carillon::event::{Event, Kind};
use carillon::ids::{Position, Span};
use carillon::store::newest::EventFilter;
use carillon::store::timeline::Happened;
use carillon::worker::filing::{self, Filed};
use carillon::worker::leases::Leases;

use super::support::{House, WORKSPACE, build, event, identify, name_of};

#[tokio::test]
async fn the_newest_events_come_first_and_pages_neither_skip_nor_repeat_while_more_arrive() {
    let house = House::new().await;
    for number in 0..40 {
        house.append(vec![event(&format!("m{number}"), &format!("user{number}"), "Viewed")]).await;
        house.clock.advance(Span::from_millis(1));
    }
    let (filter, mut seen, mut from) = (EventFilter::default(), Vec::new(), None);
    loop {
        let (page, next) = house.workspace().newest_events(from.as_ref(), &filter, 7).await.unwrap();
        seen.extend(page.iter().map(|entry| (entry.now, entry.position)));
        house.append(vec![event(&format!("late{}", seen.len()), "late", "Viewed")]).await;
        let Some(next) = next else { break };
        from = Some(next);
    }
    assert_eq!(seen.len(), 40, "{seen:?}");
    let positions: BTreeSet<Position> = seen.iter().map(|(_, position)| *position).collect();
    assert_eq!(positions.len(), 40);
    assert!(seen.is_sorted_by(|one, other| one.0 > other.0), "{seen:?}");
}

#[tokio::test]
async fn events_are_listed_by_name_without_those_carillon_made_unless_they_are_asked_for() {
    let house = House::new().await;
    house.append(vec![event("a", "ann", "Viewed"), event("b", "ben", "Bought")]).await;
    house.append(vec![build("own", Kind::Own, "Consent Changed", Some("ann"), None, "{}")]).await;
    let names = async |filter: EventFilter| {
        let (page, next) = house.workspace().newest_events(None, &filter, 50).await.unwrap();
        assert_eq!(next, None);
        page.iter().map(name_of).collect::<BTreeSet<String>>()
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(names(EventFilter::default()).await, named(&["Viewed", "Bought"]));
    assert_eq!(
        names(EventFilter { own: true, ..EventFilter::default() }).await,
        named(&["Viewed", "Bought", "Consent Changed"])
    );
    assert_eq!(names(EventFilter { name: Some("Bought".into()), own: true }).await, named(&["Bought"]));
    assert_eq!(names(EventFilter { name: Some("Sold".into()), own: true }).await, named(&[]));
}

/// User ids of everybody found, page by page.
async fn called(house: &House, typed: &str, limit: u32) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let (page, next) = house.workspace().people_called(typed, from.as_ref(), limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        found.extend(page.into_iter().map(|person| person.profile.user_id.unwrap()));
        let Some(next) = next else { return found };
        from = Some(next);
    }
}

fn named(message_id: &str, user: &str, traits: &str) -> Event {
    build(message_id, Kind::Identify, "Identified", Some(user), None, &format!(r#"{{"traits":{traits}}}"#))
}

#[tokio::test]
async fn people_are_found_by_what_they_are_called_now_each_once_on_pages_of_any_length() {
    let house = House::new().await;
    for number in 0..230 {
        let traits =
            format!(r#"{{"email":"ann{number:03}@example.com","name":"Ann Smith","phone":"+44 20 {number:03}"}}"#);
        house.append(vec![named(&format!("i{number}"), &format!("u{number:03}"), &traits)]).await;
    }
    house.append(vec![named("b", "bob", r#"{"name":"Bob Annan"}"#), named("c", "cy", r#"{"name":"Ann Jones"}"#)]).await;
    house.append(vec![named("c2", "cy", r#"{"name":"Cy Jones"}"#)]).await;
    house.process().await;
    let everybody: Vec<String> = (0..230).map(|number| format!("u{number:03}")).collect();
    for limit in [1, 7, 200] {
        let mut found = called(&house, "ann smi", limit).await;
        found.sort();
        assert_eq!(found, everybody, "{limit}");
    }
    assert_eq!(called(&house, "smith ann", 50).await.len(), 230);
    let mut all = called(&house, "ANN", 50).await;
    all.sort();
    assert_eq!(all, [vec!["bob".to_owned()], everybody].concat(), "and not who was called so once");
    assert_eq!(called(&house, "+442000", 4).await.len(), 10);
    assert_eq!(called(&house, "ann17@", 4).await, Vec::<String>::new());
    assert_eq!(called(&house, "u017", 4).await, ["u017"]);
}

#[tokio::test]
async fn who_was_stored_before_terms_were_kept_is_filed_once_a_slice_at_a_time() {
    let house = House::new().await;
    house.apply("kind: topic\nkey: news\nname: News\n").await;
    for number in 0..450 {
        let traits = format!(r#"{{"email":"ann{number:03}@example.com"}}"#);
        house.append(vec![named(&format!("i{number}"), &format!("u{number:03}"), &traits)]).await;
    }
    house.process().await;
    house.damage("DELETE FROM people_terms").await;
    assert_eq!(called(&house, "ann", 50).await.len(), 0);
    let leases = Leases::alone(house.store.layout());
    let mut slices = 0;
    while filing::tick(&house.log, &house.store, &leases).await.unwrap() != Filed::Everybody {
        slices += 1;
    }
    assert_eq!(slices, 4, "three of people, and the one that finds nobody more");
    assert_eq!(called(&house, "ann", 50).await.len(), 450);
    let other = filing::tick(&house.log, &house.store, &Leases::none()).await.unwrap();
    assert_eq!(other, Filed::Everybody, "it is not done again");
}

#[tokio::test]
async fn people_are_listed_in_pages_and_found_by_every_id_once() {
    let house = House::new().await;
    let people = house
        .profiles(vec![
            identify("i1", Some("ann"), Some("device-1")),
            identify("i2", Some("ben"), Some("device-2")),
            identify("i3", Some("50%_off"), None),
            identify("i4", Some("dan"), None),
        ])
        .await;
    house.process().await;
    let found = async |typed: &str| called(&house, typed, 10).await;
    assert_eq!(found(" ann ").await[0], "ann", "and then whoever has such an address");
    assert_eq!(found("device-2").await, ["ben"]);
    assert_eq!(found(&people[2].to_string()).await, ["50%_off"]);
    for nothing in ["", " ", "%", "_nn", "'; DROP TABLE profiles; --", "\u{10ffff}"] {
        assert_eq!(found(nothing).await, Vec::<String>::new(), "{nothing}");
    }
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = house.workspace().profiles_page(before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.profile.id);
        all.extend(page.iter().map(|person| person.profile.id));
    }
    let mut wanted = people;
    wanted.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(all, wanted);
}

#[tokio::test]
async fn a_life_is_told_newest_first_and_in_pages_as_it_is_at_once() {
    let house = House::new().await;
    let mut events = vec![identify("i1", Some("ann"), None)];
    for number in 0..150_i64 {
        let mut one = event(&format!("m{number}"), "ann", "Viewed");
        // Some in the same instant.
        one.at = one.at.plus(Span::from_seconds(number / 3));
        events.push(one);
    }
    let consent = r#"{"properties":{"channel":"email","state":"granted","source":"form"}}"#;
    let mut said = build("c1", Kind::Track, "Consent Changed", Some("ann"), None, consent);
    said.at = said.at.plus(Span::from_seconds(10));
    events.push(said);
    house.append(events).await;
    house.process().await;
    let ann = house.store.workspace(WORKSPACE).profile_by_id("ann").await.unwrap().unwrap();
    let at_once = house.workspace().timeline(ann, None, 1_000).await.unwrap();
    assert_eq!(at_once.len(), 153, "150 views, who she is, what she said, and the answer in the ledger");
    assert!(at_once.is_sorted_by(|one, other| one.place > other.place));
    let answers = at_once.iter().filter(|moment| matches!(moment.happened, Happened::Answered(_))).count();
    assert_eq!(answers, 1);
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = house.workspace().timeline(ann, before.as_ref(), 7).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place.clone());
        paged.extend(page);
    }
    assert_eq!(paged, at_once);
}

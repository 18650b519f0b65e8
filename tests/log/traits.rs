//! What is kept with people over the real log: computed traits that reach everybody, changes that begin campaigns, dates
//! that come after a downtime, and lists that operators upload.

use carillon::definition::SourceFile;
use carillon::event::Kind;
use carillon::fault::Faults;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use carillon::store::entries::Logged;
use carillon::worker::apply::apply;
use carillon::worker::computed::computed_traits;
use carillon::worker::explain::instant::{Asked, How, at_instant};
use carillon::worker::lists::{Mode, Refused, Uploaded, upload};
use carillon::worker::scheduler::Scheduler;
use serde_json::{Value, json};

use super::support::{House, WORKSPACE, anonymous, build, event, identify, name_of};

const NOTE: &str = "---\nkind: template\nkey: note\nemail: { subject: Hi, html: <p>Hi</p> }\n";

fn campaign(key: &str, fields: &str) -> String {
    format!(
        "---\nkind: campaign\nkey: {key}\nname: {key}\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\nsend: {{ channel: email, template: note }}\n{fields}\n"
    )
}

fn order(id: &str, user: &str) -> carillon::event::Event {
    let body = format!(r#"{{"properties":{{"order_id":"{id}","revenue":10}}}}"#);
    build(id, Kind::Track, "Order Completed", Some(user), None, &body)
}

async fn person(house: &House, id: &str) -> ProfileId {
    house.workspace().profile_by_id(id).await.unwrap().unwrap()
}

async fn kept(house: &House, id: &str, key: &str) -> Option<Value> {
    let person = house.workspace().person(person(house, id).await).await.unwrap().unwrap();
    person.profile.remembered.computed.get(key).and_then(|worked| worked.value.clone())
}

/// What was done by whoever has this id, and what came of it.
async fn names(house: &House, id: &str) -> Vec<String> {
    let whose = Some(person(house, id).await);
    let entries = house.workspace().events_page(Position(0), 200, true).await.unwrap();
    let told = entries.iter().filter(|entry| entry.profile == whose).map(|entry| {
        let Logged::Event(event) = &entry.logged else { return name_of(entry) };
        let cause = event.lookup("properties.cause").map_or("", |_| " by backfill");
        format!("{}{cause}", name_of(entry))
    });
    told.collect()
}

async fn members(house: &House, segment: &str) -> Vec<String> {
    let members = house.workspace().members(segment, ProfileId(0), 100).await.unwrap();
    members.into_iter().map(|member| member.user_id.unwrap_or_else(|| "anonymous".to_owned())).collect()
}

async fn look_at_everybody(house: &House) {
    let mut processor = house.processor(Faults::none()).await;
    let mut backfill = processor.backfill();
    loop {
        let worked = processor.tick().await.unwrap() + backfill.tick().await.unwrap();
        if worked == 0 && !backfill.is_under_way() {
            return;
        }
    }
}

#[tokio::test]
async fn a_shipped_trait_is_kept_for_everybody_once_a_definition_names_it() {
    let house = House::new().await;
    house.append(vec![order("o1", "ann"), order("o2", "ann"), order("o3", "bob")]).await;
    house.process().await;
    assert_eq!(kept(&house, "ann", "orders").await, None, "nobody asked");
    let twice =
        "kind: segment\nkey: twice\nname: Twice\nowner: crm@shop.example\nwhere: { trait: { orders: { gte: 2 } } }\n";
    house.apply(&format!("{twice}{NOTE}{}", campaign("third", "entry: { trait: orders, to: 3 }"))).await;
    look_at_everybody(&house).await;
    assert_eq!(
        (kept(&house, "ann", "orders").await, kept(&house, "bob", "orders").await),
        (Some(json!(2)), Some(json!(1)))
    );
    assert_eq!(members(&house, "twice").await, ["ann"]);
    let house = house.restart().await;
    house.append(vec![order("o4", "ann"), order("o5", "bob")]).await;
    house.process().await;
    assert_eq!(members(&house, "twice").await, ["ann", "bob"]);
    assert_eq!(names(&house, "bob").await.last().unwrap(), "Segment Entered", "by his own order");
    assert!(names(&house, "ann").await.contains(&"Trait Changed by backfill".to_owned()));
    assert_eq!(names(&house, "ann").await.last().unwrap(), "Trait Changed");
    assert_eq!(house.enrollments("ann").await.len(), 1);
    assert!(house.enrollments("bob").await.is_empty());
    // Rows of before the column was there are worked out from what is stored.
    house.damage("UPDATE profiles SET remembered = NULL").await;
    house.append(vec![order("o6", "bob")]).await;
    house.process().await;
    assert_eq!(kept(&house, "bob", "orders").await, Some(json!(3)));
}

#[tokio::test]
async fn two_histories_that_become_one_count_together_and_start_nothing() {
    let house = House::new().await;
    house.apply(&format!("{}{NOTE}", &campaign("second", "entry: { trait: orders, to: 2 }")[4..])).await;
    let theirs = r#"{"properties":{"order_id":"o2"}}"#;
    house
        .append(vec![order("o1", "ann"), build("o2", Kind::Track, "Order Completed", None, Some("device"), theirs)])
        .await;
    house.process().await;
    assert_eq!(kept(&house, "ann", "orders").await, Some(json!(1)));
    house.append(vec![identify("m1", Some("ann"), Some("device"))]).await;
    house.process().await;
    assert_eq!(kept(&house, "ann", "orders").await, Some(json!(2)));
    assert!(house.enrollments("ann").await.is_empty());
}

#[tokio::test]
async fn asked_by_hand_a_computed_trait_is_told_with_what_it_is_made_of_and_what_it_hides() {
    let house = House::new().await;
    house
        .append(vec![
            order("o1", "ann"),
            build("i1", Kind::Identify, "Identified", Some("ann"), None, r#"{"traits":{"orders":9}}"#),
        ])
        .await;
    house.process().await;
    let live = house.definitions.live(WORKSPACE);
    let ann = person(&house, "ann").await;
    let told = computed_traits(house.workspace(), &live.catalog, Some(ann), house.clock.now()).await.unwrap().unwrap();
    let orders = told.iter().find(|it| it.key == "orders").unwrap();
    assert_eq!((orders.value.clone(), orders.hides.clone(), orders.in_force), (Some(json!(1)), Some(json!(9)), false));
    let because = "Order Completed performed 1 times net of Order Cancelled or Order Refunded; count is 1";
    assert_eq!(orders.because.as_deref(), Some(because));
    let revenue = told.iter().find(|it| it.key == "revenue").unwrap();
    assert_eq!((revenue.value.clone(), revenue.currency.as_deref()), (Some(json!(10)), Some("EUR")));
    assert!(
        computed_traits(house.workspace(), &live.catalog, Some(ProfileId(99)), house.clock.now())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_date_is_not_missed_in_a_downtime_and_enters_as_long_as_its_lateness_allows() {
    let house = House::new().await;
    let entry = "entry: { date: { trait: birthday, yearly: true, at: \"09:00\" } }";
    let (patient, prompt) = (campaign("patient", entry), campaign("prompt", &format!("{entry}\nmax_lateness: 1h")));
    house.append(vec![event("m0", "bob", "Page Viewed")]).await;
    let traits = r#"{"traits":{"birthday":"1990-03-05","timezone":"Europe/Berlin"}}"#;
    house.append(vec![build("i1", Kind::Identify, "Identified", Some("ann"), None, traits)]).await;
    house.process().await;
    house.apply(&format!("{}{prompt}{NOTE}", &patient[4..])).await;
    look_at_everybody(&house).await;
    let due: Timestamp = "2026-03-05T08:00:00Z".parse().unwrap();
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    assert_eq!(scheduler.next_due().await.unwrap(), Some(due), "of somebody who did nothing since");
    house.clock.advance_to(due.plus(Span::from_hours(20)));
    for _ in 0..3 {
        scheduler.tick(house.clock.now()).await.unwrap();
        house.process().await;
    }
    let entered: Vec<String> = house.enrollments("ann").await.into_iter().map(|one| one.campaign).collect();
    assert_eq!(entered, ["patient"], "an hour is over");
    let reached = names(&house, "ann").await.iter().filter(|name| *name == "Date Reached").count();
    assert_eq!(reached, 2, "one for each campaign");
    assert!(house.enrollments("bob").await.is_empty());
}

#[tokio::test]
async fn a_list_is_replaced_added_to_and_taken_from_and_follows_a_merge() {
    let house = House::new().await;
    let greeting = campaign("greeting", "entry: { segment: staff, on: entered }");
    house
        .apply(&format!(
            "kind: segment\nkey: staff\nname: Staff\nowner: crm@shop.example\nstatic: true\n{greeting}{NOTE}"
        ))
        .await;
    house
        .append(vec![
            event("m1", "ann", "Page Viewed"),
            event("m2", "bob", "Page Viewed"),
            anonymous("m3", "device", "Page Viewed"),
        ])
        .await;
    house.process().await;
    let put = async |mode: Mode, who: &[&str]| {
        let who: Vec<String> = who.iter().map(|id| (*id).to_owned()).collect();
        let came = upload(&house.log, &house.store, WORKSPACE, ("staff", mode), &who).await.unwrap();
        house.process().await;
        came
    };
    let counts = |came: Result<Uploaded, Refused>| {
        let Uploaded { added, removed, unchanged, bad, .. } = came.unwrap();
        [added, removed, unchanged, bad]
    };
    let first = put(Mode::Replace, &["ann", "ann", "nobody", " "]).await;
    let problems: Vec<(u64, String)> =
        first.clone().unwrap().problems.into_iter().map(|it| (it.place, it.problem)).collect();
    assert_eq!(problems, [(3, "nobody is known as `nobody`".to_owned()), (4, "is empty".to_owned())]);
    assert_eq!(counts(first), [1, 0, 0, 2]);
    assert_eq!(members(&house, "staff").await, ["ann"]);
    assert_eq!(names(&house, "ann").await[1..], ["List Changed by backfill", "Segment Entered by backfill"]);
    assert!(house.enrollments("ann").await.is_empty(), "a file starts nothing");
    assert_eq!(counts(put(Mode::Add, &["ann", "device"]).await), [1, 0, 1, 0]);
    assert_eq!(put(Mode::Replace, &["x", "y"]).await, Err(Refused::NobodyKnown(2)));
    assert_eq!(members(&house, "staff").await, ["ann", "anonymous"], "a file of something else empties nothing");
    assert_eq!(counts(put(Mode::Remove, &["ann", "bob"]).await), [0, 1, 1, 0]);
    assert_eq!(members(&house, "staff").await, ["anonymous"]);
    house.append(vec![identify("m4", Some("bob"), Some("device"))]).await;
    house.process().await;
    assert_eq!(members(&house, "staff").await, ["bob"], "whoever they were on which device");
    assert_eq!(counts(put(Mode::Replace, &["ann"]).await), [1, 1, 0, 0]);
    assert_eq!(members(&house, "staff").await, ["ann"]);
}

#[tokio::test]
async fn an_explanation_of_any_instant_knows_what_a_computed_trait_was_then() {
    let house = House::new().await;
    let regulars = campaign("regulars", "entry: { event: Page Viewed, where: { trait: { orders: { gte: 2 } } } }");
    house.apply(&format!("{}{NOTE}", &regulars[4..])).await;
    let mut instants = Vec::new();
    for n in 1..=2 {
        house.clock.advance_to(house.clock.now().plus(Span::from_hours(1)));
        house.append(vec![order(&format!("o{n}"), "ann"), event(&format!("m{n}"), "ann", "Page Viewed")]).await;
        house.process().await;
        instants.push(house.clock.now());
    }
    let profile = person(&house, "ann").await;
    for (at, told) in instants.into_iter().zip(["trait orders is 1, wanted gte 2", "trait orders is 2, wanted gte 2"]) {
        let asked =
            Asked { profile, person: "ann".to_owned(), campaign: "regulars".to_owned(), at, how: How::Recorded };
        let here = (WORKSPACE, &jiff::tz::TimeZone::UTC);
        let answer = at_instant(&house.store, &house.definitions, here, &asked).await.unwrap();
        let said = serde_json::to_string(&answer).unwrap();
        assert!(said.contains(told), "{at}: {said}");
    }
}

#[tokio::test]
async fn applying_a_computed_trait_says_what_it_hides() {
    let house = House::new().await;
    let set = |id: &str, traits: &str| build(id, Kind::Identify, "Identified", Some("ann"), None, traits);
    house.append(vec![set("i1", r#"{"traits":{"orders":9}}"#), set("i2", r#"{"traits":{"plan":"pro"}}"#)]).await;
    house.process().await;
    let warned = async |text: &str| {
        let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
        apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, true).await.unwrap().unwrap().warnings
    };
    let says = |what: &str| {
        format!("{what}: 1 of the last 2 `Identified` set a trait `orders`, which the computed one of this name hides")
    };
    let segment =
        "kind: segment\nkey: vip\nname: V\nowner: crm@shop.example\nwhere: { trait: { orders: { gte: 2 } } }\n";
    assert_eq!(warned(segment).await, [says("segment vip")]);
    let own = "kind: computed_trait\nkey: orders\ncompute: { count: true, over: Identified }\n";
    assert_eq!(warned(own).await, [says("computed_trait orders")]);
    assert_eq!(warned(&segment.replace("orders: { gte: 2 }", "plan: pro")).await, [""; 0]);
}

#[tokio::test]
async fn an_upload_right_after_another_knows_what_that_one_brings() {
    let house = House::new().await;
    house.apply("kind: segment\nkey: staff\nname: Staff\nowner: crm@shop.example\nstatic: true\n").await;
    house.append(["ann", "bob", "cleo"].map(|who| event(who, who, "Page Viewed")).to_vec()).await;
    house.process().await;
    let put = async |mode: Mode, who: &str| {
        let who = [who.to_owned()];
        upload(&house.log, &house.store, WORKSPACE, ("staff", mode), &who).await.unwrap().unwrap();
    };
    // Nothing of it is decided before all of it is uploaded.
    put(Mode::Replace, "ann").await;
    put(Mode::Replace, "bob").await;
    put(Mode::Add, "cleo").await;
    put(Mode::Remove, "cleo").await;
    house.process().await;
    assert_eq!(members(&house, "staff").await, ["bob"]);
}

//! What an unsaved segment would hold is what it holds once it is applied, whatever part of a person its condition looks
//! at, and counting changes nothing.

use carillon::definition::SourceFile;
use carillon::event::Kind;
use carillon::fault::Faults;
use carillon::ids::Span;
use carillon::store::Rows;
use carillon::worker::head_count::{HeadCount, head_count};

use super::reach::suppress;
use super::support::{House, WORKSPACE, build};

/// More than a page of people, so that their order across pages matters.
const PEOPLE: usize = 4_200;

/// One looks at each part of a row, at the past, and at each other.
const CONDITIONS: [(&str, &str); 11] = [
    ("everybody", "{ all: [] }"),
    ("by_trait", "{ trait: { plan: pro } }"),
    ("by_name", "{ performed: { event: Order Completed, within: 30d } }"),
    ("by_body", "{ performed: { event: Order Completed, where: { properties.revenue: { gte: 100 } } } }"),
    ("often", "{ performed: { event: Page Viewed, at_least: 60 } }"),
    ("by_consent", "{ consent: { sms: granted } }"),
    ("by_address", "{ reachable: email }"),
    ("by_day", "{ performed: { event: Order Completed, within: calendar_day } }"),
    // Shipped, and in force as soon as a definition names it.
    ("by_computed", "{ trait: { orders: { gte: 1 } } }"),
    ("by_cart", "{ cart: { value: { gte: EUR 40 } } }"),
    ("both", "{ all: [ { in_segment: by_trait }, { not: { in_segment: by_body } } ] }"),
];

fn definitions() -> String {
    let one = |(key, filter): &(&str, &str)| {
        format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {filter}\n")
    };
    CONDITIONS.iter().map(one).collect::<Vec<_>>().join("---\n")
}

async fn counted(house: &House, text: &str) -> Result<HeadCount, String> {
    let files = [SourceFile { name: "unsaved.yaml".to_owned(), text: text.to_owned() }];
    let now = house.clock.now();
    let counted = head_count(&house.store, &house.definitions, WORKSPACE, &files, now).await.unwrap();
    counted.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

async fn head(house: &House) -> Option<i64> {
    Rows(house.store.reader()).scalar("SELECT max(position) FROM entries", vec![]).await.unwrap()
}

async fn people(house: &House) {
    suppress(house, "user1001@example.com").await;
    let mut events = Vec::new();
    for n in 0..PEOPLE {
        let user = format!("user{n:04}");
        let plan = ["pro", "free", "basic"][n % 3];
        let email = if n % 1_000 == 1 { format!(r#","email":"{user}@example.com""#) } else { String::new() };
        let traits = format!(r#"{{"traits":{{"plan":"{plan}","timezone":"Asia/Tokyo"{email}}}}}"#);
        events.push(build(&format!("i{n}"), Kind::Identify, "", Some(&user), None, &traits));
        if n % 2 == 0 {
            let order = format!(r#"{{"properties":{{"revenue":{}}}}}"#, n % 200);
            events.push(build(&format!("o{n}"), Kind::Track, "Order Completed", Some(&user), None, &order));
        }
        if n % 500 == 1 {
            let added = r#"{"properties":{"product_id":"p1","price":40,"currency":"EUR"}}"#;
            events.push(build(&format!("a{n}"), Kind::Track, "Product Added", Some(&user), None, added));
        }
        if n % 1_000 == 0 {
            let consent = r#"{"properties":{"channel":"sms","state":"granted","source":"form"}}"#;
            events.push(build(&format!("c{n}"), Kind::Track, "Consent Changed", Some(&user), None, consent));
            // More than a row keeps: the rest is on pages of its own.
            events.extend((0..70).map(|view| {
                build(&format!("v{n}-{view}"), Kind::Track, "Page Viewed", Some(&user), None, r#"{"properties":{}}"#)
            }));
        }
    }
    for together in events.chunks(1_000) {
        house.append(together.to_vec()).await;
    }
    house.process().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsaved_segment_counts_whom_it_holds_once_it_is_applied() {
    let house = House::new().await;
    people(&house).await;
    let before = head(&house).await;
    let count = counted(&house, &definitions()).await.unwrap();
    assert_eq!((count.people, count.unreadable, head(&house).await), (PEOPLE as u64, 0, before));
    assert!(house.definitions.live(WORKSPACE).catalog.terms.segments.iter().next().is_none(), "nothing is applied");
    let of = |key: &str| count.segments.iter().find(|one| one.segment == key).unwrap();
    let wanted = |key: &str, people: usize| assert_eq!(of(key).people, people as u64, "{key}");
    // Counted here by hand.
    wanted("everybody", PEOPLE);
    wanted("by_trait", (0..PEOPLE).filter(|n| n % 3 == 0).count());
    wanted("by_name", PEOPLE / 2);
    wanted("by_body", (0..PEOPLE).filter(|n| n % 2 == 0 && n % 200 >= 100).count());
    wanted("often", PEOPLE.div_ceil(1_000));
    wanted("by_consent", PEOPLE.div_ceil(1_000));
    wanted("by_address", (0..PEOPLE).filter(|n| n % 1_000 == 1 && *n != 1_001).count());
    wanted("by_day", PEOPLE / 2);
    wanted("by_computed", PEOPLE / 2);
    wanted("by_cart", (0..PEOPLE).filter(|n| n % 500 == 1).count());
    wanted("both", (0..PEOPLE).filter(|n| n % 3 == 0 && !(n % 2 == 0 && n % 200 >= 100)).count());
    assert_eq!((of("often").sample.len(), of("by_trait").sample.len()), (5, 10));
    house.apply(&definitions()).await;
    house.look_at_everybody().await;
    let sizes = house.workspace().segment_sizes().await.unwrap();
    for (key, _) in CONDITIONS {
        assert_eq!(sizes.get(key).copied().unwrap_or(0), of(key).people, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_computed_trait_counts_until_time_or_a_definition_changes_it() {
    let house = House::new().await;
    let spent = |within: &str| {
        format!(
            "kind: computed_trait\nkey: spent\ncompute: {{ sum: properties.revenue, over: Order Completed, within: {within} }}\n"
        )
    };
    let rich = |key: &str| {
        format!(
            "kind: segment\nkey: {key}\nname: Rich\nowner: crm@shop.example\nwhere: {{ trait: {{ spent: {{ gte: 100 }} }} }}\n"
        )
    };
    let order = |id: &str, user: &str, revenue: u32| {
        let body = format!(r#"{{"properties":{{"revenue":{revenue},"currency":"EUR"}}}}"#);
        build(id, Kind::Track, "Order Completed", Some(user), None, &body)
    };
    house.append(vec![order("o1", "ann", 120), order("o2", "bob", 60), order("o3", "cleo", 150)]).await;
    house.process().await;
    let sample = async |files: &str| counted(&house, files).await.unwrap().segments[0].sample.clone();
    assert_eq!(sample(&format!("{}---\n{}", rich("a"), spent("7d"))).await, ["ann", "cleo"], "nothing is kept yet");
    house.apply(&format!("{}---\n{}", spent("7d"), rich("b"))).await;
    house.look_at_everybody().await;
    house.append(vec![order("o4", "bob", 60)]).await;
    house.process().await;
    // What is kept is what decisions go by, and nothing is looked up for it.
    house
        .damage("UPDATE profiles SET remembered = replace(remembered, '120', '20') WHERE user_id IN ('ann', 'bob')")
        .await;
    assert_eq!(sample(&rich("a")).await, ["cleo"]);
    let again = counted(&house, &format!("{}---\n{}", rich("a"), spent("6d"))).await.unwrap();
    assert_eq!(again.segments[0].sample, ["ann", "bob", "cleo"], "a changed definition is worked out");
    house.clock.advance_to(house.clock.now().plus(Span::from_days(8)));
    assert!(sample(&rich("a")).await.is_empty(), "what left its window counts no more, though nobody was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsaved_segment_may_build_on_those_in_force_and_every_problem_is_named() {
    let house = House::new().await;
    let pro = "kind: segment\nkey: pro\nname: Pro\nowner: crm@shop.example\nwhere: { trait: { plan: pro } }\n";
    house.apply(pro).await;
    house.append(vec![build("i1", Kind::Identify, "", Some("ann"), None, r#"{"traits":{"plan":"pro"}}"#)]).await;
    house.process().await;
    let on_it = pro.replace("key: pro", "key: quiet").replace(
        "{ trait: { plan: pro } }",
        "{ all: [ { in_segment: pro }, { not: { performed: { event: Order Completed } } } ] }",
    );
    let count = counted(&house, &on_it).await.unwrap();
    assert_eq!(
        (count.people, count.segments[0].people, &count.segments[0].sample[..]),
        (1, 1, &["ann".to_owned()][..])
    );
    let unknown = counted(&house, &on_it.replace("in_segment: pro", "in_segment: prp")).await.unwrap_err();
    assert!(unknown.contains("unsaved.yaml:5") && unknown.contains("pro"), "{unknown}");
    let none = counted(&house, "kind: topic\nkey: offers\nname: Offers\ndescription: Offers\n").await.unwrap_err();
    assert!(none.contains("kind: segment"), "{none}");
    let mut processor = house.processor(Faults::none()).await;
    assert_eq!(processor.tick().await.unwrap(), 0, "counting leaves nothing to be done");
}

#[tokio::test]
async fn what_somebody_seldom_did_is_found_behind_thousands_of_other_things() {
    let house = House::new().await;
    let mut events = vec![build("rare", Kind::Track, "Special", Some("ann"), None, r#"{"properties":{"a":7}}"#)];
    events.extend((0..2_600).map(|n| {
        let body = format!(r#"{{"properties":{{"n":{n}}}}}"#);
        build(&format!("v{n}"), Kind::Track, "Product Viewed", Some("ann"), None, &body)
    }));
    for page in events.chunks(500) {
        house.append(page.to_vec()).await;
    }
    house.process().await;
    let segment = |key: &str, filter: &str| {
        format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {{ performed: {filter} }}\n")
    };
    let rare = segment("rare", "{ event: Special, where: { properties.a: 7 } }");
    let distinct = segment("many", "{ event: Product Viewed, distinct: properties.n, gte: 2600 }");
    let told = counted(&house, &format!("{rare}---\n{distinct}")).await.unwrap();
    assert_eq!(told.segments.iter().map(|one| one.people).collect::<Vec<_>>(), [1, 1]);
}

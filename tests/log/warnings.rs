//! What somebody who applies is told of events that came, asked again and again while more come.

use carillon::definition::SourceFile;
use carillon::event::Kind;
use carillon::ids::Span;
use carillon::worker::apply::apply;
use carillon::worker::head_count::head_count;
use carillon::worker::plan::plan;

use super::support::{House, WORKSPACE, build, event};

async fn warned(house: &House) -> Vec<String> {
    let text = "kind: segment\nkey: paid\nname: P\nowner: crm@shop.example\nwhere: { performed: { event: Paid } }\n";
    let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
    apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, true).await.unwrap().unwrap().warnings
}

#[tokio::test]
async fn an_event_that_came_since_is_known_however_far_the_other_shards_are() {
    let house = House::new().await;
    // One person's shard is far ahead of those of the others.
    let many = (0..200).map(|n| event(&format!("e{n}"), "ann", "Paidd"));
    house.append(many.collect()).await;
    house.process().await;
    let told = ["shop.yaml:5: segment paid: no `Paid` has come; did you mean `Paidd`?"];
    assert_eq!(warned(&house).await, told);
    for n in 0..8 {
        house.append(vec![event(&format!("p{n}"), &format!("user{n}"), "Paid")]).await;
        house.process().await;
        assert_eq!(warned(&house).await, [""; 0], "after user{n}");
    }
}

#[tokio::test]
async fn a_trait_that_nobody_has_is_told_by_apply_and_as_its_people_are_counted() {
    let house = House::new().await;
    let identified = |n: u32, age: &str| {
        let traits = format!(r#"{{"traits":{{"email":"u{n}@shop.example","age":{age}}}}}"#);
        build(&format!("i{n}"), Kind::Identify, "Identified", Some(&format!("user{n}")), None, &traits)
    };
    house.append(vec![identified(1, "\"25\""), identified(2, "\"30\""), event("v", "visitor", "Paid")]).await;
    house.process().await;
    let text = "kind: segment\nkey: adults\nname: A\nowner: crm@shop.example\nwhere:\n  all:\n    - trait: { age: { gte: 18 } }\n    \
                - trait: { emial: { exists: true } }\n    - trait: { orders: { gte: \"3\" } }\n";
    let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
    let told = [
        "shop.yaml:7: segment adults: trait `age` is text in 100 % of the newest 2 people; it is compared with a number",
        "shop.yaml:8: segment adults: none of the newest 2 people has a trait `emial`; did you mean `email`?",
        "shop.yaml:9: segment adults: the computed trait `orders` is always a number; it is compared with text",
    ];
    let now = house.clock.now();
    let mut counted =
        head_count(&house.store, &house.definitions, WORKSPACE, &files, now).await.unwrap().unwrap().warnings;
    counted.sort();
    assert_eq!(counted, told);
    let planned = plan(&house.store, &house.definitions, WORKSPACE, &files, now).await.unwrap().unwrap();
    assert_eq!(planned.warnings, told);
    let applied = apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, true).await.unwrap().unwrap();
    assert_eq!(applied.warnings, told);
}

#[tokio::test]
async fn a_plan_counts_whoever_was_first_seen_in_the_time_it_looks_at() {
    let house = House::new().await;
    house.append(vec![event("o1", "ann", "Order Completed"), event("p1", "old", "Page Viewed")]).await;
    house.process().await;
    house.clock.advance_to(house.clock.now().plus(Span::from_days(40)));
    // She is first seen by this, and he has been there for long.
    house.append(vec![event("p2", "nell", "Page Viewed"), event("p3", "old", "Page Viewed")]).await;
    house.process().await;
    let text = "kind: segment\nkey: noorder\nname: N\nowner: crm@shop.example\n\
                where: { not: { performed: { event: Order Completed, within: 30d } } }\n---\n\
                kind: template\nkey: hello\nemail: { subject: Hello, html: <p>Hello</p> }\n---\n\
                kind: campaign\nkey: nudge\nname: Nudge\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
                purpose: marketing\nentry: { segment: noorder, on: entered }\nsend: { channel: email, template: hello }\n";
    let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
    let now = house.clock.now();
    let planned = plan(&house.store, &house.definitions, WORKSPACE, &files, now).await.unwrap().unwrap();
    let then = &planned.campaigns[0].then;
    // Ann's thirty days ended within the time that is looked at.
    assert_eq!(then.matched.names, ["ann", "nell"], "{then:#?}");
}

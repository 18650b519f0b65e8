//! Stories that pass, stories that fail, and what they print.
#![allow(clippy::unwrap_used)]

mod expressed;
mod hostile;

use crate::definition::{Definition, Document, SourceFile, read};
use crate::ids::Position;
use crate::story::world::World;
use crate::story::{StoryReport, given, run, run_all};

const SHOP: &str = "\
kind: campaign
key: cart_reminder
name: Cart reminder
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id, where: { not: { trait: { plan: staff } } } }
delay: 1h
exit: [ { event: Order Completed, same: properties.cart_id }, { performed: { event: Logged Out, within: 10m } } ]
goal: { event: Order Completed, within: 5d, value: properties.revenue }
send: { channel: email, template: cart_reminder }
---
kind: campaign
key: vip_offer
name: An offer
owner: crm@shop.example
type: trigger
status: draft
purpose: marketing
priority: 90
entry: { event: Offer Due, match: { properties: { tier: [ gold ] } } }
caps: { when_capped: { defer: 12h } }
send: { channel: email, template: cart_reminder }
---
kind: caps
rules: [ { at_most: 3, per: 1d } ]
---
kind: consent_policy
rules: [ { channel: email, unknown: blocked } ]
---
kind: template
key: cart_reminder
email: { subject: Hi, html: <p>Hi</p> }
---
";

fn told(story: &str) -> StoryReport {
    let head = "kind: story\nname: a story\nprofiles: { ann: { traits: { email: ann@shop.example } }, bob: {} }\n";
    let text = format!("{SHOP}{head}{story}");
    let documents: Vec<Document> = read(&[SourceFile { name: "test.yaml".to_owned(), text }]).unwrap();
    let Definition::Story(story) = &documents.last().unwrap().definition else { panic!() };
    let report = run(&documents, story);
    assert_eq!(report, run(&documents, story), "the same story twice is the same");
    report
}

/// The timeline of a story that passes.
fn passes(story: &str) -> String {
    let report = told(story);
    assert!(report.passed, "{:?}\n{}", report.failures, report.timeline);
    report.timeline
}

#[test]
fn an_order_within_the_hour_ends_the_reminder_of_its_cart_only() {
    let timeline = passes(
        r#"
campaigns: [ cart_reminder ]
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1 } }
  - { at: "2026-03-01T10:10Z", ann: Product Added, properties: { cart_id: c2 } }
  - { at: "2026-03-01T10:20Z", ann: Product Added, properties: { cart_id: c2 } }
  - { at: "2026-03-01T10:30Z", ann: Order Completed, properties: { cart_id: c1, revenue: 40.00, currency: EUR } }
  - { at: "2026-03-02T10:30:30Z", ann: Order Completed, properties: { cart_id: c2 } }
expect:
  - { ann: exited, at: "2026-03-01T10:30Z", reason: Order Completed }
  - { ann: enrolled, campaign: cart_reminder, at: "2026-03-01T10:10Z" }
  - { ann: sent, at: "2026-03-01T11:10Z", template: cart_reminder, channel: email }
  - { ann: not_sent, reason: exited }
  - { ann: { not_sent: { reason: already_enrolled } }, at: "2026-03-01T10:20Z" }
  - { bob: never sent }
"#,
    );
    insta::assert_snapshot!(timeline, @r"
    2026-03-01T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c1; its delay ends at 2026-03-01T11:00Z
    2026-03-01T10:10Z ann Product Added
      → entered cart_reminder@v1 with key c2; its delay ends at 2026-03-01T11:10Z
    2026-03-01T10:20Z ann Product Added
      ✗ did not enter cart_reminder@v1: already enrolled with c2 since 2026-03-01T10:10:00Z
    2026-03-01T10:30Z ann Order Completed
      ✗ exited: Order Completed (cart_reminder, key c1)
    2026-03-01T11:10Z ann
      → queued email cart_reminder (c2)
      → sent email cart_reminder (c2)
    2026-03-02T10:30:30Z ann Order Completed
      → converted: the goal of cart_reminder was reached after email cart_reminder (c2)
    ");
}

#[test]
fn messages_are_about_what_their_template_says_where_the_campaign_says_nothing() {
    let head = r#"kind: story
name: a story
campaigns: [ cart_reminder ]
profiles: { ann: { traits: { email: ann@shop.example } } }
given:
  - { at: "2026-03-01T10:00Z", ann: Consent Changed, properties: { topic: offers, state: unsubscribed, via: page } }
  - { at: "2026-03-01T10:01Z", ann: Product Added, properties: { cart_id: c1 } }
"#;
    let topics = "kind: topic\nkey: offers\nname: Offers\n---\nkind: topic\nkey: carts\nname: Carts\n---\n";
    for (campaign, template, expected) in [
        ("", "", "sent, template: cart_reminder"),
        ("", "topic: offers\n", "not_sent, reason: topic_unsubscribed"),
        ("topic: carts\n", "topic: offers\n", "sent, template: cart_reminder"),
        ("topic: offers\n", "topic: carts\n", "not_sent, reason: topic_unsubscribed"),
    ] {
        let entry = "entry: { event: Product Added";
        let shop = SHOP
            .replace(entry, &format!("{campaign}{entry}"))
            .replace("key: cart_reminder\nemail:", &format!("key: cart_reminder\n{template}email:"));
        let text = format!("{shop}{topics}{head}expect:\n  - {{ ann: {expected} }}\n");
        let documents = read(&[SourceFile { name: "test.yaml".to_owned(), text }]).unwrap();
        let Definition::Story(story) = &documents.last().unwrap().definition else { panic!() };
        let report = run(&documents, story);
        assert!(report.passed, "{campaign}{template}: {:?}\n{}", report.failures, report.timeline);
    }
}

#[test]
fn a_full_cap_names_the_messages_that_used_it() {
    let timeline = passes(
        r#"
campaigns: [ cart_reminder ]
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1 } }
  - { at: "2026-03-01T12:00Z", ann: Product Added, properties: { cart_id: c3 } }
  - { at: "2026-03-01T12:00Z", ann: Product Added, properties: { cart_id: c4 } }
  - { at: "2026-03-01T12:00Z", ann: Product Added, properties: { cart_id: c5 } }
  - { at: "2026-03-02T10:00Z", ann: Product Added, properties: { cart_id: c6 } }
expect:
  - { ann: not_sent, at: "2026-03-01T13:00Z", reason: capped }
  - { ann: sent, at: "2026-03-02T11:00Z" }
"#,
    );
    insta::assert_snapshot!(timeline, @r"
    2026-03-01T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c1; its delay ends at 2026-03-01T11:00Z
    2026-03-01T11:00Z ann
      → queued email cart_reminder (c1)
      → sent email cart_reminder (c1)
    2026-03-01T12:00Z ann Product Added
      → entered cart_reminder@v1 with key c3; its delay ends at 2026-03-01T13:00Z
    2026-03-01T12:00Z ann Product Added
      → entered cart_reminder@v1 with key c4; its delay ends at 2026-03-01T13:00Z
    2026-03-01T12:00Z ann Product Added
      → entered cart_reminder@v1 with key c5; its delay ends at 2026-03-01T13:00Z
    2026-03-01T13:00Z ann
      → queued email cart_reminder (c3)
      → queued email cart_reminder (c4)
      → queued email cart_reminder (c5)
      → sent email cart_reminder (c3)
      → sent email cart_reminder (c4)
      ✗ not sent email cart_reminder (c5): capped by at most 3 per 1d: used by email cart_reminder (c1), email cart_reminder (c4), email cart_reminder (c3); a slot frees at 2026-03-02T11:00:00Z
    2026-03-02T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c6; its delay ends at 2026-03-02T11:00Z
    2026-03-02T11:00Z ann
      → queued email cart_reminder (c6)
      → sent email cart_reminder (c6)
    ");
}

#[test]
fn the_higher_priority_goes_first_and_a_deferred_message_waits_for_its_slot() {
    let timeline = passes(
        r#"
campaigns: [ cart_reminder, vip_offer ]
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1 } }
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c2 } }
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c3 } }
  - { at: "2026-03-01T11:00Z", ann: Offer Due, properties: { tier: gold } }
  - { at: "2026-03-02T00:00Z", ann: Offer Due, properties: { tier: gold } }
  - { at: "2026-03-02T00:00Z", ann: Offer Due, properties: { tier: silver } }
expect:
  - { ann: not_sent, at: "2026-03-01T11:00Z", reason: capped }
  - { ann: sent, at: "2026-03-02T11:00Z" }
  - { ann: not_sent, reason: properties.tier is `silver` }
"#,
    );
    insta::assert_snapshot!(timeline, @r"
    2026-03-01T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c1; its delay ends at 2026-03-01T11:00Z
    2026-03-01T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c2; its delay ends at 2026-03-01T11:00Z
    2026-03-01T10:00Z ann Product Added
      → entered cart_reminder@v1 with key c3; its delay ends at 2026-03-01T11:00Z
    2026-03-01T11:00Z ann
      → queued email cart_reminder (c1)
      → queued email cart_reminder (c2)
      → queued email cart_reminder (c3)
    2026-03-01T11:00Z ann Offer Due
      → entered vip_offer@v1
      → queued email cart_reminder
      → sent email cart_reminder
      → sent email cart_reminder (c1)
      → sent email cart_reminder (c2)
      ✗ not sent email cart_reminder (c3): capped by at most 3 per 1d: used by email cart_reminder (c2), email cart_reminder (c1), email cart_reminder; a slot frees at 2026-03-02T11:00:00Z
    2026-03-02T00:00Z ann Offer Due
      → entered vip_offer@v1
      → queued email cart_reminder
    2026-03-02T00:00Z ann Offer Due
      ✗ did not enter vip_offer@v1: the event pattern did not match: properties.tier is `silver`, wanted `gold`
      ✗ deferred email cart_reminder until 2026-03-02T11:00Z: capped by at most 3 per 1d: used by email cart_reminder (c2), email cart_reminder (c1), email cart_reminder; a slot frees at 2026-03-02T11:00:00Z
    2026-03-02T11:00Z ann
      → sent email cart_reminder
    ");
}

#[test]
fn consent_addresses_and_conditions_are_those_of_the_service() {
    passes(
        r#"
campaigns: [ cart_reminder ]
consent: { ann: { email: unknown } }
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1 } }
  - { at: "2026-03-01T10:00Z", bob: Product Added, properties: { cart_id: c2 } }
  - { at: "2026-03-01T12:00Z", ann: Consent Changed, properties: { channel: email, state: granted } }
  - { at: "2026-03-01T13:00Z", ann: Product Added, properties: { cart_id: c3 } }
  - { at: "2026-03-01T13:55Z", ann: Logged Out }
expect:
  - { ann: not_sent, reason: consent_unknown }
  - { bob: not_sent, reason: no_address }
  - { ann: exited, at: "2026-03-01T13:55Z", reason: "performed: { event: Logged Out, within: 10m }" }
  - { ann: never sent }
"#,
    );
}

#[test]
fn a_story_that_fails_says_what_happened_instead() {
    let report = told(
        r#"
campaigns: [ cart_reminder ]
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1 } }
expect:
  - { ann: sent, at: "2026-03-01T10:30Z", template: cart_reminder }
  - { ann: never sent, template: cart_reminder }
  - { bob: exited, reason: Order Completed }
  - { ann: enrolled }
"#,
    );
    assert!(!report.passed);
    insta::assert_snapshot!(report.failures.join("\n"), @r"
    line 44: expected ann sent cart_reminder at 2026-03-01T10:30Z, but: enrolled in cart_reminder at 2026-03-01T10:00Z; sent cart_reminder by email at 2026-03-01T11:00Z
    line 45: expected ann never sent cart_reminder, but: sent cart_reminder by email at 2026-03-01T11:00Z
    line 46: expected bob exited by Order Completed, but: nothing happened
    ");
    let unknown = told("campaigns: [ cart_remind ]\nexpect: []\n");
    assert_eq!(unknown.failures, ["there is no campaign `cart_remind`"]);
}

#[test]
fn a_story_begins_with_everybody_where_their_traits_put_them() {
    let segments = "\
kind: segment
key: staff
name: Staff
owner: crm@shop.example
where: { trait: { plan: staff } }
---
kind: segment
key: quiet
name: Quiet
owner: crm@shop.example
where: { not: { performed: { event: Product Added, within: 2h } } }
---
kind: campaign
key: hello
name: Hello
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { segment: quiet, on: entered, where: { not: { in_segment: staff } } }
send: { channel: email, template: cart_reminder }
---
";
    let story = "\
kind: story
name: quiet people are greeted
campaigns: [ hello ]
profiles: { ann: { traits: { email: ann@shop.example } }, bob: { traits: { email: bob@shop.example, plan: staff } } }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Product Added }
  - { at: \"2026-03-01T11:00Z\", bob: Product Added }
expect:
  - { ann: left, segment: quiet, at: \"2026-03-01T10:00Z\" }
  - { at: \"2026-03-01T12:00Z\", ann: sent, template: cart_reminder }
  - { bob: not_sent, reason: condition_not_met }
  - { bob: never sent }
";
    let text = format!("{SHOP}{segments}{story}");
    let documents = read(&[SourceFile { name: "test.yaml".to_owned(), text }]).unwrap();
    let report = run_all(&documents).remove(0);
    assert!(report.passed, "{:?}\n{}", report.failures, report.timeline);
    assert_eq!(
        report.timeline,
        "2026-03-01T10:00Z ann Product Added
  → left segment quiet: not (Product Added performed 1 times within 2h, wanted at least 1)
2026-03-01T11:00Z bob Product Added
  → left segment quiet: not (Product Added performed 1 times within 2h, wanted at least 1)
2026-03-01T12:00Z ann
  → entered segment quiet: not (Product Added performed 0 times within 2h, wanted at least 1)
  → entered hello@v1
  → queued email cart_reminder
  → sent email cart_reminder
2026-03-01T13:00Z bob
  → entered segment quiet: not (Product Added performed 0 times within 2h, wanted at least 1)
  ✗ did not enter hello@v1: the condition was not met: not (in segment staff (trait plan is `staff`, wanted `staff`))
"
    );
}

#[test]
fn of_whom_nothing_is_known_the_workspace_s_night_is_waited_for() {
    let story = "\
kind: quiet_hours
windows: [ { channels: [ email ], from: \"21:00\", to: \"09:00\" } ]
---
kind: story
name: a night in Tokyo
campaigns: [ cart_reminder ]
profiles: { ann: { traits: { email: ann@shop.example } } }
given: [ { at: \"2026-03-01T12:00Z\", ann: Product Added, properties: { cart_id: c1 } } ]
expect: [ { ann: sent, template: cart_reminder } ]
";
    let text = format!("{SHOP}{story}");
    let documents = read(&[SourceFile { name: "test.yaml".to_owned(), text }]).unwrap();
    let told = documents.iter().find_map(|document| match &document.definition {
        Definition::Story(story) => Some(story),
        _ => None,
    });
    let story = told.unwrap();
    let sent = |zone: Option<&str>| {
        let mut setting = given::setting(&documents, story);
        std::sync::Arc::make_mut(&mut setting.catalog.terms).zone =
            zone.map(|zone| jiff::tz::TimeZone::get(zone).unwrap());
        let mut world = World::new(&setting, given::people(story), Position(0));
        world.run(given::start(story), &given::acts(&documents, story), None).unwrap();
        world.happenings.iter().find(|one| one.what == crate::story::world::What::Sent).map(|one| one.at.to_string())
    };
    assert_eq!(sent(None).as_deref(), Some("2026-03-01T13:00:00Z"));
    assert_eq!(sent(Some("Asia/Tokyo")).as_deref(), Some("2026-03-02T00:00:00Z"));
}

#[test]
fn a_story_tells_of_computed_traits_changed_ones_and_dates() {
    let documents = "\
kind: computed_trait
key: top_category
compute: { most_frequent: properties.category, over: Order Completed, within: 1y }
---
kind: segment
key: shoe_people
name: Shoes above all
owner: crm@shop.example
where: { all: [ { trait: { top_category: shoes } }, { trait: { orders: { gte: 2 } } } ] }
---
kind: campaign
key: promoted
name: Promoted
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { trait: tier, from: [ bronze, silver ], to: [ gold ] }
send: { channel: email, template: cart_reminder }
---
kind: campaign
key: renewal
name: Renewal
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { date: { trait: renews_at, offset: -7d } }
send: { channel: email, template: cart_reminder }
---
";
    let story = "\
kind: story
name: what is known of ann
campaigns: [ promoted, renewal ]
profiles:
  ann: { traits: { email: ann@shop.example, tier: bronze, renews_at: 2026-06-20, timezone: Europe/Berlin } }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Order Completed, properties: { order_id: o1, category: hats } }
  - { at: \"2026-03-02T10:00Z\", ann: Order Completed, properties: { order_id: o2, category: shoes } }
  - { at: \"2026-03-03T10:00Z\", ann: Identified, traits: { tier: gold } }
expect:
  - { ann: changed, trait: orders, to: 2, at: \"2026-03-02T10:00Z\" }
  - { ann: changed, trait: top_category, to: shoes, at: \"2026-03-02T10:00Z\" }
  - { ann: entered, segment: shoe_people, at: \"2026-03-02T10:00Z\" }
  - { ann: changed, trait: tier, to: gold }
  - { ann: enrolled, campaign: promoted, at: \"2026-03-03T10:00Z\" }
  - { ann: enrolled, campaign: renewal, at: \"2026-06-13T07:00Z\" }
";
    let text = format!("{SHOP}{documents}{story}");
    let documents = read(&[SourceFile { name: "test.yaml".to_owned(), text }]).unwrap();
    let report = run_all(&documents).remove(0);
    assert!(report.passed, "{:?}\n{}", report.failures, report.timeline);
    let told = "  → top_category changed from `hats` to `shoes`: Order Completed performed 2 times within 1y; \
                most frequent properties.category is `shoes`\n";
    assert!(report.timeline.contains(told), "{}", report.timeline);
}

const OPEN: &str = "\
kind: segment
key: open
name: Can be written to
owner: crm@shop.example
where: { reachable: email }
---
kind: story
name: a story
campaigns: []
";

fn reached(story: &str) -> StoryReport {
    let documents = read(&[SourceFile { name: "test.yaml".to_owned(), text: format!("{OPEN}{story}") }]).unwrap();
    let Definition::Story(story) = &documents.last().unwrap().definition else { panic!() };
    run(&documents, story)
}

#[test]
fn a_story_puts_an_address_on_the_list_and_whoever_has_it_cannot_be_reached() {
    let report = reached(
        "profiles: { ann: { traits: { email: a@shop.example } }, bob: { traits: { email: A@Shop.example } }, eva: {} }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Address Suppressed, properties: { channel: email, kind: complaint } }
  - { at: \"2026-03-02T10:00Z\", eva: Identified, traits: { email: a@shop.example } }
  - { at: \"2026-03-03T10:00Z\", bob: Suppression Removed, properties: { channel: email, kind: bounced } }
  - { at: \"2026-03-04T10:00Z\", bob: Suppression Removed, properties: { channel: email } }
expect:
  - { ann: left, segment: open, at: \"2026-03-01T10:00Z\" }
  - { bob: left, segment: open, at: \"2026-03-01T10:00Z\" }
  - { bob: entered, segment: open, at: \"2026-03-04T10:00Z\" }
  - { eva: entered, segment: open, at: \"2026-03-04T10:00Z\" }
",
    );
    assert!(report.passed, "{:?}\n{}", report.failures, report.timeline);
    let early = reached(
        "profiles: { ann: { traits: { email: a@shop.example } }, eva: {} }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Address Suppressed, properties: { channel: email } }
  - { at: \"2026-03-02T10:00Z\", eva: Identified, traits: { email: a@shop.example } }
expect: [ { eva: entered, segment: open } ]
",
    );
    assert!(!early.passed, "{}", early.timeline);
}

#[test]
fn a_no_of_one_person_closes_the_address_for_whoever_shares_it() {
    let report = reached(
        "profiles: { ann: { traits: { email: a@shop.example } }, bob: { traits: { email: a@shop.example } } }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Consent Changed, properties: { channel: email, state: denied } }
  - { at: \"2026-03-02T10:00Z\", ann: Consent Changed, properties: { channel: email, state: granted } }
expect:
  - { ann: left, segment: open, at: \"2026-03-01T10:00Z\" }
  - { bob: left, segment: open, at: \"2026-03-01T10:00Z\" }
  - { ann: entered, segment: open, at: \"2026-03-02T10:00Z\" }
  - { bob: entered, segment: open, at: \"2026-03-02T10:00Z\" }
",
    );
    assert!(report.passed, "{:?}\n{}", report.failures, report.timeline);
}

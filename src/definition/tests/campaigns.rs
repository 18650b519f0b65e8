//! Campaigns and conditions.

use serde_json::json;

use crate::audience::Condition;
use crate::audience::condition::{Count, Window};
use crate::audience::value_test::{Check, Test};
use crate::decision::campaign::{CampaignStatus, Exit, OnRepeat, Reentry};
use crate::definition::tests::{CART, bad, campaign, good};
use crate::event::pattern::Pattern;
use crate::ids::Span;
use crate::message::{CapUse, Channel, OnUnknownSend, Purpose, WhenCapped, WhenQuiet};

#[test]
fn a_campaign_is_read_with_its_defaults() {
    let cart = campaign(CART);
    assert_eq!((cart.key.as_str(), cart.version, cart.priority), ("cart_reminder", 0, 60));
    assert_eq!((cart.status, cart.purpose), (CampaignStatus::Live, Purpose::Marketing));
    assert_eq!(cart.entry.key.as_deref(), Some("properties.cart_id"));
    assert_eq!((cart.entry.on_repeat, cart.entry.reentry), (OnRepeat::Ignore, Reentry::Always));
    assert_eq!((cart.delay, cart.max_lateness), (Span::from_hours(1), Span::from_days(1)));
    assert_eq!(cart.caps, CapUse { obey: true, count: true, when_capped: WhenCapped::Drop });
    assert_eq!(cart.on_unknown_send, OnUnknownSend::Skip);
    assert_eq!((cart.send.channel, cart.send.expires), (Channel::Email, None));
    let thanks = campaign(&CART.replace("marketing", "transactional").replace("status: live\n", ""));
    assert_eq!(thanks.caps, CapUse { obey: false, count: false, when_capped: WhenCapped::Drop });
    assert_eq!((thanks.status, thanks.on_unknown_send), (CampaignStatus::Draft, OnUnknownSend::Repeat));
}

#[test]
fn every_field_of_a_trigger_is_read() {
    let full = campaign(
        "
kind: campaign
key: full
name: Full
owner: crm@shop.example
type: trigger
purpose: marketing
topic: offers
priority: 100
entry:
  event: Product Added
  match: { properties: { price: [ { numeric: [ '>=', 40.00 ] } ] } }
  where:
    all:
      - { not: { trait: { plan: [ staff, admin ] } } }
      - { event: { properties.total: { gte: 5, ignore_case: true } } }
      - { performed: { event: [ A, B ], where: { properties.x: 1 }, at_least: 2, at_most: 3, within: 90d } }
      - { performed: { event: A, exactly: 0, between: [ 1d, 2d ] } }
      - { performed: { event: A, since: 2026-03-01T10:00Z } }
  on_repeat: restart
  reentry: { after: 7d }
exit:
  - { event: [ Order Completed, Cart Cleared ], same: properties.cart_id, match: { a: [ b ] } }
  - { event: X, same: { entry: properties.a, event: properties.b } }
  - performed: { event: Login, since: entry }
goal: { event: Order Completed, within: 5d, after: sent, value: properties.revenue }
caps: { obey: false, when_capped: { defer: 12h } }
max_lateness: 7d
on_unknown_send: repeat
send: { channel: sms, template: t, expires: 24h }
",
    );
    let pattern = json!({ "properties": { "price": [{ "numeric": [">=", 40] }] } });
    assert_eq!(full.entry.pattern, Some(Pattern::from_json(&pattern).unwrap()));
    let Some(Condition::All(leaves)) = &full.entry.filter else { panic!("{:?}", full.entry.filter) };
    let Condition::Not(plan) = &leaves[0] else { panic!("{:?}", leaves[0]) };
    assert_eq!(
        **plan,
        Condition::Trait(vec![("plan".into(), Test::any_of(vec![json!("staff").into(), json!("admin").into()]))])
    );
    let test = Test { checks: vec![Check::Gte(json!(5).into())], ignore_case: true };
    assert_eq!(leaves[1], Condition::Event(vec![("properties.total".into(), test)]));
    let Condition::Performed(performed) = &leaves[2] else { panic!("{:?}", leaves[2]) };
    assert_eq!((performed.events.len(), performed.filter.len()), (2, 1));
    assert_eq!(performed.count, Count { at_least: Some(2), at_most: Some(3) });
    let Condition::Performed(never) = &leaves[3] else { panic!("{:?}", leaves[3]) };
    assert_eq!(never.count, Count { at_least: Some(0), at_most: Some(0) });
    assert_eq!(never.window, Window::Between(Span::from_days(1).into(), Span::from_days(2).into()));
    assert_eq!((full.entry.on_repeat, full.entry.reentry), (OnRepeat::Restart, Reentry::After(Span::from_days(7))));
    let Exit::Event { events, same, .. } = &full.exit[0] else { panic!("{:?}", full.exit[0]) };
    assert_eq!((events.len(), same.as_ref().unwrap().0.as_str()), (2, "properties.cart_id"));
    let Exit::Condition { text, .. } = &full.exit[2] else { panic!("{:?}", full.exit[2]) };
    assert_eq!(text, "performed: { event: Login, since: entry }");
    assert_eq!(full.goal.unwrap().value.as_deref(), Some("properties.revenue"));
    let when_capped = WhenCapped::Defer(Span::from_hours(12));
    assert_eq!(full.caps, CapUse { obey: false, count: true, when_capped });
    assert_eq!(full.topic.as_deref(), Some("offers"));
    assert_eq!(full.send.expires, Some(Span::from_hours(24)));
}

#[test]
fn every_problem_is_listed_with_its_place_and_the_nearest_name() {
    let text = CART
        .replace("event: Product Added", "evnt: Product Added")
        .replace("type: trigger", "type: triger")
        .replace("delay: 1h", "delay: 1 hour")
        .replace("name: Cart reminder", "name: 7")
        .replace("crm@shop.example", "nobody")
        .replace("send: {", "priority: 101\nsend: { colour: red,");
    assert_eq!(
        bad(&text),
        "wrong_type test.yaml:3:7: name: wanted text (in quotes, if this is text), found the number 7
wrong_value test.yaml:4:8: owner: wanted an e-mail address; alerts go there
wrong_value test.yaml:5:7: type: `triger` is not one of trigger; did you mean `trigger`?
missing_field test.yaml:8:8: entry.event: this field is missing
unknown_field test.yaml:8:10: entry.evnt: unknown field; did you mean `event`?
wrong_value test.yaml:9:8: delay: `1 hour` is not a duration such as 30s, 5m, 2h, 7d or 2w
wrong_value test.yaml:11:11: priority: wanted a whole number from 0 to 100, found 101
unknown_field test.yaml:12:9: send.colour: unknown field
"
    );
}

#[test]
fn an_owner_is_required_for_what_is_live_and_optional_for_a_draft() {
    let text = CART.replace("owner: crm@shop.example\n", "");
    assert_eq!(bad(&text), "missing_field test.yaml:1:1: owner: this field is missing\n");
    assert_eq!(campaign(&text.replace("live", "draft")).owner, "");
}

#[test]
fn a_campaign_waits_for_quiet_hours_drops_in_them_or_is_urgent() {
    let with = |line: &str| format!("{CART}{line}\n");
    let receipt = |line: &str| with(line).replace("purpose: marketing", "purpose: transactional");
    assert_eq!(campaign(CART).quiet, WhenQuiet::Wait);
    assert_eq!(campaign(&with("quiet_hours: drop")).quiet, WhenQuiet::Drop);
    assert_eq!(campaign(&receipt("urgent: true")).quiet, WhenQuiet::Ignore);
    assert_eq!(campaign(&receipt("urgent: false")).quiet, WhenQuiet::Wait);
    for (text, told) in [
        (with("urgent: true"), "marketing is never urgent"),
        (receipt("urgent: true\nquiet_hours: drop"), "leave `quiet_hours` out"),
        (with("quiet_hours: hold"), "not one of wait, drop"),
        (receipt("urgent: 1"), "wrong_type"),
    ] {
        let answer = bad(&text);
        assert!(answer.contains(told), "{answer}");
    }
}

/// Each of these is in the language and not in this version; the answer names the field.
#[test]
fn what_comes_later_is_refused_by_name() {
    let with = |line: &str| format!("{CART}{line}\n");
    let entry = |inner: &str| CART.replace("{ event: Product Added,", &format!("{{ event: Product Added, {inner},"));
    let filter = |inner: &str| entry(&format!("where: {inner}"));
    let send = |inner: &str| CART.replace("send: {", &format!("send: {{ {inner},"));
    let cases = [
        (with("group: intent"), "group"),
        (with("holdout: 10"), "holdout"),
        (with("steps: []"), "steps"),
        (with("audience: {}"), "audience"),
        (with("pace: 5000/min"), "pace"),
        (with("split: {}"), "split"),
        (with("winner: {}"), "winner"),
        (with("goal: { event: A, within: 5d, after: opened }"), "goal.after"),
        (with("goal: { event: A, within: 1mo }"), "goal.within"),
        (CART.replace("trigger", "journey"), "type"),
        (CART.replace("trigger", "broadcast"), "type"),
        (CART.replace("delay: 1h", "delay: 1mo"), "delay"),
        (entry("each: properties.products"), "entry.each"),
        (filter("{ reachable: preferred }"), "entry.where.reachable"),
        (send("fallback: [ push ]"), "send.fallback"),
        (send("coupon: x"), "send.coupon"),
        (send("after_sent: x"), "send.after_sent"),
        (CART.replace("channel: email", "channel: preferred"), "send.channel"),
        (send("expires: { ref: x }"), "send.expires"),
    ];
    for (text, field) in cases {
        let told = bad(&text);
        let line = told.lines().find(|line| line.contains(&format!(": {field}: ")));
        assert!(line.is_some_and(|line| line.starts_with("not_yet_supported ")), "{field}\n{told}");
    }
}

#[test]
fn conditions_that_cannot_mean_anything_are_refused() {
    let filter = |inner: &str| bad(&CART.replace("key: properties", &format!("where: {inner}, key: properties")));
    for (inner, told) in [
        ("{}", "wanted one condition"),
        ("{ trait: { a: 1 }, event: { b: 2 } }", "wanted one condition"),
        ("{ trait: {} }", "names no field"),
        ("{ trait: { a: {} } }", "checks nothing"),
        ("{ trait: { a: [] } }", "an empty list"),
        ("{ trait: { a: null } }", "exists: false"),
        ("{ trait: { a: { gt: true } } }", "a number or text"),
        ("{ trait: { a: { between: [ 1 ] } } }", "a list of two"),
        ("{ trait: { a: { before: soon } } }", "an instant"),
        ("{ trait: { a: +44770 } }", "in quotes"),
        ("{ trait: { a: 1e999 } }", "too large or too fine"),
        ("{ traits: { a: 1 } }", "did you mean `trait`?"),
        ("{ cart: emty }", "did you mean `empty`?"),
        ("{ cart: {} }", "names no field of the cart"),
        ("{ cart: { worth: 1 } }", "unknown_field"),
        ("{ cart: { item: 1 } }", "did you mean `items`?"),
        ("{ cart: { items: { gte: EUR 1 } } }", "has no currency"),
        ("{ cart: { items: { prefix: a } } }", "unknown_field"),
        ("{ cart: { value: { gte: much } } }", "wanted a number, or money"),
        ("{ cart: { currency: euro } }", "by their codes"),
        ("{ cart: { changed_at: 2026-03-01 } }", "a test of a date"),
        ("{ cart: { changed_at: { gte: 1 } } }", "unknown_field"),
        ("{ trait: { a: { ref: cart.valu } } }", "did you mean cart.value?"),
        ("{ performed: { event: A, exactly: 1, at_least: 1 } }", "stands alone"),
        ("{ performed: { event: A, at_least: 3, at_most: 2 } }", "above"),
        ("{ performed: { event: A, within: 1d, since: entry } }", "one of `within`"),
        ("{ performed: { event: A, since: entry } }", "no enrollment here"),
        ("{ performed: { event: A, between: [ 2d, 1d ] } }", "the shorter one"),
        ("{ performed: { event: A, within: 0s } }", "longer than zero"),
        ("{ performed: { event: [] } }", "names no event"),
    ] {
        assert!(filter(inner).contains(told), "{inner}: {}", filter(inner));
    }
    let exit = bad(&CART.replace("{ event: Order Completed }", "{ event: { a: 1 } }"));
    assert!(exit.contains("exit[0].event: no event is at hand here"), "{exit}");
}

#[test]
fn limits_are_named() {
    let leaf = "{ trait: { a: 1 } }";
    let filter = |inner: &str| CART.replace("key: properties", &format!("where: {inner}, key: properties"));
    let of = |n: usize| filter(&format!("{{ any: [ {} ] }}", vec![leaf; n].join(", ")));
    assert_eq!(good(&of(99)).len(), 1);
    assert!(bad(&of(100)).contains("limit test.yaml:8:39: entry.where: has 101 conditions; at most 100"));
    let nested = |n: usize| filter(&format!("{}{leaf}{}", "{ not: ".repeat(n), " }".repeat(n)));
    assert_eq!(good(&nested(11)).len(), 1);
    assert!(bad(&nested(12)).contains("nested deeper than 12"));
    let late = bad(&format!("{CART}max_lateness: 8d\n"));
    assert_eq!(late, "limit test.yaml:12:15: max_lateness: is 8d; at most 7d is allowed\n");
    let long = "x".repeat(257);
    assert!(bad(&CART.replace("Product Added", &long)).contains("has 257 characters; at most 256"));
    assert!(bad(&CART.replace("key: cart_reminder", "key: Cart Reminder")).contains("1 to 64 of a-z"));
}

#[test]
fn a_wrong_event_pattern_is_refused_by_kind_and_place() {
    let told = |inner: &str| {
        let with = format!("{{ event: Product Added, match: {{ a: {inner} }},");
        bad(&CART.replace("{ event: Product Added,", &with))
    };
    for (inner, answer) in [
        ("[ { prefix: 3 } ]", "wrong_type test.yaml:8:56: entry.match.a[0].prefix: "),
        ("[ { sufix: x } ]", "unknown_field test.yaml:8:55: entry.match.a[0].sufix: "),
        ("[ { cidr: 10.0.0.0/40 } ]", "wrong_value test.yaml:8:54: entry.match.a[0].cidr: "),
        ("{ b: [ { anything-but: [ x, 3 ] } ] }", "wrong_type test.yaml:8:72: entry.match.a.b[0].anything-but[1]: "),
    ] {
        let line = told(inner);
        assert!(line.starts_with(answer), "{line}");
    }
    assert!(told("[ { sufix: x } ]").contains("did you mean `suffix`?"));
}

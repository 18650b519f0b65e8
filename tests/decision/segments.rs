//! Segments followed: by events, by time, by changed definitions; and what comes of entering and leaving.

use std::collections::{BTreeMap, BTreeSet};

use carillon::audience::condition::Terms;
use carillon::audience::segment::{Bases, SegmentSet};
use carillon::decision::{Effect, Input};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Event, Origin};
use carillon::ids::Position;
use proptest::prelude::*;

use crate::support::{Life, at, campaign_called, event, verdicts};

const DAY: i64 = 24 * 3600;

/// Segments by key, each with the position from which on it is in force.
pub fn segments(texts: &[(&str, &str, i64)]) -> SegmentSet {
    let read_one = |(key, filter, since): &(&str, &str, i64)| {
        let text = format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {filter}\n");
        let documents = read(&[SourceFile { name: "s.yaml".into(), text }]).unwrap();
        let Definition::Segment(segment) = documents.into_iter().next().unwrap().definition else { panic!() };
        (segment, Position(*since))
    };
    SegmentSet::new(texts.iter().map(read_one).collect(), &Bases::default())
}

fn life(texts: &[(&str, &str, i64)], campaigns: &[(&str, &str)]) -> Life {
    let campaigns = campaigns.iter().map(|(key, fields)| campaign_called(key, 1, fields)).collect();
    let mut life = Life::of(campaigns);
    set_segments(&mut life, texts);
    life
}

fn set_segments(life: &mut Life, texts: &[(&str, &str, i64)]) {
    let terms = Terms { segments: segments(texts), ..Terms::default() };
    life.catalog = std::mem::take(&mut life.catalog).with_terms(terms);
}

/// Decides an input and whatever follows from it; the answer is what followed: `+vip`, `-vip`, with `!` where it is of a
/// backfill, and every verdict of a campaign.
fn live(life: &mut Life, now: carillon::ids::Timestamp, input: &Input) -> Vec<String> {
    let mut told = Vec::new();
    let mut open = vec![(now, input.clone())];
    while !open.is_empty() {
        let (now, input) = open.remove(0);
        let decision = life.decide(now, &input);
        told.extend(verdicts(&decision).into_iter().filter(|it| *it != "other").map(str::to_owned));
        for effect in decision.effects {
            let Effect::Happen(own) = effect else { continue };
            let sign = if own.name == "Segment Entered" { "+" } else { "-" };
            let mark = if own.properties.contains_key("cause") { "!" } else { "" };
            told.push(format!("{sign}{}{mark}", own.properties["segment"].as_str().unwrap()));
            open.push((own.at, Input::Event(own.into_event().into())));
        }
    }
    told
}

fn track(life: &mut Life, seconds: i64, name: &str) -> Vec<String> {
    live(life, at(seconds), &Input::Event(event(name, at(seconds), at(seconds), "{}").into()))
}

fn wake(life: &mut Life) -> Vec<String> {
    let now = life.person.wake_at.take().expect("nobody is to be woken");
    live(life, now, &Input::Timer)
}

const VIP: (&str, &str, i64) = ("vip", "{ performed: { event: Order Completed, at_least: 2, within: 30d } }", 1);
const LAPSED: (&str, &str, i64) = ("lapsed", "{ not: { performed: { event: Order Completed, within: 30d } } }", 1);
const CORE: (&str, &str, i64) = ("core", "{ all: [ { in_segment: vip }, { not: { in_segment: lapsed } } ] }", 1);

#[test]
fn a_person_enters_by_the_event_that_fulfils_it_and_leaves_when_time_takes_it_away() {
    let mut life = life(&[VIP, LAPSED, CORE], &[]);
    assert_eq!(track(&mut life, 0, "Order Completed"), Vec::<String>::new());
    assert_eq!(track(&mut life, DAY, "Order Completed"), ["+vip", "+core"]);
    assert_eq!(life.person.wake_at, Some(at(30 * DAY)), "the first order leaves the window");
    assert_eq!(wake(&mut life), ["-vip", "-core"]);
    assert_eq!(life.person.wake_at, Some(at(31 * DAY)));
    assert_eq!(wake(&mut life), ["+lapsed"], "nobody did anything");
    assert_eq!(life.person.wake_at, None);
    assert_eq!(track(&mut life, 40 * DAY, "Order Completed"), ["-lapsed"]);
}

#[test]
fn a_due_instant_that_an_event_overtakes_is_lived_through_first() {
    let mut life = life(&[LAPSED], &[]);
    track(&mut life, 0, "Order Completed");
    let told = track(&mut life, 31 * DAY, "Order Completed");
    assert_eq!(told, ["+lapsed", "-lapsed"]);
    let history: Vec<_> =
        life.person.profile.history.iter().filter(|it| it.name.starts_with("Segment")).map(|it| it.at).collect();
    assert_eq!(history, [at(30 * DAY), at(31 * DAY)], "each at its own instant");
}

#[test]
fn a_campaign_begins_when_somebody_enters_or_leaves_and_not_by_a_backfill() {
    let welcome = ("welcome", "entry: { segment: vip, on: entered }\ndelay: 1h");
    let sorry = ("sorry", "entry: { segment: vip, on: left, key: properties.segment }\ndelay: 1h");
    let mut ann = life(&[VIP], &[welcome, sorry]);
    track(&mut ann, 0, "Order Completed");
    assert_eq!(track(&mut ann, 60, "Order Completed"), ["+vip", "entered"]);
    assert_eq!(ann.person.active().next().unwrap().campaign, "welcome");
    let message = ann.messages.len();
    live(&mut ann, at(3660), &Input::Timer);
    assert_eq!(ann.messages.len(), message + 1);
    ann.person.wake_at = Some(at(30 * DAY));
    assert_eq!(wake(&mut ann), ["-vip", "entered"]);

    let mut bob = life(&[], &[welcome]);
    track(&mut bob, 0, "Order Completed");
    track(&mut bob, 60, "Order Completed");
    set_segments(&mut bob, &[VIP]);
    assert_eq!(live(&mut bob, at(120), &Input::Timer), ["+vip!", "backfill"]);
    assert_eq!(live(&mut bob, at(180), &Input::Timer), Vec::<String>::new(), "once");
}

#[test]
fn an_event_that_comes_before_the_backfill_is_told_apart_from_the_definition() {
    let mut life = life(&[], &[]);
    track(&mut life, 0, "Order Completed");
    // By the definition ann is lapsed no more than before; by her order she becomes a vip.
    set_segments(&mut life, &[VIP, LAPSED]);
    assert_eq!(track(&mut life, 60, "Order Completed"), ["+vip"]);
    // A new text that takes the membership away, and an event that has nothing to do with it.
    set_segments(&mut life, &[("vip", "{ trait: { tier: gold } }", 2), LAPSED]);
    assert_eq!(track(&mut life, 120, "Page Viewed"), ["-vip!"]);
}

#[test]
fn a_newcomer_enters_by_coming_and_an_import_starts_nothing() {
    let mut ann = life(&[LAPSED], &[]);
    assert_eq!(track(&mut ann, 0, "Page Viewed"), ["+lapsed"]);
    let mut bob = life(&[LAPSED], &[("back", "entry: { segment: lapsed, on: entered }")]);
    let imported =
        Event { origin: Origin::Import { file: "a.csv".into(), row: 1 }, ..event("Page Viewed", at(0), at(0), "{}") };
    assert_eq!(live(&mut bob, at(0), &Input::Event(imported.into())), ["+lapsed!", "backfill"]);
}

#[test]
fn the_past_told_beside_a_service_that_goes_on_starts_nothing_nor_when_it_is_redriven() {
    let past = Origin::Past { file: "a.csv".into(), row: 1, redriven: None };
    for origin in [past.clone(), past.redriven(7)] {
        let mut ann = life(&[LAPSED], &[("view", "entry: { event: Page Viewed }")]);
        let told = Event { origin, ..event("Page Viewed", at(0), at(60), "{}") };
        assert_eq!(live(&mut ann, at(60), &Input::Event(told.into())), ["backfill", "+lapsed!"]);
        assert_eq!(track(&mut ann, 120, "Page Viewed"), ["entered", "queued"], "what happens does");
    }
}

#[test]
fn a_changed_base_is_a_changed_definition_for_what_is_built_on_it() {
    let mut life = life(&[VIP, LAPSED, CORE], &[]);
    track(&mut life, 0, "Order Completed");
    track(&mut life, 60, "Order Completed");
    let stricter = ("vip", "{ performed: { event: Order Completed, at_least: 3, within: 30d } }", 2);
    set_segments(&mut life, &[stricter, LAPSED, CORE]);
    assert_eq!(live(&mut life, at(120), &Input::Timer), ["-vip!", "-core!"]);
}

#[test]
fn conditions_of_campaigns_see_the_membership_this_event_included() {
    let thanks = ("thanks", "entry: { event: Order Completed, where: { in_segment: vip } }");
    let staff = ("offer", "entry: { event: Page Viewed }\ndelay: 1d\nexit: [ { in_segment: vip } ]");
    let mut life = life(&[VIP], &[thanks, staff]);
    assert_eq!(track(&mut life, 0, "Page Viewed"), ["entered"]);
    let first = life.decide(at(60), &Input::Event(event("Order Completed", at(60), at(60), "{}").into()));
    let reason = format!("{:?}", first.findings);
    let operand = "not in segment vip (Order Completed performed 1 times within 30d, wanted at least 2)";
    assert!(reason.contains(operand), "{reason}");
    let told = track(&mut life, 120, "Order Completed");
    assert_eq!(told, ["exited", "entered", "queued", "+vip"], "appended after");
}

#[test]
fn events_of_our_own_that_follow_each_other_come_to_an_end_and_say_so() {
    // Each entering fulfils the next one's condition.
    let chain: Vec<(String, String)> = (0..12)
        .map(|n| {
            let heard = if n == 0 { "Order Completed" } else { "Segment Entered" };
            (format!("s{n:02}"), format!("{{ performed: {{ event: {heard}, at_least: {} }} }}", n.max(1)))
        })
        .collect();
    let texts: Vec<(&str, &str, i64)> = chain.iter().map(|(key, filter)| (key.as_str(), filter.as_str(), 1)).collect();
    let mut life = life(&texts, &[]);
    track(&mut life, 0, "Order Completed");
    let told = track(&mut life, 60, "Page Viewed");
    assert_eq!(told, Vec::<String>::new());
    let entered = life.person.profile.history.iter().filter(|it| it.name == "Segment Entered").count();
    assert_eq!(entered, usize::from(carillon::decision::segments::DEPTH_MAX), "no more in a row");
}

/// What happens: (seconds passed before it, what it is).
type Step = (i64, u8);

/// Membership by plain loops over everything that happened: orders in the window, the trait as last set.
fn oracle(steps: &[(i64, u8)], t: i64) -> BTreeMap<&'static str, bool> {
    let orders: Vec<i64> =
        steps.iter().filter(|(when, what)| *what == 0 && *when <= t).map(|(when, _)| *when).collect();
    let gold =
        steps.iter().rev().find(|(when, what)| (*what == 1 || *what == 2) && *when <= t).is_some_and(|it| it.1 == 1);
    let recent = orders.iter().filter(|when| t < **when + 30 * DAY).count();
    let earlier = orders.iter().any(|when| when + 10 * DAY <= t && t < when + 20 * DAY);
    let (vip, lapsed) = (recent >= 2, recent == 0);
    BTreeMap::from([
        ("vip", vip),
        ("lapsed", lapsed),
        ("golden", gold && (vip || earlier)),
        ("rest", !(gold && (vip || earlier)) && !lapsed),
    ])
}

const ALL: [(&str, &str, i64); 4] = [
    VIP,
    LAPSED,
    (
        "golden",
        "{ all: [ { trait: { tier: gold } }, { any: [ { in_segment: vip }, \
         { performed: { event: Order Completed, between: [ 10d, 20d ] } } ] } ] }",
        1,
    ),
    ("rest", "{ not: { any: [ { in_segment: golden }, { in_segment: lapsed } ] } }", 1),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// At every instant, also between the inputs and though nobody polls, the stored membership is what the whole
    /// history says; and the events of entering and leaving tell exactly its changes.
    #[test]
    fn stored_memberships_are_what_the_whole_history_says(
        steps in prop::collection::vec((1..15 * DAY, 0_u8..4), 1..25), applied_after in 0_usize..10,
    ) {
        let steps: Vec<Step> = steps;
        let mut life = life(&[], &[]);
        let (mut now, mut done, mut told) = (0, Vec::new(), BTreeSet::new());
        let follow = |told: &mut BTreeSet<String>, changes: Vec<String>| {
            for change in changes {
                let key = change[1..].trim_end_matches('!').to_owned();
                // Nobody enters twice or leaves what they are not in.
                assert!(if change.starts_with('+') { told.insert(key) } else { told.remove(&key) }, "{change}");
            }
        };
        for (n, (passed, what)) in steps.iter().enumerate() {
            if n == applied_after.min(steps.len() - 1) {
                set_segments(&mut life, &ALL);
                let changes = if n == 0 { Vec::new() } else { live(&mut life, at(now), &Input::Timer) };
                follow(&mut told, changes);
            }
            let until = now + passed;
            for _ in 0..200 {
                let Some(due) = life.person.wake_at.filter(|due| *due <= at(until)) else { break };
                let seconds = (due.millis() - at(0).millis()) / 1000;
                // Until the promised instant nothing has changed.
                if n > applied_after {
                    let just_before = oracle(&done, seconds - 1);
                    prop_assert!(just_before.iter().all(|(key, is_in)| told.contains(*key) == *is_in), "before {seconds}");
                }
                let changes = wake(&mut life);
                follow(&mut told, changes);
            }
            now = until;
            done.push((now, *what));
            let changes = match what {
                0 => track(&mut life, now, "Order Completed"),
                1 | 2 => {
                    let body = format!(r#"{{"traits":{{"tier":{}}}}}"#, if *what == 1 { "\"gold\"" } else { "null" });
                    live(&mut life, at(now), &Input::Event(event("Identified", at(now), at(now), &body).into()))
                }
                _ => track(&mut life, now, "Page Viewed"),
            };
            follow(&mut told, changes);
            if n >= applied_after.min(steps.len() - 1) {
                let expected = oracle(&done, now);
                for (key, is_in) in &expected {
                    let standing = life.person.profile.segments.of(key);
                    prop_assert_eq!(standing.since.is_some(), *is_in, "{} at {}", key, now);
                    prop_assert_eq!(told.contains(*key), *is_in, "{} at {}", key, now);
                }
            }
            prop_assert!(life.person.wake_at.is_none_or(|wake| wake > at(now)));
        }
    }
}

#[test]
fn a_changed_topic_changes_the_segments_that_ask_for_it() {
    let read_one = |key: &str, filter: &str| {
        let text = format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {filter}\n");
        let documents = read(&[SourceFile { name: "s.yaml".into(), text }]).unwrap();
        let Definition::Segment(segment) = documents.into_iter().next().unwrap().definition else { panic!() };
        (segment, Position(1))
    };
    let of = [
        read_one("offered", "{ subscribed: { topic: offers } }"),
        read_one("above", "{ not: { in_segment: offered } }"),
        read_one("other", "{ subscribed: { topic: news } }"),
    ];
    let bases = Bases { topics: BTreeMap::from([("offers".to_owned(), Position(7))]), ..Bases::default() };
    let set = SegmentSet::new(of.to_vec(), &bases);
    let since: Vec<i64> = ["offered", "above", "other"].iter().map(|key| set.get(key).unwrap().since.0).collect();
    assert_eq!(since, [7, 7, 1]);
}

#[test]
fn segments_that_build_on_each_other_in_a_circle_hold_for_nobody() {
    let set = segments(&[("a", "{ in_segment: b }", 1), ("b", "{ not: { in_segment: a } }", 1), VIP]);
    assert_eq!(set.iter().map(|defined| defined.segment.key.as_str()).collect::<Vec<_>>(), ["vip"]);
}

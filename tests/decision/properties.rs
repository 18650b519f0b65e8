//! Whatever happens in whatever order: deciding twice gives the same, everybody who waits is woken in time, nobody is
//! woken for nothing for ever, and no message is made twice.

use carillon::decision::{Input, State};
use carillon::ids::{Span, Timestamp};
use carillon::message::{Reason, Status};
use proptest::prelude::*;

use crate::support::{Life, at, campaign_called, event};

const CART: &str = "entry: { event: Product Added, key: properties.cart_id, on_repeat: restart }\n\
    delay: 3h\nexit: [ { event: Order Completed, same: properties.cart_id }, { trait: { plan: pro } } ]";
const BROWSE: &str = "entry: { event: Page Viewed, on_repeat: update, reentry: { after: 5h } }\n\
    delay: 20m\nexit: [ { performed: { event: Page Viewed, within: 2h, at_least: 3 } }, \
    { performed: { event: Product Added, between: [1h, 4h] } } ]\n\
    goal: { event: Order Completed, within: 1d }";
const THANKS: &str =
    "entry: { event: Order Completed, reentry: never, where: { performed: { event: Order Completed, exactly: 1 } } }";

#[derive(Debug, Clone)]
enum Step {
    Event { name: &'static str, cart: u8, late: i64 },
    Pro(bool),
    Pass(i64),
    MessageEnds { which: usize, sent: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["Product Added", "Page Viewed", "Order Completed", "Other"]);
    prop_oneof![
        6 => (name, 0..3_u8, prop_oneof![3 => Just(0), 1 => 0..20_000_i64])
            .prop_map(|(name, cart, late)| Step::Event { name, cart, late }),
        1 => any::<bool>().prop_map(Step::Pro),
        4 => (1..20_000_i64).prop_map(Step::Pass),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, sent)| Step::MessageEnds { which, sent }),
    ]
}

/// Every wait of the person ends at or after the instant they are woken; nobody is woken in the past.
fn is_woken(life: &Life, now: Timestamp) {
    let first = life.person.active().filter_map(|one| match one.state {
        State::Waiting { until } => Some(until),
        _ => None,
    });
    for until in first {
        assert!(until > now, "a wait is over at {now} and nothing came of it: {until}");
        assert!(
            life.person.wake_at.is_some_and(|wake| wake <= until),
            "woken {:?}, waits {until}",
            life.person.wake_at
        );
    }
    assert!(life.person.wake_at.is_none_or(|wake| wake > now), "woken at {:?}, now {now}", life.person.wake_at);
}

fn wake_until(life: &mut Life, until: Timestamp) {
    for _ in 0..500 {
        let Some(wake) = life.person.wake_at.filter(|wake| *wake <= until) else { return };
        life.wake();
        is_woken(life, wake);
    }
    panic!("timers without an end");
}

fn take(life: &mut Life, now: Timestamp, step: &Step) {
    match step {
        Step::Event { name, cart, late } => {
            let happened = now.minus(Span::from_seconds(*late));
            let body = format!(r#"{{"properties":{{"cart_id":"c{cart}"}}}}"#);
            life.decide(now, &Input::Event(event(name, happened, now, &body).into()));
        }
        Step::Pro(yes) => {
            let body = format!(r#"{{"traits":{{"plan":{}}}}}"#, if *yes { "\"pro\"" } else { "null" });
            life.decide(now, &Input::Event(event("Identified", now, now, &body).into()));
        }
        Step::Pass(_) => {}
        Step::MessageEnds { which, sent } => {
            let ids: Vec<_> = life.messages.keys().copied().collect();
            let Some(id) = ids.get(which % ids.len().max(1)).copied() else { return };
            let status = if *sent {
                Status::Sent { at: now, reply: "250".into() }
            } else {
                Status::Suppressed { at: now, reason: Reason::NoAddress { channel: "email".into() } }
            };
            life.messages.remove(&id);
            life.decide(now, &Input::MessageEnded { message: id, status });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_waits_is_woken_in_time(steps in prop::collection::vec(step(), 1..60)) {
        let mut life = Life::of(vec![
            campaign_called("cart", 1, CART),
            campaign_called("browse", 1, BROWSE),
            campaign_called("thanks", 1, THANKS),
        ]);
        let mut now = at(0);
        for step in &steps {
            if let Step::Pass(seconds) = step {
                now = now.plus(Span::from_seconds(*seconds));
                wake_until(&mut life, now);
            }
            take(&mut life, now, step);
            if !matches!(step, Step::Pass(_)) {
                is_woken(&life, now);
            }
            for one in life.person.active() {
                let twins = life.person.active().filter(|other| (&other.campaign, &other.key) == (&one.campaign, &one.key));
                prop_assert_eq!(twins.count(), 1, "two enrollments of one key");
                if let State::Waiting { until } = one.state {
                    prop_assert!(until <= one.entered_at.plus(Span::from_hours(24)));
                }
            }
        }
        wake_until(&mut life, now.plus(Span::from_days(40)));
        prop_assert!(life.person.active().all(|one| matches!(one.state, State::Sending { .. })), "somebody still waits");
    }
}

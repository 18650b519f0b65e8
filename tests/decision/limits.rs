//! One person cannot grow without end.

use carillon::audience::TRAITS_BYTES_MAX;
use carillon::decision::FINDINGS_MAX;
use carillon::decision::entry::ENROLLMENTS_ACTIVE_MAX;

use crate::support::{Life, campaign_called, verdicts};

#[test]
fn a_profile_has_a_bounded_number_of_active_enrollments() {
    let mut life = Life::with("entry: { event: Product Added, key: properties.cart_id }\ndelay: 1h");
    for n in 0..ENROLLMENTS_ACTIVE_MAX {
        life.track(n as i64 / 10, "Product Added", &format!(r#"{{"cart_id":{n}}}"#));
    }
    assert_eq!(verdicts(&life.track(900, "Product Added", r#"{"cart_id":"more"}"#)), ["too_many_enrollments"]);
    assert_eq!(life.person.active().count(), ENROLLMENTS_ACTIVE_MAX);
    assert_eq!(verdicts(&life.track(901, "Product Added", r#"{"cart_id":1}"#)), ["already_enrolled"]);
}

#[test]
fn traits_of_many_calls_have_a_bound_and_what_is_refused_leaves_a_finding() {
    let mut life = Life::with("delay: 1h");
    let filler = "x".repeat(30_000);
    let mut refused = 0;
    for n in 0..10 {
        let decision = life.identify(n, &format!(r#"{{"t{n}":"{filler}","plan":"p{n}"}}"#));
        refused += usize::from(verdicts(&decision).contains(&"other"));
    }
    let bytes = serde_json::to_string(&life.person.profile.traits).unwrap().len();
    assert!(bytes <= TRAITS_BYTES_MAX, "{bytes}");
    assert!(refused > 0);
    let decision = life.identify(20, r#"{"t0":null}"#);
    assert!(!verdicts(&decision).contains(&"other"), "removing always works");
    assert!(!life.person.profile.traits.contains_key("t0"));
}

#[test]
fn many_campaigns_on_one_event_leave_a_bounded_account_that_says_how_many_it_leaves_out() {
    let more = "entry: { event: Product Added, match: { properties: { price: [ { exists: true } ] } } }";
    let mut campaigns: Vec<_> = (0..2_000).map(|n| campaign_called(&format!("c{n:05}"), 1, more)).collect();
    campaigns.push(campaign_called("z", 1, "delay: 1h"));
    let mut life = Life::of(campaigns);
    let decision = life.track(0, "Product Added", "{}");
    assert!(decision.findings.len() <= FINDINGS_MAX + 2, "{}", decision.findings.len());
    assert!(verdicts(&decision).contains(&"entered"), "what happened is never left out");
}

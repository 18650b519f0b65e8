//! The rules of the ledger: whose answer may follow whose.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::audience::Profile;
use crate::audience::condition::Terms;
use crate::audience::segment::Answers;
use crate::ids::ProfileId;

const STATES: [ConsentState; 4] = ConsentState::ALL;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_772_000_000_000 + second * 1_000)
}

fn said(state: ConsentState, via: Via, second: i64) -> Consent {
    Consent { state, source: "test".into(), at: at(second), text_version: None, via }
}

fn any_change() -> impl Strategy<Value = Consent> {
    (0..4usize, 0..10usize, 0..40i64).prop_map(|(state, via, second)| said(STATES[state], Via::ALL[via], second))
}

/// The answer after a ledger.
fn fold(changes: &[Consent]) -> Option<Consent> {
    changes.iter().cloned().fold(None, next)
}

#[test]
fn a_no_is_never_turned_into_a_yes_by_a_file_a_context_or_a_merge() {
    for via in [Via::Import, Via::Context, Via::Merge, Via::Link, Via::Policy, Via::Erasure, Via::Confirmation] {
        let denied = said(ConsentState::Denied, Via::Link, 0);
        assert!(!takes(Some(&denied), &said(ConsentState::Granted, via, 9)), "{via:?}");
    }
    for via in [Via::Event, Via::Page, Via::Api] {
        let denied = said(ConsentState::Denied, Via::Link, 5);
        assert!(takes(Some(&denied), &said(ConsentState::Granted, via, 5)), "{via:?}: later in the log");
        assert!(!takes(Some(&denied), &said(ConsentState::Granted, via, 4)), "{via:?}: said before the no");
    }
}

#[test]
fn only_an_operator_a_policy_or_an_erasure_takes_an_answer_back_to_none() {
    for via in Via::ALL {
        let clears = matches!(via, Via::Api | Via::Policy | Via::Erasure);
        for state in [ConsentState::Granted, ConsentState::Denied, ConsentState::Pending] {
            let known = said(state, Via::Event, 5);
            assert_eq!(takes(Some(&known), &said(ConsentState::Unknown, via, 9)), clears, "{via:?}");
        }
        assert!(!takes(None, &said(ConsentState::Unknown, via, 9)));
    }
}

#[test]
fn a_confirmation_counts_within_seven_days_and_only_where_one_was_asked_for() {
    let asked = said(ConsentState::Pending, Via::Event, 0);
    let week = 7 * 86_400;
    assert!(takes(Some(&asked), &said(ConsentState::Granted, Via::Confirmation, week - 1)));
    assert!(!takes(Some(&asked), &said(ConsentState::Granted, Via::Confirmation, week)));
    assert!(!takes(None, &said(ConsentState::Granted, Via::Confirmation, 1)));
    let denied = said(ConsentState::Denied, Via::Link, 1);
    assert!(!takes(Some(&denied), &said(ConsentState::Granted, Via::Confirmation, 2)));
    assert!(!takes(Some(&asked), &said(ConsentState::Granted, Via::Import, 2)), "a file confirms nothing");
    let granted = said(ConsentState::Granted, Via::Event, 0);
    assert!(!takes(Some(&granted), &said(ConsentState::Pending, Via::Event, 9)), "who said yes need not confirm");
}

#[test]
fn what_a_context_repeats_is_no_new_answer() {
    for state in [ConsentState::Granted, ConsentState::Denied] {
        assert!(takes(None, &said(state, Via::Context, 0)));
        assert!(!takes(Some(&said(state, Via::Context, 0)), &said(state, Via::Context, 9)));
    }
}

proptest! {
    #[test]
    fn without_a_spoken_yes_and_a_clearing_a_no_is_for_ever(
        before in prop::collection::vec(any_change(), 0..8),
        after in prop::collection::vec((0..4usize, 0..10usize, 0..40i64), 0..8),
    ) {
        let mut known = fold(&before);
        prop_assume!(known.as_ref().is_some_and(|known| known.state == ConsentState::Denied));
        for (state, via, second) in after {
            let (state, via) = (STATES[state], Via::ALL[via]);
            let is_spoken = matches!(via, Via::Event | Via::Page | Via::Api) || state == ConsentState::Pending;
            let is_cleared = state == ConsentState::Unknown;
            if !is_spoken && !is_cleared {
                known = next(known, said(state, via, second));
                prop_assert_eq!(known.as_ref().map(|known| known.state), Some(ConsentState::Denied));
            }
        }
    }

    #[test]
    fn folding_the_rows_that_were_taken_gives_the_same_answer(changes in prop::collection::vec(any_change(), 0..20)) {
        let (mut ledger, mut known) = (Vec::new(), None);
        for change in changes {
            if takes(known.as_ref(), &change) {
                ledger.push(change.clone());
            }
            known = next(known, change);
        }
        prop_assert_eq!(fold(&ledger), known);
    }

    #[test]
    fn of_two_people_a_no_wins_whoever_is_named_first(one in any_change(), other in any_change()) {
        let (a, b) = (one.clone().united(&other), other.clone().united(&one));
        let denied = [&one, &other].iter().any(|it| it.state == ConsentState::Denied);
        prop_assert_eq!(a.state == ConsentState::Denied, denied);
        if one.at != other.at {
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn soft_opt_in_needs_the_country_and_the_condition_and_says_what_is_missing() {
    let mut ann = Profile::new(ProfileId(1), at(0));
    let (bodies, terms, answers) = (BTreeMap::new(), Terms::default(), Answers::default());
    let soft = SoftOptIn { countries: ["GB".to_owned(), "IE".to_owned()].into(), condition: None };
    let policy = Policy { soft_opt_in: Some(soft), ..Policy::default() };
    let asked =
        |ann: &Profile| policy.admits_unknown(&Facts::of_person(at(1), (&terms, &answers), ann, (&[], &bodies, &[])));
    assert_eq!(asked(&ann).unwrap_err(), "soft opt-in: country is missing, wanted one of GB, IE");
    ann.traits.insert("country".into(), json!("de"));
    assert_eq!(asked(&ann).unwrap_err(), "soft opt-in: country is DE, wanted one of GB, IE");
    ann.traits.insert("address".into(), json!({ "country": " gb " }));
    assert_eq!(asked(&ann), Ok(()), "the address says more than the trait beside it");
    ann.traits.insert("address".into(), json!({ "country": "UK" }));
    assert_eq!(asked(&ann), Ok(()));
    ann.traits.insert("address".into(), json!({ "country": 44 }));
    assert_eq!(asked(&ann).unwrap_err(), "soft opt-in: country is DE, wanted one of GB, IE");
    assert_eq!(
        Policy::default()
            .admits_unknown(&Facts::of_person(at(1), (&terms, &answers), &ann, (&[], &bodies, &[])))
            .unwrap_err(),
        "the policy blocks that"
    );
}

//! Caps against a slow oracle: a window is slid over every instant and counted by hand.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// In UTC, with a middling priority.
fn fits(rules: &[Rule], slots: &[Slot], slot: &Slot) -> Result<(), Full> {
    super::fits(rules, slots, Candidate { slot, priority: 50, zone: &TimeZone::UTC })
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn minutes(n: i64) -> Span {
    Span::from_seconds(n * 60)
}

fn slot(name: u32, minute: i64, channel: Channel, campaign: &str, enrollment: u32) -> Slot {
    Slot {
        message: MessageId::derive(&[&name.to_le_bytes()]),
        at: at(minute),
        channel,
        topic: None,
        campaign: campaign.into(),
        enrollment: EnrollmentId::derive(&[&enrollment.to_le_bytes()]),
    }
}

fn mail(name: u32, minute: i64) -> Slot {
    slot(name, minute, Channel::Email, "cart_reminder", name)
}

fn rule(at_most: u32, per: i64, scope: Scope) -> Rule {
    Rule::new(at_most, minutes(per).into(), scope)
}

#[test]
fn rules_read_as_the_explanation_prints_them() {
    let day = |scope| Rule::new(3, Span::from_days(1).into(), scope).to_string();
    assert_eq!(day(Scope::Any), "at most 3 per 1d");
    let hours = Rule::new(1, Span::from_hours(16).into(), Scope::Channel(Channel::Email));
    assert_eq!(hours.to_string(), "at most 1 per 16h by email");
    assert_eq!(day(Scope::Campaign("cart_reminder".into())), "at most 3 per 1d for campaign cart_reminder");
    assert_eq!(day(Scope::EachCampaign { per_step: false }), "at most 3 per 1d for each campaign");
    let each = Rule::new(1, Span::from_days(7).into(), Scope::EachCampaign { per_step: false });
    let full = fits(&[each], &[mail(1, 0)], &mail(2, 1)).unwrap_err();
    assert_eq!(full.rule, "at most 1 per 7d for campaign cart_reminder");
}

#[test]
fn a_full_window_names_the_messages_that_fill_it_and_when_one_leaves() {
    let rules = [rule(3, 60, Scope::Any)];
    let slots = [mail(3, 20), mail(1, 0), mail(2, 10)];
    let full = fits(&rules, &slots, &mail(4, 30)).unwrap_err();
    assert_eq!(full.by, [mail(1, 0).message, mail(2, 10).message, mail(3, 20).message]);
    assert_eq!(full.frees_at, at(60));
    assert!(fits(&rules, &slots, &mail(4, 59)).is_err());
    assert!(fits(&rules, &slots, &mail(4, 60)).is_ok());
}

#[test]
fn a_message_is_not_counted_against_itself() {
    assert!(fits(&[rule(1, 60, Scope::Any)], &[mail(1, 0)], &mail(1, 5)).is_ok());
}

#[test]
fn each_scope_counts_its_own() {
    let used = [slot(1, 0, Channel::Email, "a", 1), slot(2, 0, Channel::Sms, "b", 2)];
    let asks = |scope: Scope, candidate: &Slot| fits(&[rule(1, 60, scope)], &used, candidate).is_ok();
    let push = slot(3, 1, Channel::Push, "c", 3);
    assert!(!asks(Scope::Any, &push));
    assert!(asks(Scope::Channel(Channel::Push), &push));
    assert!(asks(Scope::Channel(Channel::Email), &push), "a rule about e-mail says nothing about push");
    assert!(!asks(Scope::Channel(Channel::Email), &mail(3, 1)));
    assert!(asks(Scope::Campaign("a".into()), &push));
    assert!(!asks(Scope::Campaign("a".into()), &slot(3, 1, Channel::Push, "a", 3)));
    assert!(asks(Scope::EachCampaign { per_step: true }, &push));
    assert!(!asks(Scope::EachCampaign { per_step: true }, &slot(3, 1, Channel::Push, "b", 2)));
}

#[test]
fn enrollments_count_from_their_first_send_and_their_later_messages_pass() {
    let rules = [rule(1, 60, Scope::EachCampaign { per_step: false })];
    let welcome = |name, minute, enrollment| slot(name, minute, Channel::Email, "welcome", enrollment);
    let used = [welcome(1, 0, 1), welcome(2, 50, 1)];
    assert!(fits(&rules, &used, &welcome(3, 55, 1)).is_ok(), "the same enrollment goes on");
    let full = fits(&rules, &used, &welcome(3, 55, 2)).unwrap_err();
    assert_eq!((full.by, full.frees_at), (vec![used[0].message], at(60)));
    assert!(fits(&rules, &used, &welcome(3, 60, 2)).is_ok(), "counted from the first send, not the last");
}

#[test]
fn of_several_full_rules_the_one_that_frees_last_is_named() {
    let rules = [rule(1, 10, Scope::Any), rule(1, 60, Scope::Channel(Channel::Email)), rule(1, 60, Scope::Any)];
    let full = fits(&rules, &[mail(1, 0)], &mail(2, 5)).unwrap_err();
    assert_eq!((full.rule.as_str(), full.frees_at), ("at most 1 per 1h by email", at(60)));
}

#[test]
fn slots_kept_for_higher_priorities_are_not_there_for_lower_ones() {
    let rules = [Rule { keep: Some(Keep { slots: 1, priority: 60 }), ..rule(2, 60, Scope::Any) }];
    let asks = |used: &[Slot], priority| {
        super::fits(&rules, used, Candidate { slot: &mail(9, 10), priority, zone: &TimeZone::UTC })
    };
    assert!(asks(&[], 59).is_ok());
    let full = asks(&[mail(1, 0)], 59).unwrap_err();
    assert_eq!(full.rule, "at most 2 per 1h, 1 of them kept for priority 60 and above");
    assert_eq!((full.by.len(), full.frees_at), (1, at(60)));
    assert!(asks(&[mail(1, 0)], 60).is_ok());
    assert!(asks(&[mail(1, 0), mail(2, 0)], 100).is_err());
}

#[test]
fn a_rule_of_none_never_frees() {
    let never = Timestamp::from_millis(i64::MAX);
    assert_eq!(fits(&[rule(0, 60, Scope::Any)], &[], &mail(1, 0)).unwrap_err().frees_at, never);
    assert_eq!(fits(&[rule(0, 60, Scope::Any)], &[mail(1, 0)], &mail(2, 0)).unwrap_err().frees_at, never);
    assert!(fits(&[rule(0, 60, Scope::Channel(Channel::Sms))], &[], &mail(1, 0)).is_ok());
}

#[test]
fn the_longest_window_is_the_horizon() {
    assert_eq!(horizon(&[]), Span::ZERO);
    assert_eq!(horizon(&[rule(1, 5, Scope::Any), rule(9, 90, Scope::Channel(Channel::Sms))]), minutes(90));
}

/// The most units any window of the rule's length holds, for one campaign where the rule is per campaign. A window
/// that ends at a slot is as full as any.
fn fullest(rule: &Rule, slots: &[Slot], campaign: &str) -> usize {
    let units = |slot: &&Slot| match &rule.scope {
        Scope::Any => true,
        Scope::Channel(channel) => slot.channel == *channel,
        Scope::Topic(name) => slot.topic.as_ref() == Some(name),
        Scope::Campaign(name) => slot.campaign == *name,
        Scope::EachCampaign { .. } => slot.campaign == campaign,
    };
    let mut firsts = Vec::new();
    let mut seen = BTreeSet::new();
    for slot in slots.iter().filter(units) {
        if rule.scope != (Scope::EachCampaign { per_step: false }) || seen.insert(slot.enrollment) {
            firsts.push(slot.at.millis());
        }
    }
    let per = rule.per.reach().millis();
    firsts.iter().map(|end| firsts.iter().filter(|t| **t > end - per && *t <= end).count()).max().unwrap_or(0)
}

fn any_channel() -> impl Strategy<Value = Channel> {
    prop_oneof![Just(Channel::Email), Just(Channel::Sms)]
}

fn any_campaign() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b")]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let scope = prop_oneof![
        Just(Scope::Any),
        any_channel().prop_map(Scope::Channel),
        any_campaign().prop_map(|name| Scope::Campaign(name.into())),
        any::<bool>().prop_map(|per_step| Scope::EachCampaign { per_step }),
    ];
    (0..5_u32, 1..40_i64, scope).prop_map(|(at_most, per, scope)| rule(at_most, per, scope))
}

fn any_timeline() -> impl Strategy<Value = Vec<Slot>> {
    let one = (0..6_i64, any_channel(), any_campaign(), 0..6_u32);
    proptest::collection::vec(one, 1..60).prop_map(|gaps| {
        let mut clock = 0;
        let place = |(name, (gap, channel, campaign, enrollment)): (usize, (i64, Channel, &str, u32))| {
            clock += gap;
            // An enrollment belongs to one campaign.
            let enrollment = enrollment * 2 + u32::from(campaign == "b");
            slot(name as u32, clock, channel, campaign, enrollment)
        };
        gaps.into_iter().enumerate().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_window_ever_holds_more_than_its_rule_allows_and_none_is_refused_without_need(
        rules in proptest::collection::vec(any_rule(), 1..5),
        timeline in any_timeline(),
    ) {
        let mut taken: Vec<Slot> = Vec::new();
        for candidate in timeline {
            let allowed = fits(&rules, &taken, &candidate);
            let mut with = taken.clone();
            with.push(candidate.clone());
            let holds = rules
                .iter()
                .filter(|rule| rule.covers(&candidate))
                .all(|rule| fullest(rule, &with, &candidate.campaign) <= rule.at_most as usize || passes(rule, &taken, &candidate));
            prop_assert_eq!(allowed.is_ok(), holds);
            if allowed.is_ok() {
                taken = with;
            }
        }
    }

    #[test]
    fn the_instant_a_slot_frees_is_exact(
        rules in proptest::collection::vec(any_rule(), 1..5),
        taken in any_timeline(),
        candidate in any_timeline(),
    ) {
        let last = taken.last().unwrap().at;
        let mut candidate = candidate[0].clone();
        candidate.message = MessageId::derive(&[b"candidate"]);
        candidate.at = last.plus(minutes(1));
        if let Err(full) = fits(&rules, &taken, &candidate) {
            prop_assert!(full.frees_at > candidate.at);
            let before = Slot { at: full.frees_at.plus_millis(-1), ..candidate.clone() };
            prop_assert!(fits(&rules, &taken, &before).is_err());
            if full.frees_at != Timestamp::from_millis(i64::MAX) {
                let freed = Slot { at: full.frees_at, ..candidate };
                prop_assert!(fits(&rules, &taken, &freed).is_ok());
            }
        }
    }

    #[test]
    fn slots_out_of_order_overflow_no_window_either(
        rules in proptest::collection::vec(any_rule().prop_filter("messages", |r| !matches!(r.scope, Scope::EachCampaign { .. })), 1..4),
        timeline in any_timeline().prop_shuffle(),
    ) {
        let mut taken: Vec<Slot> = Vec::new();
        for candidate in timeline {
            if fits(&rules, &taken, &candidate).is_ok() {
                taken.push(candidate);
            }
        }
        for rule in &rules {
            prop_assert!(fullest(rule, &taken, "a") <= rule.at_most as usize);
        }
    }
}

/// A later message of an enrollment that has sent before passes a rule that counts enrollments.
fn passes(rule: &Rule, taken: &[Slot], candidate: &Slot) -> bool {
    rule.scope == (Scope::EachCampaign { per_step: false })
        && taken.iter().any(|slot| slot.enrollment == candidate.enrollment && slot.campaign == candidate.campaign)
}

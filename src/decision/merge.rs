//! Two profiles turn out to be one person: what both had is united before the event that says so is decided.
//!
//! Nothing is triggered retroactively: no event of the past is looked at again for exits, goals or entries. Conditions
//! see the united person from here on.

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::effect::Merged;
use crate::decision::entry::ENROLLMENTS_ACTIVE_MAX;
use crate::decision::{
    At, Decision, Effect, Enrollment, Finding, FindingVerdict, Input, Loaded, Person, Snapshot, State, decide,
};
use crate::ids::EnrollmentId;
use crate::message::Reason;

/// The other profile of a person, which ends in the one decided on.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    pub person: &'a Person,
    pub loaded: &'a Loaded,
}

/// Decides an input that says that two profiles are one person: the merge, then the input for the united person.
/// `other` is another profile than the snapshot's, and neither was merged before.
pub fn decide_joined(at: At, snapshot: &Snapshot<'_>, other: Other<'_>, input: &Input) -> Decision {
    let mut united = unite(at, snapshot.person, other.person);
    let mut person = snapshot.person.clone();
    united.effects.iter().for_each(|effect| person.apply(effect));
    let loaded = snapshot.loaded.united(other.loaded);
    let Decision { effects, findings } = decide(at, &Snapshot { person: &person, loaded: &loaded, ..*snapshot }, input);
    united.effects.extend(effects);
    united.findings.extend(findings);
    united
}

/// The merge, and the end of enrollments that one person cannot have twice.
fn unite(at: At, winner: &Person, loser: &Person) -> Decision {
    let merge = Effect::Merge(Box::new(loser.clone()));
    let mut person = winner.clone();
    person.apply(&merge);
    let mut decision = Decision { effects: vec![merge], findings: Vec::new() };
    let ended = ended(&person, winner);
    let merged = Merged {
        profile: loser.profile.id,
        user_id: loser.profile.user_id.clone(),
        events: loser.profile.history.len(),
        pages: loser.profile.history.pages,
        traits: gained(&winner.profile.traits, &person.profile.traits),
        consent: changed(winner, &person),
        enrollments: loser.active().filter(|one| !ended.contains_key(&one.id)).count(),
    };
    let verdict = FindingVerdict::Merged(merged);
    decision.findings.push(Finding { campaign: String::new(), version: 0, verdict });
    if !has_all_traits(&person, loser) {
        let reason = Reason::TraitsTooLarge { bytes_max: crate::audience::TRAITS_BYTES_MAX };
        decision.findings.push(Finding::noted(reason));
    }
    for (id, reason) in ended {
        let Some(mut enrollment) = person.enrollments.get(&id).cloned() else { continue };
        let by = reason.code().to_owned();
        if let State::Sending { message } = enrollment.state {
            decision.effects.push(Effect::CancelMessage { message, reason });
        }
        enrollment.state = State::Exited { at: at.now, by: by.clone(), event: Some(at.position) };
        let verdict = FindingVerdict::Exited { key: enrollment.key.clone(), by };
        let (campaign, version) = (enrollment.campaign.clone(), enrollment.version);
        decision.findings.push(Finding { campaign, version, verdict });
        decision.effects.push(Effect::Enrollment(enrollment));
    }
    decision
}

/// Active enrollments of the united person that end: of two in one campaign and key the newer, and what is beyond the
/// bound of one person, newest first, the winner's own spared.
fn ended(person: &Person, winner: &Person) -> BTreeMap<EnrollmentId, Reason> {
    let mut active: Vec<&Enrollment> = person.active().collect();
    active.sort_by_key(|one| (one.entered_at, one.entry, one.id));
    let mut ended = BTreeMap::new();
    let mut since = BTreeMap::new();
    for one in &active {
        match since.get(&(&one.campaign, &one.key)) {
            None => drop(since.insert((&one.campaign, &one.key), one.entered_at)),
            Some(since) => drop(ended.insert(one.id, Reason::Merged { since: *since })),
        }
    }
    let going_on: Vec<&&Enrollment> = active.iter().filter(|one| !ended.contains_key(&one.id)).collect();
    let beyond = going_on.len().saturating_sub(ENROLLMENTS_ACTIVE_MAX);
    let theirs = going_on.iter().rev().filter(|one| !winner.enrollments.contains_key(&one.id));
    let beyond: Vec<EnrollmentId> = theirs.take(beyond).map(|one| one.id).collect();
    ended.extend(beyond.into_iter().map(|id| (id, Reason::TooManyEnrollments { max: ENROLLMENTS_ACTIVE_MAX })));
    ended
}

fn gained(before: &crate::audience::Traits, after: &crate::audience::Traits) -> Vec<String> {
    after.keys().filter(|name| !before.contains_key(name.as_str())).cloned().collect()
}

fn changed(before: &Person, after: &Person) -> Vec<String> {
    let known = &before.profile.consent;
    let differs = after.profile.consent.iter().filter(|(channel, consent)| known.get(*channel) != Some(consent));
    differs.map(|(channel, _)| channel.clone()).collect()
}

fn has_all_traits(person: &Person, other: &Person) -> bool {
    let names: BTreeSet<&String> = person.profile.traits.keys().collect();
    other.profile.traits.keys().all(|name| names.contains(name))
}

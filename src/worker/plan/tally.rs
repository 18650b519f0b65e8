//! What is counted over people: how often each thing came of a campaign, to how many, and five of them by name.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Asked, Lived};
use crate::decision::Catalog;
use crate::decision::campaign::CampaignStatus;
use crate::message::Reason;
use crate::story::{Happening, What};

const NAMES_MAX: usize = 5;

/// How often, for how many people, and the first five of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PlanFigure)]
pub struct Figure {
    pub count: u64,
    pub people: u64,
    pub names: Vec<String>,
}

impl Figure {
    pub(super) fn add(&mut self, count: u64, name: &str) {
        if count == 0 {
            return;
        }
        self.count += count;
        self.people += 1;
        if self.names.len() < NAMES_MAX {
            self.names.push(name.to_owned());
        }
    }
}

/// What came of one campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PlanTally)]
pub struct Tally {
    /// Enrollments that were open as the time looked at began; with those that began they are all that follows.
    pub carried_over: Figure,
    /// Enrollments that began.
    pub matched: Figure,
    pub sent: Figure,
    pub capped: Figure,
    /// Not sent for another reason: no consent, no address, …
    pub blocked: Figure,
    /// Ended before their message went.
    pub exited: Figure,
    /// Still in their delay, or deferred.
    pub waiting: Figure,
    /// The event fitted and began nothing: a condition, enrolled already, too late, …
    pub not_entered: Figure,
    /// How often each reason was given, by its code.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, campaign: &str, lived: &Lived) {
        let happenings = lived.happenings.iter().filter(|one| one.campaign == campaign);
        let among = |keys: &[String]| keys.iter().filter(|key| *key == campaign).count() as u64;
        self.count(&lived.name, happenings, (among(&lived.carried), among(&lived.waiting)));
    }

    /// Adds what came of this campaign to one person, who was and is in it so often.
    pub(super) fn count<'h>(
        &mut self,
        name: &str,
        happenings: impl Iterator<Item = &'h Happening>,
        (carried, waiting): (u64, u64),
    ) {
        let (mut matched, mut sent, mut capped, mut blocked, mut exited, mut not_entered) = (0, 0, 0, 0, 0, 0);
        for happening in happenings {
            let mut because = |reason: &Reason| *self.reasons.entry(reason.code()).or_default() += 1;
            match &happening.what {
                What::Enrolled => matched += 1,
                What::Sent => sent += 1,
                What::Exited { .. } => exited += 1,
                // Told beside the exit.
                What::NotSent(Reason::Exited { .. }) | What::Segment { .. } | What::Trait { .. } | What::Converted => {}
                What::NotSent(reason) => {
                    because(reason);
                    if matches!(reason, Reason::Capped { .. }) { capped += 1 } else { blocked += 1 }
                }
                What::NotEntered(reason) => {
                    because(reason);
                    not_entered += 1;
                }
            }
        }
        for (figure, count) in [
            (&mut self.carried_over, carried),
            (&mut self.matched, matched),
            (&mut self.sent, sent),
            (&mut self.capped, capped),
            (&mut self.blocked, blocked),
            (&mut self.exited, exited),
            (&mut self.waiting, waiting),
            (&mut self.not_entered, not_entered),
        ] {
            figure.add(count, name);
        }
    }
}

/// A campaign that is new, changed, or shares with others what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CampaignPlan {
    pub campaign: String,
    /// Its own status in the files; a draft and a paused one are looked at as if they were live.
    pub status: CampaignStatus,
    /// By what is in force; none where it is not.
    pub now: Option<Tally>,
    pub then: Tally,
    /// Who is in its segment now and would enter at its pace, where it includes them; beside what is counted above.
    pub existing: Option<Figure>,
}

/// A segment that is new or changed, as of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SegmentPlan {
    pub segment: String,
    /// In it by what is in force; none where it is not.
    pub now: Option<u64>,
    pub then: u64,
    pub entering: Figure,
    pub leaving: Figure,
}

impl SegmentPlan {
    pub(super) fn add(&mut self, now: bool, then: bool, name: &str) {
        self.now.iter_mut().for_each(|count| *count += u64::from(now));
        self.then += u64::from(then);
        self.entering.add(u64::from(then && !now), name);
        self.leaving.add(u64::from(now && !then), name);
    }
}

pub(super) fn campaigns(asked: &Asked, before: &Catalog, after: &Catalog) -> Vec<CampaignPlan> {
    let is_on = |catalog: &Catalog, key: &str| {
        catalog.campaign(key).is_some_and(|campaign| campaign.status == CampaignStatus::Live)
    };
    let reported = after.campaigns().filter(|campaign| {
        asked.campaigns.contains_key(&campaign.key) || (asked.all && campaign.status == CampaignStatus::Live)
    });
    reported
        .map(|campaign| CampaignPlan {
            campaign: campaign.key.clone(),
            status: asked.campaigns.get(&campaign.key).copied().unwrap_or(campaign.status),
            now: is_on(before, &campaign.key).then(Tally::default),
            then: Tally::default(),
            existing: campaign.entry.existing.map(|_| Figure::default()),
        })
        .collect()
}

pub(super) fn segments(asked: &Asked, before: &Catalog) -> Vec<SegmentPlan> {
    let each = asked.segments.iter().map(|key| SegmentPlan {
        segment: key.clone(),
        now: before.terms.segments.get(key).map(|_| 0),
        then: 0,
        entering: Figure::default(),
        leaving: Figure::default(),
    });
    each.collect()
}

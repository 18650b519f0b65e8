//! Who enters a campaign: event name, pattern, age, condition, key, repeats and re-entry; and what happens when the
//! delay is over.

use serde_json::Value;

use crate::audience::condition;
use crate::decision::campaign::{OnRepeat, Reentry};
use crate::decision::enrollment::RESTART_MAX;
use crate::decision::permission::denies_marketing;
use crate::decision::segments::is_backfill;
use crate::decision::{At, Began, Campaign, Effect, Enrollment, FINDINGS_MAX, Finding, FindingVerdict, State, Turn};
use crate::event::Event;
use crate::ids::{Span, Timestamp};
use crate::message::{Message, Purpose, QuietUse, Reason, Status};

/// Active enrollments of one person over all campaigns and keys; a person with more is a machine.
pub const ENROLLMENTS_ACTIVE_MAX: usize = 1_000;

/// What is asked of an event that fits the pattern, in this order; the first that refuses gives the reason.
pub(super) const CHECKS: [(&str, Refuses); 7] = [
    ("Something that happened, not a changed definition or an import", |turn, campaign, event| {
        turn.is_of_backfill(campaign, event)
    }),
    ("The campaign is not paused", |turn, campaign, event| turn.is_paused(campaign, event)),
    ("A member whose turn has come is one still", |turn, campaign, event| turn.has_left(campaign, event)),
    ("Not in the campaign for this membership before", |turn, campaign, event| turn.is_included(campaign, event)),
    ("The event allows marketing", |turn, campaign, event| turn.is_denied(campaign, event)),
    ("The event is recent enough", |turn, campaign, event| turn.is_late(campaign, event)),
    ("The condition", |turn, campaign, event| turn.is_unfit(campaign, event)),
];

pub(super) type Refuses = fn(&Turn<'_>, &Campaign, &Event) -> Option<Reason>;

impl Turn<'_> {
    pub(super) fn check_entries(&mut self, event: &Event) {
        let mut refused = 0;
        for campaign in self.snapshot.catalog.entered_by(event) {
            let verdict = match self.may_enter(campaign, event) {
                Ok(key) => self.enter_or_repeat(campaign, event, key),
                Err(reason) => FindingVerdict::NotEntered { reason },
            };
            refused += usize::from(matches!(verdict, FindingVerdict::NotEntered { .. }));
            if refused <= FINDINGS_MAX || !matches!(verdict, FindingVerdict::NotEntered { .. }) {
                self.find(campaign, verdict);
            }
        }
        if refused > FINDINGS_MAX {
            let campaigns = refused - FINDINGS_MAX;
            self.decision.findings.push(Finding::noted(Reason::MoreNotEntered { campaigns }));
        }
        self.check_overtaken(event);
    }

    /// The entry key, or why this event, which fits the pattern, does not enter.
    fn may_enter(&self, campaign: &Campaign, event: &Event) -> Result<String, Reason> {
        match CHECKS.iter().find_map(|(_, refuses)| refuses(self, campaign, event)) {
            Some(reason) => Err(reason),
            None => Ok(entry_key(campaign, event)),
        }
    }

    fn is_of_backfill(&self, _: &Campaign, event: &Event) -> Option<Reason> {
        is_backfill(event).then_some(Reason::Backfill)
    }

    fn is_paused(&self, campaign: &Campaign, _: &Event) -> Option<Reason> {
        let is_paused = self.snapshot.catalog.is_paused(campaign);
        is_paused.then(|| Reason::CampaignPaused { campaign: campaign.key.clone() })
    }

    fn is_denied(&self, campaign: &Campaign, event: &Event) -> Option<Reason> {
        let asks = campaign.purpose == Purpose::Marketing;
        denies_marketing(event).filter(|_| asks).map(|field| Reason::EventDeniesMarketing { field })
    }

    fn is_late(&self, campaign: &Campaign, event: &Event) -> Option<Reason> {
        let is_late = event.at.plus(campaign.max_lateness) < self.at.now;
        is_late.then_some(Reason::Late { event_at: event.at, max_lateness: campaign.max_lateness })
    }

    fn is_unfit(&self, campaign: &Campaign, event: &Event) -> Option<Reason> {
        let filter = campaign.entry.filter.as_ref()?;
        let answer = condition::evaluate(filter, &self.facts(Some(event), Some(Began::with(event))));
        let operand = answer.because;
        match (answer.holds, answer.currency_unknown) {
            (true, _) => None,
            (false, true) => Some(Reason::CurrencyUnknown { operand }),
            (false, false) => Some(Reason::ConditionNotMet { operand }),
        }
    }

    pub(super) fn enter_or_repeat(&mut self, campaign: &Campaign, event: &Event, key: String) -> FindingVerdict {
        let same = |enrollment: &&Enrollment| enrollment.campaign == campaign.key && enrollment.key == key;
        let active = self.active().find(same).cloned();
        let last_end = self.walks().filter(same).filter_map(|known| known.state.ended_at()).max();
        if let Some(active) = active {
            return self.repeat(campaign, active);
        }
        if let Some(ended_at) = last_end {
            let allowed_at = match campaign.entry.reentry {
                Reentry::Always => Some(ended_at),
                Reentry::Never => None,
                Reentry::After(span) => Some(ended_at.plus(span)),
            };
            if allowed_at.is_none_or(|at| self.at.now < at) {
                return FindingVerdict::NotEntered { reason: Reason::ReentryNotAllowed { ended_at, allowed_at } };
            }
        }
        if self.active().count() >= ENROLLMENTS_ACTIVE_MAX {
            return FindingVerdict::NotEntered { reason: Reason::TooManyEnrollments { max: ENROLLMENTS_ACTIVE_MAX } };
        }
        let profile = self.person.profile.id;
        let At { position, now } = self.at;
        let ids_by_time = position > self.snapshot.catalog.terms.ids_by_time_after;
        let enrollment = Enrollment::begin(campaign, profile, key, event, position, now, ids_by_time);
        let until = (campaign.delay > Span::ZERO).then(|| self.at.now.plus(campaign.delay));
        let key = enrollment.key.clone();
        self.push(Effect::Enrollment(enrollment));
        FindingVerdict::Entered { key, until }
    }

    /// A repeat while enrolled. `entry` always keeps the first event.
    fn repeat(&mut self, campaign: &Campaign, mut enrollment: Enrollment) -> FindingVerdict {
        // The delay is a step: it stays the one of the version the person entered.
        let delay = self.campaign_of(&enrollment).map_or(campaign.delay, |pinned| pinned.delay);
        let already = Reason::AlreadyEnrolled { key: enrollment.key.clone(), since: enrollment.entered_at };
        match campaign.entry.on_repeat {
            OnRepeat::Ignore => return FindingVerdict::NotEntered { reason: already },
            OnRepeat::Update => {
                enrollment.event = self.at.position;
                if let State::Sending { message } = enrollment.state {
                    self.push(Effect::RenewMessage { message, event: self.at.position });
                }
            }
            OnRepeat::Restart => {
                let State::Waiting { until } = enrollment.state else {
                    return FindingVerdict::NotEntered { reason: already };
                };
                let latest = enrollment.entered_at.plus(RESTART_MAX).max(until);
                enrollment.event = self.at.position;
                enrollment.state = State::Waiting { until: self.at.now.plus(delay).min(latest) };
            }
        }
        let key = enrollment.key.clone();
        let until = match enrollment.state {
            State::Waiting { until } => Some(until),
            State::Sending { .. } | State::Completed { .. } | State::Exited { .. } => None,
        };
        self.push(Effect::Enrollment(enrollment));
        FindingVerdict::Repeated { key, until }
    }

    /// Waits that end at or before `now` put their message into the outbox, each at its own instant, earliest first; of equals, by entry.
    pub(super) fn settle_due(&mut self, now: Timestamp) {
        let mut due: Vec<(Timestamp, Enrollment)> = self
            .active()
            .filter_map(|enrollment| match enrollment.state {
                State::Waiting { until } if until <= now => Some((until, enrollment.clone())),
                _ => None,
            })
            .collect();
        due.sort_by_key(|(until, enrollment)| (*until, enrollment.entry, enrollment.id));
        for (until, enrollment) in due {
            let Some(campaign) = self.campaign_of(&enrollment).cloned() else { continue };
            if self.exit_by_condition(&campaign, &enrollment) {
                continue;
            }
            self.queue_message(&campaign, enrollment, until);
        }
    }

    fn queue_message(&mut self, campaign: &Campaign, mut enrollment: Enrollment, at: Timestamp) {
        let send = &campaign.send;
        let contested = self.snapshot.catalog.is_contested(&campaign.key, send.channel);
        let settles = campaign.purpose == Purpose::Marketing && contested;
        let due_at = if settles { at.plus(self.snapshot.settle) } else { at };
        let expires = send.expires.unwrap_or(campaign.purpose.expires_default(send.channel));
        let unsaid = send.expires.is_none();
        let lasts_beyond = campaign.purpose.lasts_beyond_quiet_hours(send.channel).filter(|_| unsaid);
        let message = Message {
            id: enrollment.message_id(),
            profile: enrollment.profile,
            enrollment: enrollment.id,
            campaign: campaign.key.clone(),
            campaign_version: campaign.version,
            topic: self.snapshot.catalog.topic_of(campaign).map(str::to_owned),
            channel: send.channel,
            template: send.template.clone(),
            purpose: campaign.purpose,
            priority: campaign.priority,
            caps: campaign.caps,
            quiet: QuietUse { when: campaign.quiet, lasts_beyond },
            on_unknown_send: campaign.on_unknown_send,
            created_at: at,
            expires_at: at.plus(expires),
            cause: self.at.position,
            event: enrollment.event,
            entry: enrollment.entry,
            status: Status::Queued { due_at },
            attempts: 0,
            attempts_forgiven: 0,
            answer_lost_at: None,
            capped_at: None,
            slot_at: None,
            address: None,
            template_version: None,
        };
        enrollment.state = State::Sending { message: message.id };
        let verdict = FindingVerdict::Queued { key: enrollment.key.clone(), message: message.id };
        self.push(Effect::CreateMessage(message));
        self.push(Effect::Enrollment(enrollment));
        self.find(campaign, verdict);
    }
}

/// What tells enrollments of one campaign and person apart: the value at the campaign's `entry.key`, empty without one.
pub fn entry_key(campaign: &Campaign, event: &Event) -> String {
    campaign.entry.key.as_deref().and_then(|path| event.lookup(path)).map_or_else(String::new, key_text)
}

/// The text by which enrollments of one campaign are told apart: strings as they are, anything else as JSON.
fn key_text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    // A key is an identifier; a longer one is kept apart by its hash.
    if text.len() <= 256 { text } else { crate::ids::EventId::derive(&[text.as_bytes()]).to_string() }
}

//! What ends an enrollment: exits, at once and also during the delay; its message's last state; and goals reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::audience::condition;
use crate::audience::condition::needs::{Needs, needs as condition_needs};
use crate::audience::field::values_at;
use crate::audience::segment::SegmentSet;
use crate::audience::{History, value_test};
use crate::decision::campaign::Exit;
use crate::decision::effect::Conversion;
use crate::decision::{Campaign, Effect, Enrollment, FindingVerdict, State, Turn};
use crate::event::Event;
use crate::ids::{MessageId, Position, Timestamp};
use crate::message::{Reason, Status, WhenCapped};

/// Adds what an exit's conditions must see.
pub(super) fn exit_needs(exit: &Exit, segments: &SegmentSet, needs: &mut Needs) {
    match exit {
        Exit::Event { filter, same, .. } => {
            needs.entry |= same.is_some();
            filter.iter().for_each(|filter| condition_needs(filter, segments, needs));
        }
        Exit::Condition { condition, .. } => condition_needs(condition, segments, needs),
    }
}

/// Adds what must be seen of the past where an event that begins an enrollment is late.
pub(super) fn overtaking_needs(exit: &Exit, needs: &mut Needs) {
    if let Exit::Event { events, .. } = exit {
        needs.older.extend(events.iter().cloned());
        needs.bodies.extend(events.iter().cloned());
    }
}

/// Why, when and by which entry of the log an enrollment ends.
struct Ending {
    by: String,
    at: Timestamp,
    event: Option<Position>,
}

impl Turn<'_> {
    /// Exits of every active enrollment, by this event or by a condition that now holds.
    pub(super) fn check_exits(&mut self, event: Option<&Event>) {
        // Asked once for each campaign, and only of the rest for each enrollment.
        let mut may_end: BTreeMap<(&str, u32), Option<&Arc<Campaign>>> = BTreeMap::new();
        let mut endings = Vec::new();
        for enrollment in self.active() {
            let campaign = may_end.entry((&enrollment.campaign, enrollment.version)).or_insert_with(|| {
                self.campaign_of(enrollment).filter(|campaign| campaign.may_exit(event.map(|event| &*event.name)))
            });
            if let Some(campaign) = campaign
                && let Some(ending) = self.exit_that_holds(campaign, enrollment, event)
            {
                endings.push((Arc::clone(campaign), enrollment.clone(), ending));
            }
        }
        for (campaign, enrollment, ending) in endings {
            self.exit(&campaign, enrollment, ending);
        }
    }

    /// Ends the enrollment if a condition among its exits holds; the answer says whether it did.
    pub(super) fn exit_by_condition(&mut self, campaign: &Campaign, enrollment: &Enrollment) -> bool {
        let Some(ending) = self.exit_that_holds(campaign, enrollment, None) else { return false };
        self.exit(campaign, enrollment.clone(), ending);
        true
    }

    /// Ends enrollments this late event began, where what ends them happened after it and arrived before.
    pub(super) fn check_overtaken(&mut self, event: &Event) {
        let begun = |one: &&Enrollment| one.entry == self.at.position;
        // Begun by this decision: not among the others.
        for enrollment in self.person.active().filter(begun).cloned().collect::<Vec<_>>() {
            let Some(campaign) = self.campaign_of(&enrollment).cloned() else { continue };
            let older = self.snapshot.loaded.older.iter().chain([&self.person.profile.history]);
            let past =
                older.flat_map(History::iter).filter(|past| past.at > event.at && past.position != self.at.position);
            let ending = past.filter_map(|past| {
                let body = self.snapshot.loaded.bodies.get(&past.position)?;
                let holds = campaign.exit.iter().any(|exit| self.event_ends(exit, &enrollment, body));
                holds.then(|| Ending { by: past.name.to_owned(), at: past.at, event: Some(past.position) })
            });
            if let Some(ending) = ending.min_by_key(|ending| (ending.at, ending.event)) {
                self.exit(&campaign, enrollment, ending);
            }
        }
    }

    fn exit(&mut self, campaign: &Campaign, mut enrollment: Enrollment, ending: Ending) {
        let Ending { by, at, event } = ending;
        if let State::Sending { message } = enrollment.state {
            self.push(Effect::CancelMessage { message, reason: Reason::Exited { by: by.clone(), at } });
        }
        enrollment.state = State::Exited { at, by: by.clone(), event };
        let verdict = FindingVerdict::Exited { key: enrollment.key.clone(), by };
        self.push(Effect::Enrollment(enrollment));
        self.find(campaign, verdict);
    }

    /// The first exit that holds, in the order written: the event's name and time, or the condition as written and now.
    fn exit_that_holds(&self, campaign: &Campaign, enrollment: &Enrollment, event: Option<&Event>) -> Option<Ending> {
        let position = event.map(|_| self.at.position);
        campaign.exit.iter().find_map(|exit| match exit {
            Exit::Event { .. } => {
                let event = event.filter(|event| self.event_ends(exit, enrollment, event))?;
                Some(Ending { by: event.name.clone(), at: event.at, event: position })
            }
            Exit::Condition { condition, text } => {
                let facts = self.facts(None, Some(self.began(enrollment)));
                let holds = condition::evaluate(condition, &facts).holds;
                holds.then(|| Ending { by: text.clone(), at: self.at.now, event: position })
            }
        })
    }

    /// Whether this event ends the enrollment by an exit that names it.
    fn event_ends(&self, exit: &Exit, enrollment: &Enrollment, event: &Event) -> bool {
        let Exit::Event { events, pattern, filter, same } = exit else { return false };
        let facts = self.facts(Some(event), Some(self.began(enrollment)));
        events.contains(&event.name)
            && event.at >= enrollment.entry_event_at
            && pattern.as_ref().is_none_or(|pattern| pattern.matches(event.body.document()))
            && filter.as_ref().is_none_or(|filter| condition::evaluate(filter, &facts).holds)
            && same.as_ref().is_none_or(|(ours, theirs)| self.is_same(enrollment.entry, ours, event, theirs))
    }

    /// Any value on one side equals any on the other, or one side has none: where we cannot tell, we stay silent.
    fn is_same(&self, entry: Position, ours: &str, event: &Event, theirs: &str) -> bool {
        let entry = self.snapshot.loaded.bodies.get(&entry);
        let ours = entry.map(|entry| values_at(entry.body.document(), ours)).unwrap_or_default();
        let theirs = values_at(event.body.document(), theirs);
        let equal = |one: &&Value| theirs.iter().any(|other| value_test::equal(one, other, false));
        ours.is_empty() || theirs.is_empty() || ours.iter().any(equal)
    }

    /// When a condition among the exits may next change its answer.
    pub(super) fn exit_changes_at(&self, enrollment: &Enrollment) -> Option<Timestamp> {
        self.campaign_of(enrollment)?
            .exit
            .iter()
            .filter_map(|exit| match exit {
                Exit::Event { .. } => None,
                Exit::Condition { condition, .. } => {
                    let facts = self.facts(None, Some(self.began(enrollment)));
                    condition::evaluate(condition, &facts).until.filter(|until| *until > self.at.now)
                }
            })
            .min()
    }

    /// The enrollment of a message that reached its last state is complete; or it has exited, where a cap refused the
    /// message and the campaign says so.
    pub(super) fn end_of_message(&mut self, message: MessageId, status: &Status) {
        if let Status::Sent { at, .. } = status
            && self.snapshot.catalog.has_goals()
        {
            self.push(Effect::Sent { message, at: *at });
        }
        let waits_for =
            |enrollment: &&Enrollment| matches!(enrollment.state, State::Sending { message: id } if id == message);
        let Some(mut enrollment) = self.walks().find(waits_for).cloned() else { return };
        let campaign = self.campaign_of(&enrollment).cloned();
        let (key, at) = (enrollment.key.clone(), self.at.now);
        let exits = campaign.as_ref().is_some_and(|campaign| campaign.caps.when_capped == WhenCapped::Exit);
        let verdict = match status {
            Status::Suppressed { reason: Reason::Capped { rule, .. }, .. } if exits => {
                let by = format!("capped by {rule}");
                enrollment.state = State::Exited { at, by: by.clone(), event: None };
                FindingVerdict::Exited { key, by }
            }
            _ => {
                let status = status.name().to_owned();
                enrollment.state = State::Completed { at, message, status: status.clone() };
                FindingVerdict::Completed { key, message, status }
            }
        };
        self.push(Effect::Enrollment(enrollment));
        if let Some(campaign) = campaign {
            self.find(&campaign, verdict);
        }
    }

    /// The newest message of a campaign sent before the event and within the goal's window converts.
    pub(super) fn check_goals(&mut self, event: &Event) {
        for campaign in self.snapshot.catalog.goals_of(self.snapshot.person, &event.name) {
            let Some(goal) = &campaign.goal else { continue };
            let in_window = |at: Timestamp| at <= event.at && event.at < at.plus(goal.within);
            let sent =
                self.snapshot.person.sent.iter().filter(|sent| sent.campaign == campaign.key && in_window(sent.at));
            let Some(sent) = sent.max_by_key(|sent| (sent.at, sent.message)).cloned() else { continue };
            let facts = self.facts(Some(event), None);
            let holds = goal.filter.as_ref().is_none_or(|filter| condition::evaluate(filter, &facts).holds);
            if !holds || !goal.pattern.as_ref().is_none_or(|pattern| pattern.matches(event.body.document())) {
                continue;
            }
            let value = goal.value.as_deref().and_then(|path| event.lookup(path)).filter(|value| value.is_number());
            let currency = event.lookup("properties.currency").and_then(|value| value.as_str());
            let conversion = Conversion {
                message: sent.message,
                campaign: campaign.key.clone(),
                position: self.at.position,
                at: event.at,
                value: value.map(ToString::to_string),
                currency: currency.map(|text| text.chars().take(3).collect()),
            };
            self.push(Effect::Convert(conversion));
            self.find(campaign, FindingVerdict::Converted { message: sent.message });
        }
    }
}

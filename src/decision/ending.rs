//! What ends an enrollment: exits, at once and also during the delay; its message's last state; and goals reached.

use crate::audience::condition::{self, Needs};
use crate::audience::value_test;
use crate::decision::campaign::Exit;
use crate::decision::effect::Conversion;
use crate::decision::{Campaign, Effect, Enrollment, FindingVerdict, State, Turn};
use crate::event::Event;
use crate::ids::{MessageId, Position, Timestamp};
use crate::message::{Reason, Status, WhenCapped};

/// Adds what an exit's conditions must see.
pub(super) fn exit_needs(exit: &Exit, needs: &mut Needs) {
    match exit {
        Exit::Event { filter, .. } => filter.iter().for_each(|filter| condition::needs(filter, needs)),
        Exit::Condition { condition, .. } => condition::needs(condition, needs),
    }
}

impl Turn<'_> {
    /// Exits of every active enrollment, by this event or by a condition that now holds.
    pub(super) fn check_exits(&mut self, event: Option<&Event>) {
        let active: Vec<Enrollment> = self.person.active().cloned().collect();
        for enrollment in active {
            let Some(campaign) = self.snapshot.catalog.pinned(&enrollment.campaign, enrollment.version).cloned() else {
                continue;
            };
            if let Some(by) = self.exit_that_holds(&campaign, &enrollment, event) {
                self.exit(&campaign, enrollment, by, event.map(|event| event.at));
            }
        }
    }

    /// Ends the enrollment if a condition among its exits holds; the answer says whether it did.
    pub(super) fn exit_by_condition(&mut self, campaign: &Campaign, enrollment: &Enrollment) -> bool {
        let Some(by) = self.exit_that_holds(campaign, enrollment, None) else { return false };
        self.exit(campaign, enrollment.clone(), by, None);
        true
    }

    fn exit(&mut self, campaign: &Campaign, mut enrollment: Enrollment, by: String, event_at: Option<Timestamp>) {
        if let State::Sending { message } = enrollment.state {
            let reason = Reason::Exited { by: by.clone(), at: event_at.unwrap_or(self.at.now) };
            self.push(Effect::CancelMessage { message, reason });
        }
        let event = event_at.map(|_| self.at.position);
        enrollment.state = State::Exited { at: event_at.unwrap_or(self.at.now), by: by.clone(), event };
        let verdict = FindingVerdict::Exited { key: enrollment.key.clone(), by };
        self.push(Effect::Enrollment(enrollment));
        self.find(campaign, verdict);
    }

    /// The first exit that holds, in the order written: the event's name, or the condition as written.
    fn exit_that_holds(&self, campaign: &Campaign, enrollment: &Enrollment, event: Option<&Event>) -> Option<String> {
        campaign.exit.iter().find_map(|exit| match exit {
            Exit::Event { events, pattern, filter, same } => {
                let event =
                    event.filter(|event| events.contains(&event.name) && event.at >= enrollment.entry_event_at)?;
                let fits = pattern.as_ref().is_none_or(|pattern| pattern.matches(event.body.document()));
                let facts = self.facts(Some(event), Some(enrollment.entry_event_at));
                let holds = filter.as_ref().is_none_or(|filter| condition::evaluate(filter, &facts).holds);
                let equal =
                    same.as_ref().is_none_or(|(ours, theirs)| self.is_same(enrollment.entry, ours, event, theirs));
                (fits && holds && equal).then(|| event.name.clone())
            }
            Exit::Condition { condition, text } => {
                let facts = self.facts(None, Some(enrollment.entry_event_at));
                condition::evaluate(condition, &facts).holds.then(|| text.clone())
            }
        })
    }

    /// Equal values, or one side missing: where we cannot tell, we stay silent.
    fn is_same(&self, entry: Position, ours: &str, event: &Event, theirs: &str) -> bool {
        let entry_value = self.snapshot.loaded.bodies.get(&entry).and_then(|entry| entry.lookup(ours));
        match (entry_value, event.lookup(theirs)) {
            (Some(one), Some(other)) => value_test::equal(one, other, false),
            _ => true,
        }
    }

    /// When a condition among the exits may next change its answer.
    pub(super) fn exit_changes_at(&self, enrollment: &Enrollment) -> Option<Timestamp> {
        let campaign = self.snapshot.catalog.pinned(&enrollment.campaign, enrollment.version)?;
        campaign
            .exit
            .iter()
            .filter_map(|exit| match exit {
                Exit::Event { .. } => None,
                Exit::Condition { condition, .. } => {
                    let facts = self.facts(None, Some(enrollment.entry_event_at));
                    condition::evaluate(condition, &facts).until.filter(|until| *until > self.at.now)
                }
            })
            .min()
    }

    /// The enrollment of a message that reached its last state is complete; or it has exited, where a cap refused the
    /// message and the campaign says so.
    pub(super) fn end_of_message(&mut self, message: MessageId, status: &Status) {
        let waits_for =
            |enrollment: &&Enrollment| matches!(enrollment.state, State::Sending { message: id } if id == message);
        let Some(mut enrollment) = self.person.enrollments.values().find(waits_for).cloned() else { return };
        let campaign = self.snapshot.catalog.pinned(&enrollment.campaign, enrollment.version).cloned();
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
        for campaign in self.snapshot.catalog.goals_of(&event.name) {
            let Some(goal) = &campaign.goal else { continue };
            let in_window = |at: Timestamp| at <= event.at && event.at < at.plus(goal.within);
            let sent = self.person.sent.iter().filter(|sent| sent.campaign == campaign.key && in_window(sent.at));
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

//! Enrollments that were open as the time looked at began, as they stood then: still waiting, or with their message in
//! the outbox. What became of them since is decided anew.

use std::collections::BTreeMap;

use sea_orm::DatabaseConnection;

use super::past::{Before, Window};
use crate::decision::campaign::OnRepeat;
use crate::decision::enrollment::RESTART_MAX;
use crate::decision::{Catalog, Enrollment, State};
use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Reason, Status};
use crate::store::{Error, Workspace};

/// Messages asked for in one statement.
const PAGE_MAX: usize = 500;

/// What a person had begun before.
#[derive(Debug, Default)]
pub struct Open {
    /// Those that had ended, too: re-entry looks at them.
    pub enrollments: Vec<Enrollment>,
    /// Of the open ones, what was in the outbox.
    pub messages: Vec<Message>,
}

/// A person's enrollments as the window begins, from what they are now. `before` is what the person did until then,
/// oldest first. `are_united_again`: what ended since because two were one goes on until they are.
pub(super) async fn open(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    (enrollments, are_united_again): (Vec<Enrollment>, bool),
    before: &[Before],
    window: Window,
) -> Result<Open, Error> {
    let ended = |one: &Enrollment| one.state.ended_at().is_some_and(|at| at < window.from);
    let begun = enrollments.into_iter().filter(|one| one.entered_at < window.from);
    let (enrollments, walking): (Vec<_>, Vec<_>) = begun.partition(ended);
    let merged = (Reason::Merged { since: window.from }).code();
    let mut open = Open { enrollments, messages: Vec::new() };
    let mut made: BTreeMap<MessageId, Message> = BTreeMap::new();
    let ids: Vec<MessageId> = walking.iter().map(Enrollment::message_id).collect();
    for page in ids.chunks(PAGE_MAX) {
        made.extend(store.messages(page).await?.into_iter().map(|message| (message.id, message)));
    }
    for mut enrollment in walking {
        match (made.remove(&enrollment.message_id()), &enrollment.state) {
            // United with another of the same person since; as it will be again where they are still two.
            (_, State::Exited { by, .. }) if !are_united_again && *by == merged => continue,
            // On its way already: its slot counts as used before.
            (Some(message), _) if message.created_at < window.from && is_gone(&message, window.from) => {}
            (Some(message), _) if message.created_at < window.from => {
                enrollment.state = State::Sending { message: message.id };
                open.messages.push(as_queued(message, window.from));
            }
            (message, _) => {
                let until = waits_until(catalog, &enrollment, message.as_ref(), before, window);
                enrollment.state = State::Waiting { until: until.max(window.from) };
            }
        }
        open.enrollments.push(enrollment);
    }
    Ok(open)
}

/// Whether it had gone, or was going, before this instant.
fn is_gone(message: &Message, from: Timestamp) -> bool {
    let ended_at = match &message.status {
        Status::Sent { at, .. }
        | Status::Suppressed { at, .. }
        | Status::Cancelled { at, .. }
        | Status::Failed { at, .. }
        | Status::Unknown { since: at, .. }
        | Status::Sending { since: at, .. } => Some(*at),
        Status::Queued { .. } | Status::Deferred { .. } | Status::Claimed { .. } | Status::Retrying { .. } => None,
    };
    ended_at.is_some_and(|at| at < from) || message.slot_at.is_some_and(|at| at < from)
}

/// The message as it waited then. What held it is asked again at once.
fn as_queued(message: Message, from: Timestamp) -> Message {
    Message {
        status: Status::Queued { due_at: from },
        attempts: 0,
        attempts_forgiven: 0,
        answer_lost_at: None,
        capped_at: message.capped_at.filter(|at| *at < from),
        slot_at: None,
        address: None,
        template_version: None,
        ..message
    }
}

/// When its wait would end, as it stood at the beginning of the window.
fn waits_until(
    catalog: &Catalog,
    enrollment: &Enrollment,
    message: Option<&Message>,
    before: &[Before],
    window: Window,
) -> Timestamp {
    // Nothing started the wait over since: it ended, or ends, as it is written down.
    if enrollment.event < window.first {
        match (message, &enrollment.state) {
            (Some(message), _) => return message.created_at,
            (None, State::Waiting { until }) => return *until,
            (None, _) => {}
        }
    }
    let Some(campaign) = catalog.pinned(&enrollment.campaign, enrollment.version) else { return enrollment.entered_at };
    let first = enrollment.entered_at.plus(campaign.delay);
    if campaign.entry.on_repeat != OnRepeat::Restart {
        return first;
    }
    let repeats = before.iter().filter(|(name, _, position)| {
        *name == campaign.entry.event && *position > enrollment.entry && *position <= enrollment.event
    });
    let latest = enrollment.entered_at.plus(RESTART_MAX).max(first);
    repeats.map(|(_, at, _)| at.plus(campaign.delay).min(latest)).max().map_or(first, |over| over.max(first))
}

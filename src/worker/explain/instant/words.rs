//! The text of an answer for one instant, and what cannot be known.

use std::collections::BTreeMap;

use super::{Asked, EnrollmentTold, EventTold, How, Instant, MessageTold};
use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Reason};
use crate::story::instant;
use crate::worker::explain::checks::{Came, Check};
use crate::worker::explain::refold::Logbook;
use crate::worker::explain::words::{Named, sentence};

/// Events that are told in full.
const EVENTS_SHOWN: usize = 5;

/// What the answer cannot know, each with why.
pub fn unknown(book: &Logbook, is_erased: bool, parked: usize) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(until) = book.pruned_until {
        unknown.push(format!("Of what was done until {until} name and time are left, pruned by retention."));
    }
    if book.is_cut {
        unknown.push(
            "Of more than 2,000 events the newest of each name were looked at, of the others only name and time."
                .to_owned(),
        );
    }
    if is_erased || book.is_blank {
        unknown.push("The person was erased: what came before holds nothing any more.".to_owned());
    }
    if parked > 0 {
        unknown.push(format!("{parked} entries are parked: what came after was decided without them."));
    }
    unknown
}

pub fn message(message: &Message, checks: Vec<Check>, named: &BTreeMap<MessageId, Named>) -> MessageTold {
    let reason = message.status.reason();
    MessageTold {
        id: message.id,
        status: message.status.name().to_owned(),
        code: reason.map(|reason| reason.code()),
        sentence: reason.map(|reason| sentence(reason, named)),
        checks,
        change: reason.and_then(release),
    }
}

/// What would have let a message go that was stopped or waits; none where nothing can.
pub fn release(reason: &Reason) -> Option<String> {
    let after = |at: &Timestamp| format!("nothing until {at}; then it is asked again");
    Some(match reason {
        Reason::ConsentDenied { channel } | Reason::ConsentUnknown { channel, .. } => {
            format!("consent for {channel}, given before the message is due")
        }
        Reason::ConsentPending { channel, .. } => format!("consent for {channel} confirmed before the message is due"),
        Reason::TopicUnsubscribed { topic, .. } => format!("a subscription to topic {topic} before the message is due"),
        Reason::NoAddress { channel } => format!("an address for {channel} before the message is due"),
        Reason::InvalidAddress { channel } => format!("a valid address for {channel} before the message is due"),
        Reason::AddressSuppressed { channel, .. } => {
            format!("the address for {channel} taken off the suppression list, or another address")
        }
        Reason::QuietHours { until, .. } => after(until),
        Reason::Capped { frees_at, .. } => after(frees_at),
        Reason::SendingPaused => "`carillon resume all`".to_owned(),
        Reason::CampaignPaused { campaign } => format!("`carillon resume {campaign}`"),
        Reason::CampaignNotLive { campaign } => format!("`status: live` in {campaign} when the message is due"),
        Reason::RestoreUnconfirmed => "`carillon confirm-restore`".to_owned(),
        Reason::Expired { expires_at } => format!("a message that can go before {expires_at}, or a longer `expires`"),
        Reason::TemplateMissing { template } => format!("`carillon apply` of template {template}, and a redrive"),
        Reason::RenderFailed { .. } | Reason::UnsafeAddress { .. } => "a corrected template, and a redrive".to_owned(),
        Reason::RetriesExhausted { .. } => "a redrive, once the cause is gone".to_owned(),
        _ => return None,
    })
}

pub fn text(asked: &Asked, told: &Instant) -> String {
    let how = match asked.how {
        How::Recorded => "by what was in force and recorded then",
        How::Afresh => "evaluated afresh by the present definitions",
    };
    let version = told.versions.campaign.map_or_else(String::new, |version| format!("@v{version}"));
    let mut text = format!("{} {} {}{version}, {how}\n", instant(told.at), asked.person, asked.campaign);
    text.push_str(&format!("{}: {}\n", told.answer.code, told.answer.sentence));
    if let Some(change) = &told.answer.change {
        text.push_str(&format!("would change it: {change}\n"));
    }
    if let Some(template) = told.versions.template {
        text.push_str(&format!("template version {template}\n"));
    }
    told.enrollments.iter().for_each(|walk| enrollment(walk, &mut text));
    if let Some(node) = &told.segment {
        text.push_str("\nthe segment by which it begins\n");
        node.outline(1, &mut text);
    }
    if told.events.iter().all(|event| !event.entered) && !told.events.is_empty() {
        text.push_str("\nwhat came closest\n");
    }
    told.events.iter().take(EVENTS_SHOWN).for_each(|one| event(one, &mut text));
    if told.events.len() > EVENTS_SHOWN {
        text.push_str(&format!("{} more events were considered\n", told.events.len() - EVENTS_SHOWN));
    }
    for line in &told.unknown {
        text.push_str(&format!("\n{line}\n"));
    }
    text
}

fn enrollment(walk: &EnrollmentTold, text: &mut String) {
    let key = if walk.key.is_empty() { String::new() } else { format!(" with key {}", walk.key) };
    let ends = match (walk.until, walk.ended_at) {
        (Some(until), _) => format!(", until {until}"),
        (None, Some(ended)) => format!(" at {ended}"),
        (None, None) => String::new(),
    };
    text.push_str(&format!(
        "\nenrolled{key} by version {} at {}: {}{ends}\n",
        walk.version, walk.entered_at, walk.state
    ));
    for exit in &walk.exits {
        text.push_str(&format!("  ends by {}\n", exit.exit));
        if let Some(tree) = &exit.tree {
            tree.outline(2, text);
        }
    }
    let Some(message) = &walk.message else { return };
    let why = message.sentence.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    text.push_str(&format!("  message {}: {}{why}\n", message.id, message.status));
    for check in &message.checks {
        let sign = match check.result {
            Came::Passed => '✓',
            Came::Stopped | Came::Held => '✗',
            Came::NotReached | Came::DoesNotApply => continue,
        };
        let said = check.sentence.as_ref().map_or_else(String::new, |said| format!(": {said}"));
        text.push_str(&format!("    {sign} {}{said}\n", check.check));
    }
}

fn event(one: &EventTold, text: &mut String) {
    text.push_str(&format!(
        "\n{} {} (position {}, version {})\n",
        instant(one.at),
        one.name,
        one.position,
        one.version
    ));
    match one.entered {
        true => text.push_str("  → it begins, or counts as a repeat\n"),
        false => {
            text.push_str(&format!("  ✗ {} of its conditions stood in the way: {}\n", one.apart.max(1), one.sentence))
        }
    }
    for check in one.checks.iter().filter(|check| !check.passed) {
        let said = check.sentence.as_deref().unwrap_or_default();
        text.push_str(&format!("    ✗ {}: {said}\n", check.check));
    }
    if let Some(tree) = &one.tree {
        tree.outline(2, text);
    }
    if let Some(change) = &one.change {
        text.push_str(&format!("    would change it: {change}\n"));
    }
    if let Some(recorded) = &one.recorded {
        text.push_str(&format!("    recorded: {recorded}\n"));
    }
}

//! `kind: caps`: the frequency caps of a workspace.

use crate::audience::period::Period;
use crate::definition::problem::Code;
use crate::definition::reader::{At, Map, Target};
use crate::guard::Window;
use crate::guard::frequency_cap::{Keep, Rule, Scope};
use crate::ids::Span;

pub const RULES_MAX: usize = 100;
/// In place of a campaign's key: each by itself.
const EACH: &str = "each";
const AT_MOST_MAX: u32 = 10_000;
/// Slots must be kept as long as the longest window.
const PER_MAX: Span = Span::from_days(366);

pub fn read(at: &At<'_>) -> Option<Vec<Rule>> {
    let map = at.map(&["kind", "key", "name", "owner", "rules"], &[])?;
    let rules = map.required("rules")?;
    let items = rules.list()?;
    if items.len() > RULES_MAX {
        rules.problem(Code::Limit, format!("has {} rules; at most {RULES_MAX} are allowed", items.len()));
    }
    let read: Vec<_> = items.iter().map(rule).collect();
    read.into_iter().collect()
}

fn rule(at: &At<'_>) -> Option<Rule> {
    let map = at.map(&["at_most", "per", "channel", "topic", "campaign", "per_step", "keep"], &[])?;
    let at_most = map.required("at_most").and_then(|at| at.integer(0, AT_MOST_MAX));
    let per = map.required("per").and_then(|at| window(&at));
    let keep = map.maybe("keep", |at| keep(&at, at_most));
    let scope = scope(at, &map);
    Some(Rule { at_most: at_most?, per: per?, scope: scope?, keep: keep? })
}

/// A length of time, or a day or week of the person's calendar. How long a month is depends on when it begins, and a cap's
/// window has no beginning.
fn window(at: &At<'_>) -> Option<Window> {
    if let Some(Ok(Period::Months(months @ 1..))) = at.raw().map(str::parse) {
        let days = if months % 12 == 0 { months / 12 * 365 } else { months.saturating_mul(30) };
        return at.later(&format!(
            "a month or a year (a cap rolls over a fixed length of time; write `{}d`, or calendar_day or calendar_week)",
            days.min(365)
        ));
    }
    match at.raw() {
        Some("calendar_day") => Some(Window::CalendarDay),
        Some("calendar_week") => Some(Window::CalendarWeek),
        _ => match at.span_above_zero()? {
            span if span > PER_MAX => at.wrong(format!("is longer than {PER_MAX}")),
            span => Some(Window::Rolling(span)),
        },
    }
}

fn keep(at: &At<'_>, at_most: Option<u32>) -> Option<Keep> {
    let map = at.map(&["slots", "priority"], &[])?;
    // More cannot be kept than there are.
    let slots = map.required("slots").and_then(|at| at.integer(1, at_most.unwrap_or(AT_MOST_MAX).max(1)));
    let priority = map.required("priority").and_then(|at| at.integer(1, 100));
    Some(Keep { slots: slots?, priority: u8::try_from(priority?).unwrap_or(u8::MAX) })
}

fn scope(at: &At<'_>, map: &Map<'_>) -> Option<Scope> {
    let channel = map.maybe("channel", |at| at.channel());
    let topic = map.maybe("topic", |at| {
        let key = at.key()?;
        at.refers(Target::Topic(key.clone()));
        Some(key)
    });
    let campaign = map.maybe("campaign", |at| {
        let key = at.key()?;
        if key != EACH {
            at.refers(Target::Campaign(key.clone()));
        }
        Some(key)
    });
    let per_step = map.maybe("per_step", |at| at.boolean());
    match (channel?, topic?, campaign?, per_step?) {
        (None, None, Some(campaign), per_step) if campaign == EACH => {
            Some(Scope::EachCampaign { per_step: per_step.unwrap_or(false) })
        }
        (_, _, _, Some(_)) => at.wrong("`per_step` belongs to `campaign: each`"),
        (None, None, None, None) => Some(Scope::Any),
        (Some(channel), None, None, None) => Some(Scope::Channel(channel)),
        (None, Some(topic), None, None) => Some(Scope::Topic(topic)),
        (None, None, Some(campaign), None) => Some(Scope::Campaign(campaign)),
        _ => at.wrong("one scope a rule: `channel`, `topic` or `campaign`"),
    }
}

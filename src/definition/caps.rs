//! `kind: caps`: the frequency caps of a workspace.

use crate::definition::problem::Code;
use crate::definition::reader::At;
use crate::guard::frequency_cap::{Rule, Scope};
use crate::ids::Span;

pub const RULES_MAX: usize = 100;
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
    let map = at.map(&["at_most", "per", "channel", "campaign", "per_step"], &["keep", "topic"])?;
    let at_most = map.required("at_most").and_then(|at| at.integer(0, AT_MOST_MAX));
    let per = map.required("per").and_then(|at| match at.span_above_zero()? {
        span if span > PER_MAX => at.wrong(format!("is longer than {PER_MAX}")),
        span => Some(span),
    });
    let channel = map.maybe("channel", |at| at.channel());
    let campaign = map.maybe("campaign", |at| at.key());
    let per_step = map.maybe("per_step", |at| at.boolean());
    let scope = match (channel?, campaign?, per_step?) {
        (Some(_), Some(_), _) => return at.wrong("one scope a rule: `channel` or `campaign`"),
        (None, Some(campaign), per_step) if campaign == "each" => {
            Scope::EachCampaign { per_step: per_step.unwrap_or(false) }
        }
        (_, _, Some(_)) => return at.wrong("`per_step` belongs to `campaign: each`"),
        (None, Some(campaign), None) => Scope::Campaign(campaign),
        (Some(channel), None, None) => Scope::Channel(channel),
        (None, None, None) => Scope::Any,
    };
    Some(Rule { at_most: at_most?, per: per?, scope })
}

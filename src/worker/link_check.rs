//! The links and pictures of templates, asked whether anybody answers: each message is made as a look would make it, and
//! each address is asked once, however many messages have it. Nothing is stored, and nothing waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::channel::probe::Probe;
pub use crate::channel::probe::{Finding, Found, Verdict};
use crate::ids::Timestamp;
use crate::message::Channel;
use crate::render::linked::{Linked, Use, linked};
use crate::render::links::{LinkKind, Links};
use crate::render::template::Template;
use crate::render::{Compiled, Scope, Sender, preview};

/// Of one check; what is more is counted.
pub const ADDRESSES_MAX: usize = 1_000;

/// A template with what it is filled in by.
#[derive(Debug, Clone)]
pub struct Trial {
    pub template: Arc<Template>,
    /// The language it is made in; none: the reader's.
    pub locale: Option<String>,
    pub sample: Map<String, Value>,
    /// One channel, or all it has.
    pub channel: Option<Channel>,
}

/// Hears how many of how many addresses are done, and says whether to go on.
pub type Told = Arc<dyn Fn(usize, usize) -> bool + Send + Sync>;

/// What is to be looked at.
#[derive(Clone)]
pub struct LinkCheck {
    pub trials: Vec<Trial>,
    pub told: Told,
}

/// Where an address stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub template: String,
    pub channel: &'static str,
    pub locale: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub url: String,
    /// `link` or `picture`.
    pub used_as: &'static str,
    pub verdict: Verdict,
    #[serde(flatten)]
    pub found: Found,
    pub places: Vec<Place>,
}

/// A message that could not be made, so that nobody knows its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unrendered {
    #[serde(flatten)]
    pub place: Place,
    pub cause: String,
}

/// What came of it, the worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    pub ok: usize,
    pub warnings: usize,
    pub broken: usize,
    pub not_asked: usize,
    /// Addresses beyond the thousand that one check asks.
    pub more: usize,
    pub addresses: Vec<Checked>,
    pub unrendered: Vec<Unrendered>,
}

/// Makes every message and asks its addresses.
pub async fn check(probe: &Probe, sender: &Sender, links: &Links, at: Timestamp, asked: LinkCheck) -> LinkReport {
    let (mut places, unrendered) = gathered(sender, links, at, &asked.trials);
    let more = places.len().saturating_sub(ADDRESSES_MAX);
    let all: BTreeSet<Linked> = places.keys().take(ADDRESSES_MAX).cloned().collect();
    let of = all.len();
    let told = asked.told.clone();
    let answers = probe.ask_all(all, move |done| told(done, of)).await;
    let mut report = LinkReport { more, unrendered, ..LinkReport::default() };
    for (one, found) in answers {
        let verdict = found.verdict();
        let count = match verdict {
            Verdict::Ok => &mut report.ok,
            Verdict::Warning => &mut report.warnings,
            Verdict::Broken => &mut report.broken,
            Verdict::NotAsked => &mut report.not_asked,
        };
        *count += 1;
        let places = places.remove(&one).unwrap_or_default().into_iter().collect();
        let used_as = match one.used_as {
            Use::Link => "link",
            Use::Picture => "picture",
        };
        report.addresses.push(Checked { url: one.url, used_as, verdict, found, places });
    }
    // Stable: those alike stay in the order of their addresses.
    report.addresses.sort_by_key(|one| std::cmp::Reverse(one.verdict));
    report
}

type Gathered = (BTreeMap<Linked, BTreeSet<Place>>, Vec<Unrendered>);

/// The addresses of all messages, each with where it stands.
fn gathered(sender: &Sender, links: &Links, at: Timestamp, trials: &[Trial]) -> Gathered {
    let (mut places, mut unrendered): Gathered = Default::default();
    for trial in trials {
        let of = |channel: Channel| Place {
            template: trial.template.key.clone(),
            channel: channel.as_str(),
            locale: trial.locale.clone(),
        };
        let compiled = Compiled::new(&trial.template);
        let mut sample = trial.sample.clone();
        // Known as ours wherever they stand: a sample may say anything of them.
        sample.insert("links".to_owned(), placeholders(links));
        let scope = Scope::sample(at, &sample);
        let is_meant = |channel: &Channel| trial.channel.is_none_or(|only| only == *channel);
        for channel in Channel::ALL.into_iter().filter(is_meant).filter(|channel| trial.template.parts.has(*channel)) {
            let made = match &compiled {
                Ok(compiled) => preview(compiled, channel, &scope, sender, "").map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match made {
                Ok(made) => {
                    for one in linked(made.content()) {
                        places.entry(one).or_insert_with(BTreeSet::new).insert(of(channel));
                    }
                }
                Err(cause) => unrendered.push(Unrendered { place: of(channel), cause }),
            }
        }
    }
    (places, unrendered)
}

fn placeholders(links: &Links) -> Value {
    json!({
        "unsubscribe": links.placeholder(LinkKind::Unsubscribe),
        "preferences": links.placeholder(LinkKind::Preferences),
        "confirm": links.placeholder(LinkKind::Confirm),
    })
}

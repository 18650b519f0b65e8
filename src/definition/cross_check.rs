//! What one document says of others: every name must lead somewhere, and no name may be taken twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::audience::Segment;
use crate::audience::condition::needs::{Needs, direct};
use crate::audience::segment::CHAIN_MAX;
use crate::audience::whereabouts::places::{countries, is_country, is_region, meant, regions};
use crate::decision::campaign::CampaignStatus;
use crate::decision::shared_map::SharedMap;
use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::reader::{Reference, Target, Unread};
use crate::definition::{Definition, Document, DocumentKind};
use crate::message::Channel;

pub const LIVE_CAMPAIGNS_MAX: usize = 10_000;
pub const SEGMENTS_MAX: usize = 1_000;

/// What is already applied; a copy costs little.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Keys of all campaigns; true where live.
    pub campaigns: SharedMap<bool>,
    /// Keys of all topics.
    pub topics: BTreeSet<String>,
    /// Keys of all templates, with the channels they have parts for.
    pub templates: SharedMap<BTreeSet<Channel>>,
    /// Keys of all segments, with those each builds on directly.
    pub segments: SharedMap<BTreeSet<String>>,
    /// Keys of all consent policies, with the channels each has a rule for.
    pub policies: BTreeMap<String, BTreeSet<Channel>>,
}

impl Known {
    /// One more document of which no more than the name is known; nothing is asked of it.
    fn note_name(&mut self, kind: DocumentKind, key: &str) {
        match kind {
            DocumentKind::Campaign if !self.campaigns.contains_key(key) => drop(self.campaigns.insert(key, false)),
            DocumentKind::Template => drop(self.templates.insert(key, Channel::ALL.into())),
            DocumentKind::Segment => drop(self.segments.insert(key, BTreeSet::new())),
            DocumentKind::Topic => drop(self.topics.insert(key.to_owned())),
            _ => {}
        }
    }

    /// One more document, or another text of one that is known.
    pub fn note(&mut self, key: &str, definition: &Definition) {
        match definition {
            Definition::Campaign(campaign) => {
                self.campaigns.insert(key, campaign.status == CampaignStatus::Live);
            }
            Definition::Template(template) => {
                let channels = Channel::ALL.into_iter().filter(|channel| template.parts.has(*channel)).collect();
                self.templates.insert(key, channels);
            }
            Definition::Segment(segment) => drop(self.segments.insert(key, built_on(segment))),
            Definition::Topic(topic) => drop(self.topics.insert(topic.key.clone())),
            Definition::ConsentPolicy(rules) => {
                self.policies.insert(key.to_owned(), rules.iter().map(|rule| rule.channel).collect());
            }
            Definition::Rates(_)
            | Definition::ComputedTrait(_)
            | Definition::Caps(_)
            | Definition::QuietHours(_)
            | Definition::Source(_)
            | Definition::Story(_) => {}
        }
    }
}

/// Problems between documents that are each right by themselves. Documents of the set win over `known`.
pub fn cross_check(documents: &[Document], known: &Known) -> Vec<Problem> {
    cross_check_all(documents, &[], known)
}

/// The same where some could not be read: they are there for whoever names them, and what they name is looked at too.
pub fn cross_check_all(documents: &[Document], unread: &[Unread], known: &Known) -> Vec<Problem> {
    let mut all = known.clone();
    unread.iter().for_each(|one| all.note_name(one.kind, &one.key));
    let mut first: BTreeMap<(DocumentKind, &str), &Document> = BTreeMap::new();
    let mut problems = Vec::new();
    for document in documents {
        if let Some(before) = first.get(&(document.kind, document.key.as_str())) {
            let message = format!("{} `{}` is also at {}:{}", document.kind, document.key, before.file, before.line);
            problems.push(at_document(document, "key", Code::DuplicateKey, message));
            continue;
        }
        first.insert((document.kind, &document.key), document);
        all.note(&document.key, &document.definition);
    }
    for document in documents {
        let (file, kind) = (document.file.as_str(), document.kind);
        problems.extend(document.references.iter().filter_map(|it| dangling((file, kind), it, &all)));
    }
    for one in unread {
        problems.extend(one.references.iter().filter_map(|it| dangling((&one.file, one.kind), it, &all)));
    }
    if all.segments.len() <= SEGMENTS_MAX {
        for document in documents.iter().filter(|document| document.kind == DocumentKind::Segment) {
            problems.extend(chained(document, &all));
        }
    }
    for document in documents.iter().filter(|document| document.kind == DocumentKind::ConsentPolicy) {
        problems.extend(contradicted(document, &all));
    }
    if all.segments.len() > SEGMENTS_MAX
        && let Some(document) = documents.iter().find(|document| document.kind == DocumentKind::Segment)
    {
        let message = format!("there would be {} segments; at most {SEGMENTS_MAX} are allowed", all.segments.len());
        problems.push(at_document(document, "key", Code::Limit, message));
    }
    let live = all.campaigns.values().filter(|live| **live).count();
    if live > LIVE_CAMPAIGNS_MAX
        && let Some(document) = documents.iter().find(|document| document.kind == DocumentKind::Campaign)
    {
        let message = format!("{live} campaigns would be live; at most {LIVE_CAMPAIGNS_MAX} are allowed");
        problems.push(at_document(document, "status", Code::Limit, message));
    }
    problems
}

/// The segments that a segment's condition asks for.
pub fn built_on(segment: &Segment) -> BTreeSet<String> {
    let mut needs = Needs::default();
    direct(&segment.filter, &mut needs);
    needs.segments
}

/// Policies under several names hold together: two of them must not speak of one channel.
fn contradicted(document: &Document, all: &Known) -> Option<Problem> {
    let theirs = all.policies.get(&document.key)?;
    let others = all.policies.iter().filter(|(key, _)| **key != document.key);
    let (other, channel) =
        others.flat_map(|(key, rules)| rules.intersection(theirs).map(move |it| (key, it))).next()?;
    let message = format!("consent_policy `{other}` has a rule for {} too", channel.as_str());
    Some(at_document(document, "rules", Code::WrongValue, message))
}

/// A segment that builds on itself, or on too many in a row.
fn chained(document: &Document, all: &Known) -> Option<Problem> {
    let message = match longest_chain(&document.key, all) {
        Err(cycle) => {
            let message = format!("segments build on each other in a circle: {}", cycle.join(" → "));
            let next = cycle.into_iter().nth(1).map(Target::Segment);
            let leads = |reference: &&Reference| Some(&reference.to) == next.as_ref();
            let problem = at_document(document, "where", Code::WrongValue, message);
            return Some(match document.references.iter().find(leads) {
                Some(Reference { line, column, field, .. }) => {
                    Problem { line: *line, column: *column, field: field.clone(), ..problem }
                }
                None => problem,
            });
        }
        Ok(length) if length > CHAIN_MAX => {
            format!("builds on {length} segments in a row; at most {CHAIN_MAX} are allowed")
        }
        Ok(_) => return None,
    };
    Some(at_document(document, "where", Code::Limit, message))
}

/// Segments in the longest row below `key`, itself included; an error is the circle that leads back to it.
fn longest_chain(key: &str, all: &Known) -> Result<usize, Vec<String>> {
    let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
    // Depth first, without recursion: the row of a mistaken file may be long.
    let mut path: Vec<(&str, Vec<&str>)> = vec![(key, below(key, all))];
    let mut on_path = BTreeSet::from([key]);
    while let Some((at, open)) = path.last_mut() {
        let at = *at;
        match open.pop() {
            Some(next) if on_path.contains(next) => {
                // A circle that this segment only leads to is told at the segments in it.
                if next == key {
                    return Err(path.iter().map(|(on, _)| (*on).to_owned()).chain([key.to_owned()]).collect());
                }
            }
            Some(next) if !lengths.contains_key(next) => {
                on_path.insert(next);
                path.push((next, below(next, all)));
            }
            Some(_) => {}
            None => {
                let longest = below(at, all).iter().filter_map(|next| lengths.get(next)).max().copied();
                lengths.insert(at, longest.unwrap_or(0) + 1);
                on_path.remove(at);
                path.pop();
            }
        }
    }
    Ok(lengths.get(key).copied().unwrap_or(1))
}

fn below<'k>(key: &str, all: &'k Known) -> Vec<&'k str> {
    all.segments.get(key).into_iter().flatten().map(String::as_str).collect()
}

fn dangling((file, kind): (&str, DocumentKind), reference: &Reference, all: &Known) -> Option<Problem> {
    let (message, nearest) = match &reference.to {
        Target::Campaign(key) if all.campaigns.contains_key(key) => return None,
        Target::Campaign(key) => (format!("there is no campaign `{key}`"), nearest(key, all.campaigns.keys())),
        Target::Segment(key) if all.segments.contains_key(key) => return None,
        Target::Segment(key) => (format!("there is no segment `{key}`"), nearest(key, all.segments.keys())),
        Target::Topic(key) if all.topics.contains(key) => return None,
        Target::Topic(key) => {
            (format!("there is no topic `{key}`"), nearest(key, all.topics.iter().map(String::as_str)))
        }
        Target::Country(code) if is_country(code) => return None,
        Target::Country(code) => no_country(code),
        Target::Region(code) if is_region(code) => return None,
        Target::Region(code) => {
            let country = code.split('-').next().unwrap_or_default();
            if !is_country(country) {
                no_country(country)
            } else {
                let near = nearest(code, regions(country).iter().map(String::as_str));
                (format!("there is no region `{code}`; wanted one of ISO 3166-2, such as US-FL"), near)
            }
        }
        Target::Template(key, channel) => match all.templates.get(key) {
            Some(channels) if channel.is_none_or(|channel| channels.contains(&channel)) => return None,
            Some(_) => {
                let channel = channel.map_or("", Channel::as_str);
                (format!("template `{key}` has no part for {channel}"), None)
            }
            None => {
                let nearest = nearest(key, all.templates.keys());
                let mut message = format!("there is no template `{key}`");
                // Whoever copied a campaign forgets its template; once is enough.
                if kind == DocumentKind::Campaign && nearest.is_none() {
                    let folder = file.rfind('/').map_or("", |end| &file[..=end]);
                    message.push_str(&format!(
                        ": put its folder with template.yaml, subject and email.html at {folder}{key}/ (those of the \
                         starter set are in templates/)"
                    ));
                }
                (message, nearest)
            }
        },
    };
    Some(Problem {
        file: file.to_owned(),
        line: reference.line,
        column: reference.column,
        field: reference.field.clone(),
        code: Code::UnknownReference,
        message,
        nearest,
    })
}

fn no_country(code: &str) -> (String, Option<String>) {
    let near = meant(code).map(str::to_owned).or_else(|| nearest(code, countries()));
    (format!("there is no country `{code}`; wanted one of ISO 3166-1, such as GB"), near)
}

fn at_document(document: &Document, field: &str, code: Code, message: String) -> Problem {
    Problem {
        file: document.file.clone(),
        line: document.line,
        column: 1,
        field: field.to_owned(),
        code,
        message,
        nearest: None,
    }
}

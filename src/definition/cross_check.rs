//! What one document says of others: every name must lead somewhere, and no name may be taken twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::campaign::CampaignStatus;
use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::reader::{Reference, Target};
use crate::definition::{Definition, Document, DocumentKind};
use crate::message::Channel;

pub const LIVE_CAMPAIGNS_MAX: usize = 10_000;

/// What is already applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Keys of all campaigns; true where live.
    pub campaigns: BTreeMap<String, bool>,
    /// Keys of all topics.
    pub topics: BTreeSet<String>,
    /// Keys of all templates, with the channels they have parts for.
    pub templates: BTreeMap<String, BTreeSet<Channel>>,
}

/// Problems between documents that are each right by themselves. Documents of the set win over `known`.
pub fn cross_check(documents: &[Document], known: &Known) -> Vec<Problem> {
    let mut all = known.clone();
    let mut first: BTreeMap<(DocumentKind, &str), &Document> = BTreeMap::new();
    let mut problems = Vec::new();
    for document in documents {
        if let Some(before) = first.get(&(document.kind, document.key.as_str())) {
            let message = format!("{} `{}` is also at {}:{}", document.kind, document.key, before.file, before.line);
            problems.push(at_document(document, "key", Code::DuplicateKey, message));
            continue;
        }
        first.insert((document.kind, &document.key), document);
        match &document.definition {
            Definition::Campaign(campaign) => {
                all.campaigns.insert(campaign.key.clone(), campaign.status == CampaignStatus::Live);
            }
            Definition::Template(template) => {
                let channels = Channel::ALL.into_iter().filter(|channel| template.parts.has(*channel)).collect();
                all.templates.insert(template.key.clone(), channels);
            }
            Definition::Topic(topic) => drop(all.topics.insert(topic.key.clone())),
            Definition::Caps(_) | Definition::ConsentPolicy(_) | Definition::Source(_) | Definition::Story(_) => {}
        }
    }
    for document in documents {
        problems.extend(document.references.iter().filter_map(|reference| dangling(document, reference, &all)));
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

fn dangling(document: &Document, reference: &Reference, all: &Known) -> Option<Problem> {
    let (message, nearest) = match &reference.to {
        Target::Campaign(key) if all.campaigns.contains_key(key) => return None,
        Target::Campaign(key) => {
            (format!("there is no campaign `{key}`"), nearest(key, all.campaigns.keys().map(String::as_str)))
        }
        Target::Topic(key) if all.topics.contains(key) => return None,
        Target::Topic(key) => {
            (format!("there is no topic `{key}`"), nearest(key, all.topics.iter().map(String::as_str)))
        }
        Target::Template(key, channel) => match all.templates.get(key) {
            Some(channels) if channel.is_none_or(|channel| channels.contains(&channel)) => return None,
            Some(_) => {
                let channel = channel.map_or("", Channel::as_str);
                (format!("template `{key}` has no part for {channel}"), None)
            }
            None => (format!("there is no template `{key}`"), nearest(key, all.templates.keys().map(String::as_str))),
        },
    };
    Some(Problem {
        file: document.file.clone(),
        line: reference.line,
        column: reference.column,
        field: reference.field.clone(),
        code: Code::UnknownReference,
        message,
        nearest,
    })
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

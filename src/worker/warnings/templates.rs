//! Templates beside what really happened: the newest events that would have led to a message are rendered as if they
//! had just come, so that what is missing in some of them is told before a message fails of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::DatabaseConnection;
use serde_json::{Map, Value};

use crate::audience::Profile;
use crate::decision::Campaign;
use crate::decision::campaign::CampaignStatus;
use crate::definition::{Definition, Document, DocumentKind};
use crate::event::Event;
use crate::ids::{Position, Timestamp};
use crate::message::{Channel, Purpose};
use crate::money::Exchange;
use crate::render::inspection::remarks;
use crate::render::template::Template;
use crate::render::{Compiled, Content, RenderError, Scope, Sender, preview};
use crate::store::Workspace;
use crate::store::entries::Logged;
use crate::worker::live::book::Book;
use crate::worker::live::read_stored;
use crate::worker::warnings::Seen;

const TEMPLATE: &str = DocumentKind::Template.as_str();

/// Of each campaign, the newest events that are tried.
const EVENTS_MAX: usize = 50;
/// Missing variables of one message that are told.
const MISSING_MAX: usize = 10;
/// What belongs to the message or the house is there when it is sent.
const LATER: [&str; 4] = ["workspace.", "links.", "campaign.", "message."];

/// What to say of templates and the campaigns that send them, where either is among the documents.
pub(super) async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    (book, seen): (&Book, &Seen),
    documents: &[&Document],
) -> anyhow::Result<Vec<String>> {
    let (mut campaigns, mut templates) = (BTreeMap::new(), BTreeMap::new());
    for document in documents {
        match &document.definition {
            Definition::Campaign(campaign) => drop(campaigns.insert(campaign.key.clone(), campaign.clone())),
            Definition::Template(template) => drop(templates.insert(template.key.clone(), template.clone())),
            _ => {}
        }
    }
    let sends = |campaign: &&Arc<Campaign>| templates.contains_key(&campaign.send.template);
    for campaign in book.live().catalog.campaigns().filter(sends) {
        campaigns.entry(campaign.key.clone()).or_insert_with(|| Campaign::clone(campaign));
    }
    campaigns.retain(|_, campaign| campaign.status != CampaignStatus::Archived);
    let sent: BTreeSet<&str> = campaigns.values().map(|campaign| campaign.send.template.as_str()).collect();
    let stored = sent.into_iter().filter(|key| !templates.contains_key(*key)).map(|key| (TEMPLATE, key)).collect();
    for definition in store.newest_of(&stored).await?.iter().flat_map(read_stored) {
        if let Definition::Template(template) = definition {
            templates.insert(template.key.clone(), template);
        }
    }
    let Ok(sender) = Sender::new(None, "preview@example.com", None) else { return Ok(Vec::new()) };
    let concerned: Vec<&Campaign> = campaigns.values().collect();
    let names = concerned.iter().map(|campaign| campaign.entry.event.clone()).collect();
    let (newest, _) = seen.newest(store, &names).await?;
    let mut told = Vec::new();
    for campaign in concerned {
        let template = templates.get(&campaign.send.template).filter(|it| it.parts.has(campaign.send.channel));
        let Some((template, compiled)) = template.and_then(|it| Some((it, Compiled::new(it).ok()?))) else { continue };
        let trial = Trial { template, compiled: &compiled, campaign, sender: &sender };
        told.extend(trial.remarks());
        let positions = newest.get(&campaign.entry.event).map(Vec::as_slice).unwrap_or_default();
        told.extend(trial.failures(&recent(store, campaign, positions).await?));
    }
    Ok(told)
}

/// The newest of these events that fit a campaign's entry, each with its person.
async fn recent(
    store: Workspace<'_, DatabaseConnection>,
    campaign: &Campaign,
    positions: &[Position],
) -> anyhow::Result<Vec<(Profile, Arc<Event>)>> {
    // Those that do not fit the pattern are passed over.
    let positions = &positions[..positions.len().min(EVENTS_MAX * 4)];
    let mut found = Vec::new();
    for (_, entry) in store.entries_apart(positions).await?.into_iter().rev() {
        let (Logged::Event(event), Some(profile)) = (entry.logged, entry.profile) else { continue };
        let fits = campaign.entry.pattern.as_ref().is_none_or(|pattern| pattern.matches(event.body.document()));
        if !fits || !campaign.is_about(&event) {
            continue;
        }
        if let Some(person) = store.person(store.current_profile(profile).await?).await? {
            found.push((person.profile, event));
        }
        if found.len() == EVENTS_MAX {
            break;
        }
    }
    Ok(found)
}

/// A template as one campaign sends it.
struct Trial<'t> {
    template: &'t Template,
    compiled: &'t Compiled,
    campaign: &'t Campaign,
    sender: &'t Sender,
}

impl Trial<'_> {
    fn render(&self, sample: &Map<String, Value>) -> Result<Content, RenderError> {
        let scope = Scope::sample(Timestamp::from_millis(0), sample);
        let shown = preview(self.compiled, self.campaign.send.channel, &scope, self.sender, "preview@example.com")?;
        Ok(shown.content().clone())
    }

    /// What is odd about the mail of its own sample.
    fn remarks(&self) -> Vec<String> {
        let Template { key, sample, parts, .. } = self.template;
        if sample.is_empty() || self.campaign.send.channel != Channel::Email {
            return Vec::new();
        }
        let Ok(Content::Email(email)) = self.render(sample) else { return Vec::new() };
        let mut told = remarks(&email, self.campaign.purpose == Purpose::Marketing);
        let own = parts.email.as_ref().and_then(|part| part.preheader.as_deref());
        let own = own.or_else(|| email.html.contains("display:none").then_some("written in the HTML"));
        told.extend(crate::render::inspection::preheader_remark(own, email.subject.as_str()));
        told.into_iter().map(|remark| format!("template {key}: {remark}")).collect()
    }

    /// What these events would have made fail, each cause with how often.
    fn failures(&self, happened: &[(Profile, Arc<Event>)]) -> Vec<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (profile, event) in happened {
            for cause in self.causes(profile, event) {
                *counts.entry(cause).or_default() += 1;
            }
        }
        let (key, entry, campaign) = (&self.template.key, &self.campaign.entry.event, &self.campaign.key);
        let all = happened.len();
        let told = counts.into_iter().map(|(cause, count)| {
            format!(
                "template {key}: {cause} in {count} of the newest {all} `{entry}` events that fit {campaign}; such \
                 messages would fail"
            )
        });
        told.collect()
    }

    fn causes(&self, profile: &Profile, event: &Event) -> BTreeSet<String> {
        let mut sample = Scope::tried_sample(profile, event, &Exchange::default());
        let mut causes = BTreeSet::new();
        for _ in 0..MISSING_MAX {
            match self.render(&sample) {
                Ok(_) => break,
                Err(RenderError::Missing { part, variable, line, column }) => {
                    if !LATER.iter().any(|root| variable.starts_with(root)) {
                        causes.insert(format!(
                            "`{variable}` ({part}, line {line}, column {column}) is missing and has no default"
                        ));
                    }
                    if !put(&mut sample, &variable) {
                        break;
                    }
                }
                Err(RenderError::NoPart { .. }) => break,
                Err(other) => {
                    causes.insert(format!("it cannot be rendered ({other})"));
                    break;
                }
            }
        }
        causes
    }
}

/// Something at a path, so that what else is missing can be found; false where there is no place for it.
fn put(sample: &mut Map<String, Value>, path: &str) -> bool {
    let Some((parents, last)) = path.rsplit_once('.') else { return false };
    let mut at = sample;
    for step in parents.split('.') {
        let inner = at.entry(step).or_insert_with(|| Map::new().into());
        if inner.is_null() {
            *inner = Map::new().into();
        }
        let Some(object) = inner.as_object_mut() else { return false };
        at = object;
    }
    // A number reads as text, amount and count.
    let is_new = at.get(last).is_none_or(Value::is_null);
    at.insert(last.to_owned(), 1.into());
    is_new
}

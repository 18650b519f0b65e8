//! What a story says as the world has it: documents in force, people, and what they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::audience::Profile;
use crate::audience::computed::{ComputedSet, ComputedTrait, shipped};
use crate::audience::condition::{Condition, Terms};
use crate::audience::consent::{Consent, Via};
use crate::audience::segment::{Bases, LIST_CHANGED, SegmentSet};
use crate::audience::suppression::LIST_EVENTS;
use crate::decision::campaign::CampaignStatus;
use crate::decision::segments::BACKFILL;
use crate::decision::{CONSENT_CHANGED, Catalog, Loaded, Permissions, Person};
use crate::definition::computed_trait::shipped_in;
use crate::definition::story::{Given, Story};
use crate::definition::{Definition, Document};
use crate::event::engagement::{EMAIL_LINK_CLICKED, EMAIL_OPENED};
use crate::event::{Body, Event, Kind, Origin};
use crate::guard::quiet_hours;
use crate::ids::{EventId, Position, ProfileId, Timestamp};
use crate::message::{Channel, address_of};
use crate::money::Exchange;
use crate::story::world::{Act, Setting, Someone};

/// The documents as they hold for this story.
pub fn setting(documents: &[Document], story: &Story) -> Setting {
    let (mut campaigns, mut rules, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
    let mut permissions = Permissions::default();
    let (mut segments, mut exchange) = (Vec::new(), Exchange::default());
    let mut computed: BTreeMap<String, ComputedTrait> = BTreeMap::new();
    for document in documents {
        let named = shipped_in(&document.definition, &document.text).into_iter();
        for shipped in named.filter_map(shipped) {
            computed.entry(shipped.key.clone()).or_insert(shipped);
        }
        match &document.definition {
            Definition::Campaign(campaign) if story.campaigns.contains(&campaign.key) => {
                let mut campaign = campaign.clone();
                campaign.status = CampaignStatus::Live;
                campaign.version = campaign.version.max(1);
                campaigns.push(campaign);
            }
            Definition::Segment(segment) => segments.push((segment.clone(), Position(1))),
            Definition::ComputedTrait(one) => drop(computed.insert(one.key.clone(), one.clone())),
            Definition::Rates(rates) => exchange.rates = rates.clone(),
            Definition::Caps(caps) => rules.extend(caps.iter().cloned()),
            Definition::QuietHours(windows) => quiet.push(windows.clone()),
            Definition::ConsentPolicy(policy) => {
                permissions.policies.extend(policy.iter().map(|rule| (rule.channel, rule.policy.clone())));
            }
            Definition::Template(template) => {
                let topic = template.topic.clone().map(|topic| (template.key.clone(), topic));
                permissions.topics_of_templates.extend(topic);
            }
            Definition::Topic(topic) => drop(permissions.topics.insert(topic.key.clone(), topic.clone())),
            _ => {}
        }
    }
    let topics = permissions.topics.values().map(|topic| (topic.key.clone(), topic.by_default)).collect();
    let computed = ComputedSet::new(computed.into_values().map(|it| (it, Position(1))).collect(), Position(1));
    let bases = Bases { computed: computed.positions(), dates: Position(1), ..Bases::default() };
    let segments = SegmentSet::new(segments, &bases);
    let terms = Terms { exchange, segments, computed, topics, ..Terms::default() };
    let catalog = Catalog::new(campaigns, BTreeSet::new(), permissions).with_terms(terms).telling_all();
    Setting { catalog, rules, quiet: quiet_hours::in_force(quiet.into_iter()) }
}

/// When the story begins.
pub fn start(story: &Story) -> Timestamp {
    story.given.first().map_or(Timestamp::from_millis(0), |given| given.at)
}

/// What is done, in the order written, by people the story knows.
pub fn acts(documents: &[Document], story: &Story) -> Vec<Act> {
    let mut people = people(story);
    let act = |(given, n): (&Given, i64)| {
        let who = people.iter().position(|one| one.name == given.person)?;
        let profile = &mut people[who].person.profile;
        let act = Act::of(given.at, who, Arc::new(event(documents, given, n, profile)));
        know(profile, given);
        Some(act)
    };
    story.given.iter().zip(1..).filter_map(act).collect()
}

/// Lines that say something of what is not there: they would mean nothing.
pub fn impossible(documents: &[Document], story: &Story) -> Vec<String> {
    let mut people = people(story);
    let mut found = Vec::new();
    for given in &story.given {
        let Some(one) = people.iter_mut().find(|one| one.name == given.person) else { continue };
        let profile = &mut one.person.profile;
        let text = |name: &str| given.properties.get(name).and_then(Value::as_str);
        let channel = text("channel").and_then(Channel::parse).filter(|_| LIST_EVENTS.contains(&given.event.as_str()));
        if let Some(channel) = channel.filter(|channel| address_of(profile, *channel).is_err()) {
            let (name, channel) = (&given.person, channel.as_str());
            found.push(format!(
                "line {}: {name} has no address for {channel} by then, so there is none to put on the list; give it in \
                 the profile's `traits` or by an `Identified` above",
                given.line
            ));
        }
        if let Some(key) = text("segment").filter(|key| given.event == LIST_CHANGED && !is_static(documents, key)) {
            found.push(format!("line {}: {}", given.line, not_static(key)));
        }
        know(profile, given);
    }
    for person in &story.profiles {
        let others = person.lists.iter().filter(|key| !is_static(documents, key));
        found.extend(others.map(|key| format!("profile {}: {}", person.name, not_static(key))));
    }
    found
}

fn is_static(documents: &[Document], key: &str) -> bool {
    documents.iter().any(|document| {
        matches!(&document.definition, Definition::Segment(segment)
            if segment.key == key && matches!(segment.filter, Condition::Listed(_)))
    })
}

fn not_static(key: &str) -> String {
    format!(
        "segment `{key}` has no list: people come into it by what they do and by their traits; only one with \
         `static: true` has"
    )
}

/// What is known of a person after a line. An address they began with stays the one that lines are about.
fn know(profile: &mut Profile, given: &Given) {
    let addresses = Channel::ALL.map(Channel::address_trait);
    for (name, value) in &given.traits {
        if addresses.contains(&name.as_str()) {
            profile.traits.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

pub fn people(story: &Story) -> Vec<Someone> {
    let start = start(story);
    let mut people = Vec::new();
    for (given, id) in story.profiles.iter().zip(1..) {
        let mut person = Person::new(ProfileId(id), start);
        person.profile.user_id = Some(given.name.clone());
        person.profile.traits = given.traits.clone();
        person.profile.remembered.lists = given.lists.iter().map(|key| (key.clone(), start)).collect();
        for (channel, state) in &given.consent {
            let Some(state) = *state else { continue };
            let consent = Consent { state, source: "story".to_owned(), at: start, text_version: None, via: Via::Event };
            person.profile.consent.insert(channel.as_str().to_owned(), consent);
        }
        if given.is_new {
            let first = story.given.iter().find(|line| line.person == given.name);
            person.profile.created_at = first.map_or(start, |line| line.at);
        }
        people.push(Someone { name: given.name.clone(), person, loaded: Loaded::default(), is_new: given.is_new });
    }
    people
}

/// What a line says happened. An answer that says by which way it came (`via: link`, `page`, `confirmation`, `api`) is
/// our own event: somebody followed the link in a mail to their address. So is a change of the suppression list, by the
/// address the person began with, or else the first they came to have; a change of a static segment's list; and a mail of
/// ours that was opened or led somewhere.
fn event(documents: &[Document], given: &Given, n: i64, profile: &Profile) -> Event {
    let message_id = format!("story-{n}");
    let mut properties = given.properties.clone();
    let text = |name: &str| given.properties.get(name).and_then(Value::as_str);
    let is_answer = given.event == CONSENT_CHANGED && text("via").and_then(Via::parse).is_some();
    let is_hit = [EMAIL_OPENED, EMAIL_LINK_CLICKED].contains(&given.event.as_str());
    let is_listing = given.event == LIST_CHANGED;
    let is_ours = is_answer || is_hit || is_listing || LIST_EVENTS.contains(&given.event.as_str());
    let channel = text("channel").and_then(Channel::parse).filter(|_| is_ours && !is_hit);
    let sent = text("campaign").filter(|_| is_hit).and_then(|key| {
        documents.iter().find_map(|document| match &document.definition {
            Definition::Campaign(campaign) if campaign.key == key => Some(&campaign.send),
            _ => None,
        })
    });
    if let Some(address) = channel.and_then(|channel| address_of(profile, channel).ok()) {
        properties.insert("address_channel".to_owned(), address.channel().as_str().into());
        properties.insert("address".to_owned(), address.normalised().into());
    }
    if let Some(send) = sent {
        properties.entry("template").or_insert_with(|| send.template.clone().into());
        properties.entry("channel").or_insert_with(|| send.channel.as_str().into());
    }
    if is_listing {
        properties.insert("cause".to_owned(), BACKFILL.into());
    }
    let mut body = json!({
        "type": "track",
        "event": given.event,
        "userId": given.person,
        "messageId": message_id,
        "timestamp": given.at.to_string(),
        "properties": properties,
    });
    let mut kind = if is_ours { Kind::Own } else { Kind::Track };
    if given.event == Kind::Identify.event_name() {
        kind = Kind::Identify;
        body["type"] = "identify".into();
        body["traits"] = given.traits.clone().into();
    }
    Event {
        id: EventId::derive(&[message_id.as_bytes()]),
        kind,
        name: given.event.clone(),
        message_id,
        version: 1,
        source: "story".to_owned(),
        correlation_id: String::new(),
        trace: None,
        user_id: Some(given.person.clone()),
        anonymous_id: None,
        previous_id: None,
        at: given.at,
        received_at: given.at,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body.to_string()),
    }
}

//! The catalog finds an event's campaigns by the index as if it asked each campaign.

use std::collections::{BTreeMap, BTreeSet};

use carillon::decision::campaign::CampaignStatus;
use carillon::decision::person::Sent;
use carillon::decision::{Campaign, Catalog, Permissions, Person};
use carillon::definition::{Definition, SourceFile, read};
use carillon::event::{Body, Event, Kind, Origin};
use carillon::ids::{EventId, MessageId, ProfileId, Timestamp};
use carillon::message::Purpose;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::generate::{Scope, event, pattern};

const SCOPE: Scope = Scope { arrays_of_objects: true, whole_language: true, dotted: true };
const NAMES: [&str; 3] = ["Product Added", "Page Viewed", "Order Completed"];

/// One version of a campaign as JSON, of few keys so that some are newer versions of others.
fn campaign() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(&NAMES[..]);
    let status = prop::sample::select(vec!["live", "live", "live", "paused", "draft", "archived"]);
    let purpose = prop::sample::select(vec!["marketing", "transactional"]);
    let pattern = prop::option::weighted(0.8, pattern(SCOPE));
    let goal = prop::option::weighted(0.5, (name(), 1..9_u32));
    (0..12_u32, name(), status, purpose, pattern, goal).prop_map(|(key, name, status, purpose, pattern, goal)| {
        let mut entry = json!({ "event": name });
        if let Some(pattern) = pattern {
            entry["match"] = pattern;
        }
        let mut campaign = json!({
            "kind": "campaign", "key": format!("c{key}"), "name": "One", "owner": "crm@shop.example", "type": "trigger",
            "status": status, "purpose": purpose, "entry": entry, "send": { "channel": "email", "template": "note" },
        });
        if let Some((event, days)) = goal {
            campaign["goal"] = json!({ "event": event, "within": format!("{days}d") });
        }
        campaign
    })
}

fn read_all(written: &[Value]) -> Vec<Campaign> {
    let mut versions: BTreeMap<String, u32> = BTreeMap::new();
    let each = written.iter().map(|one| {
        let file = SourceFile { name: "one.json".into(), text: one.to_string() };
        let documents = read(&[file]).unwrap_or_else(|problems| panic!("{problems:?} in {one}"));
        let Some(Definition::Campaign(mut campaign)) = documents.into_iter().next().map(|one| one.definition) else {
            panic!("{one} is no campaign");
        };
        let version = versions.entry(campaign.key.clone()).or_default();
        *version += 1;
        campaign.version = *version;
        campaign
    });
    each.collect()
}

fn happened(name: &str, document: &Value) -> Event {
    Event {
        id: EventId::derive(&[b"one"]),
        kind: Kind::Track,
        name: name.to_owned(),
        message_id: "one".to_owned(),
        version: 1,
        source: "web".to_owned(),
        correlation_id: String::new(),
        trace: None,
        user_id: None,
        anonymous_id: None,
        previous_id: None,
        at: Timestamp::default(),
        received_at: Timestamp::default(),
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(document.to_string()),
    }
}

/// The newest version of every key that is live or paused.
fn in_force(campaigns: &[Campaign]) -> Vec<&Campaign> {
    let newest: BTreeMap<&str, &Campaign> = campaigns.iter().map(|one| (one.key.as_str(), one)).collect();
    let is_on = |one: &&Campaign| matches!(one.status, CampaignStatus::Live | CampaignStatus::Paused);
    newest.into_values().filter(is_on).collect()
}

fn keys<'a>(campaigns: impl Iterator<Item = &'a Campaign>) -> Vec<String> {
    campaigns.map(|campaign| format!("{}@{}", campaign.key, campaign.version)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_catalog_finds_the_campaigns_that_asking_each_would_find(
        written in prop::collection::vec(campaign(), 1..40),
        events in prop::collection::vec((prop::sample::select(&NAMES[..]), event(SCOPE)), 1..6),
        sent in prop::collection::btree_set(0..12_u32, 0..6),
    ) {
        let campaigns = read_all(&written);
        let catalog = Catalog::new(campaigns.clone(), BTreeSet::new(), Permissions::default());
        let in_force = in_force(&campaigns);
        let mut person = Person::new(ProfileId(1), Timestamp::default());
        person.sent = sent
            .iter()
            .map(|n| Sent { message: MessageId::derive(&[&n.to_le_bytes()]), campaign: format!("c{n}"), at: Timestamp::default() })
            .collect();
        for (name, document) in &events {
            let event = happened(name, document);
            let named = || in_force.iter().copied().filter(|one| one.entry.event == *name);
            let fits = |one: &&Campaign| one.entry.pattern.as_ref().is_none_or(|pattern| pattern.matches(document));
            let found = keys(catalog.entered_by(&event).into_iter().map(AsRef::as_ref));
            prop_assert_eq!(found, keys(named().filter(fits)), "{}", document);
            let missed: Vec<String> = catalog.misfits(&event).iter().map(|one| format!("{}@{}", one.campaign, one.version)).collect();
            prop_assert_eq!(missed, keys(named().filter(|one| !fits(one))), "{}", document);

            let wanted = in_force.iter().copied().filter(|one| one.goal.as_ref().is_some_and(|goal| goal.event == *name));
            let reached = wanted.clone().filter(|one| person.sent.iter().any(|sent| sent.campaign == one.key));
            prop_assert_eq!(keys(catalog.goals_of(&person, name).into_iter().map(AsRef::as_ref)), keys(reached));
            let longest = wanted.filter_map(|one| one.goal.as_ref().map(|goal| goal.within)).max();
            prop_assert_eq!(catalog.goal_window(name), longest);
        }
        for one in &in_force {
            let rival = |other: &&&Campaign| {
                other.key != one.key
                    && other.status == CampaignStatus::Live
                    && other.purpose == Purpose::Marketing
                    && other.send.channel == one.send.channel
            };
            prop_assert_eq!(catalog.is_contested(&one.key, one.send.channel), in_force.iter().any(|other| rival(&other)));
        }
    }
}

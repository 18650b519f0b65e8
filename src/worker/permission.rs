//! What a person says by a link or a page, or an operator for them, goes into the log as events; a no stops the address
//! in the same commit, so that nothing is claimed for it afterwards, whoever else has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::DatabaseTransaction;
use serde_json::{Map, Value};

use crate::audience::Profile;
use crate::audience::condition::Facts;
use crate::audience::consent::{ConsentState, Via};
use crate::audience::segment::Answers;
use crate::audience::suppression::{ADDRESS_SUPPRESSED, SUPPRESSION_REMOVED};
use crate::decision::{CONSENT_CHANGED, Loaded};
use crate::event::{Event, Origin, track_api};
use crate::eventlog::{Appender, Draft, EventLog, Queue, Receipt};
use crate::ids::{MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Address, Channel, Suppression, SuppressionKind, address_of};
use crate::store::{Store, Workspace, workspace};
use crate::worker::explain::words::masked;
use crate::worker::live::{Definitions, Live};
use crate::worker::past::past_for;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Channel(Channel),
    Topic(String),
}

/// One answer: of whom, about what, and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub about: About,
    pub state: ConsentState,
    pub via: Via,
    pub source: String,
    pub text_version: Option<String>,
    /// The message whose link was followed: its address is shown to be theirs.
    pub message: Option<MessageId>,
}

/// A person's choices as their page shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choices {
    pub channels: Vec<ChannelChoice>,
    pub topics: Vec<TopicChoice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelChoice {
    pub channel: Channel,
    /// Whether they are written to as things stand.
    pub on: bool,
    /// Masked.
    pub address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicChoice {
    pub key: String,
    pub name: String,
    pub description: String,
    pub on: bool,
}

/// What there is to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmable {
    Yes,
    /// It was before.
    Done,
    /// Too late, taken back, or for an address that is no longer theirs.
    No,
}

/// The books, the definitions and the log, for whoever answers.
#[derive(Clone)]
pub struct Desk {
    pub log: EventLog,
    pub store: Store,
    pub definitions: Arc<Definitions>,
}

impl Desk {
    /// Stores answers of one person, each as an event; `Ok` means on disk, with their places in the log.
    ///
    /// # Errors
    /// The database refuses; nothing is stored.
    pub async fn answer(
        &self,
        id: WorkspaceId,
        profile: ProfileId,
        answers: Vec<Answer>,
    ) -> anyhow::Result<Vec<Position>> {
        let now = self.log.clock().now();
        let live = self.definitions.live(id);
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move { store_answers(tx, appender, (id, profile), &live, now, &answers).await })
            })
            .await
    }

    /// Whether the person is erased: then nobody knows which address their mail went to, and a no would stop nothing.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn is_erased(&self, id: WorkspaceId, profile: ProfileId) -> anyhow::Result<bool> {
        Ok(self.store.workspace(id).is_erased(profile).await?)
    }

    /// A person's choices; none where nobody is known by this id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn choices(&self, id: WorkspaceId, profile: ProfileId) -> anyhow::Result<Option<Choices>> {
        let store = self.store.workspace(id);
        let Some(person) = store.person(store.current_profile(profile).await?).await? else { return Ok(None) };
        let (profile, live, now) = (person.profile, self.definitions.live(id), self.log.clock().now());
        let mut choices = Choices::default();
        for channel in [Channel::Email, Channel::Sms, Channel::Whatsapp, Channel::Push] {
            let address = address_of(&profile, channel).ok();
            if address.is_none() && !profile.consent.contains_key(channel.as_str()) {
                continue;
            }
            let on = self.is_on(store, &live, now, &profile, channel).await?;
            let address = address.map(|address| masked(channel, address.normalised()));
            choices.channels.push(ChannelChoice { channel, on, address });
        }
        choices.topics = live
            .catalog
            .topics()
            .map(|topic| TopicChoice {
                key: topic.key.clone(),
                name: topic.name.clone(),
                description: topic.description.clone(),
                on: topic.is_subscribed(&profile),
            })
            .collect();
        Ok(Some(choices))
    }

    async fn is_on(
        &self,
        store: Workspace<'_, sea_orm::DatabaseConnection>,
        live: &Live,
        now: Timestamp,
        profile: &Profile,
        channel: Channel,
    ) -> anyhow::Result<bool> {
        if let Ok(address) = address_of(profile, channel) {
            let subject = crate::store::suppressions::subject(channel, address.normalised());
            let listed = store.suppressions_of(&[subject].into()).await?;
            // A topic that somebody left is shown at the topic.
            if listed.values().flatten().any(|one| !matches!(one.kind, SuppressionKind::Topic(_))) {
                return Ok(false);
            }
        }
        match profile.consent.get(channel.as_str()).map(|answer| answer.state) {
            Some(ConsentState::Granted) => return Ok(true),
            Some(ConsentState::Denied | ConsentState::Pending) => return Ok(false),
            Some(ConsentState::Unknown) | None => {}
        }
        let Some(policy) = live.catalog.policy(channel) else { return Ok(false) };
        let past = match policy.condition() {
            Some(condition) => past_for(store, profile, condition, &live.catalog.terms.segments).await?,
            None => Loaded::default(),
        };
        let answers = Answers::default();
        let facts = Facts::of_person(now, (&live.catalog.terms, &answers), profile, past.past());
        Ok(policy.admits_unknown(&facts).is_ok())
    }

    /// Whether a confirmation by this message's link would count now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn confirmable(
        &self,
        id: WorkspaceId,
        profile: ProfileId,
        channel: Channel,
        message: MessageId,
    ) -> anyhow::Result<Confirmable> {
        let store = self.store.workspace(id);
        let current = store.current_profile(profile).await?;
        let Some(person) = store.person(current).await? else { return Ok(Confirmable::No) };
        let theirs = address_of(&person.profile, channel).ok().map(|address| address.normalised().to_owned());
        let sent_to = store.message(message).await?.and_then(|message| message.address);
        let now = self.log.clock().now();
        Ok(match person.profile.consent.get(channel.as_str()) {
            Some(answer) if answer.state == ConsentState::Granted => Confirmable::Done,
            Some(answer) if answer.is_confirmable(now) && theirs.is_some() && theirs == sent_to => Confirmable::Yes,
            Some(_) | None => Confirmable::No,
        })
    }

    /// The topic a message was about, by key and name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn topic_of(&self, id: WorkspaceId, message: MessageId) -> anyhow::Result<Option<(String, String)>> {
        let topic = self.store.workspace(id).message(message).await?.and_then(|message| message.topic);
        let live = self.definitions.live(id);
        Ok(topic.and_then(|key| live.catalog.topic(&key).map(|topic| (key, topic.name.clone()))))
    }
}

/// Stores answers of one person in the writer's transaction; their places in the log.
///
/// # Errors
/// The database refuses.
pub async fn store_answers(
    tx: &DatabaseTransaction,
    appender: &mut Appender,
    (id, profile): (WorkspaceId, ProfileId),
    live: &Live,
    now: Timestamp,
    answers: &[Answer],
) -> anyhow::Result<Vec<Position>> {
    // The link may be older than a merge.
    let profile = workspace(tx, id).current_profile(profile).await?;
    let mut drafts = Vec::with_capacity(answers.len());
    for answer in answers {
        drafts.push(taken(tx, id, profile, live, now, answer).await?);
    }
    let receipts = appender.append(tx, vec![drafts]).await?;
    let stored = receipts.into_iter().flatten().filter_map(|receipt| match receipt {
        Receipt::Stored { position, .. } => Some(position),
        Receipt::Duplicate => None,
    });
    Ok(stored.collect())
}

/// The event of an answer; a no stops the addresses it is about in this transaction.
async fn taken(
    tx: &DatabaseTransaction,
    id: WorkspaceId,
    profile: ProfileId,
    live: &Live,
    now: Timestamp,
    answer: &Answer,
) -> anyhow::Result<Draft> {
    let store = workspace(tx, id);
    let proof = match answer.message {
        Some(message) => store.message(message).await?.and_then(|message| Some((message.channel, message.address?))),
        None => None,
    };
    if answer.state == ConsentState::Denied {
        let person = store.person(profile).await?.map(|person| person.profile);
        let theirs = |channel: Channel| person.as_ref().and_then(|profile| address_of(profile, channel).ok());
        let mut stopped: BTreeMap<(Channel, String), SuppressionKind> = BTreeMap::new();
        for channel in Channel::ALL {
            let kind = match &answer.about {
                About::Channel(about) if *about == channel => SuppressionKind::Unsubscribed,
                About::Topic(key) if live.catalog.topic(key).is_none_or(|topic| topic.is_on(channel)) => {
                    SuppressionKind::Topic(key.clone())
                }
                About::Channel(_) | About::Topic(_) => continue,
            };
            let proven = proof.as_ref().filter(|(of, _)| *of == channel).map(|(_, address)| address.clone());
            let addresses = theirs(channel).map(|address| address.normalised().to_owned()).into_iter().chain(proven);
            stopped.extend(addresses.map(|address| ((channel, address), kind.clone())));
        }
        for ((channel, address), kind) in stopped {
            let why = Suppression { kind, source: answer.source.clone(), at: now, profile: Some(profile) };
            store.suppress(channel, &address, &why).await?;
        }
    }
    let event = event_of(id, now, answer, proof);
    Ok(Draft { profile: Some(profile), ..Draft::event(id, event) })
}

fn event_of(id: WorkspaceId, now: Timestamp, answer: &Answer, proof: Option<(Channel, String)>) -> Event {
    let mut properties = Map::new();
    match &answer.about {
        About::Channel(channel) => properties.insert("channel".to_owned(), channel.as_str().into()),
        About::Topic(topic) => properties.insert("topic".to_owned(), topic.clone().into()),
    };
    properties.insert("state".to_owned(), answer.state.as_str().into());
    properties.insert("source".to_owned(), answer.source.clone().into());
    properties.insert("via".to_owned(), answer.via.as_str().into());
    if let Some(version) = &answer.text_version {
        properties.insert("text_version".to_owned(), version.clone().into());
    }
    if let Some(message) = answer.message {
        properties.insert("message".to_owned(), message.to_string().into());
    }
    if let Some((channel, address)) = proof {
        properties.insert("address_channel".to_owned(), channel.as_str().into());
        properties.insert("address".to_owned(), address.into());
    }
    own_event(id, now, CONSENT_CHANGED, properties)
}

/// An event Carillon makes itself. A person may say no, yes and no again by the link in one mail: each is its own.
pub fn own_event(id: WorkspaceId, now: Timestamp, name: &str, properties: Map<String, Value>) -> Event {
    let message_id = format!("own:{}", uuid::Uuid::new_v4());
    Event::own(track_api::event_id(id, &message_id), message_id, name.to_owned(), &properties, now, Origin::Live)
}

/// An address to be put onto the list, or taken off it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    pub address: Address,
    /// To remove: none means whatever kind.
    pub kind: Option<SuppressionKind>,
    pub source: String,
}

impl Desk {
    /// Puts addresses onto the suppression list, with an event for each that was not there; the answer is how many.
    ///
    /// # Errors
    /// The database refuses; nothing is stored.
    pub async fn suppress(&self, id: WorkspaceId, all: Vec<ByHand>) -> anyhow::Result<u64> {
        self.change_list(id, all, true).await
    }

    /// Takes addresses off the list, with an event for each that was there; the answer is how many.
    ///
    /// # Errors
    /// As above.
    pub async fn unsuppress(&self, id: WorkspaceId, all: Vec<ByHand>) -> anyhow::Result<u64> {
        self.change_list(id, all, false).await
    }

    async fn change_list(&self, id: WorkspaceId, all: Vec<ByHand>, adds: bool) -> anyhow::Result<u64> {
        let now = self.log.clock().now();
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    let store = workspace(tx, id);
                    let mut drafts = Vec::new();
                    for one in all {
                        let (channel, address) = (one.address.channel(), one.address.normalised());
                        let changed = if adds {
                            let kind = one.kind.clone().unwrap_or(SuppressionKind::Manual);
                            let why = Suppression { kind, source: one.source.clone(), at: now, profile: None };
                            store.suppress(channel, address, &why).await?
                        } else {
                            let kind = one.kind.as_ref();
                            store.lift_suppression((channel, address), kind, None, &one.source, now).await? > 0
                        };
                        if changed {
                            let name = if adds { ADDRESS_SUPPRESSED } else { SUPPRESSION_REMOVED };
                            let mut properties = Map::new();
                            properties.insert("channel".to_owned(), channel.as_str().into());
                            properties.insert("address".to_owned(), address.into());
                            properties.insert("kind".to_owned(), one.kind.map(|kind| kind.to_string()).into());
                            properties.insert("source".to_owned(), one.source.into());
                            drafts.push(Draft::event(id, own_event(id, now, name, properties)));
                        }
                    }
                    let count = drafts.len() as u64;
                    appender.append(tx, vec![drafts]).await?;
                    Ok(count)
                })
            })
            .await
    }
}

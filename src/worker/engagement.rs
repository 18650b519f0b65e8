//! What became of mails that were sent: hits of their links and pictures are kept as they come, and become events a
//! moment later, when it can be told which of them are machines'.

use futures::FutureExt;
use sea_orm::DatabaseTransaction;
use serde_json::{Map, Value};

use crate::event::engagement::{BURST, EMAIL_LINK_CLICKED, EMAIL_OPENED, Hit, MACHINE, Machine, machine};
use crate::eventlog::{Appender, Draft, EventLog, Queue};
use crate::ids::{ProfileId, Timestamp};
use crate::message::{Message, Status};
use crate::render::links::Link;
use crate::store::hits::{StoredHit, first_waiting_hit, waiting_hits};
use crate::store::shards::ShardSet;
use crate::store::{Store, workspace};
use crate::worker::leases::Leases;
use crate::worker::permission::{Desk, own_event};
use crate::worker::set_aside::SetAside;

/// Hits settled together.
const HITS_MAX: u32 = 200;
/// Characters of a user agent that are kept.
const USER_AGENT_CHARS_MAX: usize = 300;

impl Desk {
    /// Keeps a hit of a message's link, or with no `target` of its picture; `Ok` means on disk.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn hit(&self, link: Link, target: Option<String>, is_head: bool, user_agent: &str) -> anyhow::Result<()> {
        let user_agent = user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect();
        let hit = Hit { target, at: self.log.clock().now(), is_head, user_agent };
        let (id, Link { workspace: of, message, profile, channel }) = (*uuid::Uuid::now_v7().as_bytes(), link);
        let one = StoredHit { workspace: of, id, message, profile, channel, hit };
        self.log
            .writer()
            .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move {
                    workspace(tx, one.workspace).keep_hit(&one).await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Hits that wait for their judgement, and those of which the database refuses something.
#[derive(Debug, Default)]
pub struct Hits {
    aside: SetAside<HitId>,
}

type HitId = [u8; 16];

impl Hits {
    /// Turns the oldest hits that have waited long enough into events; the answer is how many.
    ///
    /// # Errors
    /// The database cannot be read or written; the hits stay.
    pub async fn settle(
        &self,
        log: &EventLog,
        store: &Store,
        leases: &Leases,
        now: Timestamp,
    ) -> anyhow::Result<usize> {
        let waiting = waiting_hits(store.reader(), now.minus(BURST), HITS_MAX + self.aside.count()).await?;
        let layout = store.layout();
        let mut judged = Vec::with_capacity(waiting.len());
        for one in waiting.into_iter().filter(|one| self.aside.tried_at(one.id, one.hit.at) <= now) {
            let here = store.workspace(one.workspace);
            // The link may be older than a merge.
            let profile = here.current_profile(one.profile).await?;
            if !leases.held().contains(layout.shard_of(profile)) {
                continue;
            }
            let message = here.message(one.message).await?;
            let others: Vec<Hit> = here.hits_of(one.message).await?.into_iter().map(|other| other.hit).collect();
            let verdict = machine(&one.hit, message.as_ref().and_then(delivered_at), &others);
            judged.push(Judged { profile, message, verdict, one });
        }
        if judged.is_empty() {
            return Ok(0);
        }
        let log = log.clone();
        let store = move |judged: Vec<Judged>| {
            let (log, shards) = (log.clone(), judged.iter().map(|judged| layout.shard_of(judged.profile)).collect());
            let storing = async move {
                let shards: ShardSet = shards;
                log.writer()
                    .change_in(Queue::Effects, shards, move |tx, appender| {
                        Box::pin(async move { store_judged(tx, appender, now, judged).await })
                    })
                    .await
            };
            storing.boxed()
        };
        self.aside.store(now, judged, |judged| judged.one.id, store).await
    }

    /// When the oldest hit that waits is to be judged.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self, store: &Store) -> anyhow::Result<Option<Timestamp>> {
        let first = match self.aside.count() {
            0 => first_waiting_hit(store.reader()).await?.map(|at| at.plus(BURST)),
            aside => {
                let first = waiting_hits(store.reader(), Timestamp::LAST, aside + 1).await?;
                first.iter().map(|one| self.aside.tried_at(one.id, one.hit.at.plus(BURST))).min()
            }
        };
        Ok(first)
    }
}

#[derive(Clone)]
struct Judged {
    profile: ProfileId,
    message: Option<Message>,
    verdict: Option<Machine>,
    one: StoredHit,
}

fn delivered_at(message: &Message) -> Option<Timestamp> {
    match &message.status {
        Status::Sent { at, .. } => Some(*at),
        // No answer came, and here it is opened: it was delivered when it was sent.
        Status::Unknown { since, .. } | Status::Sending { since, .. } => Some(*since),
        Status::Queued { .. }
        | Status::Deferred { .. }
        | Status::Claimed { .. }
        | Status::Retrying { .. }
        | Status::Suppressed { .. }
        | Status::Cancelled { .. }
        | Status::Failed { .. } => None,
    }
}

async fn store_judged(
    tx: &DatabaseTransaction,
    appender: &mut Appender,
    now: Timestamp,
    judged: Vec<Judged>,
) -> anyhow::Result<usize> {
    let mut drafts = Vec::with_capacity(judged.len());
    for Judged { profile, message, verdict, one } in judged {
        // Another may have been quicker; and what was never sent was never hit.
        if !workspace(tx, one.workspace).settle_hit(one.id, verdict).await? {
            continue;
        }
        let Some(message) = message else { continue };
        let name = if one.hit.target.is_some() { EMAIL_LINK_CLICKED } else { EMAIL_OPENED };
        let mut event = own_event(one.workspace, now, name, properties(&message, &one.hit, verdict));
        event.at = one.hit.at;
        drafts.push(Draft { profile: Some(profile), ..Draft::event(one.workspace, event) });
    }
    let count = drafts.len();
    appender.append(tx, vec![drafts]).await?;
    Ok(count)
}

fn properties(message: &Message, hit: &Hit, verdict: Option<Machine>) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut say = |name: &str, value: String| drop(properties.insert(name.to_owned(), value.into()));
    say("message", message.id.to_string());
    say("campaign", message.campaign.clone());
    say("template", message.template.clone());
    say("channel", message.channel.as_str().to_owned());
    if let Some(url) = hit.target.as_ref().filter(|url| !url.is_empty()) {
        say("url", url.clone());
    }
    say("user_agent", hit.user_agent.clone());
    if let Some(machine) = verdict {
        say(MACHINE, machine.as_str().to_owned());
    }
    properties
}

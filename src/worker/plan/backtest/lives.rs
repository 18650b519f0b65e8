//! People and what the log has of them in a time: who they were as it began, everything that came in since, and what the
//! record says of their messages.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::audience::condition::needs::Needs;
use crate::decision::{Enrollment, Person, State};
use crate::event::Origin;
use crate::guard::{Slot, Subject};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp};
use crate::message::{Message, Status, Suppression};
use crate::store::Workspace;
use crate::store::entries::{Entry, Logged};
use crate::store::messages::Step;
use crate::store::shards::{Layout, Shard};
use crate::store::trace::MessageFilter;
use crate::story::{Act, Ask, Deed, Record, Recorded, Said, Someone};
use crate::worker::explain::refold::{Logbook, Refold};
use crate::worker::plan::past::contacts;

/// Messages of one person that are looked at.
const MESSAGES_MAX: u32 = 10_000;

/// Where what is in force changed, by shard, in order.
pub type Changes = BTreeMap<Shard, Vec<Position>>;

/// Everybody who lives through it together.
#[derive(Debug, Default)]
pub struct Lives {
    pub people: Vec<Someone>,
    pub acts: Vec<Act>,
    pub record: Record,
    pub carried: Vec<Message>,
    pub slots: BTreeMap<Subject, Vec<Slot>>,
    pub suppressions: BTreeMap<Subject, Vec<Suppression>>,
    /// Those who are reported on, by name.
    pub told: BTreeSet<String>,
    /// What really began in this time, and how their messages stood at its end.
    pub began: BTreeMap<EnrollmentId, Enrollment>,
    pub messages: BTreeMap<MessageId, Message>,
}

impl Lives {
    /// Adds one person with all their profiles.
    pub async fn add(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        profile: ProfileId,
        (from, to): (Timestamp, Timestamp),
        (needs, reach, changes, is_told): (&Needs, Span, &Changes, bool),
    ) -> anyhow::Result<()> {
        let Some(now) = store.person(profile).await? else { return Ok(()) };
        let name = now.profile.user_id.clone().unwrap_or_else(|| format!("profile {profile}"));
        if is_told {
            self.told.insert(name.clone());
        }
        let family = store.profiles_of(profile).await?;
        let Some(positions) = store.entries_about(&family).await? else { anyhow::bail!("a page cannot be read") };
        let aside: BTreeSet<Position> = store.set_aside(&positions).await?.into_iter().collect();
        let positions: Vec<Position> = positions.into_iter().filter(|it| !aside.contains(it)).collect();
        let mut entries: Vec<Entry> = store.entries_apart(&positions).await?.into_values().collect();
        entries.retain(|entry| entry.now < to && entry.profile.is_some_and(|id| family.contains(&id)));
        entries.sort_by_key(|entry| (entry.now, entry.position));
        let book = Logbook::load(store, &now, &needs.received).await?;
        let mut refold = Refold::new(&book);
        book.entries.iter().filter(|entry| entry.now < from).for_each(|entry| refold.add(entry));
        let loaded = book.loaded(from.plus_millis(-1));
        let mut places = BTreeMap::new();
        let since: Vec<&Entry> = entries.iter().filter(|entry| entry.now >= from).collect();
        for id in family {
            let known = refold.people().get(&id);
            let first = since.iter().find(|entry| entry.profile == Some(id)).map(|entry| entry.now);
            let (Some(began), true) = (known.map(|it| it.profile.created_at).or(first), refold.current(id) == id)
            else {
                continue;
            };
            let mut person = known.cloned().unwrap_or_else(|| Person::new(id, began));
            person.version = i64::from(known.is_some());
            places.insert(id, self.people.len());
            self.people.push(Someone { name: name.clone(), person, loaded: loaded.clone() });
        }
        let place = |id: ProfileId| places.get(&refold.current(id)).copied();
        self.come_in(&since, (changes, store.layout()), place);
        let of_entry: BTreeMap<Position, ProfileId> =
            entries.iter().filter_map(|entry| Some((entry.position, entry.profile?))).collect();
        self.walks(store, profile, (from, to), |entry| {
            of_entry.get(&entry).and_then(|id| place(*id)).or(place(profile))
        })
        .await?;
        let (slots, suppressions) =
            contacts(store, &now, to, Span::from_millis(reach.millis().saturating_add(to.millis() - from.millis())))
                .await?;
        let before = |slots: Vec<Slot>| slots.into_iter().filter(|slot| slot.at < from).collect::<Vec<_>>();
        self.slots.extend(slots.into_iter().map(|(subject, slots)| (subject, before(slots))));
        for (subject, listed) in suppressions {
            // Of this time, those that people and providers brought: the others are decided again.
            let kept = listed.into_iter().filter(|one| one.at < from || one.profile.is_none()).collect();
            self.suppressions.insert(subject, kept);
        }
        Ok(())
    }

    /// Everything that came in, in the order of the log.
    fn come_in(
        &mut self,
        entries: &[&Entry],
        (changes, layout): (&Changes, Layout),
        place: impl Fn(ProfileId) -> Option<usize>,
    ) {
        for entry in entries {
            let (Some(profile), Some(who)) = (entry.profile, entry.profile.and_then(&place)) else { continue };
            let deed = match &entry.logged {
                Logged::Event(event) => {
                    if matches!(event.origin, Origin::Decided { .. }) {
                        self.record.own.insert(event.id);
                    }
                    Deed::Did(event.clone())
                }
                Logged::Timer => {
                    self.record.timers.insert((profile, entry.now));
                    Deed::Woke
                }
                Logged::MessageEnded { message, status, tried } => {
                    Deed::Ended { message: *message, status: status.clone(), kept_slot: tried.slot_at.is_some() }
                }
                Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => continue,
            };
            let joins = entry.joins.and_then(&place);
            // How many changes of what is in force stand before it in its shard.
            let shard = layout.shard_at(entry.position);
            let era = changes.get(&shard).map_or(0, |of| of.partition_point(|change| *change <= entry.position));
            self.acts.push(Act { at: entry.now, who, deed, position: Some(entry.position), joins, era });
        }
    }

    /// What had begun before, as it stood then; and what really became of everything since.
    async fn walks(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        profile: ProfileId,
        (from, to): (Timestamp, Timestamp),
        owner: impl Fn(Position) -> Option<usize>,
    ) -> anyhow::Result<()> {
        let filter = MessageFilter { profile: Some(profile), limit: MESSAGES_MAX, ..MessageFilter::default() };
        let mut messages: Vec<Message> = store.list_messages(&filter).await?;
        messages.retain(|message| message.created_at < to);
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let mut paths = store.paths_of(&ids).await?;
        let mut made = BTreeMap::new();
        for message in messages {
            let path: Vec<Step> =
                paths.remove(&message.id).unwrap_or_default().into_iter().filter(|it| it.at < to).collect();
            let before = path.iter().rev().find(|step| step.at < from).map(|step| step.state.clone());
            let ended_before = before.as_ref().is_some_and(Status::is_final);
            if let (Some(Status::Sent { at, .. }), Some(who)) = (&before, owner(message.entry)) {
                self.people[who].person.note_message(message.id, &message.campaign, Some(*at));
            }
            if !ended_before {
                let asks = path.iter().filter(|step| step.at >= from).filter_map(ask);
                self.record.messages.insert(message.id, Recorded::of(asks));
                if message.created_at < from {
                    let waits = Message { status: Status::Queued { due_at: from }, slot_at: None, ..message.clone() };
                    self.carried.push(waits);
                }
            }
            let status = path.last().map_or(Status::Queued { due_at: message.created_at }, |last| last.state.clone());
            made.insert(message.enrollment, (message.created_at, ended_before));
            self.messages.insert(message.id, Message { status, ..message });
        }
        for one in store.enrollments_before(profile, to).await? {
            if one.entered_at >= from {
                self.began.insert(one.id, one);
                continue;
            }
            let Some(who) = owner(one.entry) else { continue };
            let person = &mut self.people[who].person;
            let state = match (one.state.ended_at().filter(|ended| *ended < from), made.get(&one.id)) {
                (Some(_), _) => one.state.clone(),
                (None, Some((created_at, _))) if *created_at < from => State::Sending { message: one.message_id() },
                (None, Some((created_at, _))) => State::Waiting { until: *created_at },
                (None, None) => match &one.state {
                    State::Waiting { until } => State::Waiting { until: *until },
                    _ => continue,
                },
            };
            person.enrollments.insert(one.id, Enrollment { state, profile: person.profile.id, ..one });
        }
        Ok(())
    }
}

/// What the guard was asked at a step of a message's path, and said.
fn ask(step: &Step) -> Option<Ask> {
    let said = match &step.state {
        Status::Claimed { .. } => Said::Cleared,
        Status::Suppressed { reason, .. } => Said::Suppressed(reason.clone()),
        Status::Cancelled { reason, .. } => Said::Cancelled(reason.clone()),
        Status::Queued { .. }
        | Status::Deferred { .. }
        | Status::Sending { .. }
        | Status::Retrying { .. }
        | Status::Sent { .. }
        | Status::Unknown { .. }
        | Status::Failed { .. } => return None,
    };
    Some(Ask { at: step.at, said })
}

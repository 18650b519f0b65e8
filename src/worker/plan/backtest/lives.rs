//! People and what the log has of them in a time: who they were as it began, everything that came in since, and what the
//! record says of their messages.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use super::gathered::Gathered;
use crate::audience::condition::Received;
use crate::decision::campaign::Start;
use crate::decision::{Enrollment, Person, State};
use crate::event::{Kind, Origin};
use crate::guard::{Slot, Subject};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Message, Reason, Status, Suppression, SuppressionKind};
use crate::store::entries::{Entry, Logged};
use crate::store::messages::Step;
use crate::store::shards::{Layout, Shard};
use crate::store::{Error, Workspace};
use crate::story::{Act, Ask, Deed, Left, Record, Recorded, Said, Someone};
use crate::worker::explain::refold::Refold;
use crate::worker::plan::Side;
use crate::worker::plan::concerned::addresses;

/// Addresses that are looked for in one statement.
const ADDRESSES_MAX: usize = 500;

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
    /// Every address they had by then and since.
    pub subjects: BTreeSet<Subject>,
    /// Addresses that a provider did not know, as the log says, and when.
    bounced: BTreeSet<(String, Timestamp)>,
}

impl Lives {
    /// Adds one person with all their profiles, as far as anything is stored of them.
    pub fn add(
        &mut self,
        stored: &Gathered,
        profile: ProfileId,
        (from, to): (Timestamp, Timestamp),
        (changes, layout, is_told): (&Changes, Layout, bool),
    ) {
        let Some(now) = stored.person(profile) else { return };
        let name = now.profile.user_id.clone().unwrap_or_else(|| format!("profile {profile}"));
        if is_told {
            self.told.insert(name.clone());
        }
        let family = stored.family(profile);
        let entries = stored.entries(&family, to);
        let book = stored.logbook(profile, from);
        let mut refold = Refold::new(&book);
        book.entries.iter().for_each(|entry| refold.add(entry));
        let loaded = book.loaded(from.plus_millis(-1));
        let mut places = BTreeMap::new();
        let since = &entries[entries.partition_point(|entry| entry.now < from)..];
        let of_entry: BTreeMap<Position, ProfileId> =
            entries.iter().filter_map(|entry| Some((entry.position, entry.profile?))).collect();
        let owner_of = |entry: Position| of_entry.get(&entry).map_or(profile, |id| refold.current(*id));
        for id in family {
            let known = refold.people().get(&id);
            let first = since.iter().find(|entry| entry.profile == Some(id)).map(|entry| entry.now);
            let (Some(began), true) = (known.map(|it| it.profile.created_at).or(first), refold.current(id) == id)
            else {
                continue;
            };
            let mut loaded = loaded.clone();
            loaded.received.retain(|one| received_by(stored, profile, one).map_or(profile, &owner_of) == id);
            let mut person = known.cloned().unwrap_or_else(|| Person::new(id, began));
            person.version = i64::from(known.is_some());
            places.insert(id, self.people.len());
            self.people.push(Someone { name: name.clone(), person, loaded, is_new: false });
        }
        self.subjects.extend(addresses_since(refold.clone(), since));
        let place = |id: ProfileId| places.get(&refold.current(id)).copied();
        self.come_in(since, (changes, layout, &stored.heads), place);
        self.walks(stored, profile, (from, to), |entry| {
            of_entry.get(&entry).and_then(|id| place(*id)).or(place(profile))
        });
    }

    /// Of those who are told of, whoever did what such a campaign begins by, or was in one before; all of them where one
    /// begins by who people are.
    pub fn concerned(&self, eras: &[Side], campaigns: &BTreeSet<String>) -> BTreeSet<&str> {
        let begins = |side: &Side| {
            let mut all = side.setting.catalog.campaigns().filter(|one| campaigns.contains(&one.key));
            all.any(|one| one.entry.start != Start::Event)
        };
        if eras.iter().any(begins) {
            return self.told.iter().map(String::as_str).collect();
        }
        let fits = |act: &&Act| match (&act.deed, eras.get(act.era)) {
            (Deed::Did(event), Some(side)) => {
                side.setting.catalog.entered_by(event).iter().any(|one| campaigns.contains(&one.key))
            }
            _ => false,
        };
        let acted = self.acts.iter().filter(fits).filter_map(|act| self.people.get(act.who));
        let walks = |one: &&Someone| one.person.active().any(|it| campaigns.contains(&it.campaign));
        let found = acted.chain(self.people.iter().filter(walks)).map(|one| one.name.as_str());
        found.filter(|name| self.told.contains(*name)).collect()
    }

    /// What was used of their addresses before, and why nothing more may go there.
    pub fn meet(&mut self, known: &Contacts, (from, to): (Timestamp, Timestamp)) {
        for subject in std::mem::take(&mut self.subjects) {
            let name = subject.to_string();
            let slots = known.slots.get(&name).into_iter().flatten();
            self.slots.insert(subject.clone(), slots.filter(|slot| slot.at < from).cloned().collect());
            let Some(listed) = known.suppressions.get(&name) else { continue };
            // Of this time, those that came by another way than the log: the others are decided again.
            let is_apart = |one: &Suppression| one.profile.is_none() && !self.has_bounced(&subject, one);
            let kept = listed.iter().filter(|one| one.at < from || one.at < to && is_apart(one)).cloned().collect();
            self.suppressions.insert(subject, kept);
        }
    }

    /// Whether an ended message brought this onto the list.
    fn has_bounced(&self, subject: &Subject, one: &Suppression) -> bool {
        let Subject::Address(_, address) = subject else { return false };
        one.kind == SuppressionKind::Bounced && self.bounced.contains(&(address.clone(), one.at))
    }

    /// Everything that came in, in the order of the log.
    fn come_in(
        &mut self,
        entries: &[&Entry],
        (changes, layout, heads): (&Changes, Layout, &BTreeMap<ProfileId, Position>),
        place: impl Fn(ProfileId) -> Option<usize>,
    ) {
        let decided = in_order(entries, layout, heads);
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
                    let bounced = tried.address.clone().filter(|_| tried.bounced);
                    self.bounced.extend(bounced.iter().map(|to| (to.clone(), entry.now)));
                    self.record.ends.insert(*message, entry.position);
                    let left = Left { keeps_slot: tried.slot_at.is_some(), bounced };
                    Deed::Ended { message: *message, status: status.clone(), left }
                }
                Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => continue,
            };
            let joins = entry.joins.and_then(&place);
            let at = decided.get(&entry.position).copied().unwrap_or(entry.now);
            self.record.joined.extend(joins.into_iter().flat_map(|loser| [(who, at), (loser, at)]));
            // How many changes of what is in force stand before it in its shard.
            let shard = layout.shard_at(entry.position);
            let era = changes.get(&shard).map_or(0, |of| of.partition_point(|change| *change <= entry.position));
            let (as_of, position) = (entry.now, Some(entry.position));
            self.acts.push(Act { at, as_of, who, deed, position, joins, era });
        }
    }

    /// What had begun before, as it stood then; and what really became of everything since.
    fn walks(
        &mut self,
        stored: &Gathered,
        profile: ProfileId,
        (from, to): (Timestamp, Timestamp),
        owner: impl Fn(Position) -> Option<usize>,
    ) {
        let mut made = BTreeMap::new();
        for message in stored.messages(profile) {
            let path: Vec<&Step> = stored.path(message.id).iter().filter(|it| it.at < to).collect();
            let before = path.iter().rev().find(|step| step.at < from).map(|step| &step.state);
            let ended_before = before.is_some_and(Status::is_final);
            if let (Some(at), Some(who)) = (message.slot_at.filter(|at| *at < from), owner(message.entry)) {
                let subject = Subject::Profile(self.people[who].person.profile.id);
                self.slots.entry(subject).or_default().push(slot_of(message, at));
            }
            if let (Some(Status::Sent { at, .. }), Some(who)) = (before, owner(message.entry)) {
                self.people[who].person.note_message(message.id, &message.campaign, Some(*at));
            }
            if !ended_before {
                let was_cleared = before.is_some_and(is_out);
                let recorded = Recorded::of(asks(&path, from, message.slot_at), was_cleared, message.slot_at.is_some());
                self.record.messages.insert(message.id, recorded);
                if message.created_at < from {
                    let waits = Message { status: Status::Queued { due_at: from }, slot_at: None, ..message.clone() };
                    self.carried.push(waits);
                }
            }
            let status = path.last().map_or(Status::Queued { due_at: message.created_at }, |last| last.state.clone());
            made.insert(message.enrollment, message.created_at);
            self.messages.insert(message.id, Message { status, ..message.clone() });
        }
        for one in stored.enrollments(profile) {
            if one.entered_at >= from {
                self.began.insert(one.id, one.clone());
                continue;
            }
            let Some(who) = owner(one.entry) else { continue };
            let person = &mut self.people[who].person;
            let state = match (one.state.ended_at().filter(|ended| *ended < from), made.get(&one.id)) {
                (Some(_), _) => one.state.clone(),
                (None, Some(created_at)) if *created_at < from => State::Sending { message: one.message_id() },
                (None, Some(created_at)) => State::Waiting { until: *created_at },
                (None, None) => match &one.state {
                    State::Waiting { until } => State::Waiting { until: *until },
                    _ => continue,
                },
            };
            person.enrollments.insert(one.id, Enrollment { state, profile: person.profile.id, ..one.clone() });
        }
    }
}

/// With which entry the message began that somebody received.
fn received_by(stored: &Gathered, profile: ProfileId, received: &Received) -> Option<Position> {
    let went = |message: &&Message| matches!(message.status, Status::Sent { at, .. } if at == received.at);
    let of_campaign = stored.messages(profile).iter().filter(|message| message.campaign == received.campaign);
    of_campaign.filter(|message| went(message)).map(|message| message.entry).next()
}

/// What is stored of addresses, by their subjects' names.
#[derive(Debug, Default)]
pub struct Contacts {
    slots: BTreeMap<String, Vec<Slot>>,
    suppressions: BTreeMap<String, Vec<Suppression>>,
}

impl Contacts {
    /// Of these addresses, with slots since an instant.
    ///
    /// # Errors
    /// The database cannot be read, or a row.
    pub async fn read(
        store: Workspace<'_, DatabaseConnection>,
        subjects: &BTreeSet<Subject>,
        since: Timestamp,
    ) -> Result<Self, Error> {
        let names: Vec<String> = subjects.iter().map(ToString::to_string).collect();
        let slots = store.slots_of_addresses(&names, since).await?;
        let mut suppressions = BTreeMap::new();
        for chunk in names.chunks(ADDRESSES_MAX) {
            suppressions.extend(store.suppressions_of(&chunk.iter().cloned().collect()).await?);
        }
        Ok(Self { slots, suppressions })
    }
}

fn slot_of(message: &Message, at: Timestamp) -> Slot {
    Slot {
        message: message.id,
        at,
        channel: message.channel,
        topic: message.topic.clone(),
        campaign: message.campaign.clone(),
        enrollment: message.enrollment,
    }
}

/// When each was decided: a shard's entries one after the other, also one that was stamped with an earlier instant, such as
/// a timer that was logged late. What a file brought has a time of its own, and so has what came of it.
fn in_order(
    entries: &[&Entry],
    layout: Layout,
    heads: &BTreeMap<ProfileId, Position>,
) -> BTreeMap<Position, Timestamp> {
    let mut by_position: Vec<&&Entry> = entries.iter().collect();
    by_position.sort_by_key(|entry| entry.position);
    let mut last: BTreeMap<Shard, Timestamp> = BTreeMap::new();
    let decided = by_position.into_iter().map(|entry| {
        let last = last.entry(layout.shard_at(entry.position)).or_default();
        let is_brought = matches!(&entry.logged, Logged::Event(event) if matches!(event.origin, Origin::Import { .. }));
        *last = if is_brought { Timestamp::default() } else { entry.now.max(*last) };
        (entry.position, entry.now.max(*last))
    });
    let mut decided: BTreeMap<Position, Timestamp> = decided.collect();
    // What was logged of somebody who had become another by then comes behind that, in whichever shard it stands.
    for (joins, entry) in entries.iter().filter_map(|entry| Some((entry.joins?, entry))) {
        let Some((head, joined)) = heads.get(&joins).zip(decided.get(&entry.position).copied()) else { continue };
        let late = entries.iter().filter(|it| it.profile == Some(joins) && it.position > *head);
        for position in late.map(|it| it.position) {
            decided.entry(position).and_modify(|at| *at = joined.plus_millis(1).max(*at));
        }
    }
    decided
}

/// Every address they had by then and since.
fn addresses_since(mut refold: Refold<'_>, since: &[&Entry]) -> BTreeSet<Subject> {
    let mut found: BTreeSet<Subject> = refold.people().values().flat_map(addresses).collect();
    for entry in since {
        let tells = matches!(&entry.logged, Logged::Event(event) if event.kind == Kind::Identify);
        if tells || entry.joins.is_some() {
            refold.add(entry);
            found.extend(refold.people().values().flat_map(addresses));
        }
    }
    found
}

/// What became of a message at each step of its path since `from`.
fn asks(path: &[&Step], from: Timestamp, slot_at: Option<Timestamp>) -> Vec<Ask> {
    let mut was_out = false;
    let mut asks = Vec::new();
    for Step { at, state } in path {
        let said = match state {
            Status::Claimed { .. } => Some(Said::Cleared),
            Status::Suppressed { reason, .. } => Some(Said::Suppressed(reason.clone())),
            Status::Cancelled { reason, .. } => Some(Said::Cancelled(reason.clone())),
            Status::Deferred { reason, .. } => Some(Said::Deferred(reason.clone())),
            Status::Queued { .. } if was_out => Some(Said::Returned),
            Status::Queued { .. }
            | Status::Sending { .. }
            | Status::Retrying { .. }
            | Status::Sent { .. }
            | Status::Unknown { .. }
            | Status::Failed { .. } => None,
        };
        was_out = is_out(state);
        let said = said.filter(|_| *at >= from);
        asks.extend(said.map(|said| Ask { at: *at, slots_at: asked_at(*at, &said, slot_at), said }));
    }
    asks
}

/// When slots were asked for, of what was stored at `at`: a slot tells it, and what was full was so before it was free.
fn asked_at(at: Timestamp, said: &Said, slot_at: Option<Timestamp>) -> Timestamp {
    match said {
        Said::Cleared => slot_at.filter(|slot| *slot < at).unwrap_or(at),
        Said::Suppressed(Reason::Capped { frees_at, .. }) | Said::Deferred(Reason::Capped { frees_at, .. }) => {
            at.min(frees_at.plus_millis(-1))
        }
        Said::Suppressed(_) | Said::Deferred(_) | Said::Cancelled(_) | Said::Returned => at,
    }
}

/// Whether it is cleared and on its way.
fn is_out(state: &Status) -> bool {
    matches!(state, Status::Claimed { .. } | Status::Sending { .. } | Status::Retrying { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Body, Event};
    use crate::ids::{EventId, WorkspaceId};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn entry(position: i64, now: i64, logged: Logged) -> Entry {
        let (position, workspace, profile) = (Position(position), WorkspaceId(1), Some(ProfileId(1)));
        Entry { position, workspace, profile, now: at(now), joins: None, logged }
    }

    fn event(origin: Origin) -> Logged {
        Logged::Event(Arc::new(Event {
            id: EventId::derive(&[b"test"]),
            kind: Kind::Track,
            name: "Product Viewed".into(),
            message_id: String::new(),
            version: 1,
            source: String::new(),
            correlation_id: String::new(),
            trace: None,
            user_id: None,
            anonymous_id: None,
            previous_id: None,
            at: at(0),
            received_at: at(0),
            original_at: None,
            sent_at: None,
            origin,
            body: Body::new("{}".to_owned()),
        }))
    }

    #[test]
    fn what_was_stamped_earlier_and_logged_later_is_decided_where_it_stands() {
        let brought = || Origin::Import { file: String::new(), row: 1 };
        let log = [
            entry(1, 100, event(Origin::Live)),
            entry(2, 90, Logged::Timer),
            entry(3, 105, event(Origin::Live)),
            entry(4, 20, event(brought())),
            entry(5, 30, Logged::Timer),
            entry(6, 25, Logged::Timer),
        ];
        let layout = Layout::of(sea_orm::DbBackend::Sqlite);
        // As the log is read: by instant.
        let mut entries: Vec<&Entry> = log.iter().collect();
        entries.sort_by_key(|entry| (entry.now, entry.position));
        let decided: Vec<i64> =
            in_order(&entries, layout, &BTreeMap::new()).into_values().map(Timestamp::millis).collect();
        assert_eq!(decided, [100, 100, 105, 20, 30, 30]);
    }

    #[test]
    fn what_is_logged_of_somebody_who_had_become_another_comes_behind_that() {
        let [phone, before, after] = [2, 101, 102].map(i64::from);
        let of_phone = |position, now| Entry { profile: Some(ProfileId(phone)), ..entry(position, now, Logged::Timer) };
        let login = Entry { joins: Some(ProfileId(phone)), ..entry(7, 100, event(Origin::Live)) };
        let log = [of_phone(before, 60), login, of_phone(after, 70)];
        let entries: Vec<&Entry> = log.iter().collect();
        let heads = BTreeMap::from([(ProfileId(phone), Position(before))]);
        let layout = Layout::of(sea_orm::DbBackend::Postgres);
        let decided = in_order(&entries, layout, &heads);
        let decided = [before, 7, after].map(|position| decided[&Position(position)].millis());
        assert_eq!(decided, [60, 100, 101]);
    }

    #[test]
    fn slots_were_asked_for_before_the_answer_was_stored() {
        let capped = |frees_at| {
            let (rule, by) = (String::new(), Vec::new());
            Said::Deferred(Reason::Capped { rule, by, frees_at: at(frees_at), outranked_by: None })
        };
        let cases = [
            (Said::Cleared, Some(7), 7),
            (Said::Cleared, None, 10),
            // Of a later claim: its first slot was given back meanwhile.
            (Said::Cleared, Some(12), 10),
            (capped(9), None, 8),
            (capped(30), None, 10),
            (Said::Deferred(Reason::CapsUnsettled), Some(7), 10),
        ];
        for (said, slot_at, asked) in cases {
            assert_eq!(asked_at(at(10), &said, slot_at.map(at)), at(asked), "{said:?}");
        }
    }
}

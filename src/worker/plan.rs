//! What applying some files would change, and what the campaigns in them would have done over the last 30 days that are
//! stored: the same rules and guard as the service's, over what people did, in a world that ends with the answer.
//!
//! Each person is looked at with those who share an address with them, for caps hold for the address, too. Who turned out
//! in that time to be one was two until then. Who waited in a campaign as that time began goes on waiting, by the rules
//! looked at. A message is taken to be delivered at once; what a message once sent made people do since is taken as they
//! did it.

pub mod backtest;
mod carried;
mod concerned;
mod kin;
mod past;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::condition::needs::Needs;
use crate::decision::campaign::{CampaignStatus, Start};
use crate::decision::{Catalog, needs_of_all};
use crate::definition::difference::{differences, of_caps};
use crate::definition::{Definition, Document, Problem, SourceFile};
use crate::guard::frequency_cap;
use crate::ids::{Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::store::definitions::StoredDefinition;
use crate::store::entries::newest_event;
use crate::store::{Store, Workspace};
use crate::story::{Act, Happening, Setting, World};
use crate::worker::apply::{checked, compare, stored_as};
use crate::worker::live::{Definitions, Live, read_stored};
use crate::worker::membership::{Membership, memberships};
use crate::worker::warnings;
use concerned::{Group, concerned};
use past::{Past, Window};
pub use tally::{CampaignPlan, Figure, SegmentPlan, Tally};

/// How far back is looked.
const LOOKED_BACK: Span = Span::from_days(30);

/// What would be if the files were applied.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Plan {
    pub documents: Vec<Change>,
    /// In force and not in the files, each as `kind key`: they stay.
    pub kept: Vec<String>,
    /// What is right as written and does not fit the events that came.
    pub warnings: Vec<String>,
    /// None where nothing is stored, or nothing in the files can change what happens to anybody.
    pub past: Option<Looked>,
    pub campaigns: Vec<CampaignPlan>,
    pub segments: Vec<SegmentPlan>,
}

/// One document of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PlannedChange)]
pub struct Change {
    /// `kind key`.
    pub document: String,
    pub change: Kind,
    /// The version it would have.
    pub version: u32,
    /// In words, where it is changed; of new caps, each rule.
    pub differences: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ChangeKind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Created,
    Changed,
    Unchanged,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PlanLookedAt)]
pub struct Looked {
    pub from: Timestamp,
    pub to: Timestamp,
    pub events: u64,
    /// Who may be concerned.
    pub people: u64,
    /// As many of them as were looked at; the figures are theirs.
    pub sample: u64,
    /// Whose rows could not be read.
    pub unreadable: u64,
    /// Who shares an address with more people than are looked at together: of what caps hold back there, this is the
    /// least.
    pub crowded: u64,
    /// Of whom something never came to rest: only what came of the beginning is told.
    pub cut_short: u64,
}

/// One side: what is in force, or what would be.
struct Side {
    setting: Setting,
    needs: Needs,
    reach: Span,
}

impl Side {
    fn new(live: Live) -> Self {
        let setting = Setting { catalog: live.catalog, rules: live.rules, quiet: live.quiet };
        let reach = frequency_cap::horizon(&setting.rules);
        Self { needs: needs_of_all(&setting.catalog), reach, setting }
    }
}

/// Checks the files as `apply` does and says what would be; changes nothing.
///
/// # Errors
/// The outer error is the database's. The inner one lists every problem.
pub async fn plan(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    files: &[SourceFile],
    now: Timestamp,
) -> anyhow::Result<Result<Plan, Vec<Problem>>> {
    let (documents, stored) = match checked(store, id, files).await? {
        Ok(checked) => checked,
        Err(problems) => return Ok(Err(problems)),
    };
    let changes = changes(&documents, &stored);
    let named: BTreeSet<String> = changes.iter().map(|change| change.document.clone()).collect();
    let names = stored.iter().map(|one| format!("{} {}", one.kind, one.key));
    let kept = names.filter(|name| !named.contains(name)).collect();
    let fresh: Vec<&Document> = compare(&documents, &stored).1.into_iter().map(|(document, _)| document).collect();
    let book = definitions.book(id).await?;
    let warnings = warnings::of_documents(store.workspace(id), (&book, definitions.seen()), &fresh, now).await?;
    let mut plan = Plan { documents: changes, kept, warnings, past: None, campaigns: Vec::new(), segments: Vec::new() };

    let asked = asked(&documents, &stored);
    let instead: Vec<StoredDefinition> = compare(&documents, &stored)
        .1
        .into_iter()
        .map(|(document, version)| stored_as(document, version, Position(1), now))
        .collect();
    let book = book.unpaused();
    let after = Side::new(book.with(&instead, &asked.campaigns.keys().cloned().collect()));
    let before = Side::new(Live::clone(book.live()));
    plan.campaigns = tally::campaigns(&asked, &before.setting.catalog, &after.setting.catalog);
    plan.segments = tally::segments(&asked, &before.setting.catalog);
    let is_asked = !plan.campaigns.is_empty() || !plan.segments.is_empty();
    if is_asked && let Some(last) = newest_event(store.reader()).await? {
        look_back(store.workspace(id), (&before, &after), (last, now), &mut plan).await?;
    }
    // What they share has changed, and nothing comes of it for them.
    plan.campaigns.retain(|one| {
        let includes = one.existing.as_ref().is_some_and(|existing| existing.count > 0);
        asked.campaigns.contains_key(&one.campaign) || includes || one.now.as_ref() != Some(&one.then)
    });
    Ok(Ok(plan))
}

fn changes(documents: &[Document], stored: &[StoredDefinition]) -> Vec<Change> {
    let (_, fresh) = compare(documents, stored);
    let each = documents.iter().map(|document| {
        let known = stored.iter().find(|one| one.kind == document.kind.as_str() && one.key == document.key);
        let is_fresh = fresh.iter().any(|(one, _)| std::ptr::eq(*one, document));
        let (change, version, differences) = match known {
            None => (Kind::Created, 1, of_rules(&[], document)),
            Some(known) if is_fresh => {
                let files: Vec<SourceFile> = known
                    .files
                    .iter()
                    .map(|file| SourceFile { name: file.name.clone(), text: file.text.clone() })
                    .collect();
                let rules = match &document.definition {
                    Definition::Caps(_) => of_rules(&read_stored(known), document),
                    _ => Vec::new(),
                };
                let told = if rules.is_empty() { differences(&files, &document.files()) } else { rules };
                (Kind::Changed, known.version + 1, told)
            }
            Some(known) => (Kind::Unchanged, known.version, Vec::new()),
        };
        Change { document: format!("{} {}", document.kind, document.key), change, version, differences }
    });
    each.collect()
}

/// Frequency caps that come, go or change, in words; nothing for other documents.
fn of_rules(before: &[Definition], document: &Document) -> Vec<String> {
    let Definition::Caps(after) = &document.definition else { return Vec::new() };
    let before = before.iter().find_map(|definition| match definition {
        Definition::Caps(rules) => Some(rules.as_slice()),
        _ => None,
    });
    of_caps(before.unwrap_or_default(), after)
}

/// What is reported on.
#[derive(Debug, Default)]
struct Asked {
    /// With the status written in the files.
    campaigns: BTreeMap<String, CampaignStatus>,
    segments: BTreeSet<String>,
    /// Everything that is live, too: something they share has changed.
    all: bool,
}

fn asked(documents: &[Document], stored: &[StoredDefinition]) -> Asked {
    let mut asked = Asked::default();
    for (document, _) in compare(documents, stored).1 {
        match &document.definition {
            Definition::Campaign(campaign) if campaign.status != CampaignStatus::Archived => {
                asked.campaigns.insert(campaign.key.clone(), campaign.status);
            }
            Definition::Segment(segment) => {
                asked.segments.insert(segment.key.clone());
                asked.all = true;
            }
            Definition::Caps(_)
            | Definition::QuietHours(_)
            | Definition::ConsentPolicy(_)
            | Definition::Topic(_)
            | Definition::Rates(_)
            | Definition::ComputedTrait(_) => asked.all = true,
            Definition::Campaign(_) | Definition::Template(_) | Definition::Source(_) | Definition::Story(_) => {}
        }
    }
    asked
}

async fn look_back(
    store: Workspace<'_, DatabaseConnection>,
    sides: (&Side, &Side),
    ((head, last), now): ((Position, Timestamp), Timestamp),
    plan: &mut Plan,
) -> anyhow::Result<()> {
    let to = last.min(now);
    let from = to.minus(LOOKED_BACK);
    let reported: BTreeSet<String> = plan.campaigns.iter().map(|one| one.campaign.clone()).collect();
    let catalogs = [&sides.0.setting.catalog, &sides.1.setting.catalog];
    let mut found = concerned(store, catalogs, &reported, from).await?;
    let by_segment = |catalog: &Catalog| {
        catalog.campaigns().any(|one| reported.contains(&one.key) && one.entry.start != Start::Event)
    };
    if !plan.segments.is_empty() || catalogs.into_iter().any(by_segment) {
        found.add_everybody(store).await?;
    }
    let groups = found.groups(store).await?;
    let sample = groups.iter().map(|group| group.reported.len() as u64).sum();
    let people = found.people.len() as u64;
    let mut looked = Looked { from, to, events: found.events, people, sample, unreadable: 0, crowded: 0, cut_short: 0 };
    let window = Window { from, first: found.first };
    for group in groups {
        let reported = group.reported.len() as u64;
        looked.crowded += if group.is_part { reported } else { 0 };
        let (unreadable, is_whole) = together(store, sides, &group, (window, head, now), plan).await;
        looked.unreadable += unreadable;
        looked.cut_short += if is_whole { 0 } else { reported };
        // It may take seconds; whoever else waits goes first.
        tokio::task::yield_now().await;
    }
    plan.past = Some(looked);
    Ok(())
}

/// Looks at people who share an address; the answer counts those whose rows cannot be read, and says whether everything
/// came to its end.
async fn together(
    store: Workspace<'_, DatabaseConnection>,
    sides: (&Side, &Side),
    group: &Group,
    (window, head, now): (Window, Position, Timestamp),
    plan: &mut Plan,
) -> (u64, bool) {
    let mut is_whole = true;
    let mut unreadable: BTreeSet<ProfileId> = BTreeSet::new();
    if !plan.segments.is_empty() {
        for profile in &group.reported {
            if in_segments(store, sides, *profile, now, plan).await.is_err() {
                unreadable.insert(*profile);
            }
        }
    }
    for profile in &group.reported {
        if members(store, &sides.1.setting.catalog, *profile, now, plan).await.is_err() {
            unreadable.insert(*profile);
        }
    }
    if plan.campaigns.is_empty() {
        return (unreadable.len() as u64, is_whole);
    }
    for (side, is_after) in [(sides.0, false), (sides.1, true)] {
        if !is_after && plan.campaigns.iter().all(|one| one.now.is_none()) {
            continue;
        }
        let (mut pasts, mut told) = (Vec::new(), Vec::new());
        for profile in group.reported.iter().chain(&group.beside) {
            match past::load(store, *profile, window, side).await {
                Ok(Some(past)) => {
                    told.push(group.reported.contains(profile));
                    pasts.push(past);
                }
                Ok(None) => {}
                Err(_) if group.reported.contains(profile) => drop(unreadable.insert(*profile)),
                Err(_) => {}
            }
        }
        let (lives, ended) = live_through(&side.setting, pasts, (window.from, now), head);
        is_whole &= ended;
        for (lived, _) in lives.iter().zip(told).filter(|(_, told)| *told) {
            for campaign in &mut plan.campaigns {
                let tally = if is_after { Some(&mut campaign.then) } else { campaign.now.as_mut() };
                if let Some(tally) = tally {
                    tally.add(&campaign.campaign, lived);
                }
            }
        }
    }
    (unreadable.len() as u64, is_whole)
}

/// Counts this person with the campaigns that would include them as a member there is already.
async fn members(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    profile: ProfileId,
    now: Timestamp,
    plan: &mut Plan,
) -> anyhow::Result<()> {
    let asking = plan
        .campaigns
        .iter_mut()
        .filter_map(|one| Some((catalog.existing().get(&one.campaign)?.as_str(), one.existing.as_mut()?)));
    let mut asking: Vec<(&str, &mut Figure)> = asking.collect();
    if asking.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = asking.iter().map(|(segment, _)| *segment).collect();
    let told = memberships(store, catalog, profile, &keys, now).await?.unwrap_or_default();
    let person = store.person(profile).await?;
    let name = person.and_then(|person| person.profile.user_id).unwrap_or_else(|| format!("profile {profile}"));
    for (segment, figure) in &mut asking {
        let is_in = told.iter().any(|one| one.segment == *segment && one.is_member);
        figure.add(u64::from(is_in), &name);
    }
    Ok(())
}

async fn in_segments(
    store: Workspace<'_, DatabaseConnection>,
    sides: (&Side, &Side),
    profile: ProfileId,
    now: Timestamp,
    plan: &mut Plan,
) -> anyhow::Result<()> {
    let keys: Vec<String> = plan.segments.iter().map(|one| one.segment.clone()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let before = memberships(store, &sides.0.setting.catalog, profile, &keys, now).await?;
    let after = memberships(store, &sides.1.setting.catalog, profile, &keys, now).await?;
    let person = store.person(profile).await?;
    let name = person.and_then(|person| person.profile.user_id).unwrap_or_else(|| format!("profile {profile}"));
    let is_in =
        |of: &Option<Vec<Membership>>, key: &str| of.iter().flatten().any(|one| one.segment == key && one.is_member);
    for segment in &mut plan.segments {
        segment.add(is_in(&before, &segment.segment), is_in(&after, &segment.segment), &name);
    }
    Ok(())
}

/// What came of one person's acts under a setting.
struct Lived {
    name: String,
    /// Campaigns they were in as it began, each as often.
    carried: Vec<String>,
    happenings: Vec<Happening>,
    waiting: Vec<String>,
}

/// What came of the acts of people who share an address, each of them alone, and whether it came to its end.
fn live_through(
    setting: &Setting,
    pasts: Vec<Past>,
    (from, until): (Timestamp, Timestamp),
    head: Position,
) -> (Vec<Lived>, bool) {
    let (mut people, mut acts, mut lives, mut carried) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut slots, mut suppressions, mut places) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for past in pasts {
        let walks = past.people.iter().flat_map(|one| one.person.active()).map(|one| one.campaign.clone()).collect();
        let name = past.people.first().map_or_else(String::new, |one| one.name.clone());
        lives.push(Lived { name, carried: walks, happenings: Vec::new(), waiting: Vec::new() });
        let first = people.len();
        people.extend(past.people);
        places.push(first..people.len());
        let place = |act: Act| Act { who: first + act.who, joins: act.joins.map(|other| first + other), ..act };
        acts.extend(past.acts.into_iter().map(place));
        // What is of the address is the same from whoever shares it.
        slots.extend(past.slots);
        suppressions.extend(past.suppressions);
        carried.extend(past.carried);
    }
    acts.sort_by_key(|act| act.at);
    backtest::join_last(&mut acts);
    let mut world = World::new(setting, people, head);
    (world.slots, world.suppressions) = (slots, suppressions);
    world.tells = false;
    carried.into_iter().for_each(|message| world.carry(message));
    // A person who never comes to rest is a machine; what came of the acts until then is told.
    let is_whole = world.run(from, &acts, Some(until)).is_ok();
    let mut by_name: BTreeMap<String, Vec<Happening>> = BTreeMap::new();
    for one in std::mem::take(&mut world.happenings) {
        by_name.entry(one.person.clone()).or_default().push(one);
    }
    for (lived, places) in lives.iter_mut().zip(places) {
        lived.waiting = places.flat_map(|who| world.waiting(who)).map(str::to_owned).collect();
        lived.happenings = by_name.remove(&lived.name).unwrap_or_default();
    }
    (lives, is_whole)
}

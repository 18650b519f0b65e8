//! What applying some files would change, and what the campaigns in them would have done over the last 30 days that are
//! stored: the same rules and guard as the service's, over what people did, in a world that ends with the answer.
//!
//! Each person is looked at alone. A message is taken to be delivered at once; what a message once sent made people do
//! since is taken as they did it.

pub mod past;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;
use serde::Serialize;

use crate::audience::condition::needs::Needs;
use crate::decision::campaign::CampaignStatus;
use crate::decision::{Catalog, needs_of_all};
use crate::definition::difference::differences;
use crate::definition::{Definition, Document, DocumentKind, Problem, SourceFile};
use crate::guard::frequency_cap;
use crate::ids::{Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::store::definitions::StoredDefinition;
use crate::store::entries::{Logged, newest_event};
use crate::store::{Store, Workspace};
use crate::story::{Happening, Setting, World};
use crate::worker::apply::{checked, compare, stored_as};
use crate::worker::live::{Definitions, Live};
use crate::worker::membership::{Membership, memberships};
use past::{Past, Window};
pub use tally::{CampaignPlan, Figure, SegmentPlan, Tally};

/// How far back is looked.
const LOOKED_BACK: Span = Span::from_days(30);
/// People who live through it again; where more are concerned, as many of them evenly spread.
const PEOPLE_MAX: usize = 20_000;
const PAGE_MAX: u32 = 2_000;

/// What would be if the files were applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub documents: Vec<Change>,
    /// In force and not in the files, each as `kind key`: they stay.
    pub kept: Vec<String>,
    /// None where nothing is stored, or nothing in the files can change what happens to anybody.
    pub past: Option<Looked>,
    pub campaigns: Vec<CampaignPlan>,
    pub segments: Vec<SegmentPlan>,
}

/// One document of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `kind key`.
    pub document: String,
    pub change: Kind,
    /// The version it would have.
    pub version: u32,
    /// In words, where it is changed.
    pub differences: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Created,
    Changed,
    Unchanged,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
}

/// One side: what is in force, or what would be.
struct Side {
    setting: Setting,
    needs: Needs,
    reach: Span,
}

impl Side {
    fn new(live: Live) -> Self {
        let setting = Setting { catalog: live.catalog, rules: live.rules };
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
    let mut plan = Plan { documents: changes, kept, past: None, campaigns: Vec::new(), segments: Vec::new() };

    let asked = asked(&documents, &stored);
    let after = Side::new(definitions.supposed(
        id,
        overlaid(&documents, &stored, now),
        &asked.campaigns.keys().cloned().collect(),
    ));
    let before = Side::new(definitions.supposed(id, stored, &BTreeSet::new()));
    plan.campaigns = tally::campaigns(&asked, &before.setting.catalog, &after.setting.catalog);
    plan.segments = tally::segments(&asked, &before.setting.catalog);
    let is_asked = !plan.campaigns.is_empty() || !plan.segments.is_empty();
    if is_asked && let Some(last) = newest_event(store.reader()).await? {
        look_back(store.workspace(id), (&before, &after), (last, now), &mut plan).await?;
    }
    Ok(Ok(plan))
}

fn changes(documents: &[Document], stored: &[StoredDefinition]) -> Vec<Change> {
    let (_, fresh) = compare(documents, stored);
    let each = documents.iter().map(|document| {
        let known = stored.iter().find(|one| one.kind == document.kind.as_str() && one.key == document.key);
        let is_fresh = fresh.iter().any(|(one, _)| std::ptr::eq(*one, document));
        let (change, version, differences) = match known {
            None => (Kind::Created, 1, Vec::new()),
            Some(known) if is_fresh => {
                let files: Vec<SourceFile> = known
                    .files
                    .iter()
                    .map(|file| SourceFile { name: file.name.clone(), text: file.text.clone() })
                    .collect();
                (Kind::Changed, known.version + 1, differences(&files, &document.files()))
            }
            Some(known) => (Kind::Unchanged, known.version, Vec::new()),
        };
        Change { document: format!("{} {}", document.kind, document.key), change, version, differences }
    });
    each.collect()
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
            Definition::Caps(_) | Definition::ConsentPolicy(_) | Definition::Topic(_) | Definition::Rates(_) => {
                asked.all = true;
            }
            Definition::Campaign(_) | Definition::Template(_) | Definition::Source(_) | Definition::Story(_) => {}
        }
    }
    asked
}

/// What would be stored: the newest versions, with the files' in place of theirs.
fn overlaid(documents: &[Document], stored: &[StoredDefinition], now: Timestamp) -> Vec<StoredDefinition> {
    let fresh = compare(documents, stored).1;
    let is_replaced = |one: &&StoredDefinition| {
        fresh.iter().any(|(document, _)| document.kind.as_str() == one.kind && document.key == one.key)
    };
    let kept = stored.iter().filter(|one| !is_replaced(one)).cloned();
    let new = fresh.iter().map(|(document, version)| stored_as(document, *version, Position(1), now));
    let sources = DocumentKind::Source.as_str();
    kept.chain(new).filter(|one| one.kind != sources).collect()
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
    let (mut concerned, first, events) =
        candidates(store, [&sides.0.setting.catalog, &sides.1.setting.catalog], &reported, from).await?;
    let by_segment =
        |catalog: &Catalog| catalog.campaigns().any(|one| reported.contains(&one.key) && one.entry.segment.is_some());
    if !plan.segments.is_empty() || by_segment(&sides.0.setting.catalog) || by_segment(&sides.1.setting.catalog) {
        everybody(store, &mut concerned).await?;
    }
    let sample = spread(&concerned);
    let mut looked =
        Looked { from, to, events, people: concerned.len() as u64, sample: sample.len() as u64, unreadable: 0 };
    for profile in sample {
        if one_person(store, sides, profile, (Window { from, first }, head, now), plan).await.is_err() {
            looked.unreadable += 1;
        }
        // It may take seconds; whoever else waits goes first.
        tokio::task::yield_now().await;
    }
    plan.past = Some(looked);
    Ok(())
}

/// Who did something by which a campaign may begin, where the time looked at begins in the log, and how many things
/// were done.
async fn candidates(
    store: Workspace<'_, DatabaseConnection>,
    catalogs: [&Catalog; 2],
    reported: &BTreeSet<String>,
    from: Timestamp,
) -> anyhow::Result<(BTreeSet<ProfileId>, Position, u64)> {
    let (mut concerned, mut events) = (BTreeSet::new(), 0);
    let (mut first, mut after) = (None, Position(0));
    loop {
        let (entries, last) = store.acts_since(from, after, PAGE_MAX).await?;
        for entry in entries {
            events += 1;
            first.get_or_insert(entry.position);
            let Logged::Event(event) = &entry.logged else { continue };
            let begins = |catalog: &&Catalog| catalog.entered_by(event).iter().any(|one| reported.contains(&one.key));
            if catalogs.iter().any(begins) {
                concerned.extend(entry.profile);
            }
        }
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    let mut current = BTreeSet::new();
    for profile in concerned {
        current.insert(store.current_profile(profile).await?);
    }
    Ok((current, first.unwrap_or(Position(i64::MAX)), events))
}

async fn everybody(store: Workspace<'_, DatabaseConnection>, people: &mut BTreeSet<ProfileId>) -> anyhow::Result<()> {
    let mut after = ProfileId(i64::MIN);
    loop {
        let page = store.not_looked_at(Position(i64::MAX), after, PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = *last;
        people.extend(page);
    }
}

/// All of them, or as many as can be looked at, evenly spread.
fn spread(people: &BTreeSet<ProfileId>) -> Vec<ProfileId> {
    let every = people.len().div_ceil(PEOPLE_MAX).max(1);
    people.iter().copied().step_by(every).collect()
}

async fn one_person(
    store: Workspace<'_, DatabaseConnection>,
    sides: (&Side, &Side),
    profile: ProfileId,
    (window, head, now): (Window, Position, Timestamp),
    plan: &mut Plan,
) -> anyhow::Result<()> {
    if !plan.segments.is_empty() {
        let keys: Vec<String> = plan.segments.iter().map(|one| one.segment.clone()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let before = memberships(store, &sides.0.setting.catalog, profile, &keys, now).await?;
        let after = memberships(store, &sides.1.setting.catalog, profile, &keys, now).await?;
        let person = store.person(profile).await?;
        let name = person.and_then(|person| person.profile.user_id).unwrap_or_else(|| format!("profile {profile}"));
        let is_in = |of: &Option<Vec<Membership>>, key: &str| {
            of.iter().flatten().any(|one| one.segment == key && one.is_member)
        };
        for segment in &mut plan.segments {
            segment.add(is_in(&before, &segment.segment), is_in(&after, &segment.segment), &name);
        }
    }
    if plan.campaigns.is_empty() {
        return Ok(());
    }
    for (side, is_after) in [(sides.0, false), (sides.1, true)] {
        if !is_after && plan.campaigns.iter().all(|one| one.now.is_none()) {
            continue;
        }
        let Some(past) = past::load(store, profile, window, &side.needs, side.reach).await? else { return Ok(()) };
        let lived = live_through(&side.setting, past, (window.from, now), head);
        for campaign in &mut plan.campaigns {
            let tally = if is_after { Some(&mut campaign.then) } else { campaign.now.as_mut() };
            if let Some(tally) = tally {
                tally.add(&campaign.campaign, &lived);
            }
        }
    }
    Ok(())
}

/// What came of one person's acts under a setting.
struct Lived {
    name: String,
    happenings: Vec<Happening>,
    waiting: Vec<String>,
}

fn live_through(setting: &Setting, past: Past, (from, until): (Timestamp, Timestamp), head: Position) -> Lived {
    let Past { someone, acts, slots, suppressions } = past;
    let name = someone.name.clone();
    let mut world = World::new(setting, vec![someone], head);
    world.slots = slots;
    world.suppressions = suppressions;
    world.tells_misfits = false;
    // A person who never comes to rest is a machine; what came of the acts until then is told.
    let _ = world.run(from, &acts, Some(until));
    let waiting = world.waiting(0).into_iter().map(str::to_owned).collect();
    Lived { name, happenings: world.happenings, waiting }
}

//! A backtest: files over what is logged of a time, by the real rules and guard and slots in memory. Everything that came
//! in then comes in again as it stands in the log; what is in force is what was in force at each moment, with the files
//! in place of their own. Nothing leaves, and nothing is written: there are only readers here.
//!
//! A message that the record knows and that nothing speaks against goes the way it went, at the instants it went: a
//! provider's answer, a pause by hand, a machine that stood still are not the rules' doing. Where the rules now say
//! something else, the message goes the way they say. So what is in force, tested against what really happened, differs
//! nowhere, but for what docs/backtesting.md names.

mod company;
mod lives;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{Definition, Problem, SourceFile};
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::definitions::StoredDefinition;
use crate::store::entries::newest_event;
use crate::store::{Store, Workspace};
use crate::story::{Act, World};
use crate::worker::apply::{checked, compare as compared, stored_as};
use crate::worker::live::Definitions;
use crate::worker::plan::Side;
use crate::worker::plan::concerned::Group;
use company::Company;
use lives::{Changes, Lives};
pub use report::{Backtest, CampaignBacktest, Customer, Day, Difference};
use report::{Told, compare};
use sea_orm::DatabaseConnection;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub files: Vec<SourceFile>,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Also compare with what really happened, of every campaign.
    pub against_live: bool,
}

/// How far it is: people looked at, of all there are. The answer says whether anybody still wants to know.
pub type Progress<'p> = &'p (dyn Fn(u64, u64) -> bool + Sync);

/// Lives through the time again; changes nothing.
///
/// # Errors
/// The outer error is the database's. The inner one lists every problem of the files.
pub async fn backtest(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    asked: &Asked,
    progress: Progress<'_>,
) -> anyhow::Result<Result<Backtest, Vec<Problem>>> {
    let here = store.workspace(id);
    let (documents, stored) = match asked.files.is_empty() {
        true => (Vec::new(), here.definitions().await?),
        false => match checked(store, id, &asked.files).await? {
            Ok(checked) => checked,
            Err(problems) => return Ok(Err(problems)),
        },
    };
    let fresh = compared(&documents, &stored).1;
    let instead: Vec<StoredDefinition> =
        fresh.iter().map(|(document, version)| stored_as(document, *version, Position(1), asked.from)).collect();
    let own: BTreeSet<String> = documents
        .iter()
        .filter_map(|document| match &document.definition {
            Definition::Campaign(campaign) => Some(campaign.key.clone()),
            _ => None,
        })
        .collect();
    let stored_since = here.stored_since().await?;
    let Some(first) = here.first_act(asked.from).await? else {
        let nothing = Backtest::of(own, (asked.from, asked.to), asked.against_live);
        return Ok(Ok(Backtest { stored_since, ..nothing }));
    };
    let (eras, changes) = eras(store, definitions, id, first, (&instead, &own)).await?;
    let all: BTreeSet<String> =
        eras.iter().flat_map(|side| side.setting.catalog.campaigns().map(|campaign| campaign.key.clone())).collect();
    let reported = if own.is_empty() { all.clone() } else { own };
    let window = (asked.from, asked.to);
    let mut report = Backtest::of(reported.iter().cloned(), window, asked.against_live);
    let looked_at = if asked.against_live { &all } else { &reported };
    let (events, everybody) = here.extent(first, window).await?;
    (report.events, report.stored_since) = (events, stored_since);
    let head = newest_event(store.reader()).await?.map_or(Position(0), |(head, _)| head);
    let mut company = Company::new(&eras, looked_at, (asked.from, first));
    let mut done = 0;
    while let Some((groups, count)) = company.next(here).await? {
        for group in groups {
            together(here, (&eras, &changes, looked_at), &group, (window, head), &mut report).await?;
            // It may take minutes; whoever else waits goes first.
            tokio::task::yield_now().await;
        }
        done += count;
        if !progress(done.min(everybody), everybody) {
            anyhow::bail!("nobody waits for the backtest any more");
        }
    }
    Ok(Ok(report))
}

/// What was in force as something first happened, and after each change since: with the files in place of their own. The
/// log's order decides, for an import brings its own time.
async fn eras(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    first: Position,
    (instead, own): (&[StoredDefinition], &BTreeSet<String>),
) -> anyhow::Result<(Vec<Side>, Changes)> {
    let here = store.workspace(id);
    let before = Position(first.0 - 1);
    let mut eras = vec![Side::new(definitions.live_at(id, before, instead, own).await?)];
    let (positions, changes) = here.changes_since(before).await?;
    for position in positions {
        eras.push(Side::new(definitions.live_at(id, position, instead, own).await?));
    }
    Ok((eras, changes))
}

/// People who share an address live through it together.
async fn together(
    store: Workspace<'_, DatabaseConnection>,
    (eras, changes, looked_at): (&[Side], &Changes, &BTreeSet<String>),
    group: &Group,
    (window, head): ((Timestamp, Timestamp), Position),
    report: &mut Backtest,
) -> anyhow::Result<()> {
    let mut lives = Lives::default();
    let mut needs = crate::audience::condition::needs::Needs::default();
    eras.iter().for_each(|side| needs.add(&side.needs));
    let Some(first) = eras.first() else { return Ok(()) };
    let reach = eras.iter().map(|side| side.reach).max().unwrap_or_default();
    for profile in group.reported.iter().chain(&group.beside) {
        let is_told = group.reported.contains(profile);
        if let Err(error) = lives.add(store, *profile, window, (&needs, reach, changes, is_told)).await {
            tracing::warn!(%error, %profile, "a person cannot be lived through again");
            report.unreadable += u64::from(is_told);
        }
    }
    let concerned = lives.concerned(eras, looked_at);
    if concerned.is_empty() {
        return Ok(());
    }
    report.people += concerned.len() as u64;
    report.crowded += if group.is_part { concerned.len() as u64 } else { 0 };
    let names: BTreeMap<ProfileId, String> =
        lives.people.iter().map(|one| (one.person.profile.id, one.name.clone())).collect();
    let owners = lives.messages.values().filter_map(|one| Some((one.id, names.get(&one.profile)?.clone())));
    let mut told = Told { told: lives.told.clone(), owners: owners.collect(), ..Told::default() };
    let mut acts: Vec<Act> = std::mem::take(&mut lives.acts);
    acts.sort_by_key(|act| (act.at, act.position));
    if store.layout().is_shared() {
        join_last(&mut acts);
    }
    let mut world = World::new(&first.setting, std::mem::take(&mut lives.people), head);
    world.eras = eras.iter().map(|side| &side.setting).collect();
    world.tells = false;
    world.record = std::mem::take(&mut lives.record);
    world.record.is_told = true;
    world.slots = std::mem::take(&mut lives.slots);
    world.suppressions = std::mem::take(&mut lives.suppressions);
    std::mem::take(&mut lives.carried).into_iter().for_each(|message| world.carry(message));
    if world.run(window.0, &acts, Some(window.1.plus_millis(-1))).is_err() {
        report.cut_short += group.reported.len() as u64;
    }
    for (who, person) in world.people().enumerate() {
        let Some(name) = names.get(&person.profile.id) else { continue };
        told.waiting.entry(name.clone()).or_default().extend(world.waiting(who).into_iter().map(str::to_owned));
    }
    report.add(&world, &told);
    if report.differences.is_some() {
        compare(report, &world, &lives, &names);
    }
    Ok(())
}

/// Between shards there is no order: what stands under a profile was logged before it became another's.
fn join_last(acts: &mut [Act]) {
    let mut from = 0;
    while let Some(act) = acts.get(from) {
        let (at, loser) = (act.at, act.joins);
        let of_loser = |it: &Act| loser.is_some() && Some(it.who) == loser;
        let late = acts[from + 1..].iter().take_while(|it| it.at == at).position(of_loser);
        match late {
            Some(late) => acts[from..=from + 1 + late].rotate_right(1),
            None => from += 1,
        }
    }
}

//! A backtest: files over what is logged of a time, by the real rules and guard and slots in memory. Everything that came
//! in then comes in again as it stands in the log; what is in force is what was in force at each moment, with the files
//! in place of their own. Nothing leaves, and nothing is written: there are only readers here.
//!
//! A message that the record knows and that nothing speaks against goes the way it went, at the instants it went: a
//! provider's answer, a pause by hand, a machine that stood still are not the rules' doing. Where the rules now say
//! something else, the message goes the way they say. So what is in force, tested against what really happened, differs
//! nowhere, but for what docs/backtesting.md names.

mod company;
mod gathered;
mod lives;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::Person;
use crate::definition::{Definition, Problem, SourceFile};
use crate::ids::{Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::store::definitions::StoredDefinition;
use crate::store::entries::newest_event;
use crate::store::shards::Layout;
use crate::store::{Error, Store, Workspace};
use crate::story::{Act, World};
use crate::worker::apply::{checked, compare as compared, stored_as};
use crate::worker::live::Definitions;
use crate::worker::plan::concerned::Group;
use crate::worker::plan::past::as_if_it_came;
use crate::worker::plan::{Figure, Side};
use company::{Company, Page};
use gathered::{Gathered, Wanted};
use lives::{Changes, Contacts, Lives};
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
    count_existing(&mut report, &eras);
    let looked_at = if asked.against_live { &all } else { &reported };
    let (events, everybody) = here.extent(first, window).await?;
    (report.events, report.stored_since) = (events, stored_since);
    let head = newest_event(store.reader()).await?.map_or(Position(0), |(head, _)| head);
    let log = (head, here.layout());
    let course = Course::new((eras, changes), looked_at.clone(), (window, first), log, asked.against_live);
    let mut company = Company::new(&course.eras, looked_at, (asked.from, first));
    let mut done = 0;
    while let Some(Page { groups, mut people, unreadable, count }) = company.next(here).await? {
        let batches = gathered::batches(groups, &people);
        let of = batches.len().max(1) as u64;
        for (batch, n) in batches.into_iter().zip(1..) {
            let met = course.meet(here, batch, &mut people).await?;
            report.unreadable += met.unreadable;
            for (group, lives) in met.lives {
                let lost = group.reported.iter().filter(|one| unreadable.contains(one)).count();
                report.unreadable += lost as u64;
                course.live(&group, lives, &mut report);
                // It may take minutes; whoever else waits goes first.
                tokio::task::yield_now().await;
            }
            if !progress((done + count * n / of).min(everybody), everybody) {
                anyhow::bail!("nobody waits for the backtest any more");
            }
        }
        done += count;
        if !progress(done.min(everybody), everybody) {
            anyhow::bail!("nobody waits for the backtest any more");
        }
    }
    Ok(Ok(report))
}

/// Of campaigns that include who is in their segment already, it is told who waits for a turn.
fn count_existing(report: &mut Backtest, eras: &[Side]) {
    let asking: BTreeSet<&str> = eras.iter().flat_map(|side| side.setting.catalog.existing().keys()).collect();
    for campaign in report.campaigns.iter_mut().filter(|one| asking.contains(one.campaign.as_str())) {
        campaign.existing = Some(Figure::default());
    }
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
    let (positions, changes) = here.changes_since(before).await?;
    let (mut eras, mut book) = (Vec::with_capacity(positions.len() + 1), None);
    for position in [before].into_iter().chain(positions) {
        let next = definitions.book_at(id, position, book.as_ref()).await?;
        eras.push(Side::new(next.with(instead, own)));
        book = Some(next);
    }
    Ok((eras, changes))
}

/// By what people live through it again.
struct Course {
    eras: Vec<Side>,
    changes: Changes,
    looked_at: BTreeSet<String>,
    window: (Timestamp, Timestamp),
    wanted: Wanted,
    /// How far back slots matter.
    reach: Span,
    head: Position,
    layout: Layout,
    /// What was really decided is decided again.
    against_live: bool,
}

/// Who lives through it next, each with those who share an address with them.
struct Met {
    lives: Vec<(Group, Lives)>,
    /// Of whom something could not be read.
    unreadable: u64,
}

impl Course {
    fn new(
        (eras, changes): (Vec<Side>, Changes),
        looked_at: BTreeSet<String>,
        (window, first): ((Timestamp, Timestamp), Position),
        (head, layout): (Position, Layout),
        against_live: bool,
    ) -> Self {
        let received = eras.iter().flat_map(|side| side.needs.received.iter().cloned()).collect();
        let reach = eras.iter().map(|side| side.reach).max().unwrap_or_default();
        let wanted = Wanted { to: window.1, first, received };
        Self { eras, changes, looked_at, window, wanted, reach, head, layout, against_live }
    }

    /// Reads what is stored of these people.
    async fn meet(
        &self,
        store: Workspace<'_, DatabaseConnection>,
        groups: Vec<Group>,
        people: &mut BTreeMap<ProfileId, Person>,
    ) -> anyhow::Result<Met> {
        let of = groups.iter().flat_map(|group| group.reported.iter().chain(&group.beside));
        let people = of.filter_map(|one| people.remove_entry(one)).collect();
        let stored = Gathered::read(store, people, &self.wanted).await?;
        for (profile, error) in &stored.unreadable {
            tracing::warn!(%error, %profile, "a person cannot be lived through again");
        }
        let mut met = Met { lives: Vec::with_capacity(groups.len()), unreadable: 0 };
        for group in groups {
            let mut lives = Lives::default();
            for profile in group.reported.iter().chain(&group.beside) {
                let is_told = group.reported.contains(profile);
                if stored.unreadable.contains_key(profile) {
                    met.unreadable += u64::from(is_told);
                    continue;
                }
                lives.add(&stored, *profile, self.window, (&self.changes, self.layout, is_told));
            }
            met.lives.push((group, lives));
        }
        let subjects = met.lives.iter().flat_map(|(_, lives)| &lives.subjects).cloned().collect();
        let since = self.window.0.minus(self.reach);
        match Contacts::read(store, &subjects, since).await {
            Ok(known) => met.lives.iter_mut().for_each(|(_, lives)| lives.meet(&known, self.window)),
            // Each group's own: what cannot be read concerns nobody else.
            Err(Error::Unreadable { .. }) => {
                for (group, lives) in &mut met.lives {
                    match Contacts::read(store, &lives.subjects, since).await {
                        Ok(known) => lives.meet(&known, self.window),
                        Err(Error::Unreadable { what, cause }) => {
                            tracing::warn!(what, cause, "what is known of an address cannot be read");
                            met.unreadable += group.reported.len() as u64;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(met)
    }

    /// People who share an address live through it together.
    fn live(&self, group: &Group, mut lives: Lives, report: &mut Backtest) {
        let Some(first) = self.eras.first() else { return };
        let concerned = lives.concerned(&self.eras, &self.looked_at).len() as u64;
        if concerned == 0 {
            return;
        }
        report.people += concerned;
        report.crowded += if group.is_part { concerned } else { 0 };
        let names: BTreeMap<ProfileId, String> =
            lives.people.iter().map(|one| (one.person.profile.id, one.name.clone())).collect();
        let owners = lives.messages.values().filter_map(|one| Some((one.id, names.get(&one.profile)?.clone())));
        let mut told = Told { told: lives.told.clone(), owners: owners.collect(), ..Told::default() };
        let mut acts: Vec<Act> = std::mem::take(&mut lives.acts);
        acts.sort_by_key(|act| (act.at, act.position));
        if !self.against_live {
            acts.iter_mut().for_each(as_if_it_came);
        }
        if self.layout.is_shared() {
            join_last(&mut acts);
        }
        let mut world = World::new(&first.setting, std::mem::take(&mut lives.people), self.head);
        world.eras = self.eras.iter().map(|side| &side.setting).collect();
        world.tells = false;
        world.record = std::mem::take(&mut lives.record);
        world.record.is_told = true;
        world.slots = std::mem::take(&mut lives.slots);
        world.suppressions = std::mem::take(&mut lives.suppressions);
        std::mem::take(&mut lives.carried).into_iter().for_each(|message| world.carry(message));
        if world.run(self.window.0, &acts, Some(self.window.1.plus_millis(-1))).is_err() {
            report.cut_short += group.reported.len() as u64;
        }
        for (who, person) in world.people().enumerate() {
            let Some(name) = names.get(&person.profile.id) else { continue };
            told.waiting.entry(name.clone()).or_default().extend(world.waiting(who).into_iter().map(str::to_owned));
            let asked = person.profile.remembered.existing.iter().filter(|(_, it)| it.waiting.is_some());
            told.members.entry(name.clone()).or_default().extend(asked.map(|(campaign, _)| campaign.clone()));
        }
        report.add(&world, &told);
        if report.differences.is_some() {
            compare(report, &world, &lives, &names);
        }
    }
}

/// Between shards there is no order: what stands under a profile was logged before it became another's.
pub(super) fn join_last(acts: &mut [Act]) {
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

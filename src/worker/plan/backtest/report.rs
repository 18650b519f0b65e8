//! What a backtest tells: per campaign, per day and per customer who would have entered, been sent and been stopped by
//! what; the slots it would have taken from live campaigns; and where it differs from what really happened.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::lives::Lives;
use crate::decision::{Enrollment, State};
use crate::ids::{MessageId, Span, Timestamp};
use crate::message::{Message, Reason};
use crate::story::{Happening, Said, What, World};
use crate::worker::plan::tally::{Figure, Tally};

/// Customers and differences that are listed one by one; of more the number is told.
const LISTED_MAX: usize = 1_000;

/// What came of one day, by UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestDay)]
pub struct Day {
    pub entered: u64,
    pub sent: u64,
    /// Messages that were stopped, by the code of the reason.
    pub stopped: BTreeMap<&'static str, u64>,
    pub followed: u64,
}

/// What came of one campaign.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct CampaignBacktest {
    pub campaign: String,
    pub totals: Tally,
    /// By date.
    pub days: BTreeMap<String, Day>,
    /// What the goal wants and came after a message: it followed, which does not say that the message caused it.
    pub followed: Figure,
    /// Who is in its segment already and waits for a turn at the end of this time, where it includes them: a backtest
    /// takes the turns that are logged and gives none, so that they are counted nowhere else.
    pub existing: Option<Figure>,
}

/// What came to one customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestCustomer)]
pub struct Customer {
    pub name: String,
    pub entered: u64,
    pub sent: u64,
    pub stopped: BTreeMap<&'static str, u64>,
    pub followed: u64,
}

/// Something that really happened otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BacktestDifference)]
pub struct Difference {
    pub customer: String,
    pub campaign: String,
    pub key: String,
    pub entered_at: Timestamp,
    /// What really happened; none: nothing.
    pub recorded: Option<String>,
    /// What would have happened; none: nothing.
    pub backtest: Option<String>,
}

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Backtest {
    pub from: Timestamp,
    pub to: Timestamp,
    /// When the first event came that is stored; none where none is.
    pub stored_since: Option<Timestamp>,
    pub events: u64,
    pub people: u64,
    pub campaigns: Vec<CampaignBacktest>,
    /// Messages of other campaigns that were sent and would have been capped, by campaign.
    pub slots_taken: BTreeMap<String, Figure>,
    /// The first thousand to whom anything would have come.
    pub customers: Vec<Customer>,
    pub more_customers: u64,
    /// Against what really happened, where that was asked: how many, and the first thousand.
    pub differences: Option<u64>,
    pub listed: Vec<Difference>,
    /// Whose rows could not be read, or of whom something never came to rest.
    pub unreadable: u64,
    pub cut_short: u64,
    /// Who shares an address with more people than are looked at together: of what caps hold back there, this is the least.
    pub crowded: u64,
}

impl Backtest {
    pub(super) fn of(
        campaigns: impl IntoIterator<Item = String>,
        (from, to): (Timestamp, Timestamp),
        compares: bool,
    ) -> Self {
        let keys: BTreeSet<String> = campaigns.into_iter().collect();
        let campaigns = keys.into_iter().map(|campaign| CampaignBacktest { campaign, ..Default::default() });
        Self { from, to, campaigns: campaigns.collect(), differences: compares.then_some(0), ..Self::default() }
    }

    /// Adds what came of people who lived through it together.
    pub(super) fn add(&mut self, world: &World<'_>, lives: &Told) {
        let mut by_name: BTreeMap<&str, Vec<&Happening>> = BTreeMap::new();
        for one in world.happenings.iter().filter(|one| lives.told.contains(&one.person)) {
            by_name.entry(&one.person).or_default().push(one);
        }
        for name in &lives.told {
            let theirs = by_name.remove(name.as_str()).unwrap_or_default();
            let waiting = lives.waiting.get(name).map_or(&[][..], Vec::as_slice);
            self.add_person(name, &theirs, waiting);
            let members = lives.members.get(name).into_iter().flatten();
            for key in members {
                if let Ok(place) = self.campaigns.binary_search_by(|one| one.campaign.cmp(key)) {
                    self.campaigns[place].existing.get_or_insert_default().add(1, name);
                }
            }
        }
        let own = |key: &String| self.campaigns.binary_search_by(|one| one.campaign.cmp(key)).is_ok();
        for diverged in world.record.diverged.iter().filter(|one| matches!(one.now, Some(Reason::Capped { .. }))) {
            let is_own = own(&diverged.campaign);
            let owner = lives.owner_of(diverged.message);
            if let (false, Said::Cleared, Some(name)) = (is_own, &diverged.recorded, owner) {
                self.slots_taken.entry(diverged.campaign.clone()).or_default().add(1, name);
            }
        }
    }

    fn add_person(&mut self, name: &str, happenings: &[&Happening], waiting: &[String]) {
        let mut customer = Customer { name: name.to_owned(), ..Customer::default() };
        let mut by_campaign: BTreeMap<&str, (Vec<&Happening>, u64)> = BTreeMap::new();
        happenings.iter().for_each(|one| by_campaign.entry(&one.campaign).or_default().0.push(one));
        waiting.iter().for_each(|key| by_campaign.entry(key).or_default().1 += 1);
        // There may be thousands of campaigns; few of them are one customer's.
        for (key, (theirs, waits)) in by_campaign {
            let place = self.campaigns.binary_search_by(|one| one.campaign.as_str().cmp(key));
            let Some(campaign) = place.ok().and_then(|place| self.campaigns.get_mut(place)) else { continue };
            campaign.totals.count(name, theirs.iter().copied(), (0, waits));
            let mut followed = 0;
            let counts = |what: &What| matches!(what, What::Enrolled | What::Sent | What::NotSent(_) | What::Converted);
            for one in theirs.into_iter().filter(|one| counts(&one.what)) {
                let day = campaign.days.entry(date(one.at)).or_default();
                match &one.what {
                    What::Enrolled => (day.entered, customer.entered) = (day.entered + 1, customer.entered + 1),
                    What::Sent => (day.sent, customer.sent) = (day.sent + 1, customer.sent + 1),
                    What::NotSent(reason) => {
                        *day.stopped.entry(reason.code()).or_default() += 1;
                        *customer.stopped.entry(reason.code()).or_default() += 1;
                    }
                    What::Converted => {
                        (day.followed, customer.followed) = (day.followed + 1, customer.followed + 1);
                        followed += 1;
                    }
                    What::Exited { .. } | What::NotEntered(_) | What::Segment { .. } | What::Trait { .. } => {}
                }
            }
            campaign.followed.add(followed, name);
        }
        if customer.entered + customer.sent + customer.followed == 0 && customer.stopped.is_empty() {
            return;
        }
        if self.customers.len() < LISTED_MAX { self.customers.push(customer) } else { self.more_customers += 1 }
    }

    pub(super) fn differ(&mut self, difference: Difference) {
        if let Some(count) = &mut self.differences {
            *count += 1;
            if self.listed.len() < LISTED_MAX {
                self.listed.push(difference);
            }
        }
    }
}

/// Who is told of, and what is needed of them once the world has theirs.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub told: BTreeSet<String>,
    pub waiting: BTreeMap<String, Vec<String>>,
    /// Campaigns in which they wait for a turn, by name.
    pub members: BTreeMap<String, BTreeSet<String>>,
    pub owners: BTreeMap<MessageId, String>,
}

impl Told {
    fn owner_of(&self, message: MessageId) -> Option<&str> {
        self.owners.get(&message).map(String::as_str)
    }
}

/// What became of an enrollment, in words that are the same for what was recorded and what is decided now.
fn became(one: &Enrollment, message: Option<&Message>, to: Timestamp) -> String {
    match &one.state {
        State::Exited { at, by, .. } if *at < to => format!("exited: {by}"),
        State::Completed { at, status, .. } if *at < to => {
            let code = message.and_then(|message| message.status.reason()).map_or("", |reason| reason.code());
            format!("{status} {code}").trim_end().to_owned()
        }
        _ => "open".to_owned(),
    }
}

/// Compares what really began with what would have, for those who are told of.
pub(super) fn compare(
    report: &mut Backtest,
    world: &World<'_>,
    lives: &Lives,
    names: &BTreeMap<crate::ids::ProfileId, String>,
) {
    let to = report.to;
    let mut now: BTreeMap<_, (&Enrollment, Option<&Message>)> = BTreeMap::new();
    for person in world.people() {
        for one in person.enrollments.values().filter(|one| one.entered_at >= report.from) {
            let message = world.messages().iter().find(|message| message.enrollment == one.id);
            now.insert(one.id, (one, message));
        }
    }
    let called = |one: &Enrollment| names.get(&one.profile).filter(|name| lives.told.contains(*name)).cloned();
    for (id, recorded) in &lives.began {
        let was = became(recorded, lives.messages.get(&recorded.message_id()), to);
        let is = now.remove(id).map(|(one, message)| became(one, message, to));
        if is.as_ref() != Some(&was)
            && let Some(customer) = called(recorded)
        {
            report.differ(difference(customer, recorded, Some(was), is));
        }
    }
    for (one, message) in now.into_values() {
        if let Some(customer) = called(one) {
            report.differ(difference(customer, one, None, Some(became(one, message, to))));
        }
    }
}

fn difference(customer: String, one: &Enrollment, recorded: Option<String>, backtest: Option<String>) -> Difference {
    let (campaign, key, entered_at) = (one.campaign.clone(), one.key.clone(), one.entered_at);
    Difference { customer, campaign, key, entered_at, recorded, backtest }
}

fn date(at: Timestamp) -> String {
    let day = Timestamp::default().plus(Span::from_days(at.day())).to_string();
    day.split('T').next().unwrap_or_default().to_owned()
}

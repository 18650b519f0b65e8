//! Random timelines against a brute-force oracle: simple loops over every slot ever taken, and over the dates people
//! would read off their calendars. Slots are given back, claims are abandoned, stores forget, rules and zones change,
//! and people turn out to be one, while the clocks of the claimants differ.

use std::sync::Arc;

use carillon::caps::redis::Server;
use carillon::caps::{Ask, CapStore, History, Released, Reserved};
use carillon::guard::{CapVersion, Change, Full, Keep, Rule, Scope, Slot, Subject, Window, frequency_cap};
use carillon::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp};
use carillon::message::Channel;
use futures::StreamExt;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::caps::stores;

const MINUTE: i64 = 60_000;
const EVENTS: u64 = 250;
/// An enrollment sends its messages within this time, by the latest clock.
const ENROLLMENT: Span = Span::from_hours(1);
/// And by the earliest.
const MARGIN: Span = Span::from_hours(4);

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len() as u64) as usize].clone()
    }
}

/// A store that knows nothing yet.
type Make = dyn Fn() -> Arc<dyn CapStore>;

/// A slot with the date on its person's calendar, and that of the Monday before.
struct Dated {
    slot: Slot,
    day: Date,
    monday: Date,
}

/// The record of one subject: everything it ever used.
struct Book {
    subject: Subject,
    version: CapVersion,
    zone: TimeZone,
    slots: Vec<Dated>,
}

impl Book {
    fn date(&self, at: Timestamp) -> Date {
        jiff::Timestamp::from_millisecond(at.millis()).unwrap().to_zoned(self.zone.clone()).date()
    }

    fn add(&mut self, slot: Slot) {
        let day = self.date(slot.at);
        self.slots.push(Dated { slot, day, monday: monday(day) });
    }

    fn history(&self, since: Timestamp) -> History {
        let slots = self.slots.iter().map(|one| one.slot.clone()).filter(|slot| slot.at > since).collect();
        History { version: self.version, since, slots }
    }
}

fn monday(day: Date) -> Date {
    (0..7).map(|back| day.checked_sub(jiff::Span::new().days(back)).unwrap()).find(|day| is_monday(*day)).unwrap()
}

fn is_monday(day: Date) -> bool {
    day.weekday() == jiff::civil::Weekday::Monday
}

/// The messages a rule counts in the candidate's window, counted by hand; none where the rule lets it pass.
fn counted(rule: &Rule, book: &Book, candidate: &Slot, today: Date) -> Option<Vec<MessageId>> {
    let about = |slot: &Slot| match &rule.scope {
        Scope::Any => true,
        Scope::Channel(channel) => slot.channel == *channel,
        Scope::Topic(topic) => slot.topic.as_deref() == Some(topic),
        Scope::Campaign(campaign) => slot.campaign == *campaign,
        Scope::EachCampaign { .. } => slot.campaign == candidate.campaign,
    };
    if !about(candidate) {
        return None;
    }
    let this_monday = monday(today);
    let per_enrollment = rule.scope == (Scope::EachCampaign { per_step: false });
    let mut found = Vec::new();
    for one in book.slots.iter().filter(|one| about(&one.slot)) {
        if per_enrollment && one.slot.enrollment == candidate.enrollment {
            return None;
        }
        let inside = match rule.per {
            Window::Rolling(length) => one.slot.at.plus(length) > candidate.at,
            Window::CalendarDay => one.day == today,
            Window::CalendarWeek => one.monday == this_monday,
        };
        let is_later_send = || {
            book.slots.iter().any(|first| {
                let (first, this) = (&first.slot, &one.slot);
                first.enrollment == this.enrollment && (first.at, first.message) < (this.at, this.message)
            })
        };
        if inside && !(per_enrollment && is_later_send()) {
            found.push((one.slot.at, one.slot.message));
        }
    }
    found.sort_unstable();
    Some(found.into_iter().map(|(_, message)| message).collect())
}

/// What fills each rule that refuses the candidate.
fn refusals(rules: &[Rule], book: &Book, candidate: &Slot, priority: u8) -> Vec<Vec<MessageId>> {
    let today = book.date(candidate.at);
    let mut found = Vec::new();
    for rule in rules {
        let Some(used) = counted(rule, book, candidate, today) else { continue };
        let kept = rule.keep.filter(|keep| priority < keep.priority).map_or(0, |keep| keep.slots);
        if used.len() as u32 + 1 > rule.at_most.saturating_sub(kept) {
            found.push(used);
        }
    }
    found
}

fn rules(dice: &mut Dice) -> Vec<Rule> {
    let count = 1 + dice.roll(4);
    (0..count).map(|_| rule(dice)).collect()
}

fn rule(dice: &mut Dice) -> Rule {
    let hours = Span::from_hours(2 + dice.roll(40) as i64);
    let per = dice.of(&[Window::Rolling(hours), Window::Rolling(hours), Window::CalendarDay, Window::CalendarWeek]);
    let scope = dice.of(&[
        Scope::Any,
        Scope::Channel(Channel::Email),
        Scope::Topic("offers".into()),
        Scope::Campaign("a".into()),
        Scope::EachCampaign { per_step: true },
        Scope::EachCampaign { per_step: false },
    ]);
    let at_most = dice.roll(5) as u32;
    let keep =
        (at_most > 0 && dice.one_in(3)).then(|| Keep { slots: 1 + dice.roll(u64::from(at_most)) as u32, priority: 60 });
    Rule { at_most, per, scope, keep }
}

fn zone(dice: &mut Dice) -> TimeZone {
    let names = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Africa/Cairo", "Pacific/Auckland"];
    TimeZone::get(dice.of(&names)).unwrap()
}

struct Timeline<'m> {
    dice: Dice,
    make: &'m Make,
    store: Arc<dyn CapStore>,
    rules: Vec<Rule>,
    books: Vec<Book>,
    now: Timestamp,
    n: u64,
    seed: u64,
    enrollment: (EnrollmentId, String, Timestamp),
    /// Answers of each kind, so that a timeline that never gets anywhere is noticed.
    granted: u64,
    refused: u64,
}

impl<'m> Timeline<'m> {
    fn new(seed: u64, make: &'m Make) -> Self {
        let mut dice = Dice(seed);
        // Around the change of the clocks, on this or that side of it.
        let now: Timestamp =
            dice.of(&["2026-03-24T00:00:00Z", "2026-10-22T00:00:00Z", "2026-06-01T00:00:00Z"]).parse().unwrap();
        let books = (0..3)
            .map(|n| Book {
                subject: Subject::Profile(ProfileId(seed as i64 * 4 + n)),
                version: CapVersion::default(),
                zone: zone(&mut dice),
                slots: Vec::new(),
            })
            .collect();
        let rules = rules(&mut dice);
        let enrollment = (EnrollmentId::derive(&[b"none"]), "a".to_owned(), Timestamp::default());
        let (granted, refused) = (0, 0);
        Self { store: make(), dice, make, rules, books, now, n: 0, seed, enrollment, granted, refused }
    }

    async fn run(mut self) -> (u64, u64) {
        while self.n < EVENTS {
            self.n += 1;
            let step = self.dice.roll(60) as i64 * MINUTE;
            self.now = self.now.plus_millis(step);
            match self.dice.roll(100) {
                0 => self.store = (self.make)(),
                1 => self.rules = rules(&mut self.dice),
                2 => self.move_house(),
                3 => self.unite(),
                4..=7 => self.release().await,
                _ => self.attempt().await,
            }
        }
        (self.granted, self.refused)
    }

    fn move_house(&mut self) {
        let (who, zone) = (self.dice.roll(3) as usize, zone(&mut self.dice));
        let book = &mut self.books[who];
        book.zone = zone;
        let days: Vec<Date> = book.slots.iter().map(|one| book.date(one.slot.at)).collect();
        book.slots.iter_mut().zip(days).for_each(|(one, day)| (one.day, one.monday) = (day, monday(day)));
    }

    /// Two people are one: the first has the slots of both, the second starts over. No store is told.
    fn unite(&mut self) {
        let moved: Vec<Slot> = self.books[1].slots.drain(..).map(|one| one.slot).collect();
        for (n, with) in [(0, 1), (1, 0)] {
            let Subject::Profile(with) = self.books[with].subject else { panic!("not a person") };
            self.books[n].version = self.books[n].version.next(&Change::United { with });
        }
        moved.into_iter().for_each(|slot| self.books[0].add(slot));
    }

    async fn release(&mut self) {
        let who = self.dice.roll(3) as usize;
        if self.books[who].slots.is_empty() {
            return;
        }
        let which = self.dice.roll(self.books[who].slots.len() as u64) as usize;
        let book = &mut self.books[who];
        let message = book.slots.remove(which).slot.message;
        let version = book.version.next(&Change::Released { message });
        if self.dice.one_in(2) {
            let told = self.store.release(&book.subject, message, book.version).await.unwrap();
            // Slots behind the horizon are forgotten.
            assert!([Released::Done { version }, Released::Absent, Released::Stale].contains(&told), "{told:?}");
        }
        book.version = version;
    }

    fn candidate(&mut self) -> Slot {
        let dice = &mut self.dice;
        let message = MessageId::derive(&[&self.seed.to_le_bytes(), &self.n.to_le_bytes()]);
        let fresh = dice.one_in(2) || self.enrollment.2.plus(ENROLLMENT) < self.now;
        if fresh {
            self.enrollment =
                (EnrollmentId::from_bytes(*message.as_bytes()), dice.of(&["a", "b"]).to_owned(), self.now);
        }
        let (enrollment, campaign, _) = self.enrollment.clone();
        Slot {
            message,
            at: self.now,
            channel: dice.of(&[Channel::Email, Channel::Sms]),
            topic: dice.of(&[None, Some("offers".to_owned()), Some("news".to_owned())]),
            campaign,
            enrollment,
        }
    }

    async fn attempt(&mut self) {
        let mut slot = self.candidate();
        let who = self.dice.roll(3) as usize;
        let priority = self.dice.of(&[30, 60]);
        let (obeys, counts) = (!self.dice.one_in(20), !self.dice.one_in(20));
        // A claimant whose clock is behind by up to two hours.
        slot.at = self.now.plus_millis(-(self.dice.of(&[0, 0, 0, 120]) * MINUTE));
        let rules = if obeys { self.rules.clone() } else { Vec::new() };
        let horizon = Span::from_millis(frequency_cap::horizon(&self.rules).millis() + MARGIN.millis());
        let answer = loop {
            let book = &self.books[who];
            let asked = Ask {
                subject: &book.subject,
                expected: book.version,
                horizon,
                rules: &rules,
                slot: &slot,
                priority,
                zone: &book.zone,
                counts,
            };
            match self.store.reserve(asked).await.unwrap() {
                Reserved::Behind { last } => {
                    assert!(last > slot.at);
                    slot.at = last;
                }
                Reserved::Stale => {
                    let since = slot.at.minus(horizon);
                    self.store.reseed(&book.subject, book.history(since)).await.unwrap();
                }
                answer => break answer,
            }
        };
        let refusals = refusals(&rules, &self.books[who], &slot, priority);
        let told = format!("seed {} event {}: {slot:?} priority {priority}\n{:?}", self.seed, self.n, self.rules);
        match answer {
            Reserved::Granted { version, at } => {
                assert_eq!((refusals, at), (Vec::new(), slot.at), "{told}");
                self.granted += 1;
                if counts {
                    self.commit(who, slot, version).await;
                }
            }
            Reserved::Full(full) => {
                assert!(refusals.contains(&full.by), "{told}\n{full:?}\n{refusals:?}");
                self.refused += 1;
                self.frees_then(who, slot, priority, &rules, &full, &told);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The transaction: most commit; some are abandoned, and the store may hear of that or not.
    async fn commit(&mut self, who: usize, slot: Slot, version: CapVersion) {
        let book = &mut self.books[who];
        match self.dice.roll(20) {
            0 => self.store.withdraw(&book.subject, slot.message, version, book.version).await.unwrap(),
            1 => {}
            _ => {
                book.version = version;
                book.add(slot);
            }
        }
    }

    /// A millisecond before the instant named there is no room, and then there is.
    fn frees_then(&mut self, who: usize, slot: Slot, priority: u8, rules: &[Rule], full: &Full, told: &str) {
        if !self.dice.one_in(8) {
            return;
        }
        let at = |at| Slot { at, ..slot.clone() };
        let book = &self.books[who];
        let never = full.frees_at == Timestamp::from_millis(i64::MAX);
        let frees_at = if never { slot.at.plus(Span::from_days(60)) } else { full.frees_at };
        let before = refusals(rules, book, &at(frees_at.plus_millis(-1)), priority);
        assert!(!before.is_empty(), "{told}\n{full:?}: earlier");
        let then = refusals(rules, book, &at(frees_at), priority);
        assert_eq!(then.is_empty(), !never, "{told}\n{full:?}: not yet");
    }
}

/// Lives through timelines, many at once; the answers of each kind.
async fn timelines(seeds: impl Iterator<Item = u64>, make: &Make) -> (u64, u64) {
    let running = seeds.map(|seed| Timeline::new(seed, make).run());
    futures::stream::iter(running)
        .buffer_unordered(64)
        .fold((0, 0), |all, one| async move { (all.0 + one.0, all.1 + one.1) })
        .await
}

/// Both answers are given often, or the timelines mean nothing.
fn both_often(events: u64, (granted, refused): (u64, u64)) {
    assert!(granted * 5 > events && refused * 5 > events, "{granted} granted, {refused} refused of {events}");
}

#[test]
fn over_a_million_events_the_embedded_store_answers_as_counting_by_hand_does() {
    const TIMELINES: u64 = 4_000;
    let answers: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let run = |first: usize| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(timelines((0..TIMELINES).skip(first).step_by(2), &stores::embedded))
            })
        };
        [0, 1].map(run).map(|thread| thread.join().unwrap()).into()
    });
    both_often(TIMELINES * EVENTS, answers.into_iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1)));
}

/// Each timeline in a corner of its own: what was in the one before is unknown, as if it had been flushed.
pub async fn over_timelines(n: u64, server: Server) {
    let make = move || stores::corner_of(&server);
    both_often(n * EVENTS, timelines(10_000..10_000 + n, &make).await);
}

#[tokio::test]
async fn over_many_timelines_redis_answers_as_counting_by_hand_does() {
    over_timelines(100, Server::new(&stores::url()).unwrap()).await;
}

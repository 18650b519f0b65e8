//! What would turn a count or a figure over past events. Nothing is promised that was not tried: events that might
//! come, and refunds of those that came, are added to what counts, and the answer is judged again.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value;

use super::{Asking, Piece};
use crate::audience::condition::tally::{Share, Tally};
use crate::audience::condition::{Facts, Function, Performed, Window};
use crate::audience::field::{Found, Place, spelled, values_at};
use crate::audience::value_test::Operand;
use crate::event::pattern::clipped;
use crate::ids::Timestamp;
use crate::money::{Amount, Currency, Total};

/// Events that are tried at once; more are promised only where nothing but their number is asked for.
const TRIED_MAX: u32 = 1_000;
/// Refunds that are named one by one.
const NAMED_MAX: usize = 3;

/// Each of these turns the answer by itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turning {
    pub more: Option<More>,
    pub refunds: Option<String>,
    /// Rates of these currencies are missing, so that nothing can be said.
    pub unrated: BTreeSet<String>,
}

/// So many more such events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct More {
    pub count: u32,
    /// What each of them has where the figure is taken, in words.
    pub having: Option<String>,
    /// They do not count before.
    pub from: Option<Timestamp>,
    /// By then what counts has changed, and they would not be enough, or too many.
    pub before: Option<Timestamp>,
}

/// What an event that is tried has where the figure is taken.
struct Trial {
    having: Option<String>,
    /// Of the first, the second, and so on.
    shares: Vec<Share>,
}

/// What would turn the answer now; `by_itself` is when time alone does.
pub fn turning(performed: &Performed, facts: &Facts<'_>, by_itself: Option<Timestamp>) -> Turning {
    let asking = Asking { is_of_now: true, ..Asking::new(performed, facts) };
    let (pieces, _) = asking.pieces();
    let outcome = asking.judge(&at(&pieces, facts.now));
    if outcome.currency_unknown {
        return Turning { unrated: asking.unrated(&pieces), ..Turning::default() };
    }
    Turning {
        more: asking.more(&pieces, outcome.holds, by_itself),
        refunds: asking.refunded(&pieces, outcome.holds),
        unrated: BTreeSet::new(),
    }
}

/// What counts at an instant, as far as it has happened by now.
fn at(pieces: &[Piece<'_>], instant: Timestamp) -> Tally {
    let mut tally = Tally::default();
    pieces.iter().filter(|piece| piece.stay.contains(instant)).for_each(|piece| tally.add(&piece.share));
    tally
}

impl Asking<'_> {
    /// The first instant at which an event that happens as soon as it may counts.
    fn counts_from(&self) -> Option<Timestamp> {
        let now = self.facts.now;
        match self.performed.window {
            Window::Ever | Window::Within(_) => Some(now),
            Window::Between(near, _) => Some(near.after(now, &self.performed.window.zone(self.facts))),
            Window::Since(start) => Some(start.max(now)),
            Window::SinceEntry => self.facts.entry_at.map(|start| start.max(now)),
        }
    }

    /// Whether an event may count at all: what it is compared with is there.
    fn may_count(&self) -> bool {
        let has_own = self.performed.same.is_none() || !self.own.is_empty();
        has_own && self.performed.filter.iter().all(|(_, test)| test.bounds(self.facts).is_some())
    }

    fn more(&self, pieces: &[Piece<'_>], holds: bool, by_itself: Option<Timestamp>) -> Option<More> {
        let (now, from) = (self.facts.now, self.counts_from().filter(|_| self.may_count())?);
        // Before it would count, time alone turns the answer.
        if from > now && by_itself.is_some_and(|at| at <= from) {
            return None;
        }
        let changes = pieces.iter().flat_map(|piece| [Some(piece.stay.from), piece.stay.to]).flatten();
        let changes = changes.filter(|at| *at > from).min();
        let mut tally = at(pieces, from);
        for count in self.numbers_tried(&tally) {
            for Trial { having, shares } in self.trials(&tally, count) {
                if self.turns_with(&mut tally, &shares, count, holds) {
                    let stays_so = |at: &Timestamp| !self.turns_with(&mut self::at(pieces, *at), &shares, count, holds);
                    let before = changes.filter(stays_so);
                    return Some(More { count, having, from: Some(from).filter(|from| *from > now), before });
                }
            }
        }
        None
    }

    /// How many more might turn it: few, and as many as its bounds are away.
    fn numbers_tried(&self, tally: &Tally) -> BTreeSet<u32> {
        let count = u32::try_from(tally.events).unwrap_or(u32::MAX);
        let (least, most) = (self.performed.count.at_least, self.performed.count.at_most);
        let mut tried: BTreeSet<u32> = [1, 2, 3].into();
        tried.extend(least.map(|least| least.saturating_sub(count)));
        tried.extend(most.map(|most| most.saturating_add(1).saturating_sub(count)));
        if let Some(aggregate) = &self.performed.aggregate {
            if aggregate.function == Function::Distinct {
                let have = number_of(tally, Function::Distinct, None).unwrap_or_default();
                let bounds = aggregate.test.bounds(self.facts).unwrap_or_default();
                let away = bounds.into_iter().filter_map(|(_, bound)| u32::try_from(bound - have).ok());
                tried.extend(away.flat_map(|away| [away, away.saturating_add(1)]));
            }
            tried.retain(|count| *count <= TRIED_MAX);
        }
        tried.remove(&0);
        tried
    }

    fn turns_with(&self, tally: &mut Tally, shares: &[Share], count: u32, holds: bool) -> bool {
        if self.performed.aggregate.is_none() {
            let events = tally.events.saturating_add(count as usize);
            return self.performed.count.accepts(events) != holds;
        }
        let each = || shares.iter().cycle().take(count as usize);
        each().for_each(|share| tally.add(share));
        let outcome = self.judge(tally);
        each().for_each(|share| tally.remove(share));
        !outcome.currency_unknown && outcome.holds != holds
    }

    /// What so many more events may bring, the likelier first.
    fn trials(&self, tally: &Tally, count: u32) -> Vec<Trial> {
        let Some(aggregate) = &self.performed.aggregate else {
            return vec![Trial { having: None, shares: vec![Share::default()] }];
        };
        let path = &aggregate.path;
        let mut trials = Vec::new();
        if aggregate.function == Function::Distinct {
            let shares: Vec<Share> = self.fresh(tally, count).into_iter().map(share_of).collect();
            if shares.len() == count as usize {
                let others = if count == 1 { "another" } else { "each another" };
                trials.push(Trial { having: Some(format!("{others} {path} than those that count")), shares });
            }
        } else {
            for (currency, value) in self.figures(tally, count) {
                if let Some(share) = self.share_of_number(currency, value)
                    && let Some(found) = stated(currency, value, self.facts.now)
                    && self.passes(path, Some(found))
                {
                    let unit = currency.map_or_else(String::new, |currency| format!("{currency} "));
                    let having = Some(format!("{path} {unit}{}", value.normalize()));
                    trials.push(Trial { having, shares: vec![share] });
                }
            }
        }
        if self.passes(path, None) {
            trials.push(Trial { having: Some(format!("no {path}")), shares: vec![self.share_of_nothing()] });
        }
        trials
    }

    /// Numbers at which the figure may turn.
    fn figures(&self, tally: &Tally, count: u32) -> Vec<(Option<Currency>, Decimal)> {
        let Some(aggregate) = &self.performed.aggregate else { return Vec::new() };
        let (n, one) = (Decimal::from(count), Decimal::ONE);
        let mut tried = Vec::new();
        for (currency, bound) in aggregate.test.bounds(self.facts).unwrap_or_default() {
            let has = number_of(tally, Function::Sum, currency).unwrap_or_default();
            let around = match aggregate.function {
                Function::Sum => bound.checked_sub(has).and_then(|left| left.checked_div(n)),
                Function::Avg => {
                    let over = tally.aggregate(Function::Avg, currency).ok().flatten().map_or(0, |(_, over)| over);
                    let all = bound.checked_mul(Decimal::from(over) + n).and_then(|all| all.checked_sub(has));
                    all.and_then(|left| left.checked_div(n))
                }
                Function::Min | Function::Max | Function::Distinct => Some(bound),
            };
            let near = around
                .into_iter()
                .chain([bound])
                .flat_map(|it| [Some(it), it.checked_add(one * n), it.checked_sub(one * n)]);
            tried.extend(near.flatten().chain([Decimal::ZERO]).map(|it| (currency, it)));
        }
        let filters = self.performed.filter.iter().filter(|(path, _)| *path == aggregate.path);
        for (currency, bound) in filters.filter_map(|(_, test)| test.bounds(self.facts)).flatten() {
            let near = [Some(bound), bound.checked_add(one), bound.checked_sub(one)];
            tried.extend(near.into_iter().flatten().map(|it| (currency, it)));
        }
        // Nobody pays less than nothing.
        tried.retain(|(_, it)| *it >= Decimal::ZERO);
        tried
    }

    /// Whether an event with this where the figure is taken counts, as far as that field is asked for.
    fn passes(&self, path: &str, found: Option<Found<'_>>) -> bool {
        let found: Vec<Found<'_>> = found.into_iter().collect();
        let is_asked = self.performed.same.as_ref().is_some_and(|(_, theirs)| theirs == path);
        let is_same = || super::are_equal(&self.own, &found.iter().map(|one| one.value.as_ref()).collect::<Vec<_>>());
        let mut filters = self.performed.filter.iter().filter(|(of, _)| of == path);
        (!is_asked || is_same()) && filters.all(|(_, test)| test.ask(&found, self.facts).holds)
    }

    /// So many values that are not among those that count.
    fn fresh(&self, tally: &Tally, count: u32) -> Vec<String> {
        let Some(aggregate) = &self.performed.aggregate else { return Vec::new() };
        let filters: Vec<_> = self.performed.filter.iter().filter(|(path, _)| *path == aggregate.path).collect();
        let named = filters.iter().flat_map(|(_, test)| test.operands()).filter_map(|operand| match operand {
            Operand::Value(value) => Some(value.clone()),
            _ => None,
        });
        let numbers = filters.iter().filter_map(|(_, test)| test.bounds(self.facts)).flatten();
        let beside = numbers.flat_map(|(_, bound)| {
            (1..=i64::from(count)).flat_map(move |n| [bound.checked_add(n.into()), bound.checked_sub(n.into())])
        });
        let beside = beside.flatten().filter_map(|it| serde_json::from_str(&it.normalize().to_string()).ok());
        let made = (0..=count).map(|n| Value::from(format!("another value {n}")));
        let mut fresh = Vec::new();
        let own = self.own.iter().map(|value| (*value).clone());
        for value in own.chain(named).chain(made).chain(beside) {
            let found = Found::stated(value, None, self.facts.now);
            let spelling = spelled(&found);
            if self.passes(&aggregate.path, Some(found)) && !tally.has(&spelling) && !fresh.contains(&spelling) {
                fresh.push(spelling);
            }
        }
        fresh.truncate(count as usize);
        fresh
    }

    fn share_of_number(&self, currency: Option<Currency>, value: Decimal) -> Option<Share> {
        let mut share = Share::default();
        for asked in &self.currencies {
            let worth = match (currency, asked) {
                (Some(currency), Some(asked)) => {
                    self.facts.terms.exchange.rates.convert(Amount { value, currency }, *asked, self.facts.now)?
                }
                _ => value,
            };
            share.numbers.insert(*asked, Ok(vec![worth]));
        }
        Some(share)
    }

    /// Of an event that has nothing where the figure is taken.
    fn share_of_nothing(&self) -> Share {
        let numbers = self.currencies.iter().map(|currency| (*currency, Ok(Vec::new())));
        Share { numbers: numbers.collect(), ..Share::default() }
    }

    /// The fewest whole refunds of what counts that turn the answer, in words.
    fn refunded(&self, pieces: &[Piece<'_>], holds: bool) -> Option<String> {
        let net_of = self.performed.net_of.as_ref()?;
        let counted: Vec<&Piece<'_>> = pieces.iter().filter(|piece| piece.stay.contains(self.facts.now)).collect();
        let ours = &net_of.same.0;
        let mut ids: Vec<&Value> = counted.iter().filter_map(|piece| ids_of(piece, ours).first().copied()).collect();
        ids.dedup();
        let of = |id: &Value| -> Vec<&Share> {
            let has = |piece: &&&Piece<'_>| super::are_equal(&ids_of(piece, ours), &[id]);
            counted.iter().filter(has).map(|piece| &piece.share).collect()
        };
        let worth = |id: &Value| -> Total {
            of(id).iter().flat_map(|share| share.numbers.values().flatten().flatten()).copied().collect()
        };
        let all = at(pieces, self.facts.now);
        let mut best: Option<Vec<&Value>> = None;
        // By turns the dearest and the cheapest first.
        for cheapest in [false, true] {
            ids.sort_by_key(|id| if cheapest { worth(id) } else { worth(id).negated() });
            let (mut tally, mut gone) = (all.clone(), Vec::new());
            for id in &ids {
                of(id).into_iter().for_each(|share| tally.remove(share));
                gone.push(*id);
                let outcome = self.judge(&tally);
                if !outcome.currency_unknown && outcome.holds != holds {
                    if best.as_ref().is_none_or(|best| gone.len() < best.len()) {
                        best = Some(gone);
                    }
                    break;
                }
            }
        }
        let best = best?;
        let refund = net_of.events.join(" or ");
        let path = &net_of.same.1;
        Some(match best.len() {
            many if many > NAMED_MAX => format!("{refund} of {many} of those that count"),
            _ => {
                let ids: Vec<String> = best.iter().map(|id| clipped(id)).collect();
                format!("{refund} with {path} {}", ids.join(&format!(", and one with {path} ")))
            }
        })
    }

    /// The currencies without a rate among what is counted, and refunds of it.
    pub(super) fn unrated(&self, pieces: &[Piece<'_>]) -> BTreeSet<String> {
        let paths = self.performed.aggregate.iter().map(|aggregate| aggregate.path.as_str()).chain(super::AMOUNTS);
        let paths: Vec<&str> = paths.collect();
        let exchange = &self.facts.terms.exchange;
        let counted = pieces.iter().filter(|piece| piece.stay.contains(self.facts.now)).filter_map(|piece| piece.body);
        let mut wanted: Vec<Currency> = self.currencies.iter().copied().flatten().collect();
        // A refund is compared with what it takes back.
        let own = counted.clone().flat_map(|event| Place::event(event).values(paths[0]));
        let own =
            own.filter_map(|found| Some(found.amount(exchange)?.ok()?.currency)).filter(|_| !self.refunds.is_empty());
        wanted.extend(own);
        let events = counted.chain(self.refunds.iter().copied());
        let found = events.flat_map(|event| paths.iter().flat_map(|path| Place::event(event).values(path)));
        found
            .flat_map(|found| wanted.iter().filter_map(move |to| found.unrated(*to, exchange)).collect::<Vec<_>>())
            .collect()
    }
}

/// What refunds of an event name it by.
fn ids_of<'e>(piece: &Piece<'e>, path: &str) -> Vec<&'e Value> {
    piece.body.map(|event| values_at(event.body.document(), path)).unwrap_or_default()
}

fn share_of(value: String) -> Share {
    Share { values: vec![value], ..Share::default() }
}

fn stated(currency: Option<Currency>, value: Decimal, now: Timestamp) -> Option<Found<'static>> {
    let number: Value = serde_json::from_str(&value.normalize().to_string()).ok()?;
    Some(Found::stated(number, currency.map(|it| it.to_string().into()), now))
}

/// A figure as a number.
fn number_of(tally: &Tally, function: Function, currency: Option<Currency>) -> Option<Decimal> {
    let (total, _) = tally.aggregate(function, currency).ok()??;
    total.to_string().parse().ok()
}

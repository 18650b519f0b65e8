//! `performed`: which such events count in a window, net of refunds, what they come to, and when that next changes.

mod turning;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::audience::History;
use crate::audience::condition::tally::{Share, Tally};
use crate::audience::condition::{
    Aggregate, Count, Detail, Evaluation, Facts, Function, NetOf, Performed, Window, without_rate,
};
use crate::audience::field::{Found, Place, UnknownCurrency, spelled, values_at};
use crate::audience::stay::{Stay, common};
use crate::audience::value_test::{Outcome, Whens, equal};
use crate::event::Event;
use crate::ids::{Position, Timestamp};
use crate::money::{Amount, Currency};
pub use turning::{More, Turning, turning};

/// Where the amount of an order or a refund stands, where the condition sums nothing.
const AMOUNTS: [&str; 2] = ["properties.revenue", "properties.total"];

/// The answer now; `until` is the first later instant at which events that come, go or are refunded turn it.
pub fn evaluate(performed: &Performed, facts: &Facts<'_>) -> Evaluation {
    let asking = Asking { is_of_now: true, ..Asking::new(performed, facts) };
    let (pieces, told) = asking.pieces();
    let mut tally = Tally::default();
    pieces.iter().filter(|piece| piece.stay.contains(facts.now)).for_each(|piece| tally.add(&piece.share));
    let outcome @ Outcome { holds, currency_unknown, .. } = asking.judge(&tally);
    if facts.detail == Detail::Holds {
        return facts.constant(holds, String::new);
    }
    let because = facts.because(|| asking.words(&tally) + &asking.note(&pieces, outcome));
    let until = [turns(&asking, &pieces, tally), told].into_iter().flatten().min();
    Evaluation { holds, until, because, currency_unknown }
}

/// When the events that come and go from now on first turn the answer.
fn turns(asking: &Asking<'_>, pieces: &[Piece<'_>], mut tally: Tally) -> Option<Timestamp> {
    let (now, holds) = (asking.facts.now, asking.judge(&tally).holds);
    let comes = pieces.iter().map(|piece| (piece.stay.from, true, &piece.share));
    let goes = pieces.iter().filter_map(|piece| Some((piece.stay.to?, false, &piece.share)));
    let mut changes: Vec<_> = comes.chain(goes).filter(|(at, ..)| *at > now).collect();
    changes.sort_by_key(|(at, ..)| *at);
    changes.chunk_by(|(one, ..), (other, ..)| one == other).find_map(|together| {
        for (_, comes, share) in together {
            if *comes { tally.add(share) } else { tally.remove(share) }
        }
        (asking.judge(&tally).holds != holds).then_some(together.first()?.0)
    })
}

/// What counts at this instant, for whoever explains.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub count: usize,
    pub wanted: String,
    /// The number over them and its test.
    pub figure: Option<(String, String)>,
}

/// How many events count now, and what they come to.
pub fn seen(performed: &Performed, facts: &Facts<'_>) -> Seen {
    let asking = Asking { is_of_now: true, ..Asking::new(performed, facts) };
    let mut tally = Tally::default();
    let (pieces, _) = asking.pieces();
    pieces.iter().filter(|piece| piece.stay.contains(facts.now)).for_each(|piece| tally.add(&piece.share));
    let figure = performed.aggregate.as_ref();
    let figure = figure.map(|aggregate| (asking.figure(aggregate, &tally), aggregate.test.spoken(facts)));
    Seen { count: tally.events, wanted: performed.count.words(), figure }
}

/// The currencies without a rate that keep these events from being added up in a currency.
pub fn unrated(performed: &Performed, facts: &Facts<'_>, currency: Option<Currency>) -> BTreeSet<String> {
    let asking = Asking { currencies: vec![currency], is_of_now: true, ..Asking::new(performed, facts) };
    let (pieces, _) = asking.pieces();
    asking.unrated(&pieces)
}

/// One asking: the condition, the facts, and the refunds there are.
struct Asking<'a> {
    performed: &'a Performed,
    facts: &'a Facts<'a>,
    currencies: Vec<Option<Currency>>,
    refunds: Vec<&'a Event>,
    /// What the event that began it has where others must have the same.
    own: Vec<&'a Value>,
    /// What is over by now counts no more, and need not be looked into.
    is_of_now: bool,
}

/// An event that may count, when, and with what part.
#[derive(Debug)]
pub struct Piece<'a> {
    pub stay: Stay,
    pub share: Share,
    pub at: Timestamp,
    pub position: Position,
    /// None where it was not loaded, or is no longer kept.
    pub body: Option<&'a Event>,
}

/// Every event that may count, each with its part in the currency asked for (none: as it stands); and up to when that is
/// told. One whose refunds leave it less from then on stands there once for each part.
pub fn counted<'a>(
    performed: &'a Performed,
    facts: &'a Facts<'a>,
    currency: Option<Currency>,
) -> (Vec<Piece<'a>>, Option<Timestamp>) {
    Asking { currencies: vec![currency], ..Asking::new(performed, facts) }.pieces()
}

impl<'a> Asking<'a> {
    fn new(performed: &'a Performed, facts: &'a Facts<'a>) -> Self {
        let currencies = match &performed.aggregate {
            Some(aggregate) if aggregate.function != Function::Distinct => aggregate.test.currencies(facts),
            _ => Vec::new(),
        };
        let named = |net_of: &'a NetOf| past(facts, &net_of.events).into_iter().map(|(position, _)| position);
        let mut refunds: Vec<&Event> = performed
            .net_of
            .iter()
            .flat_map(named)
            .filter_map(|position| facts.bodies.get(&position))
            .map(Arc::as_ref)
            .collect();
        refunds.sort_by_key(|refund| refund.at);
        let own = performed.same.as_ref().zip(facts.entry);
        let own = own.map_or_else(Vec::new, |((ours, _), entry)| values_at(entry.body.document(), ours));
        Self { performed, facts, currencies, refunds, own, is_of_now: false }
    }

    /// Each event that may count, with its part and the time in which it has that part; and up to when that is told.
    fn pieces(&self) -> (Vec<Piece<'a>>, Option<Timestamp>) {
        let (mut pieces, mut told) = (Vec::new(), None);
        let zone = self.performed.window.zone(self.facts);
        for (position, at) in past(self.facts, &self.performed.events) {
            let Some(stay) = self.performed.window.stay(at, self.facts.entry_at, &zone) else { continue };
            if self.is_of_now && stay.to.is_some_and(|to| to <= self.facts.now) {
                continue;
            }
            let body: Option<&'a Event> = self.facts.bodies.get(&position).map(Arc::as_ref);
            let counts = self.counts(body);
            told = [told, counts.told].into_iter().flatten().min();
            for stay in common(&counts.stays, &[stay]) {
                match (&self.performed.net_of, body) {
                    (Some(net_of), Some(event)) => {
                        let parts = self.net(net_of, event, stay).into_iter();
                        pieces.extend(parts.map(|(stay, share)| Piece { stay, share, at, position, body }));
                    }
                    _ => pieces.push(Piece { stay, share: self.share(body, None), at, position, body }),
                }
            }
        }
        (pieces, told)
    }

    /// When the event's own fields are as wanted.
    fn counts(&self, body: Option<&Event>) -> Whens {
        let Performed { filter, same, .. } = self.performed;
        let always = Whens { stays: vec![Whens::ALWAYS], told: None };
        if filter.is_empty() && same.is_none() {
            return always;
        }
        let Some(event) = body else { return Whens::default() };
        if let Some((_, theirs)) = same
            && !are_equal(&self.own, &values_at(event.body.document(), theirs))
        {
            return Whens::default();
        }
        if filter.is_empty() {
            return always;
        }
        let place = Place::event(event);
        let tests = filter.iter().map(|(path, test)| test.whens(&place.values(path), self.facts));
        tests.fold(always, |all, one| all.and(&one))
    }

    /// The event's part, piece by piece between its refunds; none of it once all is refunded.
    fn net(&self, net_of: &NetOf, event: &Event, stay: Stay) -> Vec<(Stay, Share)> {
        let (ours, theirs) = &net_of.same;
        let mut pieces = Vec::new();
        let whole = self.amount(event, None);
        let mut left = Ok(whole);
        let mut from = stay.from;
        for refund in self.refunds.iter().filter(|refund| are_same(event, ours, refund, theirs)) {
            let at = refund.at.max(stay.from);
            if stay.to.is_some_and(|to| to <= at) {
                break;
            }
            if from < at {
                pieces.push((Stay { from, to: Some(at) }, self.share(Some(event), Some((whole, left)))));
                from = at;
            }
            match self.less(whole, left, refund) {
                Some(rest) => left = rest,
                None => return pieces,
            }
        }
        pieces.push((Stay { from, to: stay.to }, self.share(Some(event), Some((whole, left)))));
        pieces
    }

    /// What a refund leaves of an event's amount; none where nothing is left, or nothing says how much.
    fn less(&self, whole: Known, left: Left, refund: &Event) -> Option<Left> {
        let currency = match whole {
            None => return None,
            Some(Err(UnknownCurrency)) => None,
            Some(Ok(amount)) => Some(amount.currency),
        };
        let back = match self.amount(refund, currency)? {
            Ok(back) => back,
            Err(UnknownCurrency) => return Some(Err(UnknownCurrency)),
        };
        match left {
            Ok(Some(Ok(left))) => {
                // Some shops write what went back with a minus.
                let rest = left.value.checked_sub(back.value.abs())?;
                (rest > Decimal::ZERO).then_some(Ok(Some(Ok(Amount { value: rest, ..left }))))
            }
            _ => Some(Err(UnknownCurrency)),
        }
    }

    /// The sum of an event's amounts, in the given currency or that of the first; none where it names no amount.
    fn amount(&self, event: &Event, currency: Option<Currency>) -> Known {
        let summed = self.performed.aggregate.iter().filter(|it| it.function == Function::Sum);
        let paths = summed.map(|aggregate| aggregate.path.as_str()).chain(AMOUNTS);
        let place = Place::event(event);
        for path in paths {
            let found: Vec<Found<'_>> = place.values(path).into_iter().filter(|it| it.number().is_some()).collect();
            let Some(first) = found.first() else { continue };
            let exchange = &self.facts.terms.exchange;
            let own = match first.amount(exchange)? {
                Ok(amount) => amount.currency,
                Err(UnknownCurrency) => return Some(Err(UnknownCurrency)),
            };
            let currency = currency.unwrap_or(own);
            let mut value = Decimal::ZERO;
            for one in self.numbers(&found, Some(currency)).ok().into_iter().flatten() {
                value = value.checked_add(one)?;
            }
            return match self.numbers(&found, Some(currency)) {
                Ok(_) => Some(Ok(Amount { value, currency })),
                Err(UnknownCurrency) => Some(Err(UnknownCurrency)),
            };
        }
        None
    }

    /// What the event adds; `net` is its whole amount and what refunds left of it.
    fn share(&self, body: Option<&Event>, net: Option<(Known, Left)>) -> Share {
        let mut share = Share { is_unknown: matches!(net, Some((_, Err(UnknownCurrency)))), ..Share::default() };
        let (Some(aggregate), Some(event)) = (&self.performed.aggregate, body) else { return share };
        let found = Place::event(event).values(&aggregate.path);
        if aggregate.function == Function::Distinct {
            share.values = found.iter().map(spelled).collect();
            return share;
        }
        // A partial refund reduces sums alone.
        let reduced = match net {
            Some((Some(Ok(whole)), Ok(Some(Ok(left))))) if aggregate.function == Function::Sum && left != whole => {
                Some(left)
            }
            _ => None,
        };
        for currency in &self.currencies {
            let numbers = match (reduced, currency) {
                (None, _) => self.numbers(&found, *currency),
                (Some(left), None) => Ok(vec![left.value]),
                (Some(left), Some(currency)) => {
                    let worth = self.facts.terms.exchange.rates.convert(left, *currency, event.at);
                    worth.map(|value| vec![value]).ok_or(UnknownCurrency)
                }
            };
            share.numbers.insert(*currency, numbers);
        }
        share
    }

    /// The numbers among the values: as they stand, or as money of a currency.
    fn numbers(&self, found: &[Found<'_>], currency: Option<Currency>) -> Result<Vec<Decimal>, UnknownCurrency> {
        let exchange = &self.facts.terms.exchange;
        let numbers = found.iter().filter_map(|one| {
            let Some(currency) = currency else { return one.number().map(Ok) };
            let amount = one.amount(exchange)?;
            Some(amount.and_then(|it| exchange.rates.convert(it, currency, one.at()).ok_or(UnknownCurrency)))
        });
        numbers.collect()
    }

    fn judge(&self, tally: &Tally) -> Outcome {
        if tally.is_unknown() {
            return Outcome { currency_unknown: true, ..Outcome::default() };
        }
        let holds = self.performed.count.accepts(tally.events);
        let Some(aggregate) = &self.performed.aggregate else { return Outcome { holds, ..Outcome::default() } };
        let is_missing = tally.aggregate(aggregate.function, self.first_currency()) == Ok(None);
        let number = |currency: Option<Currency>| {
            // A count of distinct values has no currency.
            let currency = if aggregate.function == Function::Distinct { None } else { currency };
            tally.aggregate(aggregate.function, currency).map(Option::unwrap_or_default)
        };
        let outcome = aggregate.test.ask_number(if is_missing { None } else { Some(&number) }, self.facts);
        Outcome { holds: holds && outcome.holds, ..outcome }
    }

    fn first_currency(&self) -> Option<Currency> {
        self.currencies.first().copied().flatten()
    }

    /// Which rates are missing, where one is.
    fn note(&self, pieces: &[Piece<'_>], outcome: Outcome) -> String {
        if outcome.currency_unknown { without_rate(&self.unrated(pieces)) } else { String::new() }
    }

    fn words(&self, tally: &Tally) -> String {
        let Performed { events, count, aggregate, net_of, window, .. } = self.performed;
        let net = net_of.as_ref().map_or_else(String::new, |it| format!(" net of {}", it.events.join(" or ")));
        let window = window.words(self.facts.entry_at);
        let times = tally.events;
        let mut text = format!("{} performed {times} times{net}{window}", events.join(" or "));
        if *count != (Count { at_least: None, at_most: None }) || aggregate.is_none() {
            text.push_str(&format!(", wanted {}", count.words()));
        }
        if let Some(aggregate) = aggregate {
            let (function, figure) = (aggregate.function.as_str(), self.figure(aggregate, tally));
            let wanted = aggregate.test.spoken(self.facts);
            text.push_str(&format!("; {function} of {} is {figure}, wanted {wanted}", aggregate.path));
        }
        text
    }

    /// `EUR 120`, `7 / 2`, `missing`.
    fn figure(&self, aggregate: &Aggregate, tally: &Tally) -> String {
        let currency = self.first_currency();
        let number = match tally.aggregate(aggregate.function, currency) {
            Ok(Some((total, 1))) => total.to_string(),
            Ok(Some((total, over))) => format!("{total} / {over}"),
            Ok(None) => "missing".to_owned(),
            Err(UnknownCurrency) => "unknown".to_owned(),
        };
        let unit = currency.map_or_else(String::new, |currency| format!("{currency} "));
        format!("{unit}{number}")
    }
}

/// An event's amount, where it names one.
type Known = Option<Result<Amount, UnknownCurrency>>;
/// What refunds left of it; an error where they cannot be compared with it.
type Left = Result<Known, UnknownCurrency>;

/// Past events of these names in the order of the log, with their times; one in two pages still counts once.
pub fn past(facts: &Facts<'_>, names: &[String]) -> Vec<(Position, Timestamp)> {
    let pages = facts.older.iter().chain([&facts.profile.history]);
    let named = pages.flat_map(History::iter).filter(|past| names.iter().any(|name| name == past.name));
    let mut past: Vec<_> = named.map(|past| (past.position, past.at)).collect();
    past.sort_by_key(|(position, _)| *position);
    past.dedup_by_key(|(position, _)| *position);
    past
}

/// Any value on one side equals any on the other.
fn are_same(one: &Event, ours: &str, other: &Event, theirs: &str) -> bool {
    are_equal(&values_at(one.body.document(), ours), &values_at(other.body.document(), theirs))
}

fn are_equal(ours: &[&Value], theirs: &[&Value]) -> bool {
    ours.iter().any(|one| theirs.iter().any(|other| equal(one, other, false)))
}

impl Window {
    /// The zone it is counted in: where the person lives, if that makes a difference.
    pub fn zone(self, facts: &Facts<'_>) -> TimeZone {
        let is_civil = match self {
            Self::Within(length) => length.is_civil(),
            Self::Between(near, far) => near.is_civil() || far.is_civil(),
            Self::Ever | Self::Since(_) | Self::SinceEntry => false,
        };
        if is_civil { facts.zone() } else { TimeZone::UTC }
    }

    /// When an event that happened at `at` is inside; none where it never is.
    pub fn stay(self, at: Timestamp, entry_at: Option<Timestamp>, zone: &TimeZone) -> Option<Stay> {
        let since = |start: Timestamp| (at >= start).then_some(Stay { from: at, to: None });
        match self {
            Self::Ever => Some(Stay { from: at, to: None }),
            Self::Within(length) => Some(Stay { from: at, to: Some(length.after(at, zone)) }),
            Self::Between(near, far) => Some(Stay { from: near.after(at, zone), to: Some(far.after(at, zone)) }),
            Self::Since(start) => since(start),
            Self::SinceEntry => since(entry_at?),
        }
        .filter(|stay| stay.to.is_none_or(|to| stay.from < to))
    }

    pub fn words(self, entry_at: Option<Timestamp>) -> String {
        match (self, entry_at) {
            (Self::Ever, _) => String::new(),
            (Self::Within(length), _) => format!(" within {length}"),
            (Self::Between(near, far), _) => format!(" between {near} and {far} ago"),
            (Self::Since(start), _) => format!(" since {start}"),
            (Self::SinceEntry, Some(entry_at)) => format!(" since entry at {entry_at}"),
            (Self::SinceEntry, None) => " since an entry that never was".to_owned(),
        }
    }
}

impl Count {
    fn accepts(self, n: usize) -> bool {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.at_least.is_none_or(|least| n >= least) && self.at_most.is_none_or(|most| n <= most)
    }

    fn words(self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => format!("exactly {least}"),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "any number".to_owned(),
        }
    }
}

impl Function {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Distinct => "distinct",
        }
    }
}

//! What begins an enrollment, as written: an event, a segment entered or left, a trait that became another, or a date.

use jiff::civil::Time;
use serde_json::Value;

use crate::audience::occasion::{Feb29, OFFSET_DAYS_MAX, OFFSET_MONTHS_MAX, Occasion, Offset};
use crate::audience::period::Period;
use crate::decision::campaign::{Start, TraitChange};
use crate::decision::dates::DATE_REACHED;
use crate::decision::existing::{Existing, Pace};
use crate::decision::segments::{SEGMENT_ENTERED, SEGMENT_LEFT};
use crate::decision::traits::TRAIT_CHANGED;
use crate::definition::condition;
use crate::definition::problem::Code;
use crate::definition::reader::{At, Map, shown};
use crate::event::engagement::{EMAIL_LINK_CLICKED, EMAIL_OPENED};
use crate::ids::Span;

/// The four things an entry may begin with; the fields that belong to each alone.
const STARTS: [(&str, &[&str]); 4] = [("event", &[]), ("segment", &["on"]), ("trait", &["from", "to"]), ("date", &[])];
const VALUES_MAX: usize = 100;
/// People a second that a pace may name.
const PACE_MAX: u32 = 1_000;

/// The name of the event that enters, and what it must be about.
pub fn read(map: &Map<'_>) -> Option<(String, Start)> {
    let mut written = STARTS.iter().filter(|(name, _)| map.get(name).is_some());
    let first = written.next();
    if let (Some((one, _)), Some((other, _))) = (first, written.next()) {
        return map.get(other)?.wrong(format!("either an `{one}` or a `{other}` enters"));
    }
    let name = first.map_or("event", |(name, _)| name);
    let strays = STARTS.iter().filter(|(of, _)| *of != name);
    for (of, field) in strays.flat_map(|(of, fields)| fields.iter().map(move |field| (of, field))) {
        if let Some(at) = map.get(field) {
            return at.wrong(format!("`{field}` belongs to `{of}`"));
        }
    }
    match name {
        "segment" => segment(map),
        "trait" => changed(map).map(|change| (TRAIT_CHANGED.to_owned(), Start::Trait(change))),
        "date" => occasion(&map.get("date")?).map(|occasion| (DATE_REACHED.to_owned(), Start::Date(occasion))),
        _ => event(map),
    }
}

fn event(map: &Map<'_>) -> Option<(String, Start)> {
    let at = map.required("event")?;
    if at.name().as_deref() == Some(EMAIL_OPENED) {
        return at.wrong(format!(
            "`{EMAIL_OPENED}` alone starts nothing: mail programs open by themselves; use `{EMAIL_LINK_CLICKED}`"
        ));
    }
    at.name().map(|event| (event, Start::Event))
}

fn segment(map: &Map<'_>) -> Option<(String, Start)> {
    let key = map.get("segment").and_then(|at| condition::segment(&at));
    let choices = [("entered", SEGMENT_ENTERED), ("left", SEGMENT_LEFT)];
    let event = map.required("on").and_then(|at| at.choice(&choices, &[]));
    Some((event?.to_owned(), Start::Segment(key?)))
}

/// `include_existing: { pace: 500/h, newest_first: true }`, beside a segment that is entered.
pub fn existing(at: &At<'_>, entry: &Map<'_>) -> Option<Existing> {
    let is_entered = entry.get("on").is_some_and(|on| on.raw() == Some("entered"));
    if entry.get("segment").is_none() || !is_entered {
        return at.wrong("only a segment that is entered has members already: `segment: KEY` and `on: entered`");
    }
    let map = at.map(&["pace", "newest_first"], &[])?;
    let pace = map.required("pace").and_then(|at| pace(&at));
    let newest_first = map.optional("newest_first", false, |at| at.boolean());
    Some(Existing { pace: pace?, newest_first: newest_first? })
}

/// `500/h`: at most so many in a second, minute, hour or day.
fn pace(at: &At<'_>) -> Option<Pace> {
    let text = at.raw().unwrap_or_default();
    let units = [("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let read = text.split_once('/').and_then(|(people, unit)| {
        let (_, per) = units.iter().find(|(name, _)| *name == unit.trim())?;
        Some((people.trim().parse::<u32>().ok()?, *per))
    });
    match read {
        None | Some((0, _)) => at.wrong("wanted so many per `s`, `min`, `h` or `d`, such as `500/h`"),
        Some((people, per)) if i64::from(people) * 1_000 > per * i64::from(PACE_MAX) => {
            at.problem(Code::Limit, format!("is more than {PACE_MAX} a second, the most that is allowed"));
            None
        }
        Some((people, per)) => Some(Pace { people, per: Span::from_millis(per) }),
    }
}

/// `{ trait: tier, from: [bronze, silver], to: [gold] }`; a trait is named by the name it was set with.
fn changed(map: &Map<'_>) -> Option<TraitChange> {
    let name = map.get("trait").and_then(|at| at.name());
    let from = map.maybe("from", |at| values(&at));
    let to = map.maybe("to", |at| values(&at));
    Some(TraitChange { name: name?, from: from?, to: to? })
}

fn values(at: &At<'_>) -> Option<Vec<Value>> {
    let items = at.one_or_more()?;
    if items.is_empty() {
        return at.wrong("an empty list fits nothing");
    }
    if items.len() > VALUES_MAX {
        at.problem(Code::Limit, format!("has {} values; at most {VALUES_MAX} are allowed", items.len()));
        return None;
    }
    let read: Vec<Option<Value>> = items.iter().map(At::literal).collect();
    read.into_iter().collect()
}

/// `{ trait: birthday, yearly: true, offset: -3d, at: "09:00", feb29: feb28 }`
fn occasion(at: &At<'_>) -> Option<Occasion> {
    let map = at.map(&["trait", "yearly", "offset", "at", "feb29"], &[])?;
    let of = map.required("trait").and_then(|at| at.path());
    let yearly = map.optional("yearly", false, |at| at.boolean());
    let offset = map.optional("offset", Offset::Days(0), |at| offset(&at));
    let time = map.maybe("at", |at| time(&at));
    let choices = [("feb28", Feb29::Feb28), ("mar1", Feb29::Mar1)];
    let feb29 = map.optional("feb29", Feb29::Feb28, |at| at.choice(&choices, &[]));
    Some(Occasion { of: of?, yearly: yearly?, offset: offset?, at: time?, feb29: feb29? })
}

/// `-3d`, `2w`, `-1mo`: of the calendar, so that the time of day stays the same.
fn offset(at: &At<'_>) -> Option<Offset> {
    let text = at.raw().unwrap_or_default();
    let (sign, length) = match text.strip_prefix('-') {
        Some(length) => (-1, length),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    const DAY: i64 = 86_400_000;
    let too_far = |offset: Offset| {
        let (size, most) = match offset {
            Offset::Days(days) => (days.unsigned_abs(), OFFSET_DAYS_MAX),
            Offset::Months(months) => (months.unsigned_abs(), OFFSET_MONTHS_MAX),
        };
        size > most
    };
    let read = match length.parse::<Period>() {
        Ok(Period::Fixed(span)) if span.millis() % DAY == 0 => {
            i32::try_from(span.millis() / DAY).ok().map(|days| Offset::Days(sign * days))
        }
        Ok(Period::Months(months)) => i32::try_from(months).ok().map(|months| Offset::Months(sign * months)),
        Ok(Period::Fixed(_) | Period::CalendarDay | Period::CalendarWeek) | Err(_) => None,
    };
    match read {
        Some(offset) if too_far(offset) => at.wrong("leads further than two years"),
        Some(offset) => Some(offset),
        None => at.wrong(format!("`{}` is no number of whole days, weeks, months or years such as -3d", shown(text))),
    }
}

fn time(at: &At<'_>) -> Option<Time> {
    let text = at.text()?;
    match text.parse::<Time>() {
        Ok(time) if (text.len(), time.second()) == (5, 0) => Some(time),
        _ => at.wrong(format!("`{}` is no time of day such as \"09:00\"", shown(text))),
    }
}

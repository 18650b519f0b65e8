//! Conditions as written: the tree, its limits, and what may be asked where.

use std::cell::Cell;

use rust_decimal::Decimal;

use crate::audience::Condition;
use crate::audience::condition::{Act, Engaged};
use crate::audience::consent::ConsentState;
use crate::audience::value_test::Test;
use crate::definition::problem::Code;
use crate::definition::reader::{At, Target};
use crate::definition::value_test::test;
use crate::definition::{cart, performed, sequence};
use crate::event::number::decimal;
use crate::message::Channel;

pub const CONDITIONS_MAX: u32 = 100;
pub const DEPTH_MAX: u32 = 12;
/// Decimals of a percentage.
const PERCENT_DECIMALS: u32 = 6;

const FORMS: [&str; 17] = [
    "all",
    "any",
    "not",
    "trait",
    "event",
    "item",
    "performed",
    "sequence",
    "in_segment",
    "consent",
    "subscribed",
    "reachable",
    "received",
    "opened",
    "clicked",
    "cart",
    "random",
];
const FORMS_LATER: [&str; 1] = ["ref"];
const CONSENTS: [(&str, ConsentState); 3] =
    [("granted", ConsentState::Granted), ("denied", ConsentState::Denied), ("unknown", ConsentState::Unknown)];

/// What a condition may refer to where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// There is a triggering event.
    pub event: bool,
    /// There is an enrollment, so `since: entry` means something.
    pub entry: bool,
    /// The event that begins or began the enrollment is known: `entry.` and `same` mean something.
    pub entry_event: bool,
    /// An element of an array is looked at.
    pub item: bool,
}

impl Scope {
    /// `entry.where`: the triggering event begins the enrollment.
    pub const ENTRY: Self = Self { event: true, entry: false, entry_event: true, item: false };
    /// The `where` of an exit that names an event.
    pub const EXIT_EVENT: Self = Self { event: true, entry: true, entry_event: true, item: false };
    /// An exit that is a condition.
    pub const EXIT: Self = Self { event: false, entry: true, entry_event: true, item: false };
    pub const GOAL: Self = Self { event: true, entry: false, entry_event: false, item: false };
    /// A consent policy asks about the person alone.
    pub const POLICY: Self = Self::SEGMENT;
    /// A segment asks about the person alone.
    pub const SEGMENT: Self = Self { event: false, entry: false, entry_event: false, item: false };
}

pub fn read(at: At<'_>, scope: Scope) -> Option<Condition> {
    let leaves = Cell::new(0);
    let root = at.clone();
    let condition = Tree { scope, leaves: &leaves }.condition(at, 1);
    if leaves.get() > CONDITIONS_MAX {
        root.problem(Code::Limit, format!("has {} conditions; at most {CONDITIONS_MAX} are allowed", leaves.get()));
        return None;
    }
    condition
}

/// Tests of fields alone, by the same rules.
pub fn fields(at: At<'_>, scope: Scope) -> Option<Vec<(String, Test)>> {
    Tree { scope, leaves: &Cell::new(0) }.fields(at)
}

/// One tree being read: conditions and tests of fields are counted together.
#[derive(Clone, Copy)]
pub struct Tree<'c> {
    pub scope: Scope,
    leaves: &'c Cell<u32>,
}

impl Tree<'_> {
    pub fn count(self, more: usize) {
        self.leaves.set(self.leaves.get().saturating_add(u32::try_from(more).unwrap_or(u32::MAX)));
    }

    fn condition(self, at: At<'_>, depth: u32) -> Option<Condition> {
        self.count(1);
        if depth > DEPTH_MAX {
            at.problem(Code::Limit, format!("conditions are nested deeper than {DEPTH_MAX}"));
            return None;
        }
        let map = at.map(&FORMS, &FORMS_LATER)?;
        if map.len() != 1 {
            return at.wrong("wanted one condition; several go into all: [ … ] or any: [ … ]");
        }
        let (form, inner) = map.iter().next()?;
        match form.text.as_str() {
            "all" => self.children(&inner, depth).map(Condition::All),
            "any" => self.children(&inner, depth).map(Condition::Any),
            "not" => self.condition(inner, depth + 1).map(|child| Condition::Not(Box::new(child))),
            "trait" => self.fields(inner).map(Condition::Trait),
            "event" | "item" if !self.scope.event => inner.wrong("no event is at hand here"),
            "event" => self.fields(inner).map(Condition::Event),
            "item" => self.item(&inner),
            "performed" => performed::read(&inner, self).map(|performed| Condition::Performed(Box::new(performed))),
            "sequence" => sequence::read(&inner, self).map(|sequence| Condition::Sequence(Box::new(sequence))),
            "in_segment" => segment(&inner).map(Condition::InSegment),
            "consent" => consent(&inner),
            "subscribed" => subscribed(&inner),
            "reachable" => inner.channel().map(Condition::Reachable),
            "received" => self.engaged(&inner, Act::Received),
            "opened" => self.engaged(&inner, Act::Opened),
            "clicked" => self.engaged(&inner, Act::Clicked),
            "cart" => cart::read(&inner, self),
            "random" => random(&inner),
            // Unknown, or not supported yet; noted when the mapping was opened.
            _ => None,
        }
    }

    fn children(self, at: &At<'_>, depth: u32) -> Option<Vec<Condition>> {
        let read: Vec<_> = at.list()?.into_iter().map(|child| self.condition(child, depth + 1)).collect();
        read.into_iter().collect()
    }

    fn item(self, at: &At<'_>) -> Option<Condition> {
        let map = at.map(&["in", "where"], &[])?;
        let path = map.required("in").and_then(|at| at.path());
        let scope = Scope { item: true, ..self.scope };
        let filter = map.required("where").and_then(|at| Self { scope, ..self }.fields(at));
        Some(Condition::Item { path: path?, filter: filter? })
    }

    fn engaged(self, at: &At<'_>, act: Act) -> Option<Condition> {
        let map = at.map(&["campaign", "within", "between", "since"], &[])?;
        let campaign = map.required("campaign").and_then(|at| {
            let key = at.key()?;
            at.refers(Target::Campaign(key.clone()));
            Some(key)
        });
        let window = performed::window(&map, self.scope);
        Some(Condition::Engaged(Engaged { act, campaign: campaign?, window: window? }))
    }

    /// A mapping of paths to tests; each after the first counts as a condition more.
    pub fn fields(self, at: At<'_>) -> Option<Vec<(String, Test)>> {
        let map = at.open_map()?;
        if map.is_empty() {
            return at.wrong("names no field");
        }
        self.count(map.len() - 1);
        let read: Vec<_> = map
            .iter()
            .map(|(key, inner)| {
                if key.text.split('.').any(str::is_empty) {
                    return inner.wrong("a path has no empty steps");
                }
                Some((key.text.clone(), test(&inner, self.scope)?))
            })
            .collect();
        read.into_iter().collect()
    }
}

/// A segment's key, of one that exists.
pub fn segment(at: &At<'_>) -> Option<String> {
    let key = at.key()?;
    at.refers(Target::Segment(key.clone()));
    Some(key)
}

/// `{ sms: granted, email: [granted, unknown] }`
fn consent(at: &At<'_>) -> Option<Condition> {
    let names = Channel::ALL.map(Channel::as_str);
    let map = at.map(&names, &[])?;
    if map.is_empty() {
        return at.wrong("names no channel");
    }
    let read: Vec<_> = map
        .iter()
        .map(|(channel, at)| {
            let states: Vec<_> = at.one_or_more()?.iter().map(|at| at.choice(&CONSENTS, &[])).collect();
            let states = states.into_iter().collect::<Option<Vec<_>>>()?;
            if states.is_empty() {
                at.wrong("an empty list fits nothing")
            } else {
                Some((channel.text.clone(), states))
            }
        })
        .collect();
    read.into_iter().collect::<Option<_>>().map(Condition::Consent)
}

fn subscribed(at: &At<'_>) -> Option<Condition> {
    let at = at.map(&["topic"], &[])?.required("topic")?;
    let key = at.key()?;
    at.refers(Target::Topic(key.clone()));
    Some(Condition::Subscribed(key))
}

fn random(at: &At<'_>) -> Option<Condition> {
    let map = at.map(&["percent", "salt"], &[])?;
    let percent = map.required("percent").and_then(|at| {
        let percent = at.literal().and_then(|value| decimal(&value));
        match percent.filter(|it| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(it) && it.scale() <= PERCENT_DECIMALS)
        {
            Some(percent) => Some(percent),
            None => at.wrong(format!("wanted a number from 0 to 100 with at most {PERCENT_DECIMALS} decimals")),
        }
    });
    let salt = map.required("salt").and_then(|at| at.name());
    Some(Condition::Random { percent: percent?, salt: salt? })
}

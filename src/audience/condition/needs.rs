//! What must be loaded before a condition can be evaluated, and what may change its answer.

use std::collections::BTreeSet;

use crate::audience::condition::{Condition, Performed};
use crate::audience::segment::SegmentSet;
use crate::audience::value_test::{Operand, Reference, Test};
use crate::ids::Position;

/// What must be loaded before a condition can be evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Event names whose older pages matter.
    pub older: BTreeSet<String>,
    /// Event names whose past bodies matter (their fields are tested).
    pub bodies: BTreeSet<String>,
    /// The event that began the enrollment.
    pub entry: bool,
    /// Events that began enrollments, where a condition compares with them.
    pub entries: BTreeSet<Position>,
    /// The segments it asks for, those they build on included.
    pub segments: BTreeSet<String>,
    /// Traits are looked at.
    pub traits: bool,
    /// Amounts are compared with money.
    pub money: bool,
}

impl Needs {
    pub fn add(&mut self, other: &Self) {
        self.older.extend(other.older.iter().cloned());
        self.bodies.extend(other.bodies.iter().cloned());
        self.segments.extend(other.segments.iter().cloned());
        self.entries.extend(other.entries.iter().copied());
        self.entry |= other.entry;
        self.traits |= other.traits;
        self.money |= other.money;
    }
}

/// Adds what must be loaded before the condition can be evaluated, segments included.
pub fn needs(condition: &Condition, segments: &SegmentSet, into: &mut Needs) {
    let mut own = Needs::default();
    direct(condition, &mut own);
    for key in std::mem::take(&mut own.segments) {
        if let Some(theirs) = segments.needs(&key) {
            own.add(theirs);
        }
        own.segments.insert(key);
    }
    into.add(&own);
}

/// The same without what its segments need.
pub fn direct(condition: &Condition, needs: &mut Needs) {
    match condition {
        Condition::All(children) | Condition::Any(children) => {
            children.iter().for_each(|child| direct(child, needs));
        }
        Condition::Not(child) => direct(child, needs),
        Condition::Trait(tests) => {
            needs.traits = true;
            tests.iter().for_each(|(_, test)| of_test(test, needs));
        }
        Condition::Event(tests) | Condition::Item { filter: tests, .. } => {
            tests.iter().for_each(|(_, test)| of_test(test, needs));
        }
        Condition::Performed(performed) => of_performed(performed, needs),
        Condition::InSegment(key) => drop(needs.segments.insert(key.clone())),
        Condition::Random { .. } => {}
    }
}

fn of_performed(performed: &Performed, needs: &mut Needs) {
    let Performed { events, filter, same, count: _, aggregate, net_of, window: _ } = performed;
    needs.older.extend(events.iter().cloned());
    if !filter.is_empty() || same.is_some() || aggregate.is_some() || net_of.is_some() {
        needs.bodies.extend(events.iter().cloned());
    }
    needs.entry |= same.is_some();
    filter.iter().for_each(|(_, test)| of_test(test, needs));
    aggregate.iter().for_each(|aggregate| of_test(&aggregate.test, needs));
    if let Some(net_of) = net_of {
        needs.older.extend(net_of.events.iter().cloned());
        needs.bodies.extend(net_of.events.iter().cloned());
        // Refunds in another currency than the order's are converted.
        needs.money = true;
    }
}

fn of_test(test: &Test, needs: &mut Needs) {
    test.operands().for_each(|operand| of_operand(operand, needs));
}

fn of_operand(operand: &Operand, needs: &mut Needs) {
    match operand {
        Operand::Value(_) => {}
        Operand::Money(_) => needs.money = true,
        Operand::Ref { reference, default } => {
            default.iter().for_each(|default| of_operand(default, needs));
            match reference {
                Reference::Entry(_) => needs.entry = true,
                Reference::Trait(_) | Reference::UserId | Reference::ProfileId => needs.traits = true,
                Reference::Event(_) | Reference::Item(_) => {}
            }
        }
    }
}

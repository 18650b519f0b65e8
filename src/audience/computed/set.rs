//! The computed traits of a workspace: which there are, since when, and what may change them.

use std::collections::{BTreeMap, BTreeSet};

use crate::audience::Profile;
use crate::audience::computed::{Compute, ComputedTrait, Function, Over, TIMESTAMP, Unit, Worth};
use crate::audience::condition::needs::{self, Needs};
use crate::audience::condition::{Facts, NetOf, Window};
use crate::audience::remembered::Worked;
use crate::ids::{Position, Timestamp};

/// Computed traits every workspace has, unless it defines one of the same key.
pub const SHIPPED: [&str; 5] = ["orders", "revenue", "last_order_at", "top_category", "days_between_orders"];

/// A computed trait in force.
#[derive(Debug, Clone)]
pub struct Defined {
    pub computed: ComputedTrait,
    /// The last change of the definitions that may have changed its values.
    pub since: Position,
    pub needs: Needs,
}

impl Defined {
    /// Whether what is kept with the person is what it comes to at this instant: they were looked at by this definition,
    /// and it does not change by itself before.
    pub fn is_kept(&self, profile: &Profile, now: Timestamp) -> bool {
        let kept = profile.remembered.computed.get(&self.computed.key);
        profile.segments.seen >= self.since && kept.is_some_and(|worked| worked.next.is_none_or(|next| now < next))
    }
}

#[derive(Debug, Clone, Default)]
pub struct ComputedSet {
    by_key: BTreeMap<String, Defined>,
    /// Keys by the names of the events that count, and of those that take back.
    by_event: BTreeMap<String, BTreeSet<String>>,
    /// Those that depend on where the person lives.
    by_traits: BTreeSet<String>,
}

impl ComputedSet {
    /// Each with the position from which on its text is in force; `rates` is that of the rates.
    pub fn new(traits: Vec<(ComputedTrait, Position)>, rates: Position) -> Self {
        let mut set = Self::default();
        for (computed, since) in traits {
            let mut needs = Needs::default();
            needs::of_performed(computed.compute.over(), &mut needs);
            if matches!(computed.compute.function, Function::Sum(Worth::Home | Worth::In(_))) {
                needs.money = true;
            }
            for event in &needs.older {
                set.by_event.entry(event.clone()).or_default().insert(computed.key.clone());
            }
            if needs.traits {
                set.by_traits.insert(computed.key.clone());
            }
            let since = if needs.money { since.max(rates) } else { since };
            set.by_key.insert(computed.key.clone(), Defined { computed, since, needs });
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Defined> {
        self.by_key.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Defined> {
        self.by_key.values()
    }

    /// What all of them come to, for a person who has none yet.
    pub fn work_out(&self, facts: &Facts<'_>) -> BTreeMap<String, Worked> {
        let each = self.by_key.iter();
        each.map(|(key, defined)| (key.clone(), defined.computed.compute.work_out(facts).worked)).collect()
    }

    /// When each was last changed, by key.
    pub fn positions(&self) -> BTreeMap<String, Position> {
        self.by_key.iter().map(|(key, defined)| (key.clone(), defined.since)).collect()
    }

    /// Keys of those that an event of this name, or other traits, may change.
    pub fn hearing(&self, event: Option<&str>, traits: bool) -> BTreeSet<&str> {
        let by_event = event.and_then(|event| self.by_event.get(event));
        let by_traits = Some(&self.by_traits).filter(|_| traits);
        [by_event, by_traits].into_iter().flatten().flatten().map(String::as_str).collect()
    }
}

/// The shipped one of this key: orders that were completed, less those cancelled or refunded.
pub fn shipped(key: &str) -> Option<ComputedTrait> {
    let (function, path) = match key {
        "orders" => (Function::Count, None),
        "revenue" => (Function::Sum(Worth::Home), Some("properties.revenue")),
        "last_order_at" => (Function::Last, Some(TIMESTAMP)),
        "top_category" => (Function::MostFrequent, Some("properties.products.category")),
        "days_between_orders" => (Function::AverageInterval(Unit::Days), None),
        _ => return None,
    };
    let same = "properties.order_id".to_owned();
    let back = vec!["Order Cancelled".to_owned(), "Order Refunded".to_owned()];
    let over = Over {
        events: vec!["Order Completed".to_owned()],
        filter: Vec::new(),
        net_of: Some(NetOf { events: back, same: (same.clone(), same) }),
        window: Window::Ever,
    };
    let compute = Compute::new(function, path.map(str::to_owned), over);
    Some(ComputedTrait { key: key.to_owned(), version: 0, name: None, compute })
}

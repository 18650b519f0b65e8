//! Carts: what a person has put into each and not yet bought, as all their stored events say.
//!
//! The view is what events lead to in the order in which they happened, those of one instant in the order of the log;
//! in which order they arrived makes no difference. So the newest steps are kept one by one, and one that comes late is
//! put where it belongs. What is older is kept as it came to be, and whatever happened before that comes too late.

mod basket;
mod reading;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audience::History;
use crate::event::Event;
use crate::ids::{Position, Timestamp};
use basket::Baskets;
pub use basket::{Goods, Line};
pub use reading::{cart_of, step};
pub use view::{Field, View};

/// The events that carts are made of.
pub const CART_EVENTS: [&str; 5] =
    ["Product Added", "Product Removed", "Cart Viewed", "Checkout Started", "Order Completed"];
/// Carts of one person; a further one takes the place of the one that was changed longest ago.
pub const CARTS_MAX: usize = 10;
/// Lines of one cart; a further one takes the place of the oldest.
pub const LINES_MAX: usize = 100;
/// Steps kept one by one, and lines in them.
pub const STEPS_MAX: usize = 64;
const STEP_LINES_MAX: usize = 256;

/// When a step was taken; of one instant, in the order of the log.
type Moment = (Timestamp, Position);

/// What one event does to a cart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub at: Timestamp,
    #[serde(rename = "n")]
    pub position: Position,
    #[serde(flatten)]
    pub change: Change,
}

/// Of the cart with this id, or of the one without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Add(Option<String>, Line),
    Remove(Option<String>, Line),
    /// Nothing else is in it from now on.
    Replace(Option<String>, Vec<Line>),
    /// Nothing is in any cart from now on.
    EmptyAll,
}

/// All carts of a person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Carts {
    /// As they were after the steps up to `until`.
    #[serde(rename = "c", default, skip_serializing_if = "Baskets::is_untouched")]
    settled: Baskets,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
    /// In order, all after it.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

impl Step {
    fn moment(&self) -> Moment {
        (self.at, self.position)
    }

    /// Whether nothing that happened to this cart before matters any more.
    fn replaces(&self, cart: Option<&str>) -> bool {
        match &self.change {
            Change::Replace(own, _) => own.as_deref() == cart,
            Change::EmptyAll => true,
            Change::Add(..) | Change::Remove(..) => false,
        }
    }

    fn lines(&self) -> usize {
        match &self.change {
            Change::Add(..) | Change::Remove(..) => 1,
            Change::Replace(_, lines) => lines.len(),
            Change::EmptyAll => 0,
        }
    }
}

impl Change {
    /// The cart it is about; none where it is about all.
    fn cart(&self) -> Option<Option<&str>> {
        match self {
            Self::Add(cart, _) | Self::Remove(cart, _) | Self::Replace(cart, _) => Some(cart.as_deref()),
            Self::EmptyAll => None,
        }
    }
}

impl Carts {
    /// Nothing was ever put into one.
    pub fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    /// As stored events say, where nobody kept count.
    pub fn of_past<'h>(pages: impl Iterator<Item = &'h History>, bodies: &BTreeMap<Position, Arc<Event>>) -> Self {
        let mut carts = Self::default();
        let named = pages.flat_map(History::iter).filter(|past| CART_EVENTS.contains(&past.name));
        let positions: BTreeSet<Position> = named.map(|past| past.position).collect();
        let steps = positions.iter().filter_map(|position| step(bodies.get(position)?, *position));
        steps.for_each(|step| carts.take(step));
        carts
    }

    /// Takes a step, whenever it arrives.
    pub fn take(&mut self, step: Step) {
        let (moment, cart) = (step.moment(), step.change.cart());
        let is_moot = |later: &Step| match cart {
            Some(cart) => later.replaces(cart),
            None => matches!(later.change, Change::EmptyAll),
        };
        let is_known = |known: &Step| known.moment() == moment;
        if self.until.is_some_and(|until| moment <= until)
            || self.steps.iter().any(|one| is_known(one) || (one.moment() > moment && is_moot(one)))
        {
            return;
        }
        match cart {
            None => {
                self.steps.retain(|one| one.moment() > moment);
                self.settled.take(&step);
                self.until = Some(moment);
                return self.limit();
            }
            Some(cart) if step.replaces(cart) => {
                self.steps.retain(|one| one.moment() > moment || one.change.cart() != Some(cart));
                self.settled.forget(cart);
            }
            Some(_) => {}
        }
        let place = self.steps.partition_point(|one| one.moment() < moment);
        self.steps.insert(place, step);
        self.limit();
    }

    /// Carts of another profile of the same person: what all events of both lead to.
    pub fn unite(&mut self, other: &Self) {
        let mut theirs = other.clone();
        let until = self.until.max(theirs.until);
        for side in [&mut *self, &mut theirs] {
            while side.steps.first().is_some_and(|step| Some(step.moment()) <= until) {
                side.settle_first();
            }
        }
        self.settled.unite(theirs.settled);
        self.until = until;
        // Each side's whole carts put aside what the other's were.
        let mut steps = std::mem::take(&mut self.steps);
        steps.extend(theirs.steps);
        steps.sort_by_key(Step::moment);
        steps.into_iter().for_each(|step| self.take(step));
    }

    /// The cart with this id; without one the cart that was changed last.
    pub fn view(&self, cart: Option<&str>) -> View {
        self.folded().view(cart)
    }

    /// Every cart there is, the one changed last at the end.
    pub fn views(&self) -> Vec<(Option<String>, View)> {
        self.folded().views()
    }

    fn folded(&self) -> Baskets {
        let mut baskets = self.settled.clone();
        self.steps.iter().for_each(|step| baskets.take(step));
        baskets
    }

    fn settle_first(&mut self) {
        let step = self.steps.remove(0);
        self.until = Some(step.moment());
        self.settled.take(&step);
    }

    fn limit(&mut self) {
        while self.steps.len() > STEPS_MAX || self.steps.iter().map(Step::lines).sum::<usize>() > STEP_LINES_MAX {
            self.settle_first();
        }
        let of_steps = self.steps.iter().filter_map(|step| step.change.cart());
        let ids: BTreeSet<Option<&str>> = self.settled.ids().chain(of_steps).collect();
        if ids.len() <= CARTS_MAX {
            return;
        }
        let views = self.views();
        let kept: BTreeSet<Option<&str>> = views.iter().rev().take(CARTS_MAX).map(|(id, _)| id.as_deref()).collect();
        self.steps.retain(|step| step.change.cart().is_none_or(|cart| kept.contains(&cart)));
        self.settled.retain(|cart| kept.contains(&cart));
    }
}

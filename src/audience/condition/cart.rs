//! `cart`: what is in the cart that counts here, and what it is worth. Where an enrollment began with an event that names
//! a cart it is that one, elsewhere the one changed last.

use std::collections::BTreeSet;

use crate::audience::cart::{Carts, Field, View, cart_of};
use crate::audience::condition::compared::{Compared, asked, fields};
use crate::audience::condition::{Evaluation, Facts};
use crate::audience::value_test::{Outcome, Test};

/// Every named field is as wanted. Only what happens changes it, but for dates compared with `changed_at`.
pub fn evaluate(tests: &[(Field, Test)], facts: &Facts<'_>) -> Evaluation {
    let view = facts.cart();
    fields("cart.", tests, facts, |field, test| match field {
        Field::Value => value(&view, test, facts),
        Field::Items | Field::Currency | Field::ChangedAt => {
            let found: Vec<_> = view.found(*field, &facts.terms.exchange).into_iter().collect();
            asked(test, &found, facts)
        }
    })
}

pub fn is_empty(facts: &Facts<'_>) -> Evaluation {
    let items = facts.cart().items();
    facts.constant(items.is_zero(), || format!("the cart has {items} items, wanted none"))
}

/// In each currency it is compared with, every line is converted by itself.
fn value(view: &View, test: &Test, facts: &Facts<'_>) -> (Outcome, Compared) {
    let exchange = &facts.terms.exchange;
    let worth = view.value(None, exchange);
    let number = |currency| view.total(currency, exchange).map(|total| (total, 1));
    let outcome = test.ask_number(if worth.is_some() { Some(&number) } else { None }, facts);
    let words = match (worth, view.currency(exchange)) {
        (None, _) => "missing".to_owned(),
        (Some(Ok(worth)), Some(Ok(currency))) => format!("{currency} {worth}"),
        (Some(Ok(worth)), _) => worth.to_string(),
        (Some(Err(_)), _) => "unknown".to_owned(),
    };
    (outcome, Compared { found: words, wanted: test.spoken(facts), is_money: true, unrated: BTreeSet::new() })
}

impl Facts<'_> {
    /// The cart that counts here.
    pub fn cart(&self) -> View {
        let own = self.entry.and_then(cart_of);
        match &self.profile.carts {
            Some(carts) => carts.view(own.as_deref()),
            // Nobody has kept count of them yet.
            None => Carts::of_past(self.older.iter().chain([&self.profile.history]), self.bodies).view(own.as_deref()),
        }
    }
}

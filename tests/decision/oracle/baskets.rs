//! Carts counted by hand: all that happened in order of time, put in and taken out one by one.

use jiff::tz::TimeZone;

use super::asks::compares;
use super::time::{DateTest, Dice, Stamp};
use super::world::{Deed, World};

pub const NAMES: [&str; 6] =
    ["Product Added", "Product Added", "Product Added", "Product Removed", "Cart Viewed", "Order Completed"];

/// A question about the cart that counts; of a person alone it is the one changed last.
#[derive(Debug, Clone)]
pub struct Ask {
    what: What,
    alone: bool,
}

#[derive(Debug, Clone)]
enum What {
    Empty,
    Items(&'static str, i64),
    /// In words of money or as a bare number.
    Value(&'static str, i64, bool),
    Changed(DateTest),
}

/// Product, sku, how many, at what price.
type Row = (Option<&'static str>, Option<&'static str>, i64, Option<i64>);

#[derive(Debug, Clone, Default)]
struct Basket {
    id: Option<&'static str>,
    rows: Vec<Row>,
    changed: Option<i64>,
}

impl Ask {
    pub fn any(dice: &mut Dice, alone: bool) -> Self {
        let op = dice.of(&["gte", "lt", "eq", "ne"]);
        let what = match dice.below(5) {
            0 => What::Empty,
            // No basket has fewer than no things, and every one has none or more.
            1 => What::Items(op, dice.between(i64::from(matches!(op, "gte" | "lt")), 3)),
            2 | 3 => What::Value(op, dice.between(0, 14), dice.one_in(2)),
            _ => What::Changed(DateTest::any(dice)),
        };
        Self { what, alone }
    }

    pub fn text(&self) -> String {
        match &self.what {
            What::Empty => "{ cart: empty }".to_owned(),
            What::Items(op, n) => format!("{{ cart: {{ items: {{ {op}: {n} }} }} }}"),
            What::Value(op, n, true) => format!("{{ cart: {{ value: {{ {op}: EUR {n} }} }} }}"),
            What::Value(op, n, false) => format!("{{ cart: {{ value: {{ {op}: {n} }} }} }}"),
            What::Changed(test) => format!("{{ cart: {{ changed_at: {} }} }}", test.text()),
        }
    }

    pub fn holds(&self, world: &World, t: i64, zone: &TimeZone) -> bool {
        let basket = self.basket(world);
        let items: i64 = basket.rows.iter().map(|row| row.2).sum();
        match &self.what {
            What::Empty => items == 0,
            What::Items(op, n) => compares(op, items, *n),
            What::Value(op, n, _) => {
                let priced: Vec<i64> = basket.rows.iter().filter_map(|row| Some(row.3? * row.2)).collect();
                // What is full and has no price is worth nobody knows what.
                let is_missing = items > 0 && priced.is_empty();
                if is_missing { *op == "ne" } else { compares(op, priced.iter().sum(), *n) }
            }
            What::Changed(test) => basket.changed.is_some_and(|at| test.holds(Stamp::At(at), t, zone)),
        }
    }

    pub fn instants(&self, world: &World, zone: &TimeZone) -> Vec<i64> {
        match (&self.what, self.basket(world).changed) {
            (What::Changed(test), Some(at)) => test.instants(Stamp::At(at), zone),
            _ => Vec::new(),
        }
    }

    /// The cart of the entry event where it names one, else the one changed last.
    fn basket(&self, world: &World) -> Basket {
        let (all, emptied) = baskets(world);
        let own = world.entry.as_ref().and_then(|entry| entry.cart).filter(|_| !self.alone);
        let found = match own {
            Some(own) => all.iter().find(|basket| basket.id == Some(own)),
            None => all.last(),
        };
        found.cloned().unwrap_or(Basket { changed: emptied, ..Basket::default() })
    }
}

/// All there are, the one changed last at the end, and when all were emptied.
fn baskets(world: &World) -> (Vec<Basket>, Option<i64>) {
    let mut deeds: Vec<&Deed> = world.deeds.iter().collect();
    deeds.sort_by_key(|deed| (deed.at, deed.position));
    let (mut all, mut emptied) = (Vec::<Basket>::new(), None);
    for deed in deeds {
        let of_one = deed.quantity.unwrap_or(1);
        let applies = match deed.name {
            "Product Added" | "Product Removed" => of_one > 0,
            "Cart Viewed" | "Order Completed" => true,
            _ => false,
        };
        if !applies {
            continue;
        }
        if deed.name == "Order Completed" && deed.cart.is_none() {
            (all, emptied) = (Vec::new(), Some(deed.at));
            continue;
        }
        let known = all.iter().position(|basket| basket.id == deed.cart);
        let mut basket = known.map(|n| all.remove(n)).unwrap_or_default();
        (basket.id, basket.changed) = (deed.cart, Some(deed.at));
        // One sku is text; of several the event's own line says none.
        let sku = if deed.skus.len() == 1 { deed.skus.first().copied() } else { None };
        let own = (deed.skus.first().copied(), sku, of_one, deed.number());
        match deed.name {
            "Product Added" => put(&mut basket.rows, own),
            "Product Removed" => take(&mut basket.rows, own),
            _ => basket.rows.clear(),
        }
        if deed.name == "Cart Viewed" {
            // The elements of a list name skus, and the price is a number there.
            deed.skus.iter().for_each(|sku| put(&mut basket.rows, (None, Some(*sku), 1, deed.price)));
        }
        all.push(basket);
    }
    (all, emptied)
}

fn put(rows: &mut Vec<Row>, row: Row) {
    match rows.iter_mut().find(|known| (known.0, known.1) == (row.0, row.1)) {
        Some(known) => {
            known.2 += row.2;
            known.3 = row.3.or(known.3);
        }
        None => rows.push(row),
    }
}

fn take(rows: &mut Vec<Row>, row: Row) {
    let differs = |one: Option<&str>, other: Option<&str>| one.is_some() && other.is_some() && one != other;
    let shares = |one: Option<&str>, other: Option<&str>| one.is_some() && one == other;
    let mut found = None;
    for (n, known) in rows.iter().enumerate() {
        let may_be = !differs(known.0, row.0) && !differs(known.1, row.1);
        if may_be && (shares(known.0, row.0) || shares(known.1, row.1)) {
            found = Some(n);
        }
    }
    for (n, known) in rows.iter().enumerate() {
        if (known.0, known.1) == (row.0, row.1) {
            found = Some(n);
        }
    }
    if let Some(n) = found {
        rows[n].2 -= row.2;
        if rows[n].2 <= 0 {
            rows.remove(n);
        }
    }
}

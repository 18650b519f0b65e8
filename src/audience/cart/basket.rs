//! What is in each cart after one step and the next: the plain fold.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::audience::cart::view::View;
use crate::audience::cart::{Change, LINES_MAX, Moment, Step};

/// What tells one line of a cart from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Goods {
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// So many of one thing; what the events said of it last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    #[serde(flatten)]
    pub goods: Goods,
    #[serde(rename = "q")]
    pub quantity: Decimal,
    /// Of one.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Decimal>,
    /// As it was sent beside the price.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Basket {
    id: Option<String>,
    lines: Vec<Line>,
    changed: Moment,
}

/// All carts, the one that was changed last at the end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Baskets {
    all: Vec<Basket>,
    /// When all there were became empty.
    emptied: Option<Moment>,
}

impl Goods {
    /// Whether both may be the same thing: what both say is equal, and they say something in common.
    fn agrees(&self, other: &Self) -> bool {
        let pairs = [(&self.product, &other.product), (&self.sku, &other.sku), (&self.variant, &other.variant)];
        let said: Vec<bool> = pairs.iter().filter_map(|(one, other)| Some(one.as_ref()? == other.as_ref()?)).collect();
        !said.is_empty() && said.iter().all(|same| *same)
    }
}

impl Basket {
    fn add(&mut self, line: Line) {
        let Some(known) = self.lines.iter_mut().find(|known| known.goods == line.goods) else {
            self.lines.push(line);
            if self.lines.len() > LINES_MAX {
                self.lines.remove(0);
            }
            return;
        };
        let Line { goods: _, quantity, price, currency, name, image, url } = line;
        known.quantity = (known.quantity + quantity).min(super::reading::QUANTITY_MAX);
        if price.is_some() {
            (known.price, known.currency) = (price, currency);
        }
        known.name = name.or(known.name.take());
        known.image = image.or(known.image.take());
        known.url = url.or(known.url.take());
    }

    /// Of the same goods; else of the newest line that may be them. More than there is leaves none.
    fn remove(&mut self, line: &Line) {
        let same = self.lines.iter().position(|known| known.goods == line.goods);
        let Some(at) = same.or_else(|| self.lines.iter().rposition(|known| known.goods.agrees(&line.goods))) else {
            return;
        };
        if let Some(known) = self.lines.get_mut(at) {
            known.quantity -= line.quantity;
            if known.quantity <= Decimal::ZERO {
                self.lines.remove(at);
            }
        }
    }
}

impl Baskets {
    pub fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    pub fn take(&mut self, step: &Step) {
        let changed = step.moment();
        let Some(cart) = step.change.cart() else {
            self.all.clear();
            self.emptied = Some(changed);
            return;
        };
        let mut basket =
            self.remove(cart).unwrap_or_else(|| Basket { id: cart.map(str::to_owned), lines: Vec::new(), changed });
        basket.changed = changed;
        match &step.change {
            Change::Add(_, line) => basket.add(line.clone()),
            Change::Remove(_, line) => basket.remove(line),
            Change::Replace(_, lines) => {
                basket.lines.clear();
                lines.iter().for_each(|line| basket.add(line.clone()));
            }
            Change::EmptyAll => {}
        }
        self.all.push(basket);
    }

    fn remove(&mut self, cart: Option<&str>) -> Option<Basket> {
        let at = self.all.iter().position(|basket| basket.id.as_deref() == cart)?;
        Some(self.all.remove(at))
    }

    pub fn forget(&mut self, cart: Option<&str>) {
        self.remove(cart);
    }

    pub fn ids(&self) -> impl Iterator<Item = Option<&str>> {
        self.all.iter().map(|basket| basket.id.as_deref())
    }

    pub fn retain(&mut self, keeps: impl Fn(Option<&str>) -> bool) {
        self.all.retain(|basket| keeps(basket.id.as_deref()));
    }

    /// What both hold together. An order of the one that emptied all carts emptied those of the other.
    pub fn unite(&mut self, other: Self) {
        self.emptied = self.emptied.max(other.emptied);
        for theirs in other.all {
            match self.all.iter_mut().find(|ours| ours.id == theirs.id) {
                Some(ours) => {
                    ours.changed = ours.changed.max(theirs.changed);
                    theirs.lines.into_iter().for_each(|line| ours.add(line));
                }
                None => self.all.push(theirs),
            }
        }
        let emptied = self.emptied;
        self.all.retain(|basket| emptied.is_none_or(|emptied| basket.changed > emptied));
        self.all.sort_by_key(|basket| basket.changed);
    }

    /// The cart with this id, without one the cart changed last. Of one that is not there all is known that emptied it.
    pub fn view(&self, cart: Option<&str>) -> View {
        let basket = match cart {
            Some(_) => self.all.iter().find(|basket| basket.id.as_deref() == cart),
            None => self.all.last(),
        };
        match basket {
            Some(basket) => View { lines: basket.lines.clone(), changed_at: Some(basket.changed.0) },
            None => View { lines: Vec::new(), changed_at: self.emptied.map(|(at, _)| at) },
        }
    }

    pub fn views(&self) -> Vec<(Option<String>, View)> {
        let view = |basket: &Basket| View { lines: basket.lines.clone(), changed_at: Some(basket.changed.0) };
        self.all.iter().map(|basket| (basket.id.clone(), view(basket))).collect()
    }
}

//! Clicks of a marketplace: a person views, marks, adds and buys single items; the file knows no price and no order.

use serde_json::{Map, json};

use super::envelope::{Said, Stamp, Who};
use super::lines::Record;
use super::record::{Column, Header};
use super::{OpenError, Out, RowFault, Rows};
use crate::event::Event;

pub(super) struct Clicks {
    stamp: Stamp,
    header: Header,
    user: Column,
    item: Column,
    category: Column,
    behavior: Column,
    ts: Column,
}

impl Clicks {
    pub(super) fn new(stamp: Stamp, header: Header) -> Result<Self, OpenError> {
        let user = header.column("user_id")?;
        let item = header.column("item_id")?;
        let category = header.column("category_id")?;
        let behavior = header.column("behavior")?;
        let ts = header.column("ts")?;
        Ok(Self { stamp, header, user, item, category, behavior, ts })
    }

    fn event(&self, row: u64, record: &Record) -> Result<Event, RowFault> {
        self.header.fits(row, record)?;
        let user_id = self.user.id(row, record)?;
        let item = json!(self.item.id(row, record)?);
        let category = json!(self.category.id(row, record)?);
        let at = self.ts.unix(row, record, 1000)?;
        let name = match self.behavior.text(record) {
            "pv" => "Product Viewed",
            "cart" => "Product Added",
            "fav" => "Product Added to Wishlist",
            "buy" => "Order Completed",
            other => {
                let message = format!("`{}` is none of pv, cart, fav, buy", other.escape_debug());
                return Err(self.behavior.fault(row, "unknown_behavior", &message));
            }
        };
        let mut properties = Map::new();
        // Beside the product itself also in a purchase, so that a cart reminder can be keyed by the item.
        properties.insert("product_id".to_owned(), item.clone());
        properties.insert("category".to_owned(), category.clone());
        if name == "Order Completed" {
            properties.insert("products".to_owned(), json!([{ "product_id": item, "category": category }]));
        }
        self.stamp.track(Said { row, at, who: Who::user(user_id), name, properties })
    }
}

impl Rows for Clicks {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        out.event(self.event(row, record), 1, row);
    }

    fn end(&mut self, _: &mut Out<'_>) {}
}

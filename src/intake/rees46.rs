//! Acts in a shop of many categories (REES46): views, carts, and purchases of one row per item.
//!
//! All purchases of a session are one order, as those who published the file say. No currency is told.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::convert;
use super::envelope::{Said, Stamp, Who, number};
use super::lines::Record;
use super::orders::OpenOrders;
use super::record::{Column, Header};
use super::{OpenError, Out, RowFault, Rows};
use crate::event::Event;
use crate::ids::Timestamp;

pub(super) struct Acts {
    stamp: Stamp,
    header: Header,
    time: Column,
    kind: Column,
    /// What is told of the product: the column and the property.
    product: [(Column, &'static str); 4],
    price: Column,
    user: Column,
    session: Column,
    /// By session and person; a line is an item.
    open: OpenOrders<(String, String), Line>,
}

struct Line {
    product: Map<String, Value>,
    price: Option<Decimal>,
}

impl Acts {
    pub(super) fn new(stamp: Stamp, header: Header) -> Result<Self, OpenError> {
        let product = [
            (header.column("product_id")?, "product_id"),
            (header.column("category_id")?, "category_id"),
            (header.column("category_code")?, "category"),
            (header.column("brand")?, "brand"),
        ];
        let (time, kind) = (header.column("event_time")?, header.column("event_type")?);
        let (price, user) = (header.column("price")?, header.column("user_id")?);
        let session = header.column("user_session")?;
        Ok(Self { stamp, header, time, kind, product, price, user, session, open: OpenOrders::default() })
    }

    fn line(&mut self, row: u64, record: &Record, out: &mut Out<'_>) -> Result<(), RowFault> {
        self.header.fits(row, record)?;
        let at = self.at(row, record)?;
        let user = self.user.id(row, record)?;
        self.product[0].0.id(row, record)?;
        let mut product = Map::new();
        for (column, property) in &self.product {
            let text = column.text(record);
            if !text.is_empty() {
                product.insert((*property).to_owned(), json!(text));
            }
        }
        let price = match self.price.text(record) {
            "" => None,
            _ => Some(self.price.decimal(row, record)?),
        };
        if let Some(price) = price {
            product.insert("price".to_owned(), number(price));
        }
        let session = self.session.text(record);
        let name = match self.kind.text(record) {
            "view" => "Product Viewed",
            "cart" => "Product Added",
            "remove_from_cart" => "Product Removed",
            "purchase" => {
                self.open.add((session.to_owned(), user.to_owned()), row, at, Line { product, price });
                return Ok(());
            }
            other => {
                let message = format!("`{}` is none of view, cart, remove_from_cart, purchase", other.escape_debug());
                return Err(self.kind.fault(row, "unknown_event", &message));
            }
        };
        if !session.is_empty() {
            product.insert("session_id".to_owned(), json!(session));
        }
        out.event(self.stamp.track(Said { row, at, who: Who::user(user), name, properties: product }), 1, row);
        Ok(())
    }

    /// `2019-10-01 00:00:00 UTC`
    fn at(&self, row: u64, record: &Record) -> Result<Timestamp, RowFault> {
        let text = self.time.text(record);
        let at = text.strip_suffix(" UTC").and_then(|text| convert::instant(&format!("{text}Z")));
        at.or_else(|| convert::instant(text)).ok_or_else(|| {
            let message = format!("`{}` is not a time such as 2019-10-01 00:00:00 UTC", text.escape_debug());
            self.time.fault(row, "not_a_time", &message)
        })
    }

    fn emit_complete(&mut self, row: u64, out: &mut Out<'_>) {
        while let Some(((session, user), order)) = self.open.next_complete(row) {
            let made = self.order((order.first_row, order.at), &session, &user, &order.lines);
            out.event(made, order.lines.len() as u64, order.first_row);
        }
    }

    fn order(&self, (row, at): (u64, Timestamp), session: &str, user: &str, lines: &[Line]) -> Result<Event, RowFault> {
        let mut properties = Map::new();
        if !session.is_empty() {
            properties.insert("session_id".to_owned(), json!(session));
        }
        properties
            .insert("products".to_owned(), lines.iter().map(|line| Value::Object(line.product.clone())).collect());
        let revenue: Option<Decimal> = lines.iter().map(|line| line.price).sum();
        if let Some(revenue) = revenue {
            properties.insert("revenue".to_owned(), number(revenue));
        }
        self.stamp.track(Said { row, at, who: Who::user(user), name: "Order Completed", properties })
    }
}

impl Rows for Acts {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        if let Err(fault) = self.line(row, record, out) {
            out.fault(fault);
        }
        self.emit_complete(row, out);
    }

    fn end(&mut self, out: &mut Out<'_>) {
        self.emit_complete(u64::MAX, out);
    }
}

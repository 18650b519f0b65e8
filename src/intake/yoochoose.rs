//! Sessions of a shop (RecSys Challenge 2015): clicks in one file, buys in another, no person known.
//!
//! A session is an anonymous profile. What one session buys at the same instant is one order; a price or a category of 0
//! is one that the file does not tell, and no currency is said.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::convert;
use super::envelope::{Said, Stamp, Who, number};
use super::lines::{Lines, Record};
use super::orders::OpenOrders;
use super::record::{Column, Header};
use super::{OpenError, Out, RowFault, Rows};
use crate::event::Event;
use crate::ids::Timestamp;

const CLICKS: [&str; 4] = ["SessionId", "Timestamp", "ItemId", "Category"];
const BUYS: [&str; 5] = ["SessionId", "Timestamp", "ItemId", "Price", "Quantity"];

pub(super) struct Sessions {
    stamp: Stamp,
    header: Header,
    session: Column,
    time: Column,
    item: Column,
    category: Option<Column>,
    /// Price and quantity; a file of clicks has none.
    bought: Option<(Column, Column)>,
    /// By session and instant; a line is an item.
    open: OpenOrders<(String, Timestamp), Line>,
}

struct Line {
    item: String,
    /// Price and quantity, where both are told.
    worth: Option<(Decimal, Decimal)>,
}

impl Sessions {
    pub(super) fn new(stamp: Stamp, lines: &mut Lines) -> Result<Self, OpenError> {
        let mut header = Header::read(lines)?;
        // As it was published, the first line is a row.
        if header.names().first().is_some_and(|name| !name.is_empty() && name.bytes().all(|it| it.is_ascii_digit())) {
            lines.take_header_back();
            header = if header.names().len() == BUYS.len() { Header::of(&BUYS) } else { Header::of(&CLICKS) };
        }
        let column = |names: &[&'static str]| {
            header.any(names).ok_or_else(|| OpenError::Column { missing: names[0].to_owned(), found: header.shown() })
        };
        let (session, time, item) = (column(&["sessionid"])?, column(&["timestamp", "time"])?, column(&["itemid"])?);
        let category = header.any(&["category"]);
        let bought = header.any(&["price"]).zip(header.any(&["quantity"]));
        Ok(Self { stamp, header, session, time, item, category, bought, open: OpenOrders::default() })
    }

    fn line(&mut self, row: u64, record: &Record, out: &mut Out<'_>) -> Result<(), RowFault> {
        self.header.fits(row, record)?;
        let session = self.session.id(row, record)?;
        let text = self.time.text(record);
        let at = convert::instant(text).ok_or_else(|| {
            let message = format!("`{}` is not a time such as 2014-04-07T10:51:09.277Z", text.escape_debug());
            self.time.fault(row, "not_a_time", &message)
        })?;
        let item = self.item.id(row, record)?;
        if let Some((price, quantity)) = self.bought {
            let (price, quantity) = (price.decimal(row, record)?, quantity.decimal(row, record)?);
            let worth = (!price.is_zero() && !quantity.is_zero()).then_some((price, quantity));
            self.open.add((session.to_owned(), at), row, at, Line { item: item.to_owned(), worth });
            return Ok(());
        }
        let mut properties = Map::new();
        properties.insert("product_id".to_owned(), json!(item));
        let category = self.category.map(|category| category.text(record)).filter(|it| !it.is_empty() && *it != "0");
        if let Some(category) = category {
            properties.insert("category".to_owned(), json!(category));
        }
        let said = Said { row, at, who: Who::anonymous(session), name: "Product Viewed", properties };
        out.event(self.stamp.track(said), 1, row);
        Ok(())
    }

    fn emit_complete(&mut self, row: u64, out: &mut Out<'_>) {
        while let Some(((session, at), order)) = self.open.next_complete(row) {
            let made = self.order(order.first_row, at, &session, &order.lines);
            out.event(made, order.lines.len() as u64, order.first_row);
        }
    }

    fn order(&self, row: u64, at: Timestamp, session: &str, lines: &[Line]) -> Result<Event, RowFault> {
        let products = lines.iter().map(|line| {
            let mut product = Map::new();
            product.insert("product_id".to_owned(), json!(line.item));
            if let Some((price, quantity)) = line.worth {
                product.insert("price".to_owned(), number(price));
                product.insert("quantity".to_owned(), number(quantity));
            }
            Value::Object(product)
        });
        let mut properties = Map::new();
        properties.insert("session_id".to_owned(), json!(session));
        properties.insert("products".to_owned(), products.collect());
        let worth = |line: &Line| line.worth.and_then(|(price, quantity)| price.checked_mul(quantity));
        let revenue: Option<Decimal> = lines.iter().map(worth).sum();
        if let Some(revenue) = revenue {
            properties.insert("revenue".to_owned(), number(revenue));
        }
        self.stamp.track(Said { row, at, who: Who::anonymous(session), name: "Order Completed", properties })
    }
}

impl Rows for Sessions {
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

//! Visits of a shop: views, items put into the cart, and transactions of one row per item. The file knows no price.

use serde_json::{Map, Value, json};

use super::envelope::{Said, Stamp, Who};
use super::lines::Record;
use super::orders::OpenOrders;
use super::record::{Column, Header};
use super::{OpenError, Out, RowFault, Rows};

pub(super) struct Visits {
    stamp: Stamp,
    header: Header,
    timestamp: Column,
    visitor: Column,
    event: Column,
    item: Column,
    transaction: Column,
    /// By transaction and visitor; a line is an item.
    open: OpenOrders<(String, String), String>,
}

impl Visits {
    pub(super) fn new(stamp: Stamp, header: Header) -> Result<Self, OpenError> {
        let timestamp = header.column("timestamp")?;
        let visitor = header.column("visitorid")?;
        let event = header.column("event")?;
        let item = header.column("itemid")?;
        let transaction = header.column("transactionid")?;
        Ok(Self { stamp, header, timestamp, visitor, event, item, transaction, open: OpenOrders::default() })
    }

    fn line(&mut self, row: u64, record: &Record, out: &mut Out<'_>) -> Result<(), RowFault> {
        self.header.fits(row, record)?;
        let at = self.timestamp.unix(row, record, 1)?;
        let user_id = self.visitor.id(row, record)?;
        let item = self.item.id(row, record)?;
        let name = match self.event.text(record) {
            "view" => "Product Viewed",
            "addtocart" => "Product Added",
            "transaction" => {
                let key = (self.transaction.id(row, record)?.to_owned(), user_id.to_owned());
                self.open.add(key, row, at, item.to_owned());
                return Ok(());
            }
            other => {
                let message = format!("`{}` is none of view, addtocart, transaction", other.escape_debug());
                return Err(self.event.fault(row, "unknown_event", &message));
            }
        };
        let mut properties = Map::new();
        properties.insert("product_id".to_owned(), json!(item));
        out.event(self.stamp.track(Said { row, at, who: Who::user(user_id), name, properties }), 1, row);
        Ok(())
    }

    fn emit_complete(&mut self, row: u64, out: &mut Out<'_>) {
        while let Some(((transaction, visitor), order)) = self.open.next_complete(row) {
            let products: Vec<Value> = order.lines.iter().map(|item| json!({ "product_id": item })).collect();
            let mut properties = Map::new();
            properties.insert("order_id".to_owned(), json!(transaction));
            properties.insert("products".to_owned(), Value::Array(products));
            let row = order.first_row;
            let said = Said { row, at: order.at, who: Who::user(&visitor), name: "Order Completed", properties };
            out.event(self.stamp.track(said), order.lines.len() as u64, row);
        }
    }
}

impl Rows for Visits {
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

//! Invoice lines of a wholesaler: the lines of one invoice and customer are one order, `C…` invoices take goods back.
//!
//! Times are the shop's wall clock, London. A cancellation names no order it belongs to, so its event has a
//! `refund_id` and no `order_id`. Amounts of refunds are positive, as in the common vocabulary.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::envelope::{Said, Stamp, Who, number};
use super::figures::Sum;
use super::lines::Record;
use super::orders::{OpenOrders, Order};
use super::record::{Column, Header};
use super::{OpenError, Out, RowFault, Rows};
use crate::ids::Timestamp;
use crate::money::{Currency, Total};

const CURRENCY: Currency = Currency::GBP;

pub(super) struct Invoices {
    stamp: Stamp,
    header: Header,
    columns: Columns,
    zone: TimeZone,
    open: OpenOrders<(String, String), Line>,
}

struct Columns {
    invoice: Column,
    stock_code: Column,
    description: Column,
    quantity: Column,
    date: Column,
    price: Column,
    customer: Column,
}

#[derive(Debug)]
struct Line {
    product_id: String,
    name: String,
    quantity: Decimal,
    price: Decimal,
    amount: Decimal,
}

impl Invoices {
    pub(super) fn new(stamp: Stamp, header: Header) -> Result<Self, OpenError> {
        let columns = Columns {
            invoice: header.column("InvoiceNo")?,
            stock_code: header.column("StockCode")?,
            description: header.column("Description")?,
            quantity: header.column("Quantity")?,
            date: header.column("InvoiceDate")?,
            price: header.column("UnitPrice")?,
            customer: header.column("CustomerID")?,
        };
        let zone = TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC);
        Ok(Self { stamp, header, columns, zone, open: OpenOrders::default() })
    }

    fn line(&mut self, row: u64, record: &Record, out: &mut Out<'_>) -> Result<(), RowFault> {
        self.header.fits(row, record)?;
        let columns = &self.columns;
        let invoice = columns.invoice.id(row, record)?;
        let product_id = columns.stock_code.id(row, record)?;
        let at = columns.at(row, record, &self.zone)?;
        let (quantity, price) = (columns.quantity.decimal(row, record)?, columns.price.decimal(row, record)?);
        let amount = exact_product(quantity, price)
            .ok_or_else(|| columns.price.fault(row, "amount_too_long", "times the quantity has too many digits"))?;
        let customer = columns.customer(row, record)?;
        let cancels = invoice.starts_with('C');
        count(out, amount, cancels, customer.is_some());
        let Some(customer) = customer else {
            return Err(columns.customer.fault(row, "no_customer", &format!("{amount} {CURRENCY} of nobody known")));
        };
        let numbered = invoice.strip_prefix('C').unwrap_or(invoice).starts_with(|c: char| c.is_ascii_digit());
        // Goods go out in an invoice and come back in a cancellation; everything else corrects the books.
        let in_order = numbered && !price.is_sign_negative() && (quantity.is_sign_negative() == cancels);
        if !in_order || quantity.is_zero() {
            return Err(columns.quantity.fault(row, "adjustment", &format!("{amount} {CURRENCY} in {invoice}")));
        }
        let name = columns.description.text(record).chars().take(200).collect();
        let line = Line { product_id: product_id.to_owned(), name, quantity, price, amount };
        self.open.add((invoice.to_owned(), customer.to_owned()), row, at, line);
        Ok(())
    }

    fn emit_complete(&mut self, row: u64, out: &mut Out<'_>) {
        while let Some(((invoice, customer), order)) = self.open.next_complete(row) {
            let made = self.event(&invoice, &customer, &order);
            out.event(made, order.lines.len() as u64, order.first_row);
        }
    }

    /// A huge order leaves out the products' names before it is refused for its size.
    fn event(&self, invoice: &str, customer: &str, order: &Order<Line>) -> Result<crate::event::Event, RowFault> {
        let said = |with_names: bool| {
            let cancels = invoice.starts_with('C');
            Said {
                row: order.first_row,
                at: order.at,
                who: Who::user(customer),
                name: if cancels { "Order Refunded" } else { "Order Completed" },
                properties: properties(invoice, cancels, &order.lines, with_names),
            }
        };
        self.stamp.track(said(true)).or_else(|_| self.stamp.track(said(false)))
    }
}

impl Rows for Invoices {
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

impl Columns {
    fn at(&self, row: u64, record: &Record, zone: &TimeZone) -> Result<Timestamp, RowFault> {
        let text = self.date.text(record);
        let wrong = || {
            let message = format!("`{}` is not a time such as 2010-12-01 08:26:00", text.escape_debug());
            self.date.fault(row, "not_a_time", &message)
        };
        let local: DateTime = text.parse().map_err(|_| wrong())?;
        let instant = local.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp();
        Ok(Timestamp::from_millis(instant.as_millisecond()))
    }

    /// Customers are numbers that passed through a spreadsheet: `17850.0` is 17850, an empty cell is nobody.
    fn customer<'a>(&self, row: u64, record: &'a Record) -> Result<Option<&'a str>, RowFault> {
        if self.customer.text(record).is_empty() {
            return Ok(None);
        }
        let text = self.customer.id(row, record)?;
        Ok(Some(text.strip_suffix(".0").unwrap_or(text)))
    }
}

fn count(out: &mut Out<'_>, amount: Decimal, cancels: bool, known: bool) {
    let mut sums = vec![Sum::Net, if known { Sum::KnownCustomers } else { Sum::NoCustomer }];
    if amount > Decimal::ZERO {
        sums.push(Sum::PositiveRows);
    }
    if amount < Decimal::ZERO {
        sums.push(Sum::NegativeRows);
        sums.push(if cancels { Sum::Cancellations } else { Sum::Adjustments });
    }
    sums.into_iter().for_each(|sum| out.figures.add_money(sum, CURRENCY, amount));
}

fn properties(invoice: &str, cancels: bool, lines: &[Line], with_names: bool) -> Map<String, Value> {
    let amount: Total = lines.iter().map(|line| if cancels { -line.amount } else { line.amount }).collect();
    let mut properties = Map::new();
    properties.insert(if cancels { "refund_id" } else { "order_id" }.to_owned(), json!(invoice));
    // All digits of the sum: rounding is for totals, once.
    properties.insert("revenue".to_owned(), amount.to_string().parse().map_or(Value::Null, Value::Number));
    properties.insert("currency".to_owned(), json!(CURRENCY));
    let products = lines.iter().map(|line| {
        let mut product = Map::new();
        product.insert("product_id".to_owned(), json!(line.product_id));
        if with_names && !line.name.is_empty() {
            product.insert("name".to_owned(), json!(line.name));
        }
        product.insert("quantity".to_owned(), number(line.quantity.abs()));
        product.insert("price".to_owned(), number(line.price));
        Value::Object(product)
    });
    properties.insert("products".to_owned(), products.collect());
    properties
}

/// The product with every digit, or nothing: a decimal that is too long would be rounded silently.
fn exact_product(left: Decimal, right: Decimal) -> Option<Decimal> {
    if left.is_zero() || right.is_zero() {
        return Some(Decimal::ZERO);
    }
    let product = left.checked_mul(right)?;
    (product.scale() == left.scale() + right.scale()).then_some(product)
}

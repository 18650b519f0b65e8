//! What an import counted: rows in are rows accounted for, and money to the last digit.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::money::{Currency, Total};

/// Counts of one file. `rows` is `rows_in_events` and all `rows_without_event` together, once the file is read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    pub rows: u64,
    pub rows_in_events: u64,
    pub events: u64,
    /// By the code of the reason.
    pub rows_without_event: BTreeMap<&'static str, u64>,
    /// By what the rows have in common, in the order of a reader's interest. One row may count in several sums.
    pub money: BTreeMap<(Sum, Currency), Counted>,
}

/// A sum over some of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    PositiveRows,
    NegativeRows,
    /// Of the negative rows: cancelled invoices, with and without a customer.
    Cancellations,
    /// Of the negative rows: the others, such as bad debts.
    Adjustments,
    /// All rows.
    Net,
    /// Of all rows: those of a known customer.
    KnownCustomers,
    /// Of all rows: those that name no customer.
    NoCustomer,
}

impl Sum {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PositiveRows => "positive_rows",
            Self::NegativeRows => "negative_rows",
            Self::Cancellations => "cancellations",
            Self::Adjustments => "adjustments",
            Self::Net => "net",
            Self::KnownCustomers => "known_customers",
            Self::NoCustomer => "no_customer",
        }
    }

    /// The words in print; what is a part of the sum above it stands further in.
    pub const fn label(self) -> &'static str {
        match self {
            Self::PositiveRows => "positive rows",
            Self::NegativeRows => "negative rows",
            Self::Cancellations => "  of these cancellations",
            Self::Adjustments => "  of these adjustments",
            Self::Net => "net",
            Self::KnownCustomers => "  of known customers",
            Self::NoCustomer => "  without a customer",
        }
    }
}

/// Rows and their exact total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    pub rows: u64,
    pub total: Total,
}

impl Figures {
    pub(super) fn add_money(&mut self, sum: Sum, currency: Currency, value: Decimal) {
        let counted = self.money.entry((sum, currency)).or_default();
        counted.rows += 1;
        counted.total.add(value);
    }

    /// Rows that became no event, for whatever reason.
    pub fn rows_left(&self) -> u64 {
        self.rows_without_event.values().sum()
    }
}

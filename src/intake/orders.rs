//! Lines of one order come as rows of their own, not always side by side and not always of one minute: they are
//! collected until the order's last line is behind us.

use std::collections::BTreeMap;

use crate::ids::Timestamp;

/// Rows after its last line at which an order counts as complete. Bounds what is held; a line that comes even later
/// makes an event of its own.
const QUIET_ROWS: u64 = 20_000;
/// Lines held over all open orders; the oldest order is closed beyond.
const LINES_MAX: usize = 500_000;

/// An order while its lines come in.
#[derive(Debug)]
pub(super) struct Order<L> {
    pub(super) first_row: u64,
    /// The time of its first line.
    pub(super) at: Timestamp,
    pub(super) lines: Vec<L>,
}

/// Orders by a key such as (invoice, customer).
#[derive(Debug)]
pub(super) struct OpenOrders<K, L> {
    open: BTreeMap<K, (u64, Order<L>)>,
    /// By the row of their latest line, oldest first.
    by_row: BTreeMap<u64, K>,
    lines: usize,
}

impl<K, L> Default for OpenOrders<K, L> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), by_row: BTreeMap::new(), lines: 0 }
    }
}

impl<K: Ord + Clone, L> OpenOrders<K, L> {
    pub(super) fn add(&mut self, key: K, row: u64, at: Timestamp, line: L) {
        let fresh = || (row, Order { first_row: row, at, lines: Vec::new() });
        let (latest_row, order) = self.open.entry(key.clone()).or_insert_with(fresh);
        order.at = order.at.min(at);
        order.lines.push(line);
        self.by_row.remove(&std::mem::replace(latest_row, row));
        self.by_row.insert(row, key);
        self.lines += 1;
    }

    /// Takes out one order that is complete by `row`; call it until none is.
    pub(super) fn next_complete(&mut self, row: u64) -> Option<(K, Order<L>)> {
        let (latest_row, _) = self.by_row.first_key_value()?;
        if latest_row.saturating_add(QUIET_ROWS) > row && self.lines <= LINES_MAX {
            return None;
        }
        let (_, key) = self.by_row.pop_first()?;
        let (_, order) = self.open.remove(&key)?;
        self.lines -= order.lines.len();
        Some((key, order))
    }
}

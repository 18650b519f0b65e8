//! What a metric is made of: a name, a kind, a few labels, and one cell of atomics for each set of their values.
//!
//! Counting is one atomic addition for whoever keeps its cell; finding a cell is a look into a small map. Nothing is
//! allocated for what was never counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Sets of label values of one metric; what is more is counted together as `other`. Names of campaigns are the only
/// values that are not ours, and nobody has as many.
const SERIES_MAX: usize = 2_000;
const OTHER: &str = "other";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    /// A counter that is read somewhere and not counted here; it may have a fraction.
    Reading,
    Gauge,
    /// By its upper bounds in thousandths of a millisecond, ascending.
    Histogram(&'static [u64]),
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter | Self::Reading => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric with all its series.
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    cells: RwLock<BTreeMap<String, Arc<Cell>>>,
}

/// One series.
#[derive(Debug)]
pub struct Cell {
    /// A counter's count, the bits of a gauge's value, or a histogram's sum in nanoseconds.
    value: AtomicU64,
    /// How many durations were no longer than each bound, and longer than the one before; the last: than none.
    buckets: Box<[AtomicU64]>,
    bounds: &'static [u64],
}

/// The two forms in which Prometheus reads metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text exposition format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Cell {
    fn new(kind: Kind) -> Self {
        let bounds: &[u64] = match kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Reading | Kind::Gauge => &[],
        };
        let buckets = match kind {
            Kind::Histogram(bounds) => (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            Kind::Counter | Kind::Reading | Kind::Gauge => Box::default(),
        };
        Self { value: AtomicU64::new(0), buckets, bounds }
    }

    pub fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
    }

    pub fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = self.bounds.iter().position(|bound| micros <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Family {
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help, cells: RwLock::new(BTreeMap::new()) }
    }

    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help, cells: RwLock::new(BTreeMap::new()) }
    }

    pub const fn reading(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Reading, labels, help, cells: RwLock::new(BTreeMap::new()) }
    }

    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [u64],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram(bounds), labels, help, cells: RwLock::new(BTreeMap::new()) }
    }

    /// The series of these values, one for each label in order.
    pub fn of(&self, values: &[&str]) -> Arc<Cell> {
        let key = self.key(values);
        if let Some(cell) = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return cell.clone();
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let is_full = cells.len() >= SERIES_MAX && !cells.contains_key(&key);
        let key = if is_full { self.key(&vec![OTHER; self.labels.len()]) } else { key };
        cells.entry(key).or_insert_with(|| Arc::new(Cell::new(self.kind))).clone()
    }

    /// The only series of a metric without labels.
    pub fn alone(&self) -> Arc<Cell> {
        self.of(&[])
    }

    /// Replaces every series: for gauges of what is there now, of which some may be gone.
    pub fn replace(&self, series: impl IntoIterator<Item = (Vec<String>, f64)>) {
        let mut cells = BTreeMap::new();
        for (values, value) in series.into_iter().take(SERIES_MAX) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let cell = Cell::new(self.kind);
            cell.set(value);
            cells.insert(self.key(&values), Arc::new(cell));
        }
        *self.cells.write().unwrap_or_else(PoisonError::into_inner) = cells;
    }

    /// `name="value",…`, as it is printed.
    fn key(&self, values: &[&str]) -> String {
        let mut key = String::new();
        for (label, value) in self.labels.iter().zip(values) {
            if !key.is_empty() {
                key.push(',');
            }
            let _ = write!(key, "{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => key.push_str("\\\\"),
                    '"' => key.push_str("\\\""),
                    '\n' => key.push_str("\\n"),
                    c => key.push(c),
                }
            }
            key.push('"');
        }
        key
    }

    /// Appends the metric with all its series.
    pub fn print(&self, format: Format, out: &mut String) {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner).clone();
        // OpenMetrics names the family, and the sample of a counter `_total` behind it.
        let family = match (format, self.kind) {
            (Format::OpenMetrics, Kind::Counter | Kind::Reading) => {
                self.name.strip_suffix("_total").unwrap_or(self.name)
            }
            _ => self.name,
        };
        let _ = writeln!(out, "# HELP {family} {}\n# TYPE {family} {}", self.help, self.kind.name());
        for (labels, cell) in &cells {
            cell.print(self.name, self.kind, labels, out);
        }
    }
}

impl Cell {
    fn print(&self, name: &str, kind: Kind, labels: &str, out: &mut String) {
        let value = self.value.load(Ordering::Relaxed);
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match kind {
            Kind::Counter => drop(writeln!(out, "{name}{braced} {value}")),
            Kind::Reading | Kind::Gauge => drop(writeln!(out, "{name}{braced} {}", f64::from_bits(value))),
            Kind::Histogram(bounds) => {
                let comma = if labels.is_empty() { "" } else { "," };
                let mut count = 0;
                for (n, bucket) in self.buckets.iter().enumerate() {
                    count += bucket.load(Ordering::Relaxed);
                    let bound = bounds.get(n).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros));
                    let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
                }
                let sum = Duration::from_nanos(value).as_secs_f64();
                let _ = writeln!(out, "{name}_sum{braced} {sum}\n{name}_count{braced} {count}");
            }
        }
    }
}

/// As OpenMetrics writes numbers: always with a point.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(family: &Family, format: Format) -> String {
        let mut out = String::new();
        family.print(format, &mut out);
        out
    }

    #[test]
    fn a_counter_is_a_family_by_its_stem_in_openmetrics() {
        let family = Family::counter("carillon_things_done_total", &["kind"], "Things.");
        family.of(&["a \"b\"\\\n"]).add(2);
        let sample = "carillon_things_done_total{kind=\"a \\\"b\\\"\\\\\\n\"} 2\n";
        let stem = "# HELP carillon_things_done Things.\n# TYPE carillon_things_done counter\n";
        assert_eq!(printed(&family, Format::OpenMetrics), format!("{stem}{sample}"));
        let whole = "# HELP carillon_things_done_total Things.\n# TYPE carillon_things_done_total counter\n";
        assert_eq!(printed(&family, Format::Text), format!("{whole}{sample}"));
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up_to_its_count() {
        let family = Family::histogram("carillon_things_seconds", &[], &[500, 1_000_000], "Things.");
        for millis in [0, 1, 900, 1_000, 5_000] {
            family.alone().took(Duration::from_millis(millis));
        }
        let lines = printed(&family, Format::Text);
        let of = |le: &str| format!("carillon_things_seconds_bucket{{le=\"{le}\"}}");
        for line in [
            format!("{} 1", of("0.0005")),
            format!("{} 4", of("1.0")),
            format!("{} 5", of("+Inf")),
            "carillon_things_seconds_sum 6.901".to_owned(),
            "carillon_things_seconds_count 5".to_owned(),
        ] {
            assert!(lines.lines().any(|it| it == line), "{line} is not in\n{lines}");
        }
    }

    #[test]
    fn more_names_than_anybody_has_are_counted_together() {
        let family = Family::counter("carillon_things_done_total", &["campaign"], "Things.");
        for n in 0..SERIES_MAX + 7 {
            family.of(&[&format!("c{n}")]).add(1);
        }
        assert!(printed(&family, Format::Text).contains("{campaign=\"other\"} 7\n"));
    }

    #[test]
    fn what_is_gone_is_not_shown_any_more() {
        let family = Family::gauge("carillon_things_entries", &["kind"], "Things.");
        family.replace([(vec!["a".to_owned()], 1.0), (vec!["b".to_owned()], 2.5)]);
        family.replace([(vec!["b".to_owned()], 3.0)]);
        let lines = printed(&family, Format::Text);
        assert!(lines.ends_with("carillon_things_entries{kind=\"b\"} 3\n") && !lines.contains("\"a\""), "{lines}");
    }
}

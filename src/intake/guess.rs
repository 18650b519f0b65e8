//! A first mapping for a table, by the names of its columns and its first rows: to be looked at and corrected, not to be
//! trusted.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use jiff::tz::TimeZone;

use super::OpenError;
use super::convert::{Clockface, Type, Writing, decimal, truth};
use super::lines::{Lines, Record, Shape};
use super::record::{Header, plain};
use crate::message::Channel;

/// Rows looked at.
const ROWS_MAX: usize = 500;
/// Different names of events that are written into the mapping.
const NAMES_MAX: usize = 30;

const USERS: [&str; 11] = [
    "userid",
    "customerid",
    "customer",
    "user",
    "clientid",
    "memberid",
    "contactid",
    "uid",
    "profileid",
    "emailaddress",
    "email",
];
const VISITORS: [&str; 9] = [
    "anonymousid",
    "visitorid",
    "visitor",
    "deviceid",
    "cookieid",
    "clienttoken",
    "sessionid",
    "session",
    "usersession",
];
const TIMES: [&str; 11] = [
    "timestamp",
    "eventtime",
    "time",
    "datetime",
    "createdat",
    "occurredat",
    "orderdate",
    "invoicedate",
    "date",
    "created",
    "ts",
];
const EVENTS: [&str; 8] =
    ["event", "eventname", "eventtype", "action", "activity", "behavior", "behaviour", "behaviortype"];
const IDS: [&str; 4] = ["messageid", "eventid", "insertid", "uuid"];
const AMOUNTS: [&str; 7] = ["price", "revenue", "amount", "total", "value", "unitprice", "spend"];
const EMAIL_ANSWERS: [&str; 7] = [
    "acceptsmarketing",
    "emailconsent",
    "emailoptin",
    "emailmarketingconsent",
    "newsletter",
    "marketingconsent",
    "optin",
];
const SMS_ANSWERS: [&str; 4] = ["acceptssmsmarketing", "smsconsent", "smsoptin", "smsmarketingconsent"];
/// What shops call it, and what it is called here.
const NAMES: [(&str, &str); 14] = [
    ("view", "Product Viewed"),
    ("pv", "Product Viewed"),
    ("productview", "Product Viewed"),
    ("detail", "Product Viewed"),
    ("cart", "Product Added"),
    ("addtocart", "Product Added"),
    ("removefromcart", "Product Removed"),
    ("fav", "Product Added to Wishlist"),
    ("wishlist", "Product Added to Wishlist"),
    ("purchase", "Order Completed"),
    ("buy", "Order Completed"),
    ("transaction", "Order Completed"),
    ("order", "Order Completed"),
    ("refund", "Order Refunded"),
];
const PATTERNS: [&str; 10] = [
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%Y-%m-%d %H",
];

/// A table's beginning.
struct Sample {
    names: Vec<String>,
    rows: Vec<Record>,
    separator: u8,
    comma: bool,
    /// Columns that are something already.
    used: BTreeSet<String>,
}

/// A mapping to begin with, as text.
///
/// # Errors
/// The file cannot be read or has no header.
pub fn guess(path: &Path) -> Result<String, OpenError> {
    let mut lines = Lines::open(path, Shape::Csv)?;
    let header = Header::read(&mut lines)?;
    let rows = std::iter::from_fn(|| lines.next()).filter_map(|(_, read)| read.ok());
    let rows: Vec<Record> = rows.filter(|row| row.len() == header.names().len()).take(ROWS_MAX).collect();
    let names = header.names().to_vec();
    let separator = lines.separator();
    let mut sample = Sample { names, rows, separator, comma: false, used: BTreeSet::new() };
    sample.comma = separator == b';' && sample.has_decimal_commas();
    Ok(sample.mapping())
}

impl Sample {
    fn cells(&self, column: &str) -> impl Iterator<Item = &str> {
        let index = self.names.iter().position(|name| name == column).unwrap_or(usize::MAX);
        self.rows.iter().filter_map(move |row| row.get(index)).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
    }

    fn all(&self, column: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.cells(column).next().is_some() && self.cells(column).all(fits)
    }

    /// The first column with one of these names, the likeliest name first.
    fn take(&mut self, known: &[&str]) -> Option<String> {
        let free = |name: &&String| !self.used.contains(*name);
        let found = known.iter().find_map(|wanted| self.names.iter().filter(free).find(|name| plain(name) == **wanted));
        let found = found?.clone();
        self.used.insert(found.clone());
        Some(found)
    }

    /// Where no column is named for it: the only one that is full of instants.
    fn take_times(&mut self) -> Option<String> {
        let clock = Clockface { writing: Writing::Any, zone: TimeZone::UTC };
        let is_instant = |cell: &str| cell.contains(':') && clock.read(cell).is_some();
        self.take_only(|sample, name| sample.all(name, is_instant))
    }

    /// Where no column is named for it: the only one with nothing but words for events.
    fn take_events(&mut self) -> Option<String> {
        let is_known = |cell: &str| NAMES.iter().any(|(theirs, ours)| *theirs == plain(cell) || *ours == cell);
        self.take_only(|sample, name| sample.all(name, is_known))
    }

    fn take_only(&mut self, fits: impl Fn(&Self, &str) -> bool) -> Option<String> {
        let mut fitting = self.names.iter().filter(|name| !self.used.contains(*name) && fits(self, name));
        let found = fitting.next().filter(|_| fitting.next().is_none())?.clone();
        self.used.insert(found.clone());
        Some(found)
    }

    fn has_decimal_commas(&self) -> bool {
        let is_one = |cell: &str| {
            let (whole, fraction) = cell.split_once(',').unwrap_or((cell, ""));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(whole.trim_start_matches('-')) && digits(fraction)
        };
        self.rows.iter().flatten().any(|cell| is_one(cell.trim()))
    }

    fn mapping(mut self) -> String {
        let user = self.take(&USERS);
        let visitor = self.take(&VISITORS);
        let time = self.take(&TIMES).or_else(|| self.take_times());
        let event = self.take(&EVENTS).or_else(|| self.take_events());
        let is_of_people = time.is_none() || (event.is_none() && self.names.iter().any(|name| plain(name) == "email"));
        let mut text = String::from(
            "# A first guess by the names of the columns and the first rows. Look at it with --dry-run, and correct it.\n",
        );
        // Writing to a text cannot fail.
        let _ = writeln!(text, "kind: {}", if is_of_people { "profile" } else { "event" });
        if self.separator == b'\t' {
            text.push_str("separator: tab\n");
        }
        if self.comma {
            text.push_str("decimal: \",\"\n");
        }
        match (&user, &visitor) {
            (None, None) => text.push_str("user_id: WHICH COLUMN SAYS WHO\n"),
            _ => {
                for (field, column) in [("user_id", &user), ("anonymous_id", &visitor)] {
                    if let Some(column) = column {
                        let _ = writeln!(text, "{field}: {}", quoted(column));
                    }
                }
            }
        }
        if let Some(time) = &time {
            text.push_str(&self.timestamp(time));
        }
        if is_of_people {
            // An address is a trait too, whatever else it is; a name of an event is one here.
            self.used.retain(|name| plain(name) != "email" && Some(name) != event.as_ref());
            text.push_str(&self.consent());
            text.push_str(&self.fields("traits"));
        } else {
            text.push_str(&self.event(event.as_deref()));
            if let Some(id) = self.take(&IDS) {
                let _ = writeln!(text, "message_id: {}", quoted(&id));
            }
            text.push_str(&self.fields("properties"));
        }
        text
    }

    fn timestamp(&self, column: &str) -> String {
        let reads = |writing: Writing| {
            let clock = Clockface { writing, zone: TimeZone::UTC };
            // A few may be mistakes.
            let read = self.cells(column).filter(|cell| clock.read(cell).is_some()).count();
            read * 2 > self.cells(column).count()
        };
        let name = quoted(column);
        if reads(Writing::Any) {
            return format!(
                "timestamp: {name}    # times without a zone are UTC; zone: Europe/London says otherwise\n"
            );
        }
        let fitting: Vec<&str> = PATTERNS.into_iter().filter(|it| reads(Writing::Pattern((*it).to_owned()))).collect();
        match fitting.as_slice() {
            [] => format!(
                "timestamp: {{ column: {name}, format: \"%Y-%m-%d %H:%M:%S\" }}    # not recognised: say how it is written\n"
            ),
            [one] => format!("timestamp: {{ column: {name}, format: \"{one}\", zone: UTC }}\n"),
            [one, ..] => {
                format!("timestamp: {{ column: {name}, format: \"{one}\", zone: UTC }}    # or is the month first?\n")
            }
        }
    }

    fn event(&self, column: Option<&str>) -> String {
        let Some(column) = column else { return "event: Order Completed    # what is a row?\n".to_owned() };
        let found: BTreeSet<&str> = self.cells(column).collect();
        let mut text = format!("event:\n  column: {}\n", quoted(column));
        if found.len() <= NAMES_MAX {
            text.push_str("  names:\n");
            for word in found {
                let known = NAMES.iter().find(|(theirs, _)| *theirs == plain(word));
                let name = known.map_or(word, |(_, ours)| ours);
                let _ = writeln!(text, "    {}: {}", quoted(word), quoted(name));
            }
        }
        text
    }

    fn consent(&mut self) -> String {
        let mut text = String::new();
        for (channel, known) in [(Channel::Email, &EMAIL_ANSWERS[..]), (Channel::Sms, &SMS_ANSWERS[..])] {
            if let Some(column) = self.take(known) {
                let _ = writeln!(text, "  {}: {}", channel.as_str(), quoted(&column));
            }
        }
        if text.is_empty() { text } else { format!("consent:\n{text}") }
    }

    fn fields(&self, what: &str) -> String {
        let mut text = String::new();
        for name in self.names.iter().filter(|name| !self.used.contains(*name) && !name.is_empty()) {
            let column = quoted(name);
            let field = quoted(&field_name(name));
            let line = match self.kind_of(name) {
                Type::Number if AMOUNTS.iter().any(|it| plain(name).ends_with(it)) => {
                    format!("{{ column: {column}, type: money, currency: EUR }}    # which currency?")
                }
                Type::Text => column,
                other => format!("{{ column: {column}, type: {} }}", other.name()),
            };
            let _ = writeln!(text, "  {field}: {line}");
        }
        if text.is_empty() { text } else { format!("{what}:\n{text}") }
    }

    fn kind_of(&self, column: &str) -> Type {
        let name = plain(column);
        // Numbers that name something are names: `007` is not 7.
        let names = name.ends_with("id") || name.ends_with("code") || name.contains("phone") || name.contains("zip");
        let is_padded = |cell: &str| cell.starts_with('0') && cell[1..].starts_with(|it: char| it.is_ascii_digit());
        let is_number = |cell: &str| decimal(cell, self.comma).is_some() && !is_padded(cell);
        let is_word = |cell: &str| truth(cell).is_some() && !cell.bytes().all(|byte| byte.is_ascii_digit());
        match () {
            () if names => Type::Text,
            () if self.all(column, is_word) => Type::Boolean,
            () if self.all(column, is_number) => Type::Number,
            () => Type::Text,
        }
    }
}

/// A name without what leads elsewhere in a path: `Unit Price` is `unit_price`.
fn field_name(name: &str) -> String {
    let mut field = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        let starts_word = letter.is_uppercase() && before.is_lowercase();
        let may_part = !field.is_empty() && !field.ends_with('_');
        if may_part && (starts_word || !letter.is_alphanumeric()) {
            field.push('_');
        }
        if letter.is_alphanumeric() {
            field.extend(letter.to_lowercase());
        }
        before = letter;
    }
    let field = field.trim_end_matches('_').to_owned();
    if field.is_empty() { "column".to_owned() } else { field }
}

/// As YAML reads it back.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-. ".contains(letter))
        && !text.ends_with(' ')
        && truth(text).is_none()
        && !matches!(text.to_lowercase().as_str(), "null" | "true" | "false");
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

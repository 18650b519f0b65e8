//! The rows of a suppression list as other systems export them: UTF-8 or UTF-16, packed or not, with whichever separator.
//!
//! A row that is passed over is an address that is written to again. So whatever quotes stand in a file, each of its lines is
//! on the list or among the refused: a row whose text may be other rows is refused.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::lines::{Lines, Record, Span};
use super::{OpenError, plain};
use crate::message::{Address, Channel, SuppressionKind};

const NO_COLUMNS: &str = "the first line names the columns, one of them `address` or `email`";

/// Of a file, unpacked: some millions of addresses.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A packed file may have been packed once more on its way.
const PACKED_MAX: usize = 2;

/// By what other systems call the column, the likeliest first; letters and digits alone.
const ADDRESSES: [&str; 11] = [
    "address",
    "email",
    "emailaddress",
    "recipient",
    "recipientaddress",
    "contactemail",
    "subscriberemail",
    "mail",
    "phone",
    "phonenumber",
    "mobile",
];
/// Columns that say why, if they say it in a word that is known.
const REASONS: [&str; 5] = ["reason", "suppressionreason", "suppressiontype", "type", "status"];
/// Columns that a list of one kind alone has.
const OF_ONE_KIND: [(&str, &str); 6] = [
    ("unsubtime", "unsubscribed"),
    ("unsubscribedat", "unsubscribed"),
    ("unsubreason", "unsubscribed"),
    ("cleantime", "bounced"),
    ("hardbouncedat", "bounced"),
    ("bouncedat", "bounced"),
];

/// A file's rows.
pub struct List {
    pub rows: Vec<Stop>,
    pub refused: Vec<Refused>,
}

/// An address that is not to be written to, as the API takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    pub channel: String,
    pub address: String,
    pub kind: String,
    pub source: String,
}

/// A file that is no such list, in words for whoever has it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAList(pub String);

/// A row that is on no list.
pub struct Refused {
    pub line: u64,
    pub reason: String,
    pub text: String,
}

/// Which column is which.
struct Columns {
    width: usize,
    address: usize,
    channel: Option<usize>,
    kind: Option<usize>,
    source: Option<usize>,
    reasons: Vec<usize>,
}

/// Reads a list of at most so many bytes; a bad row is refused by itself. `kind` is what was asked for where the file does not say it, else what
/// its columns are known by, else a person's hand.
///
/// # Errors
/// The file cannot be read, or is no such list ([`NotAList`]).
pub fn read(file: &Path, channel: &str, kind: Option<&str>, bytes_max: u64) -> anyhow::Result<List> {
    let name = file.file_name().map_or_else(|| file.display().to_string(), |own| own.display().to_string());
    let mut lines = Lines::of_text(text_of(file, &name, bytes_max)?)?;
    let refuse = |what: &str| anyhow::Error::from(NotAList(format!("{name}: {what}")));
    let heads = match lines.header() {
        Ok(heads) if lines.span().first == lines.span().last => heads,
        Ok(_) => return Err(refuse("the first line opens a quote that it does not close")),
        Err(OpenError::Header(fault)) => return Err(refuse(&format!("the first line names no columns: {fault}"))),
        Err(OpenError::Empty) => return Err(refuse(NO_COLUMNS)),
        Err(error) => return Err(error).with_context(|| format!("{name} cannot be read")),
    };
    let Some(columns) = Columns::of(&heads) else { return Err(refuse(NO_COLUMNS)) };
    let known = OF_ONE_KIND.iter().find(|(head, _)| heads.iter().any(|it| plain(it) == *head)).map(|(_, kind)| *kind);
    let kind = kind.or(known).unwrap_or("manual");
    let source = format!("import {name}");
    let mut list = List { rows: Vec::new(), refused: Vec::new() };
    while let Some((_, record)) = lines.next() {
        let taken = match record {
            Ok(record) => columns.row(&record, (channel, kind, &source), lines.span()),
            Err(fault) => Err(fault.message),
        };
        match taken {
            Ok(row) => list.rows.extend(row),
            Err(reason) => {
                let (line, text) = lines.place();
                list.refused.push(Refused { line, reason, text: String::from_utf8_lossy(text).into_owned() });
            }
        }
    }
    Ok(list)
}

impl Columns {
    fn of(heads: &Record) -> Option<Self> {
        let column = |name: &str| heads.iter().position(|head| plain(head) == name);
        let exact = |name: &str| heads.iter().position(|head| head.trim().eq_ignore_ascii_case(name));
        Some(Self {
            width: heads.len(),
            // Beside `Email`, a column `E-Mail` may hold anything.
            address: ADDRESSES.into_iter().find_map(|name| exact(name).or_else(|| column(name)))?,
            channel: column("channel"),
            kind: column("kind"),
            source: column("source"),
            reasons: REASONS.into_iter().filter_map(column).collect(),
        })
    }

    /// A row without an address is none, unless one stands elsewhere in it.
    fn row(
        &self,
        record: &Record,
        (channel, kind, source): (&str, &str, &str),
        span: Span,
    ) -> Result<Option<Stop>, String> {
        let given = |at: usize| record.get(at).map(|text| text.trim()).filter(|text| !text.is_empty());
        if record.iter().all(|cell| cell.trim().is_empty()) {
            return Ok(None);
        }
        if record.len() != self.width {
            return Err(format!("{} values, {} columns", record.len(), self.width));
        }
        if record.iter().any(|cell| cell.contains(char::REPLACEMENT_CHARACTER)) {
            return Err("the row is not UTF-8 text".to_owned());
        }
        let channel = self.channel.and_then(given).unwrap_or(channel);
        let address = given(self.address);
        if let Some(other) = self.another(record, channel, address) {
            let Span { first, last } = span;
            return match address {
                Some(_) => Err(format!("a quote makes lines {first} to {last} one row, with `{other}` in its text")),
                None => Err(format!("no address in its column, and `{other}` elsewhere")),
            };
        }
        let Some(address) = address else { return Ok(None) };
        let reason = || self.reasons.iter().filter_map(|at| given(*at)).find_map(kind_of);
        let kind = self.kind.and_then(given).or_else(reason).unwrap_or(kind);
        if let Some(mistake) = mistake_in(channel, address, kind) {
            return Err(mistake);
        }
        let source = self.source.and_then(given).unwrap_or(source);
        let [channel, address, kind, source] = [channel, address, kind, source].map(str::to_owned);
        Ok(Some(Stop { channel, address, kind, source }))
    }

    /// What may be the address of another line: a quote that somebody forgot makes rows the text of the one before.
    fn another<'r>(&self, record: &'r Record, channel: &str, address: Option<&str>) -> Option<&'r str> {
        let channel = Channel::parse(channel).unwrap_or(Channel::Email);
        let own = address.and_then(|text| Address::parse(channel, text));
        let is_other = |text: &str| {
            let found = Address::parse(channel, text);
            found.is_some_and(|found| own.as_ref().is_none_or(|own| own.normalised() != found.normalised()))
        };
        let is_broken =
            |word: &str| channel == Channel::Email && word.contains('@') && Address::parse(channel, word).is_none();
        let hides = |(at, cell): &(usize, &String)| *at != self.address && (address.is_none() || cell.contains('\n'));
        let cells = || record.iter().enumerate().filter(hides).map(|(_, cell)| cell.as_str());
        // A number may be written with blanks, so values are looked at as well as words.
        let mut found = cells().flat_map(values).filter(|value| is_other(value));
        found.next().or_else(|| cells().flat_map(words).find(|word| is_other(word) || is_broken(word)))
    }
}

/// A text's values, if it is rows.
fn values(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ',', ';', '\t', '|', '"']).map(str::trim).filter(|value| !value.is_empty())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || ",;|\"'<>()[]".contains(c));
    words.map(|word| word.trim_end_matches(['.', ':', '!', '?'])).filter(|word| !word.is_empty())
}

/// What others call our kinds; anything else says nothing.
fn kind_of(word: &str) -> Option<&'static str> {
    match plain(word).as_str() {
        "unsubscribed" | "unsubscribe" | "optout" | "optedout" | "globalunsubscribe" => Some("unsubscribed"),
        "bounce" | "bounced" | "hardbounce" | "hardbounced" | "cleaned" | "invalid" | "invalidemail" => Some("bounced"),
        "complaint" | "spamcomplaint" | "spamreport" | "spam" | "abuse" => Some("complaint"),
        "manual" | "manualsuppression" | "usersuppressed" => Some("manual"),
        _ => None,
    }
}

/// What the service would refuse, found before the first row is sent.
fn mistake_in(channel: &str, address: &str, kind: &str) -> Option<String> {
    let Some(of) = Channel::parse(channel) else { return Some(format!("`{channel}` is no channel")) };
    if SuppressionKind::parse(kind).is_none() {
        return Some(format!("`{kind}` is no kind"));
    }
    let shown = || address.replace('\n', "\\n");
    Address::parse(of, address).is_none().then(|| format!("`{}` is no address for {channel}", shown()))
}

fn text_of(file: &Path, name: &str, bytes_max: u64) -> anyhow::Result<String> {
    let opened = File::open(file).with_context(|| format!("{name} cannot be read"))?;
    let mut bytes = bounded(opened, bytes_max).with_context(|| format!("{name} cannot be read"))?;
    for _ in 0..PACKED_MAX {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let unpacked = bounded(MultiGzDecoder::new(&bytes[..]), bytes_max);
            bytes = unpacked.with_context(|| format!("{name} cannot be unpacked"))?;
        }
    }
    let refuse = |what: &str| anyhow::Error::from(NotAList(format!("{name} {what}; save it as CSV in UTF-8")));
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(refuse("is a spreadsheet or an archive"));
    }
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| unit([pair[0], pair.get(1).copied().unwrap_or(0)]));
        char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| refuse("is broken UTF-16"))
    };
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(u16::from_le_bytes)?,
        Some([0xfe, 0xff]) => utf16(u16::from_be_bytes)?,
        // A row that is no UTF-8 is refused by itself.
        _ => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains('\0') {
                return Err(refuse("is no text, or UTF-16 without its mark"));
            }
            text
        }
    };
    // Whoever reads lines knows one kind of end.
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

fn bounded(from: impl Read, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= bytes_max, "it has more than {bytes_max} bytes");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    const LIST: &str = "E-Mail;Email;kind\nx;ann@example.com;\ny;eve@example.com;manual\n";

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        read_as(bytes, Some("unsubscribed")).map(|list| told(&list))
    }

    fn read_as(bytes: &[u8], kind: Option<&str>) -> Result<List, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        super::read(file.path(), "email", kind, FILE_BYTES_MAX).map_err(|error| format!("{error:#}"))
    }

    fn told(list: &List) -> Vec<String> {
        list.rows.iter().map(|row| format!("{} {}", row.address, row.kind)).collect()
    }

    #[test]
    fn what_other_systems_export_is_read_as_it_is() {
        for (name, list, wanted) in [
            (
                "Mailchimp, unsubscribed",
                "Email Address,First Name,UNSUB_TIME\nann@example.com,Ann,2026-01-01 10:00:00\n",
                "unsubscribed",
            ),
            (
                "Mailchimp, cleaned",
                "Email Address,First Name,CLEAN_TIME\nann@example.com,Ann,2026-01-01 10:00:00\n",
                "bounced",
            ),
            (
                "SendGrid, bounces",
                "status,reason,email,created\n5.1.1,550 no such user,ann@example.com,1511658000\n",
                "manual",
            ),
            ("Klaviyo", "Email,Suppression Reason\nann@example.com,HARD_BOUNCE\n", "bounced"),
            ("Braze", "email,unsubscribed_at\nann@example.com,2026-01-01\n", "unsubscribed"),
            (
                "Postmark",
                "EmailAddress,SuppressionReason,Origin\nann@example.com,SpamComplaint,Recipient\n",
                "complaint",
            ),
            ("SES", "EmailAddress,Reason,LastUpdateTime\nann@example.com,COMPLAINT,2026-01-01\n", "complaint"),
        ] {
            assert_eq!(told(&read_as(list.as_bytes(), None).unwrap()), [format!("ann@example.com {wanted}")], "{name}");
        }
        let sendgrid =
            read_as(b"status,reason,email\n5.1.1,550 no such user,ann@example.com\n", Some("bounced")).unwrap();
        assert_eq!(told(&sendgrid), ["ann@example.com bounced"]);
    }

    #[test]
    fn a_bad_row_is_refused_by_itself_with_its_line() {
        let list = b"email,kind\nann@example.com,\nnowhere,\neve@example.com,tired\nbob@example.com\nj\xfc@example.com,\n,\nmia@example.com,manual\n";
        let list = read_as(list, Some("unsubscribed")).unwrap();
        assert_eq!(told(&list), ["ann@example.com unsubscribed", "mia@example.com manual"]);
        let refused: Vec<String> =
            list.refused.iter().map(|it| format!("{} {} | {}", it.line, it.reason, it.text)).collect();
        let expected = [
            "3 `nowhere` is no address for email | nowhere,",
            "4 `tired` is no kind | eve@example.com,tired",
            "5 1 values, 2 columns | bob@example.com",
            "6 the row is not UTF-8 text | j\u{fffd}@example.com,",
        ];
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_list_is_read_however_a_spreadsheet_saved_it() {
        let wanted = Ok(vec!["ann@example.com unsubscribed".to_owned(), "eve@example.com manual".to_owned()]);
        let marked = format!("\u{feff}{LIST}");
        let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = marked.replace(';', "\t").encode_utf16().flat_map(u16::to_be_bytes).collect();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(LIST.replace(';', ",").as_bytes()).unwrap();
        for bytes in [LIST.as_bytes().to_vec(), marked.into_bytes(), little, big, packed.finish().unwrap()] {
            assert_eq!(read(&bytes), wanted);
        }
    }

    /// What is on the list, and the lines that are refused with why.
    fn read_lines(text: &str, kind: &str) -> (Vec<String>, Vec<String>) {
        let list = read_as(text.as_bytes(), Some(kind)).unwrap();
        let rows = list.rows.iter().map(|row| row.address.clone()).collect();
        (rows, list.refused.iter().map(|it| format!("{} {}", it.line, it.reason)).collect())
    }

    #[test]
    fn a_quote_that_somebody_forgot_hides_nobody() {
        let unclosed = |line: u64| format!("{line} a quote is opened and not closed");
        let forgotten = "email,first name\nann@x.com,\"Ann\nbob@x.com,Bob\ndan@x.com,\"Dan\neve@x.com,Eve\n";
        let (rows, refused) = read_lines(forgotten, "unsubscribed");
        assert_eq!((rows, refused), (vec!["bob@x.com".into(), "eve@x.com".into()], vec![unclosed(2), unclosed(4)]));
        let (rows, refused) = read_lines("email\n\"one@y.com\ntwo@y.com\nthree@y.com\n", "manual");
        assert_eq!((rows, refused), (vec!["two@y.com".into(), "three@y.com".into()], vec![unclosed(2)]));
        // The next quote closes it, and what stands between may be rows or Ann's own words.
        let (rows, refused) = read_lines("email,name\nann@x.com,\"Ann\nbob@x.com,\"Bob\"\neve@x.com,Eve\n", "manual");
        assert_eq!(rows, ["eve@x.com"]);
        assert_eq!(refused, ["2 a quote makes lines 2 to 3 one row, with `bob@x.com` in its text"]);
        let (rows, refused) = read_lines("name,email\n\"Ann,ann@x.com\",\n\"Eve,eve@x.com\"\n,\nMia,\n", "manual");
        assert!(rows.is_empty());
        assert_eq!(refused, ["2 no address in its column, and `ann@x.com` elsewhere", "3 1 values, 2 columns"]);
    }

    #[test]
    fn what_a_mail_server_said_may_go_over_lines() {
        let said = "email,reason\nann@x.com,\"550 5.1.1 <ann@x.com>:\nno such user\"\neve@x.com,\"mailbox, full\"\n";
        assert_eq!(read_lines(said, "bounced"), (vec!["ann@x.com".into(), "eve@x.com".into()], vec![]));
        assert_eq!(read_lines("email\rann@x.com\reve@x.com\r", "manual").0, ["ann@x.com", "eve@x.com"]);
    }

    proptest::proptest! {
        /// Wherever quotes stand below the first line, every line's address is on the list or in the text of a refused row.
        #[test]
        fn no_quote_loses_an_address(
            width in 1_usize..4,
            column in 0_usize..3,
            lines in proptest::collection::vec(proptest::collection::vec(("[a-d ]{0,3}", 0_u8..12, 0_u8..12), 3), 1..30),
        ) {
            let column = column % width;
            let title = |at: usize| if at == column { "email".to_owned() } else { format!("more{at}") };
            let mut text = (0..width).map(title).collect::<Vec<_>>().join(",") + "\n";
            let mut addresses = Vec::new();
            for (n, line) in lines.iter().enumerate() {
                let address = format!("p{n}@example.com");
                let quote = |one: u8| if one == 0 { "\"" } else { "" };
                let cells = line.iter().take(width).enumerate().map(|(at, (word, before, after))| {
                    let value = if at == column { &address } else { word };
                    format!("{}{value}{}", quote(*before), quote(*after))
                });
                text.push_str(&(cells.collect::<Vec<_>>().join(",") + "\n"));
                addresses.push(address);
            }
            let list = read_as(text.as_bytes(), Some("manual")).unwrap();
            for address in addresses {
                let listed = list.rows.iter().any(|row| row.address == address);
                let told = list.refused.iter().any(|it| it.text.contains(&address));
                proptest::prop_assert!(listed || told, "{address} is lost of\n{text}");
            }
        }
    }

    #[test]
    fn what_is_no_list_is_refused_in_plain_words() {
        let cases: [(&[u8], &str); 7] = [
            (b"email,\"name\nann@x.com,Ann\n", "names no columns: a quote is opened and not closed"),
            (b"email,\"name\nann@x.com,Ann\"\n", "the first line opens a quote that it does not close"),
            (b"\n", "the first line names the columns"),
            (b"PK\x03\x04rest", "is a spreadsheet or an archive; save it as CSV in UTF-8"),
            (b"e\0m\0a\0i\0l\0", "is no text, or UTF-16 without its mark; save it as CSV in UTF-8"),
            (b"\x1f\x8bnothing", "cannot be unpacked"),
            (b"name\nann\n", "the first line names the columns"),
        ];
        for (bytes, words) in cases {
            let refused = read(bytes).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}

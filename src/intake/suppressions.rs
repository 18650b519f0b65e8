//! The rows of a suppression list as other systems export them: UTF-8 or UTF-16, packed or not, with whichever separator.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::plain;
use crate::message::{Address, Channel, SuppressionKind};

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
    let text = text_of(file, &name, bytes_max)?;
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .delimiter(separator(text))
        .from_reader(text.as_bytes());
    let heads = reader.headers()?.clone();
    let Some(columns) = Columns::of(&heads) else {
        let message = format!("{name}: the first line names the columns, one of them `address` or `email`");
        return Err(NotAList(message).into());
    };
    let known = OF_ONE_KIND.iter().find(|(head, _)| heads.iter().any(|it| plain(it) == *head)).map(|(_, kind)| *kind);
    let kind = kind.or(known).unwrap_or("manual");
    let source = format!("import {name}");
    let mut list = List { rows: Vec::new(), refused: Vec::new() };
    for record in reader.records() {
        let record = record.with_context(|| format!("{name} cannot be read"))?;
        match columns.row(&record, heads.len(), (channel, kind, &source)) {
            Ok(row) => list.rows.extend(row),
            Err(reason) => {
                let (line, byte) = record.position().map_or((0, 0), |at| (at.line(), at.byte()));
                let rest = text.get(usize::try_from(byte)?..).unwrap_or_default();
                let text = rest.lines().find(|line| !line.is_empty()).unwrap_or_default().to_owned();
                list.refused.push(Refused { line, reason, text });
            }
        }
    }
    Ok(list)
}

impl Columns {
    fn of(heads: &csv::StringRecord) -> Option<Self> {
        let column = |name: &str| heads.iter().position(|head| plain(head) == name);
        let exact = |name: &str| heads.iter().position(|head| head.eq_ignore_ascii_case(name));
        Some(Self {
            // Beside `Email`, a column `E-Mail` may hold anything.
            address: ADDRESSES.into_iter().find_map(|name| exact(name).or_else(|| column(name)))?,
            channel: column("channel"),
            kind: column("kind"),
            source: column("source"),
            reasons: REASONS.into_iter().filter_map(column).collect(),
        })
    }

    /// A row without an address is none.
    fn row(
        &self,
        record: &csv::StringRecord,
        width: usize,
        (channel, kind, source): (&str, &str, &str),
    ) -> Result<Option<Stop>, String> {
        let given = |at: usize| record.get(at).filter(|text| !text.is_empty());
        let Some(address) = given(self.address) else { return Ok(None) };
        if record.len() != width {
            return Err(format!("{} values, {width} columns", record.len()));
        }
        if record.iter().any(|cell| cell.contains(char::REPLACEMENT_CHARACTER)) {
            return Err("the row is not UTF-8 text".to_owned());
        }
        let channel = self.channel.and_then(given).unwrap_or(channel);
        let reason = || self.reasons.iter().filter_map(|at| given(*at)).find_map(kind_of);
        let kind = self.kind.and_then(given).or_else(reason).unwrap_or(kind);
        if let Some(mistake) = mistake_in(channel, address, kind) {
            return Err(mistake);
        }
        let source = self.source.and_then(given).unwrap_or(source);
        let [channel, address, kind, source] = [channel, address, kind, source].map(str::to_owned);
        Ok(Some(Stop { channel, address, kind, source }))
    }
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
    Address::parse(of, address).is_none().then(|| format!("`{address}` is no address for {channel}"))
}

/// The one that the first line has.
fn separator(text: &str) -> u8 {
    let heads = text.lines().next().unwrap_or("");
    [b',', b';', b'\t'].into_iter().find(|one| heads.as_bytes().contains(one)).unwrap_or(b',')
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
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(u16::from_le_bytes),
        Some([0xfe, 0xff]) => utf16(u16::from_be_bytes),
        // A row that is no UTF-8 is refused by itself.
        _ => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains('\0') { Err(refuse("is no text, or UTF-16 without its mark")) } else { Ok(text) }
        }
    }
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

    #[test]
    fn what_is_no_list_is_refused_in_plain_words() {
        let cases: [(&[u8], &str); 4] = [
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

//! The rows of a suppression list as other systems export them: UTF-8 or UTF-16, packed or not, with whichever separator.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use crate::cli::Usage;
use crate::message::{Address, Channel, SuppressionKind};

/// Of a file, unpacked: some millions of addresses.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The rows as the API takes them; a mistake is named with its line, and nothing is sent.
///
/// # Errors
/// The file cannot be read, is no such list, or a row of it is none.
pub fn rows(file: &Path, channel: &str, kind: &str) -> anyhow::Result<Vec<Value>> {
    let name = file.display();
    let text = text_of(file)?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(separator(&text))
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let heads: Vec<String> = reader.headers()?.iter().map(str::to_ascii_lowercase).collect();
    let column = |names: &[&str]| heads.iter().position(|head| names.contains(&head.as_str()));
    let Some(address) = column(&["address", "email"]) else {
        let message = format!("{name}: the first line names the columns, one of them `address` or `email`");
        return Err(Usage(message).into());
    };
    let (of_channel, of_kind, of_source) = (column(&["channel"]), column(&["kind"]), column(&["source"]));
    let source =
        format!("import {}", file.file_name().map_or_else(|| name.to_string(), |own| own.display().to_string()));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{name} cannot be read"))?;
        let given = |at: Option<usize>| at.and_then(|at| record.get(at)).filter(|text| !text.is_empty());
        let Some(address) = given(Some(address)) else { continue };
        let (channel, kind) = (given(of_channel).unwrap_or(channel), given(of_kind).unwrap_or(kind));
        if let Some(mistake) = mistake_in(channel, address, kind) {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(Usage(format!("{name}: line {line}: {mistake}; nothing was put onto the list")).into());
        }
        rows.push(json!({
            "channel": channel,
            "address": address,
            "kind": kind,
            "source": given(of_source).unwrap_or(&source),
        }));
    }
    Ok(rows)
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

fn text_of(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("{name} cannot be read"))?;
    let mut bytes = bounded(opened).with_context(|| format!("{name} cannot be read"))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = bounded(MultiGzDecoder::new(&bytes[..])).with_context(|| format!("{name} cannot be unpacked"))?;
    }
    let refuse = |what: &str| anyhow::Error::from(Usage(format!("{name} {what}; save it as CSV in UTF-8")));
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
        _ => {
            let text = String::from_utf8(bytes).map_err(|error| {
                let good = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
                refuse(&format!("is not UTF-8 in line {line}"))
            })?;
            if text.contains('\0') { Err(refuse("is no text, or UTF-16 without its mark")) } else { Ok(text) }
        }
    }
}

fn bounded(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= FILE_BYTES_MAX, "it has more than {FILE_BYTES_MAX} bytes");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    const LIST: &str = "E-Mail;Email;kind\nx;ann@example.com;\ny;eve@example.com;manual\n";

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let rows = rows(file.path(), "email", "unsubscribed").map_err(|error| format!("{error:#}"))?;
        Ok(rows
            .iter()
            .map(|row| format!("{} {}", row["address"].as_str().unwrap(), row["kind"].as_str().unwrap()))
            .collect())
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
        let cases: [(&[u8], &str); 5] = [
            (b"PK\x03\x04rest", "is a spreadsheet or an archive; save it as CSV in UTF-8"),
            (b"email\nann@example.com\nj\xfcrgen@example.com\n", "is not UTF-8 in line 3; save it as CSV in UTF-8"),
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

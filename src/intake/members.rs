//! Who is to be on a static segment's list: ids in a JSON list, or in a column of a CSV file.
//!
//! An upload may replace the list, so an id that is not seen is a person who is taken from it. A row whose quotes leave open
//! what it is refuses the whole file: whatever quotes stand in it, no line is passed over.

use serde_json::Value;

use super::OpenError;
use super::lines::{Lines, Record};

/// Refused rows that are told one by one.
const TOLD_MAX: usize = 10;
/// How the column is called, in small letters.
const TITLES: [&str; 3] = ["user_id", "userid", "id"];

/// Ids as they are written, with the lines (of JSON: the places) they stand on.
pub type Members = Vec<(u64, String)>;

/// What a file may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: usize,
    pub members: usize,
}

/// Why a file is no list of members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMembers {
    #[error("the file has {0} bytes; at most {1} are allowed")]
    TooLarge(usize, usize),
    #[error("more than {0} members at once; send them in parts, the first to replace and the others to add")]
    TooMany(usize),
    #[error("the file is not UTF-8")]
    NotText,
    #[error("the file is no list of ids: {0}")]
    NotAList(String),
    #[error("the file was not read, for people could be missed; put each member on a line, with the quotes closed:{0}")]
    Unclear(String),
}

/// A JSON list of ids (or of objects with `user_id` or `id`), or CSV: the column `user_id` or `id`, else the first.
///
/// # Errors
/// The file is neither, or too large, or its quotes leave open whom it names.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Members, NotMembers> {
    if bytes.len() > limits.bytes {
        return Err(NotMembers::TooLarge(bytes.len(), limits.bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NotMembers::NotText)?;
    // One kind of line's end, so that lines are counted as editors do.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let members = if text.trim_start().starts_with('[') { of_json(&text)? } else { of_csv(text, limits)? };
    if members.len() > limits.members { Err(NotMembers::TooMany(limits.members)) } else { Ok(members) }
}

fn of_json(text: &str) -> Result<Members, NotMembers> {
    let items: Vec<Value> = serde_json::from_str(text).map_err(|error| NotMembers::NotAList(error.to_string()))?;
    let id_of = |item: &Value| {
        let named = item.get("user_id").or_else(|| item.get("id")).unwrap_or(item);
        named.as_str().map_or_else(|| if named.is_number() { named.to_string() } else { String::new() }, str::to_owned)
    };
    Ok((1..).zip(items.iter().map(id_of)).collect())
}

fn of_csv(text: String, limits: Limits) -> Result<Members, NotMembers> {
    let broken = |error: OpenError| NotMembers::NotAList(error.to_string());
    let mut lines = Lines::of_text(text).map_err(broken)?;
    let column = match lines.header() {
        Ok(titles) => match titled(&titles) {
            Some(_) if lines.span().first != lines.span().last => {
                return Err(NotMembers::Unclear("\nline 1: a quote is opened and not closed".to_owned()));
            }
            column => column,
        },
        Err(OpenError::Empty) => return Ok(Members::new()),
        Err(OpenError::Header(_)) => None,
        Err(error) => return Err(broken(error)),
    };
    if column.is_none() {
        // Without titles nothing shows what separates, and an id may hold any of it.
        lines.separate_by(b',');
        lines.take_header_back();
    }
    let column = column.unwrap_or(0);
    let (mut members, mut unclear, mut faults) = (Members::new(), String::new(), 0_usize);
    while let Some((_, record)) = lines.next() {
        let span = lines.span();
        let fault = match record {
            Ok(record) if span.first == span.last => {
                members.push((span.first, record.into_iter().nth(column).unwrap_or_default()));
                if members.len() > limits.members {
                    return Err(NotMembers::TooMany(limits.members));
                }
                continue;
            }
            Ok(_) => format!("a quote makes lines {} to {} one row", span.first, span.last),
            Err(fault) => fault.message,
        };
        faults += 1;
        if faults <= TOLD_MAX {
            unclear.push_str(&format!("\nline {}: {fault}", span.first));
        }
    }
    if faults > TOLD_MAX {
        unclear.push_str(&format!("\nand {} more", faults - TOLD_MAX));
    }
    if faults > 0 { Err(NotMembers::Unclear(unclear)) } else { Ok(members) }
}

fn titled(titles: &Record) -> Option<usize> {
    let titles: Vec<String> = titles.iter().map(|title| title.trim().to_ascii_lowercase()).collect();
    TITLES.iter().find_map(|name| titles.iter().position(|title| title == name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1_000, members: 100 };

    fn ids(text: &str) -> Members {
        read(text.as_bytes(), LIMITS).unwrap()
    }

    fn of(members: &[(u64, &str)]) -> Members {
        members.iter().map(|(line, id)| (*line, (*id).to_owned())).collect()
    }

    #[test]
    fn ids_are_found_in_csv_with_and_without_titles_and_in_json() {
        let two = of(&[(2, "ann"), (3, "bob, jr")]);
        assert_eq!(ids("\u{feff}name,User_Id\r\nAnn,ann\r\nBob,\"bob, jr\"\r\n"), two);
        assert_eq!(ids("name;User_Id\nAnn;ann\nBob;bob, jr\n"), two);
        assert_eq!(ids("ann\nbob\n"), of(&[(1, "ann"), (2, "bob")]));
        assert_eq!(ids("shop|7;a,Ann\n\nshop|8\n"), of(&[(1, "shop|7;a"), (3, "shop|8")]));
        assert_eq!(ids(r#"[ "ann", { "user_id": "bob" }, 7, null ]"#)[1..], of(&[(2, "bob"), (3, "7"), (4, "")]));
        assert_eq!(ids(""), []);
    }

    #[test]
    fn what_is_no_list_is_refused_with_why() {
        assert!(matches!(read(b"[ \"ann\"", LIMITS), Err(NotMembers::NotAList(_))));
        assert_eq!(read(&[0xff, 0xfe, b'a'], LIMITS), Err(NotMembers::NotText));
        assert_eq!(read("a\n".repeat(101).as_bytes(), LIMITS), Err(NotMembers::TooMany(100)));
        assert_eq!(read(&[b'a'; 1_001], LIMITS), Err(NotMembers::TooLarge(1_001, 1_000)));
    }

    #[test]
    fn a_file_whose_quotes_may_hide_people_is_refused_by_its_lines() {
        let told = |text: &str| match read(text.as_bytes(), LIMITS) {
            Err(NotMembers::Unclear(told)) => told,
            other => format!("{other:?}"),
        };
        assert_eq!(
            told("user_id,name\nann,\"Ann\nbob,\"Bob\"\ncat,\"Cat\n"),
            "\nline 2: a quote makes lines 2 to 3 one row\nline 4: a quote is opened and not closed"
        );
        let titles = "\nline 1: a quote is opened and not closed";
        assert_eq!(told("user_id,\"name\nann,Ann\nbob,Bob\"\ncat,Cat\n"), titles);
        assert_eq!(told("\"ann\nbob\ncat\n"), "\nline 1: a quote is opened and not closed");
    }

    proptest::proptest! {
        /// Wherever quotes stand, the file is refused, or every line gives one member, which is the line's if it has no quote.
        #[test]
        fn no_quote_loses_a_line(lines in proptest::collection::vec(("[a-d]{1,3}", "[\",a-d]{0,6}"), 1..30)) {
            let text: String = lines.iter().map(|(id, more)| format!("{id},{more}\n")).collect();
            for text in [format!("user_id,name\n{text}"), text.clone(), text.replace(',', "")] {
                if let Ok(members) = read(text.as_bytes(), LIMITS) {
                    proptest::prop_assert_eq!(members.len(), lines.len());
                    for (line, id) in members {
                        let whole = text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap();
                        let own = whole.split(',').next().unwrap();
                        proptest::prop_assert!(id == own, "{id} of {whole}");
                    }
                }
            }
        }
    }
}

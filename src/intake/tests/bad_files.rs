//! Files that are broken, hostile or not what they say: row-level faults, and memory that does not grow with them.

use std::io::Write;

use super::*;

pub(super) fn written(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn opened(content: &[u8]) -> Result<(Vec<Result<Event, RowFault>>, Figures), OpenError> {
    let (_folder, path) = written("file.csv", content);
    let mut reader = Format::Taobao.open(&path, &provenance(), None)?;
    let read: Vec<_> = reader.by_ref().collect();
    let figures = reader.figures().clone();
    assert_eq!(figures.rows, figures.rows_in_events + figures.rows_left());
    Ok((read, figures))
}

const HEADER: &str = "user_id,item_id,category_id,behavior,ts\n";

#[test]
fn a_bad_row_costs_itself_alone_and_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors.jsonl");
    let options = Options { errors: Some(errors.clone()), ..options() };
    let mut kept = Kept::default();
    let summary = run(&fixture("invoices_broken.csv"), Format::UciRetail, &options, &mut kept).unwrap();
    let orders: Vec<&str> =
        kept.events.iter().filter_map(|event| event.lookup("properties.order_id")?.as_str()).collect();
    assert_eq!(orders, ["200001", "200003", "200011"]);
    let listed: Vec<String> = std::fs::read_to_string(errors)
        .unwrap()
        .lines()
        .map(|line| {
            let fault: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {}", fault["row"], fault["column"].as_str().unwrap_or("-"), fault["code"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "2 - unclosed_quote",
        "4 - columns",
        "5 Quantity not_a_number",
        "6 InvoiceDate not_a_time",
        "7 UnitPrice not_a_number",
        "8 StockCode empty",
        "9 UnitPrice amount_too_long",
        "10 - in_the_future",
    ];
    assert_eq!(listed, expected);
    assert_eq!(summary.faults.len(), expected.len());
}

#[test]
fn the_list_of_errors_never_overwrites_the_file() {
    let (_folder, path) = written("file.csv", HEADER.as_bytes());
    let options = Options { errors: Some(path.clone()), ..options() };
    assert!(run(&path, Format::Taobao, &options, &mut Kept::default()).is_err());
    assert_eq!(std::fs::read_to_string(path).unwrap(), HEADER);
}

#[test]
fn gzip_is_known_by_content_and_reads_the_same() {
    let plain = std::fs::read(fixture("clicks.csv")).unwrap();
    let (_one, packed) = written("clicks.csv.gz", &gzipped(&plain));
    let (_two, misnamed) = written("clicks.csv", &gzipped(&plain));
    let mut kept = Kept::default();
    let first = run(&fixture("clicks.csv"), Format::Taobao, &options(), &mut kept).unwrap();
    for path in [packed, misnamed] {
        let again = run(&path, Format::Taobao, &options(), &mut kept).unwrap();
        assert_eq!((again.figures.clone(), again.repeated), (first.figures.clone(), first.stored));
    }
}

#[test]
fn a_torn_gzip_keeps_what_was_read_and_says_so() {
    let rows: String = (0..20_000).map(|n| format!("{n},i{n},c,pv,15116580{:02}\n", n % 100)).collect();
    let mut packed = gzipped(format!("{HEADER}{rows}").as_bytes());
    packed.truncate(packed.len() / 2);
    let (read, figures) = opened(&packed).unwrap();
    assert!(figures.events > 1_000);
    assert_eq!(read.last().unwrap().as_ref().unwrap_err().code, "unreadable");
}

#[test]
fn text_that_is_no_table_is_refused_with_the_reason() {
    let wide = format!("{}\n", vec!["x"; 10_000].join(","));
    let narrow = "user_id,item_id,behavior,ts\n";
    for (content, expected) in [
        (b"PK\x03\x04rest".as_slice(), "is a spreadsheet or an archive; save it as CSV"),
        (b"".as_slice(), "is empty"),
        (b"\n\n".as_slice(), "is empty"),
        (wide.as_bytes(), "its first line is not a header: 10000 columns, at most 1000"),
        (narrow.as_bytes(), "has no column `category_id`; its columns are user_id, item_id, behavior, ts"),
        (b"\xff\xf0\n".as_slice(), "its first line is not a header: the row is not UTF-8 text"),
    ] {
        assert_eq!(opened(content).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_byte_order_mark_and_foreign_line_ends_are_passed_over() {
    let content = format!("\u{feff}{}1,i,c,pv,1511658000\r\n\r\n2,i,c,pv,1511658001", HEADER.replace('\n', "\r\n"));
    assert_eq!(opened(content.as_bytes()).unwrap().1.events, 2);
}

#[test]
fn utf16_is_read_with_its_mark_and_without() {
    let text = format!("\u{feff}{HEADER}1,ü😀,c,pv,1511658000\n2,i,c,pv,1511658001");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for content in [&little[..], &little[2..], &big, &big[2..], &gzipped(&little)] {
        let (read, figures) = opened(content).unwrap();
        assert_eq!(figures.events, 2);
        assert_eq!(read[0].as_ref().unwrap().lookup("properties.product_id").unwrap(), "ü😀");
    }
}

#[test]
fn the_first_line_shows_the_separator() {
    for separator in [";", "\t", "|", ","] {
        let content = format!("{HEADER}7,\"a{separator}b\",c,pv,1511658000\n").replace(',', separator);
        let (read, _) = opened(content.as_bytes()).unwrap();
        let item = read[0].as_ref().unwrap().lookup("properties.product_id").unwrap().clone();
        assert_eq!(item, format!("a{separator}b"));
    }
}

#[test]
fn refused_rows_are_kept_beside_the_file_with_line_and_reason_and_come_in_once_they_are_corrected() {
    let content = format!(
        "{HEADER}1,i,c,pv,1511658000\n\n2,\"a\nb\",c,look,1511658000\n3,\"i,c,pv,1511658000\n4,i,c,pv,never\n5,i,c,pv,1511658001\n"
    );
    let (_folder, path) = written("file.csv", content.as_bytes());
    let asked = Options { rejects: true, ..options() };
    let mut kept = Kept::default();
    let summary = run(&path, Format::Taobao, &asked, &mut kept).unwrap();
    let rejects = summary.rejects.unwrap();
    assert_eq!(rejects, path.with_file_name("file.csv.rejects.csv"));
    let mut reader = csv::Reader::from_path(&rejects).unwrap();
    assert_eq!(reader.headers().unwrap(), &["line", "reason", "row"][..]);
    let rows: Vec<[String; 3]> = reader.deserialize().map(Result::unwrap).collect();
    let expected = [
        ["4", "behavior: `look` is none of pv, cart, fav, buy [unknown_behavior]", "2,\"a\nb\",c,look,1511658000"],
        ["6", "a quote is opened and not closed [unclosed_quote]", "3,\"i,c,pv,1511658000"],
        ["7", "ts: `never` is no Unix time [not_a_time]", "4,i,c,pv,never"],
    ];
    assert_eq!(rows, expected);
    let corrected: String = rows
        .iter()
        .map(|row| row[2].replace("look", "pv").replace("\"i", "i").replace("never", "1511658009") + "\n")
        .collect();
    let (_other, again) = written("corrected.csv", format!("{HEADER}{corrected}").as_bytes());
    let summary = run(&again, Format::Taobao, &asked, &mut kept).unwrap();
    assert_eq!((summary.stored, summary.rejects), (3, None));
}

#[test]
fn endless_lines_and_quotes_cost_one_row_each_and_no_memory() {
    let mut content = HEADER.as_bytes().to_vec();
    content.extend_from_slice(b"1,i,c,pv,1511658000\n");
    content.extend(std::iter::repeat_n(b'x', 3_000_000));
    content.extend_from_slice(b"\n2,\"i,c,pv,1511658000\n");
    content.extend(std::iter::repeat_n(b'"', 300_001));
    content.extend_from_slice(b"\n3,i,c,pv,1511658000\n4,\0,c,pv,1511658000\n5,\xff,c,pv,1511658000\n");
    let (_, figures) = opened(&content).unwrap();
    let expected = [("not_utf8", 1), ("nul", 1), ("row_too_long", 2), ("unclosed_quote", 1)];
    assert_eq!(left(&figures), BTreeMap::from(expected));
    assert_eq!(figures.events, 2);
}

#[test]
fn every_row_with_an_unclosed_quote_is_a_fault_of_its_own() {
    let rows: String = (0..501).map(|n| format!("{n},i,\"c,pv,1511658000\n")).collect();
    let (_, figures) = opened(format!("{HEADER}{rows}").as_bytes()).unwrap();
    assert_eq!(left(&figures), BTreeMap::from([("unclosed_quote", 501)]));
}

#[test]
fn a_value_may_span_lines() {
    let content = format!("{HEADER}1,\"a\nb\",c,pv,1511658000\n");
    let (read, _) = opened(content.as_bytes()).unwrap();
    let event = read[0].as_ref().unwrap();
    assert_eq!(event.lookup("properties.product_id").unwrap(), "a\nb");
}

#[test]
fn times_out_of_all_bounds_are_faults() {
    for ts in ["-1", "9223372036854775807", "99999999999999", "1e9", "", "15116580000000"] {
        let (read, _) = opened(format!("{HEADER}1,i,c,pv,{ts}\n").as_bytes()).unwrap();
        assert!(read[0].is_err(), "{ts}");
    }
}

#[test]
fn an_order_too_large_for_an_event_loses_names_first_and_is_refused_after() {
    let order = |lines: usize| {
        let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
        let line = |n: usize| format!("1,S{n},{},1,2011-01-10 09:00:00,1.5,5,UK\n", "NAME ".repeat(10));
        let (_folder, path) =
            written("file.csv", format!("{header}{}", (0..lines).map(line).collect::<String>()).as_bytes());
        let mut reader = Format::UciRetail.open(&path, &provenance(), None).unwrap();
        (reader.next().unwrap(), reader.figures().clone())
    };
    let named = |event: &Event| event.body.text().contains("NAME");
    assert!(named(&order(100).0.unwrap()));
    assert!(!named(&order(500).0.unwrap()));
    let (refused, figures) = order(2_000);
    assert_eq!(refused.unwrap_err().code, "event_too_large");
    assert_eq!(left(&figures), BTreeMap::from([("event_too_large", 2_000)]));
}

proptest::proptest! {
    /// Any values written by somebody else's CSV writer come back as they were, in one record each.
    #[test]
    fn what_a_csv_writer_wrote_is_read_as_it_was(rows in proptest::collection::vec(proptest::collection::vec("[a-c,\"\n é]{0,6}", 3), 1..8)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["h1", "h2", "h3"]).unwrap();
        // A line of blanks alone is passed over, so every row begins with a letter.
        let rows: Vec<Vec<String>> = rows.into_iter().map(|mut row| { row[0].insert(0, 'x'); row }).collect();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let (_folder, path) = written("file.csv", &writer.into_inner().unwrap());
        let mut lines = lines::Lines::open(&path, lines::Shape::Csv).unwrap();
        lines.header().unwrap();
        let read: Vec<Vec<String>> = std::iter::from_fn(|| lines.next()).map(|(_, record)| record.unwrap()).collect();
        proptest::prop_assert_eq!(read, rows);
    }

    /// Whatever the bytes, reading ends, and every row is accounted for (`opened` checks).
    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2_000), noise in "[\",\n\r0-9a-z]{0,400}") {
        let _ = opened(&bytes);
        let _ = opened(format!("{HEADER}{noise}").as_bytes());
        let _ = opened(&[HEADER.as_bytes(), &bytes].concat());
    }
}

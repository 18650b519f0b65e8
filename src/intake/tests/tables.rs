//! Tables like no other, read as a mapping says; and people.

use super::bad_files::written;
use super::*;

const SHOP: &str = "\
kunde;wann;was;nr;betrag;menge;geschenk;schlagworte
7;01.07.2026 09:00;kauf;A1;1.234,50 €;2;ja;rot|blau
;01.07.2026 09:01;kauf;A2;5;1;nein;
8;01.07.2026 09:02;test;A3;5;1;nein;
9;01.07.2026 09:03;kauf;A4;viel;1;nein;
9;gestern;kauf;A5;5;1;nein;
9;01.07.2026 09:05;gucken;A6;;;;
9;01.07.2026 09:06;rückgabe;A7;5,00;1;nein;
";

const MAPPING: &str = "
event: { column: was, names: { kauf: Order Completed, gucken: Product Viewed } }
user_id: kunde
timestamp: { column: wann, format: '%d.%m.%Y %H:%M', zone: Europe/Berlin }
message_id: nr
decimal: ','
skip: [ { column: was, is: [ test ] } ]
properties:
  order_id: nr
  revenue: { column: betrag, type: money, currency: EUR }
  product.quantity: { column: menge, type: number }
  gift: { column: geschenk, type: boolean }
  tags: { column: schlagworte, type: list }
  shop: { value: berlin }
";

fn mapped(mapping: &str) -> Options {
    Options { mapping: Some(Mapping::read("shop.yaml", mapping).unwrap()), ..options() }
}

#[test]
fn a_table_becomes_what_its_mapping_says_and_every_cell_that_cannot_be_read_is_named() {
    let (_folder, path) = written("shop.csv", SHOP.as_bytes());
    let mut kept = Kept::default();
    let summary = run(&path, Format::Csv, &mapped(MAPPING), &mut kept).unwrap();
    let told: Vec<String> = kept.events.iter().map(|event| event.body.text().to_owned()).collect();
    let expected = [
        r#"{"type":"track","event":"Order Completed","userId":"7","timestamp":"2026-07-01T07:00:00Z","properties":{"order_id":"A1","revenue":1234.50,"currency":"EUR","product":{"quantity":2},"gift":true,"tags":["rot","blau"],"shop":"berlin"},"messageId":"A1"}"#,
        r#"{"type":"track","event":"Product Viewed","userId":"9","timestamp":"2026-07-01T07:05:00Z","properties":{"order_id":"A6","shop":"berlin"},"messageId":"A6"}"#,
    ];
    assert_eq!(told, expected);
    assert_eq!(kept.events[0].message_id, "A1", "as the live door would know it");
    let faults: Vec<String> = summary.faults.iter().map(ToString::to_string).collect();
    let expected = [
        "line 5: betrag: `viel` is no number such as 1234.50 [not_a_number]",
        "line 6: wann: `gestern` is no time such as the pattern %d.%m.%Y %H:%M [not_a_time]",
        "line 8: was: `rückgabe` is not among the `names` of the mapping [unknown_event]",
    ];
    assert_eq!(faults, expected);
    assert_eq!(left(&summary.figures)["no_customer"], 1);
    assert_eq!(left(&summary.figures)["skipped"], 1);
}

#[test]
fn a_preview_shows_the_first_events_and_every_problem() {
    let (_folder, path) = written("shop.csv", SHOP.as_bytes());
    let shown = preview(&path, Format::Csv, &mapped(MAPPING), 1).unwrap().to_string();
    assert!(shown.starts_with("2026-07-01T07:00:00Z  7  Order Completed  {\"order_id\":\"A1\""), "{shown}");
    assert!(!shown.contains("A6"), "{shown}");
    for words in
        ["line 3: kunde: is empty: nobody's [no_customer]", "line 5: betrag: `viel`", "line 6: wann: `gestern`"]
    {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn every_mistake_in_a_mapping_is_named_with_its_line() {
    let wrong = "evnt: x\nuser_id: kunde\ntimestamp: { column: wann, format: yesterday, zone: Mars/Olympus }\nproperties:\n  a: { column: b, type: colour }\n  b: { column: c, currency: EUR }\n  c: { column: d, type: money, currency: GOLD }\nskip: { column: x }\ntraits: { a: b }\nseparator: ab\n";
    let said = Mapping::read("shop.yaml", wrong).unwrap_err().to_string();
    for words in [
        "shop.yaml:1:1: evnt: unknown field; did you mean `event`?",
        "event: this field is missing",
        "shop.yaml:3:36: timestamp.format: is no pattern such as %d/%m/%Y %H:%M",
        "timestamp.zone: is no time zone such as Europe/London",
        "properties.a.type: `colour` is not one of text, number, money, boolean, list, time",
        "properties.b.currency: belongs to `type: money`",
        "properties.c.currency: is no currency such as EUR",
        "skip: wants one of `is: [...]`, `is_not: [...]` and `empty: true`",
        "traits: belongs to a mapping of `kind: profile`",
        "separator: wanted one character, or `tab`",
    ] {
        assert!(said.contains(words), "{words} in\n{said}");
    }
    let (_folder, path) = written("shop.csv", SHOP.as_bytes());
    let asked = mapped("event: x\nuser_id: customer\ntimestamp: wann\n");
    let error = format!("{:#}", run(&path, Format::Csv, &asked, &mut Kept::default()).unwrap_err());
    assert!(error.contains("has no column `customer`; its columns are kunde, wann, was"), "{error}");
    let error = format!("{:#}", run(&path, Format::Csv, &options(), &mut Kept::default()).unwrap_err());
    assert!(error.contains("--map guess"), "{error}");
}

#[test]
fn a_guess_is_a_mapping_that_reads_the_file() {
    let shops = [
        ("kunde;Order Date;Event Type;Total Price\n", "7;01.07.2026 09:00;purchase;12,50\n", "user_id: kunde"),
        ("visitorid\ttimestamp\tevent\titemid\n", "7\t1430636062541\taddtocart\t12\n", "addtocart: Product Added"),
        ("kunde,when,what,sku\n", "7,2026-07-01T09:00:00Z,purchase,12\n", "purchase: Order Completed"),
        ("Email,First Name,Accepts Marketing,Orders\n", "ann@example.com,Ann,yes,3\n", "  email: Accepts Marketing"),
    ];
    for (head, row, words) in shops {
        let head = head.replace("kunde", "Customer ID");
        let (_folder, path) = written("shop.csv", format!("{head}{row}").as_bytes());
        let text = guess(&path).unwrap();
        let words = words.replace("kunde", "Customer ID");
        assert!(text.contains(&words), "{text}");
        let mut kept = Kept::default();
        let summary = run(&path, Format::Csv, &mapped(&text), &mut kept).unwrap();
        assert_eq!(summary.figures.rows_left(), 0, "{text}\n{:?}", summary.faults);
        assert!(!kept.events.is_empty(), "{text}");
    }
}

#[test]
fn people_become_traits_and_answers_that_start_nothing() {
    let people = "\
        {\"userId\":\"ann\",\"traits\":{\"email\":\"ann@example.com\",\"orders\":3},\"consent\":{\"email\":\"granted\",\"topic:offers\":false}}\n\
        {\"user_id\":7,\"email\":\"bob@example.com\"}\n\
        {\"email\":\"nobody@example.com\"}\n\
        {\"traits\":{\"email\":\"gone@example.com\"},\"consent\":{\"email\":\"denied\"}}\n\
        {\"userId\":\"eve\",\"consent\":{\"pigeon\":true}}\n\
        userId,email\n";
    let (_folder, path) = written("people.jsonl", people.as_bytes());
    let mut kept = Kept::default();
    let first = run(&path, Format::Profiles, &options(), &mut kept).unwrap();
    let told: Vec<String> = kept
        .events
        .iter()
        .map(|event| format!("{} {} {}", event.user_id.as_deref().unwrap(), event.name, event.body.text()))
        .collect();
    let present = provenance().not_after;
    assert!(
        kept.events.iter().all(|event| event.at == present
            && crate::decision::segments::is_backfill(event) == (event.kind == Kind::Identify))
    );
    assert!(
        told[0].starts_with("ann Identified") && told[0].contains(r#""traits":{"email":"ann@example.com","orders":3}"#),
        "{told:?}"
    );
    assert!(told[1].contains(r#""state":"granted","source":"import people.jsonl","channel":"email""#), "{told:?}");
    assert!(told[2].contains(r#""state":"denied","source":"import people.jsonl","topic":"offers""#), "{told:?}");
    assert!(
        told[3].starts_with("7 Identified") && told[3].contains(r#""traits":{"email":"bob@example.com"}"#),
        "{told:?}"
    );
    let without = [("no_customer", 1), ("no_of_nobody", 1), ("not_an_answer", 1), ("not_json", 1)];
    assert_eq!(left(&first.figures), BTreeMap::from(without));
    let told: Vec<String> = first.faults.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|it| it.contains("says no to email") && it.contains("carillon suppress import")),
        "{told:?}"
    );
    // Tomorrow the same file tells nothing new, though the present is another.
    let tomorrow = Provenance { not_after: present.plus_millis(86_400_000), ..provenance() };
    let again = run(&path, Format::Profiles, &Options { provenance: tomorrow, ..options() }, &mut kept).unwrap();
    assert_eq!((again.stored, again.repeated), (0, first.stored));
}

#[test]
fn a_table_of_people_has_answers_in_the_words_of_its_maker() {
    let table = "id,mail,news,sms\nann,ann@example.com,Abonniert,\nbob,bob@example.com,nie,1\neve,eve@example.com,vielleicht,0\n";
    let mapping = "kind: profile\nuser_id: id\ntraits: { email: mail }\nconsent:\n  email: { column: news, granted: [ Abonniert ], denied: [ nie ] }\n  sms: sms\n";
    let (_folder, path) = written("people.csv", table.as_bytes());
    let mut kept = Kept::default();
    let summary = run(&path, Format::Csv, &mapped(mapping), &mut kept).unwrap();
    let answers: Vec<String> = kept
        .events
        .iter()
        .filter(|event| event.kind == Kind::Own)
        .map(|event| {
            let said = |name: &str| event.lookup(name).unwrap().as_str().unwrap().to_owned();
            format!("{} {} {}", event.user_id.as_deref().unwrap(), said("properties.channel"), said("properties.state"))
        })
        .collect();
    assert_eq!(answers, ["ann email granted", "bob email denied", "bob sms granted"]);
    assert_eq!(summary.faults[0].column.as_deref(), Some("news"));
}

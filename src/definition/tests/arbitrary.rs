//! Whatever the text, reading ends with an answer.

use proptest::prelude::*;

use crate::definition::tests::{CART, bad, file, good};
use crate::definition::yaml::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};
use crate::definition::{Known, cross_check, read};

/// Reading gives documents or problems, and what was read can be read again from its own text.
fn reads(text: &str) -> Result<(), TestCaseError> {
    match read(&[file("test.yaml", text)]) {
        Err(problems) => prop_assert!(!problems.is_empty()),
        Ok(documents) => {
            cross_check(&documents, &Known::default());
            for document in documents {
                let again = read(&[file("again.yaml", &document.text)]);
                prop_assert!(again.is_ok(), "{}\n{again:?}", document.text);
                prop_assert_eq!(&again.unwrap()[0].definition, &document.definition);
            }
        }
    }
    Ok(())
}

fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "kind: ", "campaign", "story", "\n", "\n  ", "- ", "---\n", "...\n", "{ ", " }", "[ ", " ]", ", ", ": ", "? ",
        "| ", "> ", "\"", "'", "\\", "#", "&a ", "*a ", "!a ", "<<: ", "%", "\t", "\r\n", "\u{feff}", "é", "😀",
        "40.00", "1e9", "name: ", "key: a", "not: ", "where: ", "event: ", "match: ", "{{", "\u{0}", "\u{85}", "~",
        "null", "-", "?", "@",
    ]);
    prop::collection::vec(scrap, 0..60).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn arbitrary_text_is_answered(text in any::<String>()) {
        reads(&text)?;
    }

    #[test]
    fn scraps_of_yaml_are_answered(text in scraps()) {
        reads(&text)?;
    }

    #[test]
    fn a_mutated_campaign_is_answered(at in 0..CART.len(), cut in 0_usize..40, scrap in scraps()) {
        let end = (at + cut).min(CART.len());
        reads(&format!("{}{scrap}{}", &CART[..at], &CART[end..]))?;
    }

    #[test]
    fn arbitrary_json_is_answered(text in r#"[\[\]{}",:0-9a-e\\u ]{0,80}"#) {
        reads(&text)?;
    }
}

#[test]
fn the_size_of_everything_is_bounded() {
    assert!(bad(&"#".repeat(FILE_BYTES_MAX + 1)).starts_with("limit test.yaml:1:1: the file has"));
    assert_eq!(good(&"#\n".repeat(FILE_BYTES_MAX / 2)), []);
    assert!(bad(&format!("a: [{}]", "1,".repeat(NODES_MAX))).contains("more than 100000 values"));
    let nested = |n: usize| format!("kind: story\nx: {}{}", "[".repeat(n), "]".repeat(n));
    assert!(bad(&nested(DEPTH_MAX + 1)).contains("nested deeper than 64"));
    assert!(bad(&nested(DEPTH_MAX - 2)).contains("wrong") || bad(&nested(DEPTH_MAX - 2)).contains("missing"));
    for opening in ["[", "{", "- ", "? ", "[ ", "a: ", "\"", "'", "|\n", "&a ", "!a ", "%a\n", "---\n", "\t", ":", ","]
    {
        let text = opening.repeat(FILE_BYTES_MAX / opening.len());
        let _answered = read(&[file("test.yaml", &text)]);
    }
}

#[test]
fn a_flood_of_problems_is_cut() {
    let text: String = (0..5_000).map(|n| format!("unknown{n}: 1\n")).collect();
    assert_eq!(bad(&format!("kind: story\nname: x\n{text}")).lines().count(), crate::definition::PROBLEMS_MAX);
}

#[test]
fn names_that_go_on_for_ever_and_their_problems_stay_small() {
    let long = "x".repeat(400_000);
    assert!(bad(&format!("kind: segment\nwhere: {{ {long}: 1 }}")).contains("the name of a field has 400000 bytes"));
    let wrong = (0..900).map(|_| "{ wildcrd: a }").collect::<Vec<_>>().join(", ");
    let fields: String = (0..40).map(|n| format!("{}{n}: [ {wrong} ], ", "x".repeat(500))).collect();
    let told = bad(&CART.replace("key: properties.cart_id", &format!("match: {{ {fields} }}")));
    assert_eq!(told.lines().count(), crate::definition::PROBLEMS_MAX);
    assert!(told.len() < 1_500_000, "{}", told.len());
    let deep: String = (0..40).map(|n| format!("{}{n}: {{ ", "y".repeat(400))).collect();
    let twice = "a: 1, a: 1, ".repeat(20_000);
    let told = bad(&format!("kind: story\nprofiles: {{ {deep} {twice} {}", "} ".repeat(41)));
    assert!(told.lines().count() <= crate::definition::PROBLEMS_MAX && told.contains('…'), "{}", told.len());
}

//! Where people are, by what is known of them.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::ids::{ProfileId, Timestamp};

fn known(traits: Value, last_zone: Option<&str>) -> Profile {
    let mut profile = Profile::new(ProfileId(1), Timestamp::default());
    profile.traits = traits.as_object().unwrap().clone();
    profile.last_zone = last_zone.map(str::to_owned);
    profile
}

fn there(traits: Value, last_zone: Option<&str>) -> Whereabouts {
    Whereabouts::of(&known(traits, last_zone), &zone("Europe/Vienna").unwrap())
}

fn names(there: &Whereabouts) -> Vec<&str> {
    there.zones.iter().map(|zone| zone.iana_name().unwrap()).collect()
}

#[test]
fn the_first_that_leaves_one_zone_is_believed() {
    let everything = json!({ "timezone": "Asia/Tokyo", "phone": "+33612345678",
        "address": { "country": "US", "state": "NY" } });
    let lacking = |fields: &[&str], last: Option<&str>| {
        let mut traits = everything.clone();
        fields.iter().for_each(|field| drop(traits.as_object_mut().unwrap().remove(*field)));
        let there = there(traits, last);
        (names(&there).join(" "), there.source)
    };
    let believed = |zone: &str, source| (zone.to_owned(), source);
    assert_eq!(lacking(&[], Some("Asia/Dubai")), believed("Asia/Tokyo", Source::Trait));
    assert_eq!(lacking(&["timezone"], Some("Asia/Dubai")), believed("Europe/Paris", Source::Phone));
    assert_eq!(lacking(&["timezone", "phone"], Some("Asia/Dubai")), believed("America/New_York", Source::Country));
    let nothing = ["timezone", "phone", "address"];
    assert_eq!(lacking(&nothing, Some("Asia/Dubai")), believed("Asia/Dubai", Source::LastEvent));
    assert_eq!(lacking(&nothing, None), believed("Europe/Vienna", Source::Workspace));
}

#[test]
fn what_names_no_zone_tells_nothing() {
    let traits = json!({ "timezone": "Mars/Olympus", "phone": "0612345678", "country": "Atlantis", "state": 7 });
    let there = there(traits, Some("Nowhere/Land"));
    assert_eq!((names(&there), there.source), (vec!["Europe/Vienna"], Source::Workspace));
    assert!(there.countries.is_empty(), "of whom nothing is known, they may be anywhere");
}

#[test]
fn of_several_zones_the_better_known_one_is_taken_and_else_all_are_possible() {
    // An Australian mobile may be anywhere in Australia; the postal country says no more, the device does.
    let traits = json!({ "phone": "+61 412 345-678", "country": "au" });
    let guessed = there(traits.clone(), None);
    assert_eq!(guessed.source, Source::Phone);
    assert!(guessed.zones.len() > 1 && guessed.to_string().starts_with("any of "), "{guessed}");
    let seen = there(traits, Some("Australia/Perth"));
    assert_eq!((names(&seen), seen.source), (vec!["Australia/Perth"], Source::LastEvent));
    assert_eq!(seen.to_string(), "Australia/Perth, by the last event");
    let split = there(json!({ "address": { "country": "US", "state": "FL" } }), None);
    assert_eq!(names(&split), ["America/Chicago", "America/New_York"]);
    assert_eq!(there(json!({ "country": "US" }), None).zones.len(), COUNTRIES["US"].len());
}

#[test]
fn countries_follow_from_the_post_else_the_telephone_else_the_zone() {
    let countries = |traits, last| there(traits, last).countries.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(countries(json!({ "country": "uk", "phone": "+33612345678" }), None), "GB");
    assert_eq!(countries(json!({ "phone": "+12125550123" }), None), "US");
    assert_eq!(countries(json!({ "whatsapp": "+14165550123" }), None), "CA");
    assert_eq!(countries(json!({ "timezone": "Asia/Tokyo" }), None), "JP");
    assert_eq!(countries(json!({}), Some("Europe/Kyiv")), "UA");
}

#[test]
fn a_rule_for_a_place_is_about_whoever_may_be_there() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let us = set(&["US"]);
    let florida = set(&["US-FL"]);
    let nowhere = set(&[]);
    let may = |traits, countries: &BTreeSet<String>, regions: &BTreeSet<String>| {
        there(traits, None).may_be_in(countries, regions)
    };
    assert!(may(json!({ "country": "DE" }), &nowhere, &nowhere), "without a place it is about everybody");
    assert!(may(json!({ "country": "US" }), &us, &nowhere) && !may(json!({ "country": "DE" }), &us, &nowhere));
    assert!(may(json!({ "country": "US", "state": "fl" }), &nowhere, &florida));
    assert!(!may(json!({ "country": "US", "state": "NY" }), &nowhere, &florida));
    assert!(may(json!({ "country": "US" }), &nowhere, &florida), "the region is not known");
    assert!(!may(json!({ "country": "DE" }), &nowhere, &florida));
    assert!(may(json!({}), &us, &nowhere), "nothing is known");
    assert!(may(json!({ "country": "DE" }), &set(&["DE"]), &florida), "either place will do");
}

#[test]
fn every_zone_of_the_tables_exists() {
    for (key, zones) in COUNTRIES.iter().chain(REGIONS.iter()).chain(PHONES.iter()) {
        assert!(!zones.is_empty() && zones.iter().all(|name| zone(name).is_some()), "{key}: {zones:?}");
    }
    assert!(
        REGIONS
            .keys()
            .all(|region| region_code(region).as_deref() == Some(*region) && COUNTRIES.contains_key(&region[..2]))
    );
    assert_eq!((COUNTRIES.len() > 240, PHONES.len() > 3_000), (true, true));
}

#[test]
fn real_data_example_numbers_have_the_zones_of_the_table_they_come_from_and_mobiles_those_of_their_country() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let read = |name: &str| std::fs::read_to_string(format!("{root}/F_phone_time_address/{name}"));
    let (Ok(map), Ok(examples)) =
        (read("libphonenumber_timezones_map_data.txt"), read("libphonenumber_example_numbers.json"))
    else {
        eprintln!("not run: {root}/F_phone_time_address is absent");
        return;
    };
    let rows: BTreeMap<&str, Vec<&str>> = map
        .lines()
        .filter_map(|line| line.trim().split_once('|'))
        .map(|(digits, zones)| (digits, zones.split('&').collect()))
        .collect();
    let examples: Value = serde_json::from_str(&examples).unwrap();
    let (mut same, mut wider, mut unknown) = (0, 0, 0);
    for case in examples["cases"].as_array().unwrap() {
        let number = case["e164_if_no_leading_rules"].as_str().unwrap();
        // Its shortest prefix first, and each longer one that is there instead.
        let theirs = (1..number.len()).filter_map(|end| rows.get(&number[1..=end])).next_back();
        let ours = zones_of_phone(number);
        match (theirs, ours) {
            (None, None) => unknown += 1,
            (theirs, ours) => {
                let (theirs, ours) = (clocks(theirs.unwrap()), clocks(&ours.unwrap()));
                // A mobile number may be anywhere in its country, and the table says where most are.
                let is_wider = theirs != ours && case["type"] == "mobile" && theirs.is_subset(&ours);
                assert!(theirs == ours || is_wider, "{number}: {theirs:?} and {ours:?}");
                (same, wider) = (same + usize::from(!is_wider), wider + usize::from(is_wider));
            }
        }
    }
    assert_eq!((same + wider, unknown), (735, 9));
    assert!((1..20).contains(&wider), "{wider}");
}

/// Names differ by age; what clocks there show does not.
fn clocks(names: &[&str]) -> BTreeSet<Vec<i32>> {
    let instants = ["2026-01-15T12:00Z", "2026-07-15T12:00Z"].map(|at| at.parse::<jiff::Timestamp>().unwrap());
    let offsets = |name: &&str| instants.map(|at| zone(name).unwrap().to_offset(at).seconds()).to_vec();
    names.iter().map(offsets).collect()
}

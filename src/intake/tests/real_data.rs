//! The same on real files, against a count made without us (`real_data` is the name by which these are told apart). The
//! files are others' and lie beside the project; where they are absent these tests say that they did not run.

use std::io::Write;
use std::process::Command;

use super::*;
use crate::audience::Carts;
use crate::audience::cart::{CART_EVENTS, STEPS_MAX, View};
use crate::decision::{At, Catalog, Input, Loaded, Person, Snapshot, decide};
use crate::ids::{Position, ProfileId, Span};

/// The file, or nothing after saying so.
fn real(test: &str, file: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("CARILLON_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let path = root.join(folder).join(file);
    if path.exists() {
        return Some(path);
    }
    // Past the harness, which shows nothing of tests that pass.
    writeln!(std::io::stderr(), "NOT RUN (no CARILLON_TEST_DATA): {test}").unwrap();
    None
}

fn oracle(script: &str, path: &Path) -> serde_json::Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(script);
    let output = Command::new("python3").arg(script).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_uci_invoices_add_up_to_the_last_digit() {
    let file = "A_purchases/uci_online_retail_2010-12_to_2011-08.csv.gz";
    let Some(path) = real("the_uci_invoices_add_up_to_the_last_digit", file) else { return };
    let expected = oracle("uci_retail.py", &path);
    let mut kept = Kept::default();
    let summary = run(&path, Format::UciRetail, &options(), &mut kept).unwrap();
    let figures = &summary.figures;
    assert_eq!(figures.rows, 320_705);
    assert_eq!(figures.rows, figures.rows_in_events + figures.rows_left());
    assert_eq!(figures.rows_without_event.get("no_customer"), Some(&88_652));
    assert_eq!(expected["no_customer"], 88_652);
    assert_eq!(figures.rows_without_event.get("adjustment").copied().unwrap_or(0), expected["adjustment"]);
    assert_eq!(figures.rows_without_event.len(), 1, "no row is refused");
    for (sum, exact) in [
        (Sum::PositiveRows, "6304826.062"),
        (Sum::NegativeRows, "-542894.68"),
        (Sum::Cancellations, "-520770.56"),
        (Sum::Adjustments, "-22124.12"),
        (Sum::Net, "5761931.382"),
        (Sum::KnownCustomers, "4919107.732"),
        (Sum::NoCustomer, "842823.65"),
    ] {
        let counted = figures.money[&(sum, crate::money::Currency::GBP)];
        let name = sum.as_str();
        assert_eq!(counted.total.to_string(), exact, "{name}");
        assert_eq!(expected["sums"][name], serde_json::json!([counted.rows, exact]), "{name}");
    }
    check_events(&kept, &expected);
    assert_eq!(expected["people"], summary.people);
    assert!(kept.batches.iter().all(|length| *length <= BATCH_EVENTS_MAX));
}

/// Every order, refund, customer, amount and time, against the oracle's own timeline.
fn check_events(kept: &Kept, expected: &serde_json::Value) {
    assert!(kept.events.is_sorted_by_key(|event| event.at));
    let mut net = crate::money::Total::default();
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut lines = Vec::new();
    for event in &kept.events {
        let refund = event.name == "Order Refunded";
        let id = event.lookup(if refund { "properties.refund_id" } else { "properties.order_id" });
        let revenue = event.lookup("properties.revenue").unwrap().to_string();
        let amount = crate::money::parse(&revenue).unwrap();
        net.add(if refund { -amount } else { amount });
        *counts.entry(&event.name).or_default() += 1;
        let crate::event::Origin::Import { row, .. } = &event.origin else { panic!("not an import") };
        let (user, products) = (event.user_id.as_deref().unwrap(), event.lookup("properties.products").unwrap());
        let (id, products) = (id.unwrap().as_str().unwrap(), products.as_array().unwrap().len());
        lines.push(format!("{row} {} {id} {user} {revenue} {products}", event.at));
    }
    assert_eq!(net.to_string(), "4919107.732", "the events alone tell the same");
    assert_eq!(expected["completed"], counts["Order Completed"]);
    assert_eq!(expected["refunded"], counts["Order Refunded"]);
    use sha2::Digest;
    let digest: String = sha2::Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(expected["timeline"], digest);
}

fn clicks_agree(test: &str, file: &str, format: Format) {
    agrees("clicks.py", test, file, format);
}

/// The events, where there is such a file.
fn agrees(script: &str, test: &str, file: &str, format: Format) -> Option<(serde_json::Value, Vec<Event>)> {
    let path = real(test, file)?;
    let expected = oracle(script, &path);
    let mut kept = Kept::default();
    let summary = run(&path, format, &options(), &mut kept).unwrap();
    assert_eq!(expected["rows"], summary.figures.rows);
    assert_eq!(summary.figures.rows_in_events, summary.figures.rows);
    assert_eq!(expected["people"], summary.people);
    let mut counts = BTreeMap::<&str, u64>::new();
    kept.events.iter().for_each(|event| *counts.entry(&event.name).or_default() += 1);
    assert_eq!(expected["events"], serde_json::json!(counts));
    assert!(kept.events.is_sorted_by_key(|event| event.at));
    assert_eq!(expected["first"], kept.events[0].at.millis());
    assert_eq!(expected["last"], kept.events.last().unwrap().at.millis());
    Some((expected, kept.events))
}

#[test]
fn the_yoochoose_clicks_agree_with_the_oracle() {
    let test = "the_yoochoose_clicks_agree_with_the_oracle";
    let file = "A_behaviour/yoochoose_clicks_100k_train_full.tsv.gz";
    let Some((_, events)) = agrees("shops.py", test, file, Format::Yoochoose) else { return };
    assert!(events.iter().all(|event| event.user_id.is_none() && event.anonymous_id.is_some()));
}

#[test]
fn the_rees46_acts_agree_with_the_oracle_and_their_revenue_to_the_last_digit() {
    let test = "the_rees46_acts_agree_with_the_oracle_and_their_revenue_to_the_last_digit";
    let file = "A_behaviour/rees46_2019-Oct_sample.csv.gz";
    let Some((expected, events)) = agrees("shops.py", test, file, Format::Rees46) else { return };
    let revenue = events.iter().filter_map(|event| event.lookup("properties.revenue"));
    let revenue: crate::money::Total = revenue.map(|it| crate::money::parse(&it.to_string()).unwrap()).collect();
    assert_eq!(expected["revenue"], revenue.to_string());
}

/// A table that no format of ours is for, with times to the hour; the counts are awk's.
#[test]
fn tianchi_s_table_is_read_by_a_mapping() {
    let test = "tianchi_s_table_is_read_by_a_mapping";
    let Some(path) = real(test, "A_behaviour/tianchi_mobile_sample.csv.gz") else { return };
    let mapping = "
        event:
          column: behavior_type
          names: { '1': Product Viewed, '2': Product Added to Wishlist, '3': Product Added, '4': Order Completed }
        user_id: user_id
        timestamp: { column: time, format: '%Y-%m-%d %H', zone: Asia/Shanghai }
        properties: { product_id: item_id, category: item_category }";
    let asked = Options { mapping: Some(Mapping::read("--map", mapping).unwrap()), ..options() };
    let mut kept = Kept::default();
    let summary = run(&path, Format::Csv, &asked, &mut kept).unwrap();
    assert_eq!((summary.figures.rows, summary.figures.rows_left(), summary.people), (1_999, 0, 34));
    let mut counts = BTreeMap::<&str, u64>::new();
    kept.events.iter().for_each(|event| *counts.entry(&event.name).or_default() += 1);
    let expected =
        [("Product Viewed", 1_876), ("Product Added to Wishlist", 18), ("Product Added", 70), ("Order Completed", 35)];
    assert_eq!(counts, BTreeMap::from(expected));
    // 2014-11-18 10 and 2014-12-18 23 in Shanghai, eight hours before UTC.
    assert_eq!(kept.events[0].at.to_string(), "2014-11-18T02:00:00Z");
    assert_eq!(kept.events.last().unwrap().at.to_string(), "2014-12-18T15:00:00Z");
    let guessed = Options { mapping: Some(Mapping::read("guess", &guess(&path).unwrap()).unwrap()), ..options() };
    assert_eq!(run(&path, Format::Csv, &guessed, &mut Kept::default()).unwrap().figures.events, 1_999);
}

#[test]
fn the_taobao_histories_agree_with_the_oracle() {
    let test = "the_taobao_histories_agree_with_the_oracle";
    clicks_agree(test, "A_behaviour/taobao_userbehavior_full_histories.csv.gz", Format::Taobao);
}

#[test]
fn the_taobao_slice_agrees_with_the_oracle() {
    let test = "the_taobao_slice_agrees_with_the_oracle";
    clicks_agree(test, "A_behaviour/taobao_userbehavior_two_hour_slice.csv.gz", Format::Taobao);
}

#[test]
fn the_retailrocket_visits_agree_with_the_oracle() {
    let test = "the_retailrocket_visits_agree_with_the_oracle";
    clicks_agree(test, "A_behaviour/retailrocket_sample.csv.gz", Format::RetailRocket);
}

/// Everybody's carts by what happened to them, arriving in this order.
fn carts<'e>(events: impl Iterator<Item = (usize, &'e Event)>) -> BTreeMap<String, Carts> {
    let (nothing, loaded) = (Catalog::default(), Loaded::default());
    let mut people = BTreeMap::<String, Person>::new();
    for (n, event) in events {
        let user = event.user_id.clone().unwrap();
        let person = people.entry(user).or_insert_with(|| Person::new(ProfileId(1), event.at));
        let snapshot = Snapshot { catalog: &nothing, person, loaded: &loaded, settle: Span::ZERO };
        let at = At { position: Position(n as i64), now: event.at };
        let decision = decide(at, &snapshot, &Input::Event(std::sync::Arc::new(event.clone())));
        decision.effects.iter().for_each(|effect| person.apply(effect));
    }
    people.into_iter().map(|(user, person)| (user, person.profile.carts.unwrap())).collect()
}

/// A cart in a line; none of somebody who never did anything to one.
fn line((user, carts): (&String, &Carts)) -> Option<String> {
    let cart = carts.view(None);
    let lines = cart.lines.iter().map(|line| format!("{}x{}", line.goods.product.as_ref().unwrap(), line.quantity));
    Some(format!("{user} {} {}", cart.changed_at?.millis(), lines.collect::<Vec<_>>().join(",")))
}

fn carts_agree(test: &str, file: &str, format: Format) {
    let Some(path) = real(test, file) else { return };
    let expected = oracle("carts.py", &path);
    let mut kept = Kept::default();
    run(&path, format, &options(), &mut kept).unwrap();
    let in_order = carts(kept.events.iter().enumerate());
    let full: Vec<View> = in_order.values().map(|carts| carts.view(None)).filter(|cart| !cart.is_empty()).collect();
    let items: rust_decimal::Decimal = full.iter().map(View::items).sum();
    assert_eq!((&expected["full"], expected["items"].to_string()), (&full.len().into(), items.to_string()));
    let mut lines: Vec<String> = in_order.iter().filter_map(line).collect();
    lines.sort_unstable();
    assert_eq!(expected["people"], lines.len());
    use sha2::Digest;
    let digest: String = sha2::Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(expected["digest"], digest);
    // The last comes first: of all whose steps are kept one by one nothing else comes.
    let mut steps = BTreeMap::<&str, usize>::new();
    let about = kept.events.iter().filter(|event| CART_EVENTS.contains(&event.name.as_str()));
    about.for_each(|event| *steps.entry(event.user_id.as_deref().unwrap()).or_default() += 1);
    let backwards = carts(kept.events.iter().enumerate().rev());
    for (user, carts) in backwards.iter().filter(|(user, _)| steps.get(user.as_str()).is_some_and(|n| *n <= STEPS_MAX))
    {
        assert_eq!(carts.view(None), in_order[user].view(None), "{user}");
    }
}

#[test]
fn what_is_left_in_retailrocket_s_carts_agrees_with_the_oracle() {
    let test = "what_is_left_in_retailrocket_s_carts_agrees_with_the_oracle";
    carts_agree(test, "A_behaviour/retailrocket_sample.csv.gz", Format::RetailRocket);
}

#[test]
fn what_is_left_in_taobao_s_carts_agrees_with_the_oracle() {
    let test = "what_is_left_in_taobao_s_carts_agrees_with_the_oracle";
    carts_agree(test, "A_behaviour/taobao_userbehavior_full_histories.csv.gz", Format::Taobao);
    carts_agree(test, "A_behaviour/taobao_userbehavior_two_hour_slice.csv.gz", Format::Taobao);
}

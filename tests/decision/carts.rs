//! Carts: beside a plain loop over everything that happened, whatever came late and whoever turned out to be one person;
//! and what campaigns make of them.

use carillon::audience::Carts;
use carillon::audience::cart::{CARTS_MAX, LINES_MAX, STEPS_MAX, View};
use carillon::decision::{At, Input, Other, Snapshot, decide_joined};
use carillon::ids::{Position, ProfileId, Span};
use carillon::money::Exchange;
use serde_json::{Value, json};

use crate::oracle::time::Dice;
use crate::support::{Life, at, event, verdicts};

/// Something that happened, as the oracle reads it.
#[derive(Debug, Clone)]
struct Deed {
    at: i64,
    position: i64,
    name: &'static str,
    properties: Value,
}

/// Product, variant, how many, price in cents.
type Row = (String, Option<String>, i64, Option<i64>);

/// One cart by the definitions: id, lines, when it was changed last.
#[derive(Debug, Clone, PartialEq, Default)]
struct Counted {
    id: Option<String>,
    rows: Vec<Row>,
    changed: Option<i64>,
}

fn row(object: &Value) -> Row {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let cents = |value: &Value| {
        let text = value.to_string();
        let (whole, rest) = text.split_once('.').unwrap_or((&text, "00"));
        whole.parse::<i64>().unwrap() * 100 + format!("{rest:0<2}").parse::<i64>().unwrap()
    };
    let quantity = object.get("quantity").and_then(Value::as_i64).unwrap_or(1);
    (text("product_id").unwrap(), text("variant"), quantity, object.get("price").filter(|it| it.is_number()).map(cents))
}

fn put(rows: &mut Vec<Row>, (product, variant, quantity, price): Row) {
    if quantity <= 0 {
        return;
    }
    for known in rows.iter_mut() {
        if known.0 == product && known.1 == variant {
            known.2 += quantity;
            known.3 = price.or(known.3);
            return;
        }
    }
    rows.push((product, variant, quantity, price));
}

fn take(rows: &mut Vec<Row>, (product, variant, quantity, _): Row) {
    if quantity <= 0 {
        return;
    }
    let exact = rows.iter().position(|known| known.0 == product && known.1 == variant);
    // Where only one side names a variant, it may be meant; the newest is.
    let maybe = |known: &Row| known.0 == product && (known.1.is_none() || variant.is_none());
    if let Some(n) = exact.or_else(|| rows.iter().rposition(maybe)) {
        rows[n].2 -= quantity;
        if rows[n].2 <= 0 {
            rows.remove(n);
        }
    }
}

/// All carts, the one changed last at the end, and when all were emptied.
fn counted(deeds: &[Deed]) -> (Vec<Counted>, Option<i64>) {
    let mut sorted: Vec<&Deed> = deeds.iter().collect();
    sorted.sort_by_key(|deed| (deed.at, deed.position));
    let (mut carts, mut emptied) = (Vec::<Counted>::new(), None);
    for deed in sorted {
        let id = deed.properties.get("cart_id").and_then(Value::as_str).map(str::to_owned);
        let list = deed.properties.get("products").and_then(Value::as_array);
        if deed.name == "Order Completed" && id.is_none() {
            carts.clear();
            emptied = Some(deed.at);
            continue;
        }
        let applies = match deed.name {
            "Order Completed" => true,
            "Cart Viewed" | "Checkout Started" => list.is_some(),
            "Product Added" | "Product Removed" => row(&deed.properties).2 > 0,
            _ => false,
        };
        if !applies {
            continue;
        }
        let mut cart = match carts.iter().position(|cart| cart.id == id) {
            Some(n) => carts.remove(n),
            None => Counted { id, ..Counted::default() },
        };
        cart.changed = Some(deed.at);
        match deed.name {
            "Product Added" => put(&mut cart.rows, row(&deed.properties)),
            "Product Removed" => take(&mut cart.rows, row(&deed.properties)),
            _ => {
                cart.rows.clear();
                list.into_iter().flatten().for_each(|one| put(&mut cart.rows, row(one)));
            }
        }
        carts.push(cart);
    }
    (carts, emptied)
}

fn any_product(dice: &mut Dice) -> Value {
    let mut product = json!({ "product_id": dice.of(&["p1", "p2", "p3"]) });
    if dice.one_in(3) {
        product["variant"] = json!(dice.of(&["red", "blue"]));
    }
    match dice.below(4) {
        0 => {}
        1 => product["quantity"] = json!(dice.between(-1, 4)),
        _ => product["quantity"] = json!(dice.between(1, 3)),
    }
    match dice.below(5) {
        0 => {}
        1 => product["price"] = json!("12.50"),
        _ => product["price"] = format!("{}.{:02}", dice.between(0, 40), dice.between(0, 99)).parse().unwrap(),
    }
    product
}

fn any_deed(dice: &mut Dice) -> Deed {
    let name = dice.of(&[
        "Product Added",
        "Product Added",
        "Product Added",
        "Product Added",
        "Product Removed",
        "Product Removed",
        "Cart Viewed",
        "Checkout Started",
        "Order Completed",
        "Product Viewed",
    ]);
    let mut properties = any_product(dice);
    if let Some(cart) = dice.of(&[None, Some("c1"), Some("c2")]) {
        properties["cart_id"] = json!(cart);
    }
    if matches!(name, "Cart Viewed" | "Checkout Started") && !dice.one_in(4) {
        properties["products"] = (0..dice.below(4)).map(|_| any_product(dice)).collect();
    }
    Deed { at: dice.between(0, 60), position: 0, name, properties }
}

fn agrees(view: &View, counted: &Counted) -> Result<(), String> {
    let items: i64 = counted.rows.iter().map(|row| row.2).sum();
    let priced: Vec<i64> = counted.rows.iter().filter_map(|row| Some(row.3? * row.2)).collect();
    let value = (counted.rows.is_empty() || !priced.is_empty()).then(|| priced.iter().sum::<i64>());
    let found = view.value(None, &Exchange::default()).map(|value| value.unwrap());
    let cents = |value: i64| format!("{}.{:02}", value / 100, value % 100).parse::<rust_decimal::Decimal>().unwrap();
    let same = view.items() == items.into()
        && found == value.map(cents)
        && view.changed_at == counted.changed.map(at)
        && view.lines.len() == counted.rows.len()
        && view.lines.iter().zip(&counted.rows).all(|(line, row)| {
            (line.goods.product.as_deref(), line.goods.variant.as_deref()) == (Some(row.0.as_str()), row.1.as_deref())
                && line.quantity == row.2.into()
        });
    if same { Ok(()) } else { Err(format!("{view:?}\n{counted:?}")) }
}

fn agree(carts: &Carts, deeds: &[Deed]) -> Result<(), String> {
    let (counted, emptied) = counted(deeds);
    for id in [Some("c1"), Some("c2"), Some("c9")] {
        let nothing = Counted { changed: emptied, ..Counted::default() };
        let one = counted.iter().find(|cart| cart.id.as_deref() == id).cloned().unwrap_or(nothing);
        agrees(&carts.view(id), &one)?;
    }
    agrees(&carts.view(None), &counted.last().cloned().unwrap_or(Counted { changed: emptied, ..Counted::default() }))
}

/// What happens, in the order in which it arrives.
fn happen(life: &mut Life, deeds: &mut Vec<Deed>, deed: Deed) {
    life.late(deed.at, 100, deed.name, &deed.properties.to_string());
    deeds.push(Deed { position: life.position, ..deed });
}

#[test]
fn carts_are_what_a_loop_over_everything_that_happened_says() {
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let (mut life, mut guest) = (Life::with("delay: 1h"), Life::with("delay: 1h"));
        guest.person.profile.id = ProfileId(2);
        // Somebody whose entries stand before or behind in the log.
        guest.position = if seed % 2 == 0 { 1_000 } else { 0 };
        life.position = if seed % 2 == 0 { 0 } else { 1_000 };
        let (mut deeds, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..dice.below(20) {
            let deed = any_deed(&mut dice);
            if dice.one_in(3) {
                happen(&mut guest, &mut theirs, deed);
            } else {
                happen(&mut life, &mut deeds, deed);
                let carts = life.person.profile.carts.as_ref().unwrap();
                agree(carts, &deeds).unwrap_or_else(|told| panic!("seed {seed}: {told}\n{deeds:#?}"));
            }
        }
        deeds.extend(theirs);
        join(&mut life, &guest);
        life.position = 3_000;
        for _ in 0..dice.below(6) {
            let deed = any_deed(&mut dice);
            happen(&mut life, &mut deeds, deed);
        }
        let carts = life.person.profile.carts.as_ref().unwrap();
        agree(carts, &deeds).unwrap_or_else(|told| panic!("seed {seed}, joined: {told}\n{deeds:#?}"));
        let kept: Carts = serde_json::from_value(serde_json::to_value(carts).unwrap()).unwrap();
        assert_eq!(kept, *carts, "seed {seed}: as it is stored");
        // Somebody of whom nobody had kept count.
        life.loaded = life.loaded.united(&guest.loaded);
        life.person.profile.carts = None;
        life.decide(at(200), &Input::Timer);
        let told = life.person.profile.carts.as_ref().unwrap();
        agree(told, &deeds).unwrap_or_else(|told| panic!("seed {seed}, told by the past: {told}\n{deeds:#?}"));
    }
}

fn join(life: &mut Life, guest: &Life) {
    let login = Input::Event(event("Identified", at(100), at(100), "{}").into());
    let snapshot =
        Snapshot { catalog: &life.catalog, person: &life.person, loaded: &life.loaded, settle: Span::from_seconds(2) };
    let other = Other { person: &guest.person, loaded: &guest.loaded };
    let decision = decide_joined(At { position: Position(2_000), now: at(100) }, &snapshot, other, &login);
    decision.effects.iter().for_each(|effect| life.person.apply(effect));
}

fn last(life: &Life) -> View {
    life.person.profile.carts.as_ref().unwrap().view(None)
}

#[test]
fn an_eleventh_cart_takes_the_place_of_the_one_changed_longest_ago() {
    let mut life = Life::with("delay: 1h");
    for n in 0..=CARTS_MAX as i64 {
        life.track(n, "Product Added", &format!(r#"{{"cart_id":"c{n}","product_id":"p"}}"#));
    }
    let carts = life.person.profile.carts.as_ref().unwrap();
    assert_eq!(carts.views().len(), CARTS_MAX);
    assert!(carts.view(Some("c0")).is_empty() && !carts.view(Some("c1")).is_empty());
}

#[test]
fn the_oldest_of_too_many_lines_goes_and_steps_that_are_too_many_are_kept_together() {
    let mut life = Life::with("delay: 1h");
    for n in 0..=LINES_MAX as i64 {
        life.track(10 + n, "Product Added", &format!(r#"{{"product_id":"p{n}","price":1.10,"quantity":2}}"#));
    }
    let cart = last(&life);
    assert_eq!((cart.lines.len(), cart.items()), (LINES_MAX, 200.into()));
    assert_eq!(cart.lines[0].goods.product.as_deref(), Some("p1"));
    assert_eq!(cart.value(None, &Exchange::default()), Some(Ok("220".parse().unwrap())));
    // Before the newest steps nothing comes in between any more; among them it does.
    life.late(10, 500, "Product Removed", r#"{"product_id":"p5"}"#);
    assert_eq!(last(&life).items(), 200.into());
    let newest = 10 + LINES_MAX as i64 - STEPS_MAX as i64 + 10;
    life.late(newest, 500, "Product Removed", r#"{"product_id":"p5"}"#);
    assert_eq!(last(&life).items(), 199.into());
}

#[test]
fn ids_are_text_or_numbers_and_amounts_are_numbers() {
    let mut life = Life::with("delay: 1h");
    life.track(0, "Product Added", r#"{"product_id":7,"price":"19.90","quantity":"3"}"#);
    life.track(1, "Product Added", r#"{"product_id":"7","price":0.1,"currency":"USD"}"#);
    life.track(2, "Product Added", r#"{"product_id":"7","price":0.2,"currency":"USD","name":"Kettle"}"#);
    let cart = last(&life);
    assert_eq!((cart.lines.len(), cart.items()), (1, 3.into()), "text is no quantity, so it counts as missing");
    let shown = cart.shown(&Exchange::default());
    assert_eq!((shown["value"].to_string(), &shown["currency"]), ("0.6".to_owned(), &json!("USD")));
    assert_eq!(shown["lines"][0]["name"], "Kettle");
    life.track(3, "Product Added", r#"{"price":5,"currency":"dollars"}"#);
    assert_eq!(last(&life).items(), 4.into(), "a thing without an id is a thing");
    assert!(last(&life).value(None, &Exchange::default()).unwrap().is_err(), "what no currency is has no rate");
}

#[test]
fn what_empties_the_cart_of_an_enrollment_ends_it_at_once() {
    let fields = "entry: { event: Product Added, key: properties.cart_id }\ndelay: 1h\nexit: [ { cart: empty } ]";
    for (name, properties) in [
        ("Product Removed", r#"{"cart_id":"c1","product_id":"p"}"#),
        ("Order Completed", r#"{"cart_id":"c1"}"#),
        ("Order Completed", "{}"),
        ("Cart Viewed", r#"{"cart_id":"c1","products":[]}"#),
    ] {
        let mut life = Life::with(fields);
        life.track(0, "Product Added", r#"{"cart_id":"c1","product_id":"p","price":20}"#);
        life.track(1, "Product Viewed", "{}");
        assert!(life.only().is_active(), "it is full");
        life.track(60, name, properties);
        assert_eq!(life.exited(), (at(60), "{ cart: empty }".to_owned()), "{name}");
    }
}

#[test]
fn each_enrollment_looks_at_the_cart_it_began_with() {
    let fields = "entry: { event: Product Added, key: properties.cart_id }\ndelay: 1h\nexit: [ { cart: empty } ]";
    let mut life = Life::with(fields);
    life.track(0, "Product Added", r#"{"cart_id":"c1","product_id":"p"}"#);
    life.track(10, "Product Added", r#"{"cart_id":"c2","product_id":"p"}"#);
    life.track(20, "Order Completed", r#"{"cart_id":"c2"}"#);
    let active: Vec<&str> = life.person.active().map(|one| one.key.as_str()).collect();
    assert_eq!(active, ["c1"], "c2 was changed last, and is empty");
    // Bought on the phone before it was put into the other cart; told late.
    life.track(30, "Product Added", r#"{"cart_id":"c3","product_id":"p"}"#);
    life.late(25, 40, "Order Completed", "{}");
    let active: Vec<&str> = life.person.active().map(|one| one.key.as_str()).collect();
    assert_eq!(active, ["c3"]);
}

#[test]
fn a_cart_is_asked_for_its_worth_by_the_rates_of_its_day() {
    let fields = "delay: 1h\nentry: { event: Checkout Started, where: { cart: { value: { gte: EUR 45, lt: EUR 100 }, \
                  items: { gte: 2 }, changed_at: { in_last: 1h }, currency: [ USD, EUR ] } } }";
    let mut life = Life::with(fields);
    let mut rates = carillon::money::Rates::of("EUR".parse().unwrap());
    rates.add("USD".parse().unwrap(), at(-1_000), "0.9".parse().unwrap());
    rates.add("USD".parse().unwrap(), at(100), "0.1".parse().unwrap());
    std::sync::Arc::make_mut(&mut life.catalog.terms).exchange.rates = rates;
    life.track(0, "Product Added", r#"{"product_id":"p","price":30,"currency":"USD"}"#);
    assert_eq!(verdicts(&life.track(1, "Checkout Started", "{}")), ["condition_not_met"], "one item");
    life.track(2, "Product Added", r#"{"product_id":"q","price":18,"currency":"EUR"}"#);
    // USD 30 and EUR 18 are EUR 45, by the rates of the day on which they were put in.
    assert_eq!(verdicts(&life.track(200, "Checkout Started", "{}")), ["entered"]);
    let mut life = Life::with(fields);
    life.track(0, "Product Added", r#"{"product_id":"p","price":60,"quantity":2,"currency":"USD"}"#);
    assert_eq!(verdicts(&life.track(200, "Checkout Started", "{}")), ["currency_unknown"]);
    let mut life = Life::with(fields);
    life.track(0, "Product Added", r#"{"product_id":"p","price":22.5,"quantity":2}"#);
    assert_eq!(verdicts(&life.track(3_600, "Checkout Started", "{}")), ["condition_not_met"], "an hour ago");
    assert_eq!(verdicts(&life.track(3_599, "Checkout Started", "{}")), ["entered"], "not yet an hour ago");
}

#[test]
fn a_test_may_refer_to_the_cart_that_counts() {
    let fields = "delay: 1h\nentry: { event: Checkout Started, where: { event: { properties.total: { gt: { ref: cart.value } } } } }";
    let mut life = Life::with(fields);
    life.track(0, "Product Added", r#"{"cart_id":"c1","product_id":"p","price":10}"#);
    life.track(1, "Product Added", r#"{"cart_id":"c2","product_id":"p","price":99}"#);
    let decision = life.track(2, "Checkout Started", r#"{"cart_id":"c1","total":11}"#);
    assert_eq!(verdicts(&decision), ["entered"], "its own cart, not the one changed last");
}

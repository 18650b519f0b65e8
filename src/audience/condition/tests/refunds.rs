//! Sums, means, extremes and counts net of refunds, against plain loops over the whole history.

use rust_decimal::Decimal;

use super::*;
use crate::audience::condition::{Aggregate, Function, NetOf};
use crate::audience::value_test::Operand;
use crate::money::{Amount, Currency, Rates};

/// An order or a refund: (order id, time, amount, currency).
pub type Row = (u8, i64, Option<i64>, Option<&'static str>);

/// What one unit was worth in EUR, from when on; chosen so that no conversion is rounded.
const RATES: [(&str, i64, &str); 4] = [("USD", 0, "0.5"), ("USD", 60, "0.25"), ("GBP", 0, "2"), ("CHF", 40, "1.25")];

pub fn world(orders: &[Row], refunds: &[Row]) -> World {
    let mut world = World::new(&[]);
    let mut rates = Rates::of(Currency::EUR);
    for (code, from, rate) in RATES {
        assert!(rates.add(code.parse().unwrap(), at(from), rate.parse().unwrap()));
    }
    world.terms.exchange.rates = rates;
    let named = orders.iter().map(|row| ("A", row)).chain(refunds.iter().map(|row| ("R", row)));
    for (n, (name, (id, when, amount, currency))) in named.enumerate() {
        let position = Position(i64::try_from(n).unwrap());
        world.profile.history.record(name, at(*when), position);
        world.older.extend(world.profile.history.spill());
        let body = json!({ "properties": { "order_id": id, "revenue": amount, "currency": currency } });
        world.bodies.insert(position, Arc::new(event(name, *when, &body)));
    }
    world
}

/// An amount in hundredths of a cent, as exact as the numbers above need it; none where there is no rate.
fn worth(amount: i64, from: Option<&str>, to: &str, when: i64) -> Option<i64> {
    let from = from.unwrap_or("EUR");
    if from == to {
        return Some(amount * 10_000);
    }
    let rate = |code: &str| {
        let known = RATES.iter().rev().find(|(other, since, _)| *other == code && *since <= when);
        let written = if code == "EUR" { Some("1") } else { known.map(|(_, _, rate)| *rate) };
        written.map(|rate| (rate.parse::<f64>().unwrap() * 100.0) as i64)
    };
    Some(amount * 10_000 * rate(from)? / rate(to)?)
}

/// What is left of an order at `t`: its amount in its own currency times 10,000 (none where it names none). The outer
/// `None`: it is removed; an error: it cannot be told.
fn left(order: &Row, refunds: &[Row], t: i64) -> Option<Result<Option<i64>, ()>> {
    let mut mine: Vec<&Row> = refunds.iter().filter(|refund| refund.0 == order.0 && refund.1 <= t).collect();
    mine.sort_by_key(|refund| refund.1);
    let own = order.3.unwrap_or("EUR");
    let mut left = Ok(order.2.map(|amount| amount * 10_000));
    for (_, when, amount, currency) in mine {
        let (Some(_), Some(amount)) = (order.2, amount) else { return None };
        left = match (left, worth(*amount, *currency, own, *when)) {
            (Ok(Some(left)), Some(back)) if left <= back => return None,
            (Ok(Some(left)), Some(back)) => Ok(Some(left - back)),
            _ => Err(()),
        };
    }
    Some(left)
}

#[derive(Debug, Clone, Copy)]
struct Question {
    function: Option<Function>,
    /// The bound's currency; none for a bare number.
    currency: Option<&'static str>,
    bound: i64,
    at_least: Option<u32>,
    window: Window,
    net: bool,
}

/// `function … gte bound`, word for word.
fn told(orders: &[Row], refunds: &[Row], asked: &Question, t: i64) -> bool {
    let (mut count, mut numbers, mut sum) = (0, Vec::new(), 0);
    for order in orders {
        let e = order.1;
        let inside = match asked.window {
            Window::Within(length) => e <= t && t < e + length.longest().millis(),
            Window::Between(near, far) => e + near.longest().millis() <= t && t < e + far.longest().millis(),
            _ => e <= t,
        };
        if !inside {
            continue;
        }
        let left = match if asked.net { left(order, refunds, t) } else { Some(Ok(order.2.map(|it| it * 10_000))) } {
            None => continue,
            Some(Err(())) => return false,
            Some(Ok(left)) => left,
        };
        count += 1;
        let (Some(amount), Some(left), Some(_)) = (order.2, left, asked.function) else { continue };
        let to = asked.currency;
        let in_question = |amount: i64| match to {
            None => Some(amount),
            Some(to) => worth(amount, order.3, to, e).map(|whole| whole / 10_000),
        };
        // Both in ten-thousandths.
        let (Some(whole), Some(left)) = (in_question(amount * 10_000), in_question(left)) else { return false };
        numbers.push(whole);
        sum += left;
    }
    let bound = asked.bound * 10_000;
    let n = i64::try_from(numbers.len()).unwrap();
    let holds = match asked.function {
        None => true,
        Some(Function::Sum) => sum >= bound,
        Some(Function::Avg) => n > 0 && numbers.iter().sum::<i64>() >= bound * n,
        Some(Function::Min) => numbers.iter().min().is_some_and(|least| *least >= bound),
        Some(Function::Max) => numbers.iter().max().is_some_and(|most| *most >= bound),
        Some(Function::Distinct) => {
            let mut different = numbers.clone();
            different.sort_unstable();
            different.dedup();
            different.len() as i64 >= asked.bound
        }
    };
    holds && count >= asked.at_least.unwrap_or(0)
}

fn condition(asked: &Question) -> Condition {
    let bound = match asked.currency {
        Some(code) => Operand::Money(Amount { value: Decimal::from(asked.bound), currency: code.parse().unwrap() }),
        None => json!(asked.bound).into(),
    };
    let aggregate = asked.function.map(|function| Aggregate {
        function,
        path: "properties.revenue".to_owned(),
        test: Test { checks: vec![Check::Gte(bound)], ignore_case: false },
    });
    let same = ("properties.order_id".to_owned(), "properties.order_id".to_owned());
    let net_of = asked.net.then(|| NetOf { events: vec!["R".to_owned()], same });
    let count = Count { at_least: asked.at_least, at_most: None };
    Condition::Performed(Box::new(Performed { aggregate, net_of, ..performed(count, asked.window) }))
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let currency = prop::sample::select(vec![None, Some("EUR"), Some("USD"), Some("GBP"), Some("CHF")]);
    let amount = prop_oneof![5 => (0_i64..12).prop_map(|n| Some(n * 4)), 1 => Just(None)];
    prop::collection::vec((0_u8..5, 0_i64..120, amount, currency), 0..most)
}

fn questions() -> impl Strategy<Value = Question> {
    let functions = [Function::Sum, Function::Sum, Function::Avg, Function::Min, Function::Max, Function::Distinct];
    let function = prop::option::weighted(0.8, prop::sample::select(functions.to_vec()));
    let currency = prop::sample::select(vec![None, Some("EUR"), Some("USD")]);
    let count = prop::option::of(0_u32..4);
    let parts = (function, currency, -5_i64..60, count, windows(), any::<bool>());
    parts.prop_map(|(function, currency, bound, at_least, window, net)| {
        // Distinct values have no currency; counts alone ask nothing else.
        let currency = currency.filter(|_| function != Some(Function::Distinct));
        let at_least = if function.is_none() { Some(at_least.unwrap_or(1)) } else { at_least };
        let window = if matches!(window, Window::Since(_) | Window::SinceEntry) { Window::Ever } else { window };
        Question { function, currency, bound, at_least, window, net }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn net_sums_and_counts_agree_with_plain_loops_until_the_promised_instant(
        orders in rows(12), refunds in rows(8), asked in questions(), now in 0_i64..200,
    ) {
        let answer = world(&orders, &refunds).ask(now, None, &condition(&asked));
        let end = answer.until.map_or(260, Timestamp::millis);
        prop_assert!(end > now);
        for t in now..end {
            let expected = told(&orders, &refunds, &asked, t);
            prop_assert_eq!(expected, answer.holds, "at {} of {}..{}: {}", t, now, end, answer.because);
        }
        if answer.until.is_some() {
            prop_assert_ne!(told(&orders, &refunds, &asked, end), answer.holds, "nothing turns at {}", end);
        }
    }
}

fn net_sum(bound: &str) -> Condition {
    let asked = Question {
        function: Some(Function::Sum),
        currency: Some("EUR"),
        bound: bound.parse().unwrap(),
        at_least: None,
        window: Window::Within(Span::from_millis(100).into()),
        net: true,
    };
    condition(&asked)
}

#[test]
fn a_full_refund_removes_the_order_and_a_partial_one_reduces_the_sum() {
    let orders = [(1, 10, Some(40), None), (2, 20, Some(60), None)];
    let partial = world(&orders, &[(1, 30, Some(15), None)]).ask(50, None, &net_sum("85"));
    assert!(partial.holds, "{}", partial.because);
    assert_eq!(
        partial.because,
        "A performed 2 times net of R within 0.100s; sum of properties.revenue is EUR 85, wanted gte EUR 85"
    );
    for full in [(1, 30, Some(40), None), (1, 30, None, None), (1, 30, Some(80), Some("USD"))] {
        let answer = world(&orders, &[full]).ask(50, None, &net_sum("61"));
        assert!(!answer.holds, "{}", answer.because);
        assert!(answer.because.starts_with("A performed 1 times"), "{}", answer.because);
    }
}

#[test]
fn a_refund_written_with_a_minus_takes_away_as_much() {
    let order = [(1, 10, Some(40), None)];
    for (refund, left) in [(Some(-15), "25"), (Some(15), "25")] {
        let answer = world(&order, &[(1, 30, refund, None)]).ask(50, None, &net_sum(left));
        assert!(answer.holds && answer.because.contains("sum of properties.revenue is EUR 25"), "{}", answer.because);
    }
    assert!(!world(&order, &[(1, 30, Some(-40), None)]).ask(50, None, &net_sum("1")).holds);
}

#[test]
fn an_amount_in_a_currency_without_a_rate_is_told_and_not_guessed() {
    let answer = world(&[(1, 10, Some(40), Some("JPY"))], &[]).ask(50, None, &net_sum("1"));
    assert!(!answer.holds && answer.currency_unknown, "{}", answer.because);
    assert!(answer.because.ends_with("(JPY has no rate)"), "{}", answer.because);
    // A currency that is written wrongly is none we know either.
    assert!(world(&[(1, 10, Some(40), Some("eur"))], &[]).ask(50, None, &net_sum("1")).currency_unknown);
}

#[test]
fn a_sum_of_decimals_is_exact() {
    let mut world = World::new(&[]);
    for n in 0..10 {
        world.profile.history.record("A", at(n), Position(n));
        let body = serde_json::from_str(
            r#"{ "properties": { "revenue": 0.1, "products": [{ "revenue": 0.2 }, { "revenue": 0.7 }] } }"#,
        )
        .unwrap();
        world.bodies.insert(Position(n), Arc::new(event("A", n, &body)));
    }
    let sum = |path: &str, wanted: &str| {
        let test = Test::equals(serde_json::from_str::<Value>(wanted).unwrap());
        let aggregate = Aggregate { function: Function::Sum, path: path.to_owned(), test };
        let any = Count { at_least: None, at_most: None };
        let sum = Performed { aggregate: Some(aggregate), ..performed(any, Window::Ever) };
        world.ask(20, None, &Condition::Performed(Box::new(sum))).holds
    };
    assert!(sum("properties.revenue", "1"));
    assert!(sum("properties.products.revenue", "9.00"), "every element is added");
    assert!(!sum("properties.revenue", "1.0000000000000001"));
}

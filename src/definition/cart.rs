//! `cart` as written: empty, or tests of how many things are in it, what it is worth, in which currency and since when.

use crate::audience::Condition;
use crate::audience::cart::Field;
use crate::audience::value_test::{Operand, Test};
use crate::definition::certain::of_a_count;
use crate::definition::condition::Tree;
use crate::definition::reader::At;
use crate::definition::value_test::{number_test, test};
use crate::money::Currency;

const CURRENCY_TESTS: [&str; 7] = ["eq", "ne", "in", "not_in", "exists", "ref", "default"];
const DATE_TESTS: [&str; 6] = ["before", "after", "in_last", "in_next", "anniversary", "exists"];

/// `empty`, or a mapping of fields to tests.
pub fn read(at: &At<'_>, tree: Tree<'_>) -> Option<Condition> {
    if !at.is_map() {
        return at.choice(&[("empty", ())], &[]).map(|()| Condition::CartEmpty);
    }
    let map = at.map(&Field::ALL.map(Field::as_str), &[])?;
    if map.is_empty() {
        return at.wrong("names no field of the cart: items, value, currency or changed_at");
    }
    tree.count(map.len() - 1);
    let tests: Vec<_> = map
        .iter()
        .map(|(key, at)| {
            let field = Field::parse(&key.text)?;
            Some((field, of_field(field, &at, tree)?))
        })
        .collect();
    tests.into_iter().collect::<Option<_>>().map(Condition::Cart)
}

fn of_field(field: Field, at: &At<'_>, tree: Tree<'_>) -> Option<Test> {
    let scope = tree.scope;
    match field {
        Field::Value => number_test(at, scope),
        Field::Items => {
            let test = number_test(at, scope)?;
            let is_money = test.operands().any(|operand| matches!(operand, Operand::Money(_)));
            if is_money {
                return at.wrong("how many things there are has no currency; `value` is what they are worth");
            }
            match of_a_count(&test.checks) {
                Some(said) => at.wrong(said),
                None => Some(test),
            }
        }
        Field::Currency => {
            if at.is_map() {
                at.map(&CURRENCY_TESTS, &[])?;
            }
            let test = test(at, scope)?;
            let is_none = |operand: &Operand| match operand {
                Operand::Value(code) => code.as_str().is_none_or(|code| code.parse::<Currency>().is_err()),
                Operand::Money(_) => true,
                Operand::Ref { .. } => false,
            };
            let is_wrong = test.operands().any(is_none);
            if is_wrong { at.wrong("wanted currencies by their codes, such as EUR") } else { Some(test) }
        }
        Field::ChangedAt if at.is_map() => {
            at.map(&DATE_TESTS, &[])?;
            test(at, scope)
        }
        Field::ChangedAt => at.wrong("wanted a test of a date, such as { in_last: 2h }"),
    }
}

//! What definitions ask of people's traits, beside people who are stored: a trait that none of them has, or that is text
//! where a number is wanted, and computed ones, whose type is known before anybody has them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Type, grouped, mismatch, of_test};
use crate::audience::computed::{ComputedTrait, Function, shipped};
use crate::audience::condition::{Condition, Performed, Sequence};
use crate::audience::field::values_at;
use crate::audience::value_test::{Check, Operand, Reference, Test};
use crate::decision::campaign::{CampaignStatus, Exit, Start};
use crate::definition::problem::nearest;
use crate::definition::{Definition, Document};

/// One look of a document at a trait.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// `FILE:LINE: kind key`, with the line that names the trait.
    pub document: String,
    pub purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Compared with a value of this type; absent where it may be of any.
    Tested(Option<Type>),
    /// What another value is compared with.
    Referred,
    /// Its change begins the campaign, or a date in it does.
    Begins,
}

/// By the trait's path: what campaigns, segments and policies among the documents ask of it.
pub fn traits_asked<'d>(documents: impl IntoIterator<Item = &'d Document>) -> BTreeMap<String, BTreeSet<Look>> {
    let mut all: BTreeMap<String, BTreeSet<Look>> = BTreeMap::new();
    for document in documents {
        let mut looks: Vec<(&str, Purpose)> = Vec::new();
        match &document.definition {
            Definition::Campaign(campaign) if campaign.status != CampaignStatus::Archived => {
                match &campaign.entry.start {
                    Start::Trait(change) => looks.push((change.name.as_str(), Purpose::Begins)),
                    Start::Date(occasion) => looks.push((occasion.of.as_str(), Purpose::Begins)),
                    Start::Event | Start::Segment(_) => {}
                }
                let goal = campaign.goal.iter().flat_map(|goal| &goal.filter);
                let exits = campaign.exit.iter().filter_map(|exit| match exit {
                    Exit::Event { filter, .. } => filter.as_ref(),
                    Exit::Condition { condition, .. } => Some(condition),
                });
                let conditions = campaign.entry.filter.iter().chain(goal).chain(exits);
                conditions.for_each(|condition| look(condition, &mut looks));
            }
            Definition::Segment(segment) => look(&segment.filter, &mut looks),
            Definition::ConsentPolicy(rules) => {
                rules.iter().filter_map(|rule| rule.policy.condition()).for_each(|it| look(it, &mut looks));
            }
            _ => {}
        }
        for (path, purpose) in looks {
            let document = format!("{}: {} {}", document.place_of_field(path), document.kind, document.key);
            all.entry(path.to_owned()).or_default().insert(Look { document, purpose });
        }
    }
    all
}

fn look<'c>(condition: &'c Condition, looks: &mut Vec<(&'c str, Purpose)>) {
    match condition {
        Condition::All(children) | Condition::Any(children) => children.iter().for_each(|child| look(child, looks)),
        Condition::Not(child) => look(child, looks),
        Condition::Trait(tests) => {
            for (path, test) in tests {
                if !test.checks.contains(&Check::Exists(false)) {
                    looks.push((path.as_str(), Purpose::Tested(of_test(test))));
                }
                references(test, looks);
            }
        }
        Condition::Event(tests) => each(tests, looks),
        Condition::Item { path: _, filter } => each(filter, looks),
        Condition::Performed(performed) => {
            let Performed { filter, aggregate, .. } = performed.as_ref();
            each(filter, looks);
            aggregate.iter().for_each(|aggregate| references(&aggregate.test, looks));
        }
        Condition::Sequence(sequence) => {
            let Sequence { first, then, .. } = sequence.as_ref();
            [first, then].into_iter().for_each(|step| each(&step.filter, looks));
        }
        Condition::Cart(tests) => tests.iter().for_each(|(_, test)| references(test, looks)),
        Condition::CartEmpty
        | Condition::InSegment(_)
        | Condition::Consent(_)
        | Condition::Subscribed(_)
        | Condition::Reachable(_)
        | Condition::Engaged(_)
        | Condition::Listed(_)
        | Condition::Random { .. } => {}
    }
}

fn each<'c>(tests: &'c [(String, Test)], looks: &mut Vec<(&'c str, Purpose)>) {
    tests.iter().for_each(|(_, test)| references(test, looks));
}

fn references<'c>(test: &'c Test, looks: &mut Vec<(&'c str, Purpose)>) {
    for operand in test.operands() {
        if let Operand::Ref { reference: Reference::Trait(path), default: None } = operand {
            looks.push((path.as_str(), Purpose::Referred));
        }
    }
}

/// What to say of the traits asked for, after a look at the newest people of whom anything is known. `computed`: traits
/// that are worked out, by their keys; of those nobody needs to have come.
pub fn trait_warnings(
    asked: &BTreeMap<String, BTreeSet<Look>>,
    computed: &BTreeMap<String, ComputedTrait>,
    people: &[Map<String, Value>],
) -> Vec<String> {
    let people: Vec<&Map<String, Value>> = people.iter().filter(|traits| !traits.is_empty()).collect();
    let mut told = Vec::new();
    for (path, looks) in asked {
        if let Some(worked) = computed.get(path).cloned().or_else(|| shipped(path)) {
            told.extend(looks.iter().filter_map(|look| of_computed(path, look, &worked)));
        } else if !people.is_empty() {
            told.extend(looks.iter().filter_map(|look| of_people(path, look, &people, computed)));
        }
    }
    told
}

fn of_computed(path: &str, look: &Look, computed: &ComputedTrait) -> Option<String> {
    let Purpose::Tested(Some(wanted)) = look.purpose else { return None };
    let is = match computed.compute.function {
        Function::Count | Function::Sum(_) | Function::AverageInterval(_) => Type::Number,
        // Without a path it is an event's time.
        Function::First | Function::Last if computed.compute.path().is_none() => Type::Text,
        Function::First | Function::Last | Function::MostFrequent => return None,
    };
    let (is, wanted) = (is != wanted).then(|| (is.words(), wanted.words()))?;
    Some(format!("{}: the computed trait `{path}` is always {is}; it is compared with {wanted}", look.document))
}

fn of_people(
    path: &str,
    look: &Look,
    people: &[&Map<String, Value>],
    computed: &BTreeMap<String, ComputedTrait>,
) -> Option<String> {
    let found: Vec<Vec<&Value>> = people.iter().map(|traits| values(traits, path)).collect();
    let document = &look.document;
    let of_them = match people.len() {
        1 => "the only person of whom anything is known".to_owned(),
        count => format!("the newest {} people", grouped(count)),
    };
    if found.iter().all(Vec::is_empty) {
        let lead = if people.len() == 1 { format!("{of_them} has no") } else { format!("none of {of_them} has a") };
        let so = match look.purpose {
            Purpose::Tested(_) => "",
            Purpose::Referred => "; a test that refers to it is false",
            Purpose::Begins => "; nothing begins by it",
        };
        let names: BTreeSet<&str> =
            people.iter().flat_map(|traits| traits.keys()).chain(computed.keys()).map(String::as_str).collect();
        let near = nearest(path, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Some(format!("{document}: {lead} trait `{path}`{so}{near}"));
    }
    let Purpose::Tested(Some(wanted)) = look.purpose else { return None };
    let (is, share) = mismatch(&found, wanted)?;
    Some(format!("{document}: trait `{path}` is {is} in {share} of {of_them}; it is compared with {}", wanted.words()))
}

/// What a person has at a path; a trait whose own name has dots wins over a path into an object.
fn values<'t>(traits: &'t Map<String, Value>, path: &str) -> Vec<&'t Value> {
    if let Some(value) = traits.get(path) {
        let mut found = Vec::new();
        flat(value, &mut found);
        return found;
    }
    let Some((first, rest)) = path.split_once('.') else { return Vec::new() };
    traits.get(first).map(|below| values_at(below, rest)).unwrap_or_default()
}

fn flat<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|one| flat(one, found)),
        Value::Null => {}
        value => found.push(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definition::{SourceFile, read};

    const ADULTS: &str = "\
kind: segment
key: adults_by_age
name: Adults by age
owner: crm@shop.example
where:
  all:
    - trait: { age: { gte: 18 } }
    - trait: { emial: { exists: true }, plan: [ pro, max ], 'address.city': Wien }
    - trait: { orders: { gte: \"3\" }, top_category: 7 }
    - trait: { last_order_at: { gt: 5 }, nick: { exists: false } }
---
kind: campaign
key: promoted
name: Promoted
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { trait: teir, where: { performed: { event: A, sum: properties.x, gte: { ref: profile.limit } } } }
send: { channel: email, template: promoted }
";

    fn warned(people: &Value) -> Vec<String> {
        let file = SourceFile { name: "s.yaml".to_owned(), text: ADULTS.to_owned() };
        let documents = read(&[file]).unwrap_or_default();
        let people: Vec<Map<String, Value>> =
            people.as_array().into_iter().flatten().filter_map(|one| one.as_object().cloned()).collect();
        trait_warnings(&traits_asked(&documents), &BTreeMap::new(), &people)
    }

    #[test]
    fn a_trait_that_nobody_has_or_that_is_another_type_is_told_with_its_line() {
        let known = json!({ "email": "a@b.example", "age": "25", "plan": [ "pro" ], "tier": 1, "limit": 5,
                            "address": { "city": "Wien" } });
        let computed = [
            "s.yaml:10: segment adults_by_age: the computed trait `last_order_at` is always text; it is compared with a \
             number",
            "s.yaml:9: segment adults_by_age: the computed trait `orders` is always a number; it is compared with text",
        ];
        assert_eq!(
            warned(&json!([known, {}, { "age": 30, "email": "b@b.example" }])),
            [
                "s.yaml:7: segment adults_by_age: trait `age` is text in 50 % of the newest 2 people; it is compared with \
                 a number",
                "s.yaml:8: segment adults_by_age: none of the newest 2 people has a trait `emial`; did you mean `email`?",
                computed[0],
                computed[1],
                "s.yaml:18: campaign promoted: none of the newest 2 people has a trait `teir`; nothing begins by it; did \
                 you mean `tier`?",
            ]
        );
        assert_eq!(warned(&json!([{}])), computed, "of nobody anything is known");
        let fits =
            json!({ "email": "a", "emial": 1, "age": 25, "teir": 1, "address.city": "Wien", "limit": 1, "plan": 1 });
        let plan = "s.yaml:8: segment adults_by_age: trait `plan` is a number in 100 % of the only person of whom anything \
                    is known; it is compared with text";
        assert_eq!(warned(&json!([fits])), [computed[0], computed[1], plan]);
    }
}

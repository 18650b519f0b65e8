//! A condition annotated: each node with what it came to, the operands at that instant, and what would turn it.
//!
//! The answer of a node is put together from its children, so that what is shown is what decided; that it is the
//! evaluation's own answer, node by node, is held by the oracle's trees.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::audience::Channel;
use crate::audience::cart::Field;
use crate::audience::condition::{
    Condition, Detail, Evaluation, Facts, asked, asked_of_trait, cut, evaluate, fields, performed,
};
use crate::audience::field::{Found, Place, trait_values};
use crate::audience::segment::Answers;
use crate::audience::value_test::{Test, values_of};
use crate::ids::Timestamp;

/// Elements of an array that are shown one by one.
const ELEMENTS_SHOWN_MAX: usize = 5;
/// Wakes looked through for the one at which time alone turns an answer.
const WAKES_MAX: usize = 50;
/// Nodes of one answer; segments that build on each other may unfold to many.
const NODES_MAX: usize = 500;

/// One condition of a tree, as it was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// What it asks: `all`, `trait plan`, `performed Order Completed`, `in_segment vip`.
    pub condition: String,
    pub holds: bool,
    /// What decided it, with its operands.
    pub because: String,
    /// What was compared, by name.
    pub values: Map<String, Value>,
    /// The answer cannot change before, unless something happens.
    pub until: Option<Timestamp>,
    /// What would turn the answer; none where nothing can.
    pub change: Option<String>,
    /// How many conditions must turn for it to turn.
    pub apart: usize,
    pub children: Vec<Node>,
}

/// What a leaf says beside its answer.
struct Leaf {
    condition: String,
    values: Map<String, Value>,
    change: Option<String>,
    children: Vec<Node>,
}

/// The tree with its answers, those of the segments it asks for included, each unfolded once.
pub fn annotate(condition: &Condition, facts: &Facts<'_>) -> Node {
    Unfolding::default().node(condition, facts)
}

#[derive(Default)]
struct Unfolding {
    nodes: usize,
    /// Segments that were unfolded, with what would turn each.
    segments: BTreeMap<String, Option<String>>,
    /// Those being unfolded.
    open: BTreeSet<String>,
}

impl Unfolding {
    fn node(&mut self, condition: &Condition, facts: &Facts<'_>) -> Node {
        self.nodes += 1;
        if let Some(each) = each_alone(condition) {
            return self.combined(condition, &each, facts, false);
        }
        let answer = evaluate(condition, facts);
        let (holds, form) = (answer.holds, words::form(condition));
        let by_itself = by_itself(condition, &answer, facts);
        let leaf = match condition {
            Condition::All(children) => return self.combined(condition, children, facts, false),
            Condition::Any(children) => return self.combined(condition, children, facts, true),
            Condition::Not(child) => return self.negated(condition, child, facts),
            Condition::InSegment(key) => return self.segment(condition, key, facts),
            Condition::Trait(tests) => {
                of_field("trait ", tests, holds, facts, |path| trait_values(facts.profile, path, facts.now))
            }
            Condition::Event(tests) => {
                let place = facts.event.map(Place::event);
                of_field("", tests, holds, facts, |path| place.map(|place| place.values(path)).unwrap_or_default())
            }
            Condition::Item { path, filter } => of_item(path, filter, holds, facts),
            Condition::Performed(asked) => {
                let values = words::seen_values(asked, &performed::seen(asked, facts), facts);
                let turning = performed::turning(asked, facts, by_itself);
                leaf(form, values, words::performed_change(asked, &turning, facts))
            }
            Condition::Sequence(sequence) => {
                let values = words::sequence_values(sequence, facts);
                leaf(form, values, words::sequence_change(sequence, holds, facts))
            }
            Condition::Consent(wanted) => {
                leaf(form, words::consent_values(wanted, facts), words::consent_change(wanted, holds))
            }
            Condition::Subscribed(topic) => {
                let change = if holds { "an unsubscription from" } else { "a subscription to" };
                leaf(form, named([("topic", json!(topic))]), Some(format!("{change} topic {topic}")))
            }
            Condition::Reachable(channel) => of_reach(form, *channel, facts),
            Condition::Engaged(engaged) => {
                let values = words::engaged_values(engaged, facts);
                leaf(form, values, words::engaged_change(engaged, holds, facts))
            }
            Condition::Cart(tests) => of_cart(tests, facts),
            Condition::CartEmpty => of_empty_cart(form, facts),
            Condition::Listed(segment) => of_list(form, segment, facts),
            // The draw is the same for ever.
            Condition::Random { percent, salt } => {
                let values = named([("percent", json!(percent.to_string())), ("salt", json!(salt))]);
                leaf(form, values, None)
            }
        };
        let Leaf { condition, values, change, children } = leaf;
        let change = with_time(change, by_itself).map(cut);
        Node { condition, holds, because: answer.because, values, until: answer.until, change, apart: 1, children }
    }

    /// All or any: one child with the answer `decisive` settles it.
    fn combined(&mut self, condition: &Condition, children: &[Condition], facts: &Facts<'_>, decisive: bool) -> Node {
        let nodes: Vec<Node> = children.iter().map(|child| self.node(child, facts)).collect();
        let settled = nodes.iter().any(|node| node.holds == decisive);
        let (change, apart) = match settled {
            // Each that settles it must turn.
            true => {
                let settling = || nodes.iter().filter(|node| node.holds == decisive);
                let all: Option<Vec<&str>> = settling().map(|node| node.change.as_deref()).collect();
                (all.map(|all| together(&all)), settling().map(|node| node.apart).sum())
            }
            // One that turns is enough.
            false => {
                let ways: Vec<&str> = nodes.iter().filter_map(|node| node.change.as_deref()).collect();
                let nearest = nodes.iter().filter(|node| node.change.is_some()).map(|node| node.apart).min();
                ((!ways.is_empty()).then(|| ways.join("; or ")), nearest.unwrap_or(1))
            }
        };
        let answer = evaluate(condition, facts);
        Node {
            condition: words::form(condition),
            holds: settled == decisive,
            because: answer.because,
            values: Map::new(),
            until: answer.until,
            change: change.map(cut),
            apart,
            children: nodes,
        }
    }

    fn negated(&mut self, condition: &Condition, child: &Condition, facts: &Facts<'_>) -> Node {
        let child = self.node(child, facts);
        Node {
            condition: words::form(condition),
            holds: !child.holds,
            because: evaluate(condition, facts).because,
            values: Map::new(),
            until: child.until,
            change: child.change.clone(),
            apart: child.apart,
            children: vec![child],
        }
    }

    /// With the segment's own condition below it, once.
    fn segment(&mut self, condition: &Condition, key: &str, facts: &Facts<'_>) -> Node {
        let answer = evaluate(condition, facts);
        let mut node = Node {
            condition: words::form(condition),
            holds: answer.holds,
            because: answer.because,
            values: named([("segment", json!(key))]),
            until: answer.until,
            change: None,
            apart: 1,
            children: Vec::new(),
        };
        let Some(defined) = facts.terms.segments.get(key) else {
            node.change = Some(format!("a segment {key}"));
            return node;
        };
        node.values.insert("version".to_owned(), json!(defined.segment.version));
        if let Some(known) = self.segments.get(key) {
            node.change.clone_from(known);
        } else if self.nodes < NODES_MAX && self.open.insert(key.to_owned()) {
            let alone = Facts { event: None, entry: None, entry_at: None, item: None, ..*facts };
            let below = self.node(&defined.segment.filter, &alone);
            self.open.remove(key);
            (node.change, node.apart) = (below.change.clone(), below.apart);
            node.holds = below.holds;
            node.children.push(below);
            self.segments.insert(key.to_owned(), node.change.clone());
        }
        node
    }
}

fn leaf(condition: String, values: Map<String, Value>, change: Option<String>) -> Leaf {
    Leaf { condition, values, change, children: Vec::new() }
}

/// The instant at which time alone turns the answer; what is asked of an event is asked once.
fn by_itself(condition: &Condition, answer: &Evaluation, facts: &Facts<'_>) -> Option<Timestamp> {
    if matches!(condition, Condition::Event(_) | Condition::Item { .. }) {
        return None;
    }
    let mut until = answer.until;
    for _ in 0..WAKES_MAX {
        let (now, answers) = (until?, Answers::default());
        let then = evaluate(condition, &Facts { now, answers: &answers, detail: Detail::Until, ..*facts });
        if then.holds != answer.holds {
            return Some(now);
        }
        until = then.until;
    }
    None
}

/// What turns it, and when time does.
fn with_time(change: Option<String>, by_itself: Option<Timestamp>) -> Option<String> {
    match (change, by_itself) {
        (None, Some(at)) => Some(format!("nothing until {at}, when time alone turns it")),
        (Some(change), Some(at)) => Some(format!("{change}; or by itself at {at}")),
        (change, None) => change,
    }
}

/// Changes that are all needed; of each one way is enough.
fn together(all: &[&str]) -> String {
    let one = |way: &&str| match way.contains("; or ") && all.len() > 1 {
        true => format!("({way})"),
        false => (*way).to_owned(),
    };
    all.iter().map(one).collect::<Vec<_>>().join(", and ")
}

/// Tests of several fields, each by itself; none where there is one.
fn each_alone(condition: &Condition) -> Option<Vec<Condition>> {
    match condition {
        Condition::Trait(tests) if tests.len() != 1 => {
            Some(tests.iter().map(|test| Condition::Trait(vec![test.clone()])).collect())
        }
        Condition::Event(tests) if tests.len() != 1 => {
            Some(tests.iter().map(|test| Condition::Event(vec![test.clone()])).collect())
        }
        Condition::Cart(tests) if tests.len() != 1 => {
            Some(tests.iter().map(|test| Condition::Cart(vec![test.clone()])).collect())
        }
        _ => None,
    }
}

fn of_cart(tests: &[(Field, Test)], facts: &Facts<'_>) -> Leaf {
    let name = tests.first().map_or_else(String::new, |(field, _)| format!("cart.{field}"));
    leaf(name, words::cart_values(tests, facts), Some(words::cart_change(tests, facts)))
}

/// Whether an operator put the person on the list of a static segment.
fn of_list(form: String, segment: &str, facts: &Facts<'_>) -> Leaf {
    let listed = facts.profile.remembered.lists.contains_key(segment);
    let change = if listed { "taken from" } else { "put on" };
    let change = format!("a file by which the person is {change} the list of {segment}");
    leaf(form, named([("listed", json!(listed))]), Some(change))
}

fn of_reach(form: String, channel: Channel, facts: &Facts<'_>) -> Leaf {
    let (values, change) = words::reach(channel, facts);
    leaf(form, values, Some(change))
}

fn of_empty_cart(form: String, facts: &Facts<'_>) -> Leaf {
    let items = facts.cart().items();
    let change = if items.is_zero() { "something put into the cart" } else { "an empty cart" };
    leaf(form, named([("items", json!(items.to_string()))]), Some(change.to_owned()))
}

fn named<const N: usize>(values: [(&str, Value); N]) -> Map<String, Value> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// One field and its test.
fn of_field<'a>(
    what: &str,
    tests: &[(String, Test)],
    holds: bool,
    facts: &Facts<'a>,
    values: impl Fn(&str) -> Vec<Found<'a>>,
) -> Leaf {
    let Some((path, test)) = tests.first() else { return leaf(what.trim_end().to_owned(), Map::new(), None) };
    let found = values(path);
    let (outcome, words) = match what {
        "" => asked(test, &found, facts),
        _ => asked_of_trait(test, path, facts),
    };
    let wanted = words.wanted;
    let mut named = named([("is", values_of(&found)), ("wanted", json!(wanted))]);
    words::operands(test, facts, &mut named);
    let (is, form) = (words.found, format!("{what}{path}"));
    if words.is_money {
        named.insert("amount".to_owned(), json!(is));
    }
    let change = match (outcome.currency_unknown && !holds, holds) {
        (true, _) => words::rate(&words.unrated),
        (false, true) => format!("{form} is {is}, wanted: anything but {wanted}"),
        (false, false) => format!("{form} is {is}, wanted: {wanted}"),
    };
    leaf(form, named, Some(change))
}

/// One element has to meet all of it; the first few are shown each by itself.
fn of_item(path: &str, filter: &[(String, Test)], holds: bool, facts: &Facts<'_>) -> Leaf {
    let elements = facts.event.map(|event| Place::event(event).elements(path)).unwrap_or_default();
    let shown = elements.iter().take(ELEMENTS_SHOWN_MAX).enumerate().map(|(n, element)| {
        let facts = Facts { item: Some(*element), ..*facts };
        let answer = fields("", filter, &facts, |path, test| asked(test, &element.values(path), &facts));
        Node {
            condition: format!("{path}[{n}]"),
            holds: answer.holds,
            because: answer.because,
            values: Map::new(),
            until: answer.until,
            change: None,
            apart: 1,
            children: Vec::new(),
        }
    });
    let wanted = words::filter(filter, facts);
    let values = named([("elements", json!(elements.len())), ("wanted", json!(wanted.trim_start()))]);
    Leaf {
        condition: format!("item in {path}"),
        values,
        change: Some(format!("{} element of {path}{wanted}", if holds { "no" } else { "an" })),
        children: shown.collect(),
    }
}

impl Node {
    /// The tree as lines for people, each child two columns further to the right.
    pub fn outline(&self, depth: usize, into: &mut String) {
        let sign = if self.holds { '✓' } else { '✗' };
        let is_group = !self.children.is_empty() && self.values.is_empty();
        let said = if is_group { "" } else { self.because.as_str() };
        let colon = if said.is_empty() { "" } else { ": " };
        into.push_str(&format!("{}{sign} {}{colon}{said}\n", "  ".repeat(depth), self.condition));
        self.children.iter().for_each(|child| child.outline(depth + 1, into));
    }
}

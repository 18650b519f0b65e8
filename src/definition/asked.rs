//! What definitions ask of the fields of events, beside events that came: a field that none of them has, or that is
//! text where a number is wanted, is right as it is written and never does what was meant.

mod traits;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::audience::cart::Field;
use crate::audience::condition::{Condition, Function, Performed, Sequence};
use crate::audience::field::values_at;
use crate::audience::value_test::{Check, Operand, Reference, Test};
use crate::decision::Campaign;
use crate::decision::campaign::{CampaignStatus, Exit, Start};
use crate::definition::problem::nearest;
use crate::definition::{Definition, Document};
use crate::event::pattern::{Matcher, Pattern};
pub use traits::{trait_warnings, traits_asked};

/// One field that a document looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// `FILE:LINE: kind key`, with the line that names the field.
    pub document: String,
    pub path: String,
    pub purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The event is waited for or counted, whatever its fields; the path is empty.
    Happens,
    /// Compared with another event's, in an exit.
    SameExits,
    /// Compared with another event's, where both must have it.
    Same,
    /// Tells enrollments of one person apart.
    Key,
    /// Compared with a value of this type; absent where it may be of any.
    Tested(Option<Type>),
    /// Added up, or the like.
    Counted,
    /// What another value is compared with.
    Referred,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Bool,
    Number,
    Text,
}

impl Type {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Bool),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
        }
    }
}

/// By the name of the event: what campaigns, segments and policies among the documents ask of such events.
pub fn asked<'d>(documents: impl IntoIterator<Item = &'d Document>) -> BTreeMap<String, BTreeSet<Asked>> {
    let mut all = BTreeMap::new();
    for document in documents {
        let mut asking = Asking { document, all: &mut all };
        match &document.definition {
            Definition::Campaign(campaign) if campaign.status != CampaignStatus::Archived => asking.campaign(campaign),
            Definition::Segment(segment) => asking.condition(&segment.filter, &[], &[]),
            Definition::ComputedTrait(computed) => asking.performed(computed.compute.over(), &[], &[]),
            Definition::ConsentPolicy(rules) => {
                let conditions = rules.iter().filter_map(|rule| rule.policy.condition());
                conditions.for_each(|condition| asking.condition(condition, &[], &[]));
            }
            Definition::Campaign(_)
            | Definition::Rates(_)
            | Definition::Caps(_)
            | Definition::QuietHours(_)
            | Definition::Template(_)
            | Definition::Topic(_)
            | Definition::Source(_)
            | Definition::Story(_) => {}
        }
    }
    all
}

struct Asking<'a> {
    document: &'a Document,
    all: &'a mut BTreeMap<String, BTreeSet<Asked>>,
}

impl Asking<'_> {
    fn add(&mut self, events: &[String], path: &str, purpose: Purpose) {
        for event in events {
            let place = self.document.place_of(if path.is_empty() { event } else { path });
            let document = format!("{place}: {} {}", self.document.kind, self.document.key);
            let asked = Asked { document, path: path.to_owned(), purpose };
            self.all.entry(event.clone()).or_default().insert(asked);
        }
    }

    fn campaign(&mut self, campaign: &Campaign) {
        let entry = [campaign.entry.event.clone()];
        if campaign.entry.start == Start::Event {
            self.add(&entry, "", Purpose::Happens);
        }
        self.pattern(campaign.entry.pattern.as_ref(), &entry);
        if let Some(filter) = &campaign.entry.filter {
            self.condition(filter, &entry, &entry);
        }
        if let Some(key) = &campaign.entry.key {
            self.add(&entry, key, Purpose::Key);
        }
        for exit in &campaign.exit {
            match exit {
                Exit::Event { events, pattern, filter, same } => {
                    self.add(events, "", Purpose::Happens);
                    self.pattern(pattern.as_ref(), events);
                    if let Some(filter) = filter {
                        self.condition(filter, events, &entry);
                    }
                    if let Some((ours, theirs)) = same {
                        self.add(&entry, ours, Purpose::SameExits);
                        self.add(events, theirs, Purpose::SameExits);
                    }
                }
                Exit::Condition { condition, .. } => self.condition(condition, &[], &entry),
            }
        }
        if let Some(goal) = &campaign.goal {
            let events = [goal.event.clone()];
            self.add(&events, "", Purpose::Happens);
            self.pattern(goal.pattern.as_ref(), &events);
            if let Some(filter) = &goal.filter {
                self.condition(filter, &events, &[]);
            }
            if let Some(value) = &goal.value {
                self.add(&events, value, Purpose::Counted);
            }
        }
    }

    fn pattern(&mut self, pattern: Option<&Pattern>, events: &[String]) {
        for (path, matchers) in pattern.into_iter().flat_map(Pattern::fields) {
            if matchers.contains(&Matcher::Exists(false)) {
                continue;
            }
            let types: BTreeSet<Option<Type>> = matchers.iter().map(of_matcher).collect();
            let wanted = if types.len() == 1 { types.into_iter().next().flatten() } else { None };
            self.add(events, &path.join("."), Purpose::Tested(wanted));
        }
    }

    /// `events` are those that a condition's `event` is, `entry` those by which an enrollment began.
    fn condition(&mut self, condition: &Condition, events: &[String], entry: &[String]) {
        match condition {
            Condition::All(children) | Condition::Any(children) => {
                children.iter().for_each(|child| self.condition(child, events, entry));
            }
            Condition::Not(child) => self.condition(child, events, entry),
            Condition::Event(tests) => self.tests("", tests, events, (events, entry)),
            Condition::Item { path, filter } => self.tests(&format!("{path}."), filter, events, (events, entry)),
            Condition::Trait(tests) => tests.iter().for_each(|(_, test)| self.references(test, (events, entry))),
            Condition::Performed(performed) => self.performed(performed, events, entry),
            Condition::Sequence(sequence) => self.sequence(sequence, (events, entry)),
            Condition::Cart(tests) => {
                if tests.iter().any(|(field, _)| *field == Field::Value) {
                    self.add(&["Product Added".to_owned()], "properties.price", Purpose::Counted);
                }
                tests.iter().for_each(|(_, test)| self.references(test, (events, entry)));
            }
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

    fn performed(&mut self, performed: &Performed, events: &[String], entry: &[String]) {
        let Performed { events: past, filter, same, count: _, aggregate, net_of, window: _ } = performed;
        self.add(past, "", Purpose::Happens);
        self.tests("", filter, past, (events, entry));
        if let Some((ours, theirs)) = same {
            self.add(entry, ours, Purpose::Same);
            self.add(past, theirs, Purpose::Same);
        }
        if let Some(aggregate) = aggregate {
            let purpose = match aggregate.function {
                Function::Sum | Function::Avg | Function::Min | Function::Max => Purpose::Counted,
                Function::Distinct => Purpose::Tested(None),
            };
            self.add(past, &aggregate.path, purpose);
            self.references(&aggregate.test, (events, entry));
        }
        if let Some(net_of) = net_of {
            self.add(past, &net_of.same.0, Purpose::Same);
            self.add(&net_of.events, "", Purpose::Happens);
            self.add(&net_of.events, &net_of.same.1, Purpose::Same);
        }
    }

    fn sequence(&mut self, sequence: &Sequence, at_hand: (&[String], &[String])) {
        let Sequence { first, then, is_not: _, within: _, same } = sequence;
        for step in [first, then] {
            self.add(&step.events, "", Purpose::Happens);
            self.tests("", &step.filter, &step.events, at_hand);
        }
        if let Some((ours, theirs)) = same {
            self.add(&first.events, ours, Purpose::Same);
            self.add(&then.events, theirs, Purpose::Same);
        }
    }

    fn tests(&mut self, below: &str, tests: &[(String, Test)], of: &[String], at_hand: (&[String], &[String])) {
        for (path, test) in tests {
            if !test.checks.contains(&Check::Exists(false)) {
                self.add(of, &format!("{below}{path}"), Purpose::Tested(of_test(test)));
            }
            self.references(test, at_hand);
        }
    }

    fn references(&mut self, test: &Test, (events, entry): (&[String], &[String])) {
        for operand in test.operands() {
            let Operand::Ref { reference, default: None } = operand else { continue };
            match reference {
                Reference::Event(path) => self.add(events, path, Purpose::Referred),
                Reference::Entry(path) => self.add(entry, path, Purpose::Referred),
                Reference::Trait(_)
                | Reference::UserId
                | Reference::ProfileId
                | Reference::Item(_)
                | Reference::Cart(_) => {}
            }
        }
    }
}

fn of_matcher(matcher: &Matcher) -> Option<Type> {
    match matcher {
        Matcher::Number(_) | Matcher::Numeric(_) => Some(Type::Number),
        Matcher::Text(_) | Matcher::Cidr(_) => Some(Type::Text),
        Matcher::Bool(_) => Some(Type::Bool),
        Matcher::Null | Matcher::Exists(_) | Matcher::AnythingBut(_) => None,
    }
}

/// The type a value must have, where every check wants the same.
fn of_test(test: &Test) -> Option<Type> {
    let wanted: BTreeSet<Option<Type>> = test.checks.iter().map(of_check).collect();
    if wanted.len() == 1 { wanted.into_iter().next().flatten() } else { None }
}

fn of_check(check: &Check) -> Option<Type> {
    match check {
        Check::Prefix(_) | Check::Suffix(_) | Check::Contains(_) => Some(Type::Text),
        Check::Eq(_)
        | Check::In(_)
        | Check::Gt(_)
        | Check::Gte(_)
        | Check::Lt(_)
        | Check::Lte(_)
        | Check::Between(..) => {
            let types: BTreeSet<Option<Type>> = check
                .operands()
                .into_iter()
                .map(|operand| match operand {
                    Operand::Value(value) => Type::of(value),
                    Operand::Money(_) => Some(Type::Number),
                    Operand::Ref { .. } => None,
                })
                .collect();
            if types.len() == 1 { types.into_iter().next().flatten() } else { None }
        }
        // Dates are text or numbers; what is another thing than the value may be anything.
        Check::Before(_) | Check::After(_) | Check::Relative(_) | Check::Ne(_) | Check::NotIn(_) | Check::Exists(_) => {
            None
        }
    }
}

/// What to say of the fields asked of an event of this name, after a look at the newest ones. Where none came, the name
/// is told that is nearly the same, among those that did.
pub fn warnings(event: &str, newest: &[&Value], asked: &BTreeSet<Asked>, came: &BTreeSet<String>) -> Vec<String> {
    if !newest.is_empty() {
        return asked.iter().filter_map(|asked| warning(event, newest, asked)).collect();
    }
    let Some(near) = nearest(event, came.iter().map(String::as_str)) else { return Vec::new() };
    let waiting = asked.iter().filter(|asked| asked.purpose == Purpose::Happens);
    waiting.map(|asked| format!("{}: no `{event}` has come; did you mean `{near}`?", asked.document)).collect()
}

fn warning(event: &str, newest: &[&Value], asked: &Asked) -> Option<String> {
    let Asked { document, path, purpose } = asked;
    if *purpose == Purpose::Happens {
        return None;
    }
    let found: Vec<Vec<&Value>> = newest.iter().map(|body| values_at(body, path)).collect();
    let having = found.iter().filter(|values| !values.is_empty()).count();
    let of_them = match newest.len() {
        1 => format!("the only `{event}` that came"),
        count => format!("the last {} `{event}`", grouped(count)),
    };
    if having == 0 {
        let so = match purpose {
            Purpose::SameExits => "; an exit that cannot compare ends the wait, so any of them does",
            Purpose::Same => "; what cannot be compared does not count",
            Purpose::Key => "; without it a person is in the campaign once at a time",
            Purpose::Counted => "; there is nothing to add up",
            Purpose::Tested(_) | Purpose::Happens => "",
            Purpose::Referred => "; a test that refers to it is false",
        };
        let lead = if newest.len() == 1 { format!("{of_them} has no") } else { format!("none of {of_them} has") };
        return Some(format!("{document}: {lead} `{path}`{so}"));
    }
    let wanted = match purpose {
        Purpose::Tested(wanted) => (*wanted)?,
        Purpose::Counted => Type::Number,
        Purpose::Happens | Purpose::SameExits | Purpose::Same | Purpose::Key | Purpose::Referred => return None,
    };
    let (is, share) = mismatch(&found, wanted)?;
    Some(format!("{document}: `{path}` is {is} in {share} of {of_them}; it is compared with {}", wanted.words()))
}

/// What else values are than what is wanted, and in how many of all that were looked at; none where nothing is to be said.
fn mismatch(found: &[Vec<&Value>], wanted: Type) -> Option<(&'static str, String)> {
    let having = found.iter().filter(|values| !values.is_empty()).count();
    // An object is of no type: it is none of the wanted ones.
    let never = |values: &&Vec<&Value>| !values.is_empty() && values.iter().all(|one| Type::of(one) != Some(wanted));
    let others: Vec<&Vec<&Value>> = found.iter().filter(never).collect();
    let is_text = others.iter().all(|values| values.iter().all(|one| one.is_string()));
    // Numbers written as text are a slip of the sender's; of other mixtures only the hopeless is told.
    if others.is_empty() || (others.len() < having && !(wanted == Type::Number && is_text)) {
        return None;
    }
    let is = match others.first().and_then(|values| values.first()).map(|one| Type::of(one)) {
        Some(Some(kind)) => kind.words(),
        Some(None) | None => "an object",
    };
    let share = match (others.len() * 100).div_euclid(found.len()) {
        0 => "less than 1 %".to_owned(),
        percent => format!("{percent} %"),
    };
    Some((is, share))
}

/// `1000` as `1,000`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definition::{SourceFile, read};

    const REMINDER: &str = "\
kind: campaign
key: reminder
name: Reminder
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry:
  event: Product Added
  key: properties.cart_id
  match: { properties: { price: [ { numeric: [ '>=', 5 ] } ], gift: [ { exists: false } ] } }
  where: { all: [ { event: { properties.colour: red, properties.old: { exists: false } } },
                  { performed: { event: Order Completed, sum: properties.total, gte: 100, within: 30d } } ] }
exit: [ { event: Order Completed, same: properties.product_id } ]
send: { channel: email, template: reminder }
";

    fn warned(event: &str, bodies: &[Value]) -> Vec<String> {
        let file = SourceFile { name: "reminder.yaml".to_owned(), text: REMINDER.to_owned() };
        let documents = read(&[file]).unwrap();
        let bodies: Vec<&Value> = bodies.iter().collect();
        asked(&documents).get(event).map(|asked| warnings(event, &bodies, asked, &BTreeSet::new())).unwrap_or_default()
    }

    #[test]
    fn fields_that_no_event_has_are_named_with_what_comes_of_it() {
        let order = json!({ "properties": { "total": 12.5, "products": [ { "product_id": "p1" } ] } });
        assert_eq!(
            warned("Order Completed", &vec![order; 1_000]),
            [
                "reminder.yaml:14: campaign reminder: none of the last 1,000 `Order Completed` has `properties.product_id`; an exit that \
              cannot compare ends the wait, so any of them does"
            ]
        );
        let added = json!({ "properties": { "price": 7, "colour": "blue", "product_id": "p1" } });
        assert_eq!(
            warned("Product Added", &[added]),
            [
                "reminder.yaml:10: campaign reminder: the only `Product Added` that came has no `properties.cart_id`; without it a person \
              is in the campaign once at a time"
            ]
        );
    }

    #[test]
    fn a_number_that_comes_as_text_is_told_with_its_share_and_nothing_is_said_of_what_fits() {
        let order = |total: Value| json!({ "properties": { "total": total, "product_id": "p1" } });
        let mut orders: Vec<Value> = (0..630).map(|n| order(json!(n))).collect();
        assert_eq!(warned("Order Completed", &orders), Vec::<String>::new());
        orders.extend((0..370).map(|n| order(json!(format!("{n}.00")))));
        assert_eq!(
            warned("Order Completed", &orders),
            [
                "reminder.yaml:13: campaign reminder: `properties.total` is text in 37 % of the last 1,000 `Order Completed`; it is \
              compared with a number"
            ]
        );
    }

    #[test]
    fn text_is_told_only_where_it_never_comes() {
        let added = |colour: Value| json!({ "properties": { "cart_id": "c", "price": 7, "colour": colour, "product_id": "p1" } });
        assert_eq!(warned("Product Added", &[added(json!(7)), added(json!("red"))]), Vec::<String>::new());
        assert_eq!(
            warned("Product Added", &[added(json!(7)), added(json!(8))]),
            [
                "reminder.yaml:12: campaign reminder: `properties.colour` is a number in 100 % of the last 2 `Product Added`; it is \
              compared with text"
            ]
        );
    }

    #[test]
    fn where_nothing_came_only_a_name_that_is_nearly_the_same_is_told() {
        assert_eq!(warned("Product Added", &[]), Vec::<String>::new());
        let came = ["Order Complete", "Cart Viewed"].map(str::to_owned).into();
        let file = SourceFile { name: "reminder.yaml".to_owned(), text: REMINDER.to_owned() };
        let asked = asked(&read(&[file]).unwrap());
        let told = warnings("Order Completed", &[], &asked["Order Completed"], &came);
        assert_eq!(
            told,
            ["reminder.yaml:13: campaign reminder: no `Order Completed` has come; did you mean `Order Complete`?"]
        );
    }

    #[test]
    fn a_soft_opt_in_for_customers_of_an_order_nobody_sends_is_told() {
        let text = "kind: consent_policy
rules:
  - channel: email
    soft_opt_in: { countries: [ GB ], where: { performed: { event: Order Complete, where: { properties.paid: true } } } }
";
        let file = SourceFile { name: "policy.yaml".to_owned(), text: text.to_owned() };
        let asked = asked(&read(&[file]).unwrap());
        let of = |bodies: &[&Value], came: &[&str]| {
            warnings(
                "Order Complete",
                bodies,
                &asked["Order Complete"],
                &came.iter().map(|it| (*it).to_owned()).collect(),
            )
        };
        let told = of(&[], &["Order Completed"]);
        assert!(told.len() == 1 && told[0].contains("did you mean `Order Completed`?"), "{told:?}");
        let told = of(&[&json!({ "properties": { "payed": true } })], &[]);
        assert!(told.len() == 1 && told[0].contains("has no `properties.paid`"), "{told:?}");
        assert_eq!(of(&[&json!({ "properties": { "paid": true } })], &[]), Vec::<String>::new());
    }
}

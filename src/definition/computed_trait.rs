//! `kind: computed_trait`: what a person's events come to, as written; and which of the shipped ones definitions name.

use std::collections::BTreeSet;

use crate::audience::computed::{Compute, ComputedTrait, Function, Over, SHIPPED, TIMESTAMP, Unit, Worth};
use crate::audience::condition::needs::{self, Needs};
use crate::audience::value_test::{Operand, Reference};
use crate::decision::campaign::{Exit, Start};
use crate::definition::Definition;
use crate::definition::campaign::owner;
use crate::definition::condition::{Scope, fields};
use crate::definition::performed::{event_names, net_of, window};
use crate::definition::reader::{At, Map};

const FIELDS: [&str; 5] = ["kind", "key", "name", "owner", "compute"];
const COMPUTE: [&str; 13] = [
    "count",
    "sum",
    "last",
    "first",
    "most_frequent",
    "average_interval",
    "over",
    "where",
    "within",
    "between",
    "since",
    "net_of",
    "currency",
];
const FUNCTIONS: [&str; 6] = ["count", "sum", "last", "first", "most_frequent", "average_interval"];
const UNITS: [(&str, Unit); 4] =
    [("seconds", Unit::Seconds), ("minutes", Unit::Minutes), ("hours", Unit::Hours), ("days", Unit::Days)];

/// `version` is 0: the store counts versions when the text is applied.
pub fn read(at: &At<'_>, key: &str) -> Option<ComputedTrait> {
    let map = at.map(&FIELDS, &[])?;
    let name = map.maybe("name", |at| at.name());
    let owner = owner(&map, false);
    let compute = map.required("compute").and_then(|at| compute(&at));
    owner?;
    Some(ComputedTrait { key: key.to_owned(), version: 0, name: name?, compute: compute? })
}

fn compute(at: &At<'_>) -> Option<Compute> {
    let map = at.map(&COMPUTE, &[])?;
    let function = function(&map);
    let events = map.required("over").and_then(|at| event_names(&at));
    let filter = map.optional("where", Vec::new(), |at| {
        let tests = fields(at.clone(), Scope::SEGMENT)?;
        let operands = tests.iter().flat_map(|(_, test)| test.operands());
        let of_person = operands.filter_map(|operand| match operand {
            Operand::Ref { reference: Reference::Item(_) | Reference::Event(_) | Reference::Entry(_), .. } => None,
            Operand::Ref { reference, .. } => Some(reference.to_string()),
            Operand::Value(_) | Operand::Money(_) => None,
        });
        let of_person: Vec<String> = of_person.take(1).collect();
        match of_person.first() {
            Some(named) => at.wrong(format!(
                "compares with `{named}`, and what counts for a computed trait is the same for everybody, whatever \
                 else is known of them: compare with a value here, or ask `performed` with this `where` in a segment"
            )),
            None => Some(tests),
        }
    });
    let net_of = map.maybe("net_of", |at| net_of(&at));
    let window = window(&map, Scope::SEGMENT);
    let (function, path) = function?;
    Some(Compute::new(function, path, Over { events: events?, filter: filter?, net_of: net_of?, window: window? }))
}

/// The one function that is written, with the path it looks at.
fn function(map: &Map<'_>) -> Option<(Function, Option<String>)> {
    let written: Vec<(&str, At<'_>)> = FUNCTIONS.iter().filter_map(|name| Some((*name, map.get(name)?))).collect();
    let [(name, at)] = written.as_slice() else {
        return map.at.wrong(format!("wanted one of {}", FUNCTIONS.join(", ")));
    };
    let currency = map.get("currency");
    if let Some(currency) = currency.as_ref().filter(|_| *name != "sum") {
        return currency.wrong("only a `sum` has a currency");
    }
    Some(match *name {
        "count" => match at.boolean()? {
            true => (Function::Count, None),
            false => return at.wrong("write `count: true`"),
        },
        "average_interval" => (Function::AverageInterval(at.choice(&UNITS, &[])?), None),
        "sum" => {
            let worth = match currency {
                None => Worth::AsItStands,
                Some(at) => match at.text()?.parse() {
                    Ok(currency) => Worth::In(currency),
                    Err(unknown) => return at.wrong(unknown.to_string()),
                },
            };
            (Function::Sum(worth), Some(path(at)?))
        }
        "first" => (Function::First, Some(at.path()?)),
        "last" => (Function::Last, Some(at.path()?)),
        _ => (Function::MostFrequent, Some(path(at)?)),
    })
}

fn path(at: &At<'_>) -> Option<String> {
    match at.path()? {
        path if path == TIMESTAMP => at.wrong("`timestamp` is an event's own time, which only `first` and `last` tell"),
        path => Some(path),
    }
}

/// Which of the shipped computed traits a definition names: in its conditions, in the trait or date that enters it, or, in a
/// template, as `profile.traits.KEY`.
pub fn shipped_in(definition: &Definition, text: &str) -> BTreeSet<&'static str> {
    let mut needs = Needs::default();
    match definition {
        Definition::Campaign(campaign) => {
            let goal = campaign.goal.iter().flat_map(|goal| &goal.filter);
            let exits = campaign.exit.iter().flat_map(|exit| match exit {
                Exit::Event { filter, .. } => filter.as_ref(),
                Exit::Condition { condition, .. } => Some(condition),
            });
            let conditions = campaign.entry.filter.iter().chain(goal).chain(exits);
            conditions.for_each(|condition| needs::direct(condition, &mut needs));
            match &campaign.entry.start {
                Start::Trait(change) => needs.name(&change.name),
                Start::Date(occasion) => needs.name(&occasion.of),
                Start::Event | Start::Segment(_) => {}
            }
        }
        Definition::Segment(segment) => needs::direct(&segment.filter, &mut needs),
        Definition::ConsentPolicy(rules) => {
            let conditions = rules.iter().filter_map(|rule| rule.policy.condition());
            conditions.for_each(|condition| needs::direct(condition, &mut needs));
        }
        Definition::Template(_) => {
            return SHIPPED.into_iter().filter(|key| text.contains(&format!("traits.{key}"))).collect();
        }
        Definition::Rates(_)
        | Definition::ComputedTrait(_)
        | Definition::Caps(_)
        | Definition::QuietHours(_)
        | Definition::Topic(_)
        | Definition::Source(_)
        | Definition::Story(_) => {}
    }
    SHIPPED.into_iter().filter(|key| needs.named.contains(*key)).collect()
}

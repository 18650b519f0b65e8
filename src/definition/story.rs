//! `kind: story`: a test a marketer can read. Who there is, what happens, what must come of it.

mod given;

use serde_json::{Map as Json, Value};

use crate::audience::ConsentState;
use crate::definition::condition;
use crate::definition::problem::{Code, nearest};
use crate::definition::reader::{At, Map, Target};
use crate::ids::Timestamp;
use crate::message::Channel;

/// Lines of a story; enough for a year of one customer, and quick to run.
pub const LINES_MAX: usize = 2_000;
pub const PROFILES_MAX: usize = 100;

const FIELDS: [&str; 8] = ["kind", "key", "name", "owner", "campaigns", "profiles", "given", "expect"];
const LATER: [&str; 2] = ["holdout", "arm"];

#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    pub key: String,
    pub name: String,
    pub campaigns: Vec<String>,
    pub profiles: Vec<Person>,
    /// In order of time.
    pub given: Vec<Given>,
    pub expect: Vec<Expectation>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub name: String,
    /// First seen by a line of the story; everybody else was there before it begins.
    pub is_new: bool,
    pub traits: Json<String, Value>,
    /// Static segments on whose lists they are as the story begins.
    pub lists: Vec<String>,
    /// Every channel; granted unless the story says otherwise, `None` where unknown.
    pub consent: Vec<(Channel, Option<ConsentState>)>,
}

/// One thing that happens to one person.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub at: Timestamp,
    /// Where it was written.
    pub line: usize,
    pub person: String,
    pub event: String,
    pub properties: Json<String, Value>,
    /// What an `Identified` sets.
    pub traits: Json<String, Value>,
}

/// What must, or must not, have come of it; `line` is where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    pub person: String,
    pub what: Expected,
    pub line: usize,
}

/// Fields that are none are not compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    Sent {
        at: Option<Timestamp>,
        template: Option<String>,
        channel: Option<Channel>,
    },
    NeverSent {
        template: Option<String>,
    },
    /// A message was meant and did not go, for this reason (its code, or words of its sentence).
    NotSent {
        reason: Option<String>,
        template: Option<String>,
        at: Option<Timestamp>,
    },
    Enrolled {
        at: Option<Timestamp>,
        campaign: Option<String>,
    },
    Exited {
        at: Option<Timestamp>,
        reason: Option<String>,
        campaign: Option<String>,
    },
    /// Came into a segment, or left it.
    Segment {
        entered: bool,
        at: Option<Timestamp>,
        segment: Option<String>,
    },
    /// A trait became another.
    Trait {
        at: Option<Timestamp>,
        name: Option<String>,
        to: Option<Value>,
    },
}

#[derive(Clone, Copy)]
enum Verb {
    Sent,
    NeverSent,
    NotSent,
    Enrolled,
    Exited,
    Entered,
    Left,
    Changed,
}

const VERBS: [(&str, Verb); 8] = [
    ("sent", Verb::Sent),
    ("never sent", Verb::NeverSent),
    ("not_sent", Verb::NotSent),
    ("enrolled", Verb::Enrolled),
    ("exited", Verb::Exited),
    ("entered", Verb::Entered),
    ("left", Verb::Left),
    ("changed", Verb::Changed),
];
const EXPECT_FIELDS: [&str; 8] = ["at", "template", "channel", "reason", "campaign", "segment", "trait", "to"];
const CONSENTS: [(&str, Option<ConsentState>); 3] =
    [("granted", Some(ConsentState::Granted)), ("denied", Some(ConsentState::Denied)), ("unknown", None)];

pub fn read(at: &At<'_>, key: &str) -> Option<Story> {
    let fields: Vec<&str> = FIELDS.into_iter().chain(["consent"]).collect();
    let map = at.map(&fields, &LATER)?;
    let name = map.required("name").and_then(|at| at.name());
    let campaigns = map.required("campaigns").and_then(|at| campaigns(&at));
    let mut profiles = map.required("profiles").and_then(|at| profiles(&at))?;
    let consent = map.optional("consent", (), |at| consent(&at, &mut profiles));
    let names: Vec<String> = profiles.iter().map(|person| person.name.clone()).collect();
    let given = map.optional("given", Vec::new(), |at| lines(&at, |at| given::read(at, &names)));
    let expect = map.required("expect").and_then(|at| lines(&at, |at| expectation(at, &names)));
    if let (Some(given), Some(at)) = (&given, map.get("given"))
        && let Some(late) = given.windows(2).position(|pair| pair[0].at > pair[1].at)
    {
        at.wrong::<()>(format!("line {} of it happens before the line above it", late + 2));
        return None;
    }
    consent?;
    let (name, campaigns, given) = (name?, campaigns?, given?);
    let comes = |person: &Person| given.iter().any(|line| line.person == person.name);
    if let Some(idle) = profiles.iter().find(|person| person.is_new && !comes(person)) {
        let at = map.get("profiles").and_then(|at| at.open_map()?.get(&idle.name));
        return at.and_then(|at| at.wrong("is new and does nothing in `given`: it is a line there that they come by"));
    }
    Some(Story { key: key.to_owned(), name, campaigns, profiles, given, expect: expect? })
}

fn campaigns(at: &At<'_>) -> Option<Vec<String>> {
    let read: Vec<_> = at
        .list()?
        .iter()
        .map(|at| {
            let key = at.key()?;
            at.refers(Target::Campaign(key.clone()));
            Some(key)
        })
        .collect();
    read.into_iter().collect()
}

fn profiles(at: &At<'_>) -> Option<Vec<Person>> {
    let map = at.open_map()?;
    if map.len() > PROFILES_MAX {
        at.problem(Code::Limit, format!("has {} profiles; at most {PROFILES_MAX} are allowed", map.len()));
        return None;
    }
    let read: Vec<_> = map
        .iter()
        .map(|(name, at)| {
            if EXPECT_FIELDS.contains(&name.text.as_str()) || matches!(name.text.as_str(), "properties" | "traits") {
                return at.wrong("this name is a field of a story's lines; choose another");
            }
            profile(&name.text, &at)
        })
        .collect();
    read.into_iter().collect()
}

fn profile(name: &str, at: &At<'_>) -> Option<Person> {
    let map = at.map(&["new", "traits", "consent", "lists"], &[])?;
    let is_new = map.optional("new", false, |at| at.boolean());
    let traits = map.optional("traits", Json::new(), |at| given::traits(&at));
    let lists = map.optional("lists", Vec::new(), |at| given::lists(&at));
    let consent = Channel::ALL.map(|channel| (channel, Some(ConsentState::Granted))).to_vec();
    let (is_new, traits, lists) = (is_new?, traits?, lists?);
    if is_new && let Some(known) = map.get("traits").or_else(|| map.get("lists")) {
        return known.wrong(
            "of somebody new nothing is known before their first line; give it in `given`: `Identified` with `traits`, \
             or `List Changed`",
        );
    }
    let mut person = Person { name: name.to_owned(), is_new, traits, lists, consent };
    map.optional("consent", (), |at| channels(&at, &mut [&mut person]))?;
    Some(person)
}

/// `{ email: denied }` for everybody, or `{ ann: { email: denied } }`.
fn consent(at: &At<'_>, profiles: &mut [Person]) -> Option<()> {
    let map = at.open_map()?;
    if map.iter().all(|(_, inner)| !inner.is_map()) {
        return channels(at, &mut profiles.iter_mut().collect::<Vec<_>>());
    }
    let names: Vec<String> = profiles.iter().map(|person| person.name.clone()).collect();
    let named = at.map(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
    let read: Vec<_> = named
        .iter()
        .map(|(name, inner)| {
            let person = profiles.iter_mut().find(|person| person.name == name.text)?;
            channels(&inner, &mut [person])
        })
        .collect();
    read.into_iter().collect()
}

fn channels(at: &At<'_>, people: &mut [&mut Person]) -> Option<()> {
    let map = at.map(&Channel::ALL.map(Channel::as_str), &[])?;
    let read: Vec<_> = map
        .iter()
        .map(|(name, inner)| {
            let channel = Channel::parse(&name.text)?;
            let state = inner.choice(&CONSENTS, &[])?;
            for person in people.iter_mut() {
                person.consent.retain(|(other, _)| *other != channel);
                person.consent.push((channel, state));
            }
            Some(())
        })
        .collect();
    read.into_iter().collect()
}

fn lines<'a, T>(at: &At<'a>, read: impl Fn(&At<'a>) -> Option<T>) -> Option<Vec<T>> {
    let items = at.list()?;
    if items.len() > LINES_MAX {
        at.problem(Code::Limit, format!("has {} lines; at most {LINES_MAX} are allowed", items.len()));
        return None;
    }
    let read: Vec<_> = items.iter().map(read).collect();
    read.into_iter().collect()
}

/// The person a line is about: the one field that is a profile's name.
fn person<'a>(map: &Map<'a>, names: &[String]) -> Option<(String, At<'a>)> {
    let mut named = map.iter().filter(|(key, _)| names.contains(&key.text));
    match (named.next(), named.next()) {
        (Some((key, at)), None) => Some((key.text.clone(), at)),
        (Some(_), Some(_)) => map.at.wrong("a line is about one person"),
        // An unknown name was noted when the line was opened.
        (None, _) if map.iter().any(|(key, _)| nearest(&key.text, names.iter().map(String::as_str)).is_some()) => None,
        (None, _) => map.at.wrong(format!("names none of the profiles {}", names.join(", "))),
    }
}

/// A line's mapping: its own fields and the profiles' names.
fn open<'a>(at: &At<'a>, fields: &[&str], names: &[String]) -> Option<Map<'a>> {
    let known: Vec<&str> = fields.iter().copied().chain(names.iter().map(String::as_str)).collect();
    at.map(&known, &[])
}

fn object(at: &At<'_>) -> Option<Json<String, Value>> {
    at.open_map()?;
    match at.value()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn expectation(at: &At<'_>, names: &[String]) -> Option<Expectation> {
    let map = open(at, &EXPECT_FIELDS, names)?;
    let (person, verb) = person(&map, names)?;
    let line = at.node.line;
    // `ann: { not_sent: { reason } }` says the same as `ann: not_sent, reason`.
    let (verb, inner) = if verb.is_map() {
        let outer = verb.map(&["not_sent"], &[])?;
        let inner = outer.required("not_sent")?.map(&["reason", "template"], &[])?;
        (Verb::NotSent, Some(inner))
    } else {
        (verb.choice(&VERBS, &[])?, None)
    };
    let field = |name: &str| map.get(name).or_else(|| inner.as_ref().and_then(|map| map.get(name)));
    let used: &[&str] = match verb {
        Verb::Sent => &["at", "template", "channel"],
        Verb::NeverSent => &["template"],
        Verb::NotSent => &["at", "template", "reason"],
        Verb::Enrolled => &["at", "campaign"],
        Verb::Exited => &["at", "campaign", "reason"],
        Verb::Entered | Verb::Left => &["at", "segment"],
        Verb::Changed => &["at", "trait", "to"],
    };
    if let Some(odd) = EXPECT_FIELDS.iter().filter(|name| !used.contains(name)).find_map(|name| field(name)) {
        return odd.wrong("this says nothing about such an expectation");
    }
    let template = field("template").map(|at| template(&at)).transpose_option();
    let campaign = field("campaign").map(|at| at.key()).transpose_option();
    let channel = field("channel").map(|at| at.channel()).transpose_option();
    let when = field("at").map(|at| at.instant()).transpose_option();
    let reason = field("reason").map(|at| at.name()).transpose_option();
    let segment = field("segment").map(|at| condition::segment(&at)).transpose_option();
    let name = field("trait").map(|at| at.name()).transpose_option();
    let to = field("to").map(|at| at.literal()).transpose_option();
    let (segment, name, to) = (segment?, name?, to?);
    let (template, campaign, channel, at, reason) = (template?, campaign?, channel?, when?, reason?);
    let what = match verb {
        Verb::Sent => Expected::Sent { at, template, channel },
        Verb::NeverSent => Expected::NeverSent { template },
        Verb::NotSent => Expected::NotSent { reason, template, at },
        Verb::Enrolled => Expected::Enrolled { at, campaign },
        Verb::Exited => Expected::Exited { at, reason, campaign },
        Verb::Entered => Expected::Segment { entered: true, at, segment },
        Verb::Left => Expected::Segment { entered: false, at, segment },
        Verb::Changed => Expected::Trait { at, name, to },
    };
    Some(Expectation { person, what, line })
}

fn template(at: &At<'_>) -> Option<String> {
    let key = at.key()?;
    at.refers(Target::Template(key.clone(), None));
    Some(key)
}

trait TransposeOption<T> {
    /// `Some(None)` where there is nothing to read; `None` where reading failed.
    fn transpose_option(self) -> Option<Option<T>>;
}

impl<T> TransposeOption<T> for Option<Option<T>> {
    fn transpose_option(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(some) => Some(some),
        }
    }
}

//! The lines of a story's `given`: what happens to whom. What Carillon itself says in the log is read with all that it
//! must say to mean anything; what only follows from other lines is refused, for it would pass by without a word.

use serde_json::{Map as Json, Value};

use crate::audience::ConsentState;
use crate::audience::consent::Via;
use crate::audience::segment::LIST_CHANGED;
use crate::audience::suppression::{LIST_EVENTS, REACH_CHANGED};
use crate::audience::whereabouts::{is_zone, zone_names};
use crate::decision::CONSENT_CHANGED;
use crate::decision::dates::DATE_REACHED;
use crate::decision::existing::MEMBER_INCLUDED;
use crate::decision::segments::{SEGMENT_ENTERED, SEGMENT_LEFT};
use crate::decision::traits::TRAIT_CHANGED;
use crate::definition::problem::{Code, nearest};
use crate::definition::reader::{At, Map, Target, shown};
use crate::definition::story::{Given, object, open, person};
use crate::event::Kind;
use crate::event::engagement::{EMAIL_LINK_CLICKED, EMAIL_OPENED, MACHINE, Machine};
use crate::message::{Channel, SuppressionKind};

/// What follows from other lines by itself, with what a story says instead.
const FOLLOWS: [(&str, &str); 6] = [
    (SEGMENT_ENTERED, "what puts them there, or `lists` of their profile for a static one"),
    (SEGMENT_LEFT, "what takes them out of it, or `List Changed` for a static one"),
    (TRAIT_CHANGED, "`Identified` with the new `traits`"),
    (DATE_REACHED, "the trait that holds the date; it is told when the day comes"),
    (MEMBER_INCLUDED, "who is in the segment as the story begins; their turn comes by itself"),
    (REACH_CHANGED, "`Address Suppressed` or `Suppression Removed`"),
];

/// One line.
pub fn read(at: &At<'_>, names: &[String]) -> Option<Given> {
    let map = open(at, &["at", "properties", "traits"], names)?;
    let when = map.required("at").and_then(|at| at.instant());
    let (person, event) = person(&map, names)?;
    let (event, event_at) = (event.name(), event);
    let properties = map.optional("properties", Json::new(), |at| object(&at));
    let set = map.optional("traits", Json::new(), |at| traits(&at));
    let event = event?;
    if let Some(stray) = map.get("traits").filter(|_| event != Kind::Identify.event_name()) {
        return stray.wrong("only `Identified` sets traits");
    }
    let properties = properties?;
    let line = Line { map: &map, properties: &properties };
    match event.as_str() {
        CONSENT_CHANGED => line.answer()?,
        LIST_CHANGED => line.list()?,
        EMAIL_OPENED | EMAIL_LINK_CLICKED => line.hit()?,
        name if LIST_EVENTS.contains(&name) => line.suppression()?,
        name => {
            if let Some((_, instead)) = FOLLOWS.iter().find(|(follows, _)| *follows == name) {
                return event_at.wrong(format!("`{name}` follows by itself, and nobody says it; give {instead}"));
            }
        }
    }
    Some(Given { at: when?, line: at.node.line, person, event, properties, traits: set? })
}

/// A line of Carillon's own, with what it says.
struct Line<'m, 'a> {
    map: &'m Map<'a>,
    properties: &'m Json<String, Value>,
}

impl<'a> Line<'_, 'a> {
    fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name).and_then(Value::as_str)
    }

    fn at(&self) -> At<'a> {
        self.map.get("properties").unwrap_or_else(|| self.map.at.clone())
    }

    /// The place of one property.
    fn property(&self, name: &str) -> Option<At<'a>> {
        self.map.get("properties")?.open_map()?.get(name)
    }

    /// Where to report what is wrong with a property: there, or where it is missing.
    fn of(&self, name: &str) -> At<'a> {
        self.property(name).unwrap_or_else(|| self.at())
    }

    /// The list is of addresses: a change of it names the channel, and the kind by its name.
    fn suppression(&self) -> Option<()> {
        if self.text("channel").and_then(Channel::parse).is_none() {
            return self.of("channel").wrong(format!(
                "wanted the channel whose address is meant: properties: {{ channel: … }}, one of {}",
                channels()
            ));
        }
        match self.properties.get("kind") {
            Some(kind) if kind.as_str().and_then(SuppressionKind::parse).is_none() => {
                self.of("kind").wrong("wanted as kind one of unsubscribed, complaint, bounced, manual, topic:KEY")
            }
            _ => Some(()),
        }
    }

    /// Somebody's answer: about what, which, and by which way where it is said.
    fn answer(&self) -> Option<()> {
        let is_topic = self.properties.get("topic").is_some_and(Value::is_string);
        if !is_topic && self.text("channel").and_then(Channel::parse).is_none() {
            return self.of("channel").wrong(format!(
                "wanted what the answer is about: properties: {{ channel: …, state: … }}, one of {}, or {{ topic: … }}",
                channels()
            ));
        }
        let state = self.text("state");
        let is_answer = matches!(state, Some("subscribed" | "unsubscribed"))
            || state.and_then(ConsentState::parse).is_some_and(|state| state != ConsentState::Pending);
        if !is_answer {
            return self.of("state").wrong("wanted as state granted, denied or unknown, or subscribed or unsubscribed");
        }
        match self.properties.get("via") {
            Some(via) if via.as_str().and_then(Via::parse).is_none() => {
                self.of("via").wrong("wanted as via the way the answer came: link, page, confirmation or api")
            }
            _ => Some(()),
        }
    }

    /// An operator's word about the list of a static segment.
    fn list(&self) -> Option<()> {
        let Some(segment) = self.property("segment") else {
            return self.at().wrong("wanted the static segment: properties: { segment: KEY, listed: true }");
        };
        let key = segment.key()?;
        segment.refers(Target::Segment(key));
        match self.properties.get("listed") {
            Some(Value::Bool(_)) => Some(()),
            _ => self.of("listed").wrong("wanted listed: true for who comes onto the list, false for who is taken off"),
        }
    }

    /// Somebody opened a mail of ours or followed a link in it: of which campaign, and whether it was a machine.
    fn hit(&self) -> Option<()> {
        let Some(campaign) = self.property("campaign") else {
            return self.at().wrong("wanted the campaign whose mail it is: properties: { campaign: KEY }");
        };
        let key = campaign.key()?;
        campaign.refers(Target::Campaign(key));
        let all = Machine::ALL.map(Machine::as_str);
        match self.properties.get(MACHINE) {
            Some(found) if !found.as_str().is_some_and(|found| all.contains(&found)) => {
                let message = format!("wanted as machine why it is taken for one: {}", all.join(", "));
                self.of(MACHINE).wrong(message)
            }
            _ => Some(()),
        }
    }
}

fn channels() -> String {
    Channel::ALL.map(Channel::as_str).join(", ")
}

/// What is known of a person. A zone that there is none of would be passed over, and theirs guessed.
pub fn traits(at: &At<'_>) -> Option<Json<String, Value>> {
    let traits = object(at)?;
    let zone = at.open_map()?.get("timezone");
    let (Some(zone), Some(value)) = (zone, traits.get("timezone").filter(|value| !value.is_null())) else {
        return Some(traits);
    };
    let name = value.as_str().unwrap_or_default();
    if is_zone(name) {
        return Some(traits);
    }
    let message = match zone.raw() {
        Some(text) => format!("there is no time zone `{}`; wanted one such as Europe/Berlin", shown(text)),
        None => "wanted a time zone such as Europe/Berlin".to_owned(),
    };
    let near = nearest(name, zone_names().iter().map(String::as_str));
    let (line, column) = (zone.node.line, zone.node.column);
    zone.reader.push(line, column, &zone.path, Code::WrongValue, message, near);
    None
}

/// Static segments, by their keys.
pub fn lists(at: &At<'_>) -> Option<Vec<String>> {
    let read: Vec<Option<String>> = at
        .list()?
        .iter()
        .map(|at| {
            let key = at.key()?;
            at.refers(Target::Segment(key.clone()));
            Some(key)
        })
        .collect();
    read.into_iter().collect()
}

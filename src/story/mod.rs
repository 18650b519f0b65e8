//! Stories run on the pure core: the same decisions, guard and caps as the service, in memory and in virtual time.
//!
//! Nothing is rendered and nothing is stored. Every campaign a story names counts as live, splits and holdouts do not
//! exist yet, and the timeline shows instants before settling: messages due at one instant go by priority.

mod given;
#[cfg(test)]
mod tests;
mod timeline;
pub mod words;
mod world;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::audience::value_test::equal;
use crate::decision::campaign::Start;
use crate::decision::segments::SEGMENT_ENTERED;
use crate::definition::story::{Expectation, Expected, Story};
use crate::definition::{self, Definition, Document, Known, Problem, SourceFile};
use crate::event::pattern::clipped;
use crate::ids::{Position, Span, Timestamp};
pub use timeline::{Timeline, instant};
pub use world::{Act, Ask, Deed, Divergence, Happening, Left, Record, Recorded, Said, Setting, Someone, What, World};

/// What came of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryReport {
    pub name: String,
    pub passed: bool,
    /// A line each, with the line of the document it was written on.
    pub failures: Vec<String>,
    /// Everything that happened, in order.
    pub timeline: String,
    /// What its author may not have meant, whether it passed or not.
    pub hints: Vec<String>,
}

/// How long after its last line a story goes on.
const TOLD_AFTER: Span = Span::from_days(2 * 366);

/// Runs one story under the campaigns, caps and policies among `documents`.
pub fn run(documents: &[Document], story: &Story) -> StoryReport {
    let mut missing = missing(documents, story);
    missing.extend(given::impossible(documents, story));
    let (failures, timeline, hints) = match missing {
        missing if !missing.is_empty() => (missing, String::new(), Vec::new()),
        _ => {
            let setting = given::setting(documents, story);
            let mut world = World::new(&setting, given::people(story), Position(0));
            world.gives_turns = true;
            let acts = given::acts(documents, story);
            // What comes every year never comes to an end.
            let last = acts.last().map_or(given::start(story), |act| act.at);
            let ended = world.run(given::start(story), &acts, Some(last.plus(TOLD_AFTER)));
            let unmet = story.expect.iter().filter_map(|expected| unmet(expected, &world.happenings));
            let failures = ended.err().into_iter().chain(unmet).collect();
            let hints = members_before(&setting, story, &world);
            (failures, world.timeline.into_text(), hints)
        }
    };
    StoryReport { name: story.name.clone(), passed: failures.is_empty(), failures, timeline, hints }
}

/// Campaigns that begin with whoever enters a segment, beside people who were in it before the story began: what holds
/// for them is not what happens to somebody who is first seen.
fn members_before(setting: &Setting, story: &Story, world: &World<'_>) -> Vec<String> {
    let mut hints = Vec::new();
    for campaign in setting.catalog.campaigns() {
        let Start::Segment(segment) = &campaign.entry.start else { continue };
        if campaign.entry.event != SEGMENT_ENTERED || campaign.entry.existing.is_some() {
            continue;
        }
        for (told, person) in story.profiles.iter().zip(world.people()) {
            let theirs = world.happenings.iter().filter(|one| one.person == told.name);
            let changes = theirs.filter_map(|one| match &one.what {
                What::Segment { entered, segment: which } if which == segment => Some(*entered),
                _ => None,
            });
            let changes: Vec<bool> = changes.collect();
            let is_member = person.profile.segments.of(segment).since.is_some();
            let was_before = changes.first().map_or(is_member, |entered| !entered);
            if was_before && !told.is_new && !changes.contains(&true) {
                hints.push(format!(
                    "{name} was in segment {segment} before the story began, so {} does not begin with them; somebody \
                     who is first seen in it is written `{name}: {{ new: true }}`",
                    campaign.key,
                    name = told.name
                ));
            }
        }
    }
    hints
}

/// Runs every story of these files, in which nothing else exists.
///
/// # Errors
/// Every problem of the files.
pub fn tell(files: &[SourceFile]) -> Result<Vec<StoryReport>, Vec<Problem>> {
    definition::check(files, &Known::default()).map(|documents| run_all(&documents))
}

/// Runs every story among `documents`.
pub fn run_all(documents: &[Document]) -> Vec<StoryReport> {
    documents
        .iter()
        .filter_map(|document| match &document.definition {
            Definition::Story(story) => Some(run(documents, story)),
            _ => None,
        })
        .collect()
}

/// Campaigns the story names that do not exist for it, and templates those campaigns send.
fn missing(documents: &[Document], story: &Story) -> Vec<String> {
    let templates: BTreeSet<&str> = documents
        .iter()
        .filter_map(|document| match &document.definition {
            Definition::Template(template) => Some(template.key.as_str()),
            _ => None,
        })
        .collect();
    let mut failures = Vec::new();
    for key in &story.campaigns {
        let campaign = documents.iter().find_map(|document| match &document.definition {
            Definition::Campaign(campaign) if campaign.key == *key => Some(campaign),
            _ => None,
        });
        match campaign {
            None => failures.push(format!("there is no campaign `{key}`")),
            Some(campaign) if !templates.contains(campaign.send.template.as_str()) => {
                failures.push(format!(
                    "campaign `{key}` sends `{}`, and there is no such template",
                    campaign.send.template
                ));
            }
            Some(_) => {}
        }
    }
    failures
}

/// Why an expectation was not met; none where it was.
fn unmet(expected: &Expectation, happenings: &[Happening]) -> Option<String> {
    let theirs: Vec<&Happening> = happenings.iter().filter(|happening| happening.person == expected.person).collect();
    let met = theirs.iter().find(|happening| meets(&expected.what, happening));
    let is_never = matches!(expected.what, Expected::NeverSent { .. });
    if met.is_some() != is_never {
        return None;
    }
    let wanted = words(&expected.what);
    let instead = match met {
        Some(happening) => happening.words(),
        None if theirs.is_empty() => "nothing happened".to_owned(),
        None => theirs.iter().map(|happening| happening.words()).collect::<Vec<_>>().join("; "),
    };
    Some(format!("line {}: expected {} {wanted}, but: {instead}", expected.line, expected.person))
}

/// Whether a happening is what is expected; for `never sent`, what must not be.
fn meets(expected: &Expected, happening: &Happening) -> bool {
    let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let when = |wanted: &Option<Timestamp>| wanted.is_none_or(|wanted| wanted == happening.at);
    match (expected, &happening.what) {
        (Expected::Sent { at, template, channel }, What::Sent) => {
            when(at)
                && fits(template, &happening.template)
                && channel.is_none_or(|channel| channel == happening.channel)
        }
        (Expected::NeverSent { template }, What::Sent) => fits(template, &happening.template),
        (Expected::NotSent { reason, template, at }, What::NotSent(found) | What::NotEntered(found)) => {
            let says = |wanted: &String| {
                found.code() == wanted || found.sentence().to_lowercase().contains(&wanted.to_lowercase())
            };
            when(at) && fits(template, &happening.template) && reason.as_ref().is_none_or(says)
        }
        (Expected::Enrolled { at, campaign }, What::Enrolled) => when(at) && fits(campaign, &happening.campaign),
        (Expected::Segment { entered, at, segment }, What::Segment { entered: found, segment: which }) => {
            when(at) && entered == found && fits(segment, which)
        }
        (Expected::Trait { at, name, to }, What::Trait { name: which, to: found }) => {
            let same = |wanted: &Value| found.as_ref().is_some_and(|found| equal(found, wanted, false));
            when(at) && fits(name, which) && to.as_ref().is_none_or(same)
        }
        (Expected::Exited { at, reason, campaign }, What::Exited { by }) => {
            // A condition is quoted with or without the braces it was written in.
            let bare = |text: &str| text.trim_matches(|c: char| "{} ".contains(c)).to_owned();
            when(at)
                && fits(campaign, &happening.campaign)
                && reason.as_ref().is_none_or(|reason| bare(reason) == bare(by))
        }
        _ => false,
    }
}

fn words(expected: &Expected) -> String {
    let mut text = String::new();
    let mut say = |lead: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(lead);
            text.push_str(&value);
        }
    };
    match expected {
        Expected::Sent { at, template, channel } => {
            say("sent", Some(String::new()));
            say(" ", template.clone());
            say(" by ", channel.map(|channel| channel.as_str().to_owned()));
            say(" at ", at.map(instant));
        }
        Expected::NeverSent { template } => {
            say("never sent", Some(String::new()));
            say(" ", template.clone());
        }
        Expected::NotSent { reason, template, at } => {
            say("not sent", Some(String::new()));
            say(" ", template.clone());
            say(" for ", reason.clone());
            say(" at ", at.map(instant));
        }
        Expected::Enrolled { at, campaign } => {
            say("enrolled", Some(String::new()));
            say(" in ", campaign.clone());
            say(" at ", at.map(instant));
        }
        Expected::Segment { entered, at, segment } => {
            say(if *entered { "entered" } else { "left" }, Some(String::new()));
            say(" segment ", segment.clone());
            say(" at ", at.map(instant));
        }
        Expected::Trait { at, name, to } => {
            say("changed", Some(String::new()));
            say(" ", name.clone());
            say(" to ", to.as_ref().map(clipped));
            say(" at ", at.map(instant));
        }
        Expected::Exited { at, reason, campaign } => {
            say("exited", Some(String::new()));
            say(" from ", campaign.clone());
            say(" by ", reason.clone());
            say(" at ", at.map(instant));
        }
    }
    text
}

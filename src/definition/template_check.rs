//! A template is compiled, and rendered with its own sample, when it is read: what is wrong with it is told to its
//! author with line and column, and not to a message on its way.

use serde_json::{Map, Value};

use crate::definition::problem::{Code, Problem};
use crate::definition::reader::At;
use crate::definition::template::PartFile;
use crate::ids::Timestamp;
use crate::message::Channel;
use crate::render::includes::FOLDER;
use crate::render::template::Template;
use crate::render::{Compiled, RenderError, Scope, Sender, TemplateError, preview};

/// Of what a sample lacks, so much is told of one channel.
const MISSING_MAX: usize = 50;

/// Whether every part compiles and, where there is a sample, can be rendered with it; what is wrong is noted.
pub fn check(at: &At<'_>, template: &Template, files: &[PartFile<'_>]) -> Option<()> {
    let place = Place { at, files };
    let compiled = match Compiled::new(template) {
        Ok(compiled) => compiled,
        Err(_) => {
            for TemplateError { part, line, column, message, .. } in Compiled::faults(template) {
                place.note(&part, line, column, message);
            }
            return None;
        }
    };
    // Without a sample nothing can be known of the variables.
    if template.sample.is_empty() {
        return Some(());
    }
    // Where there are several languages, that of the sample's person is one of them.
    let base = match template.variants.is_empty() {
        true => template.sample.clone(),
        false => in_locale(&template.sample, template.locale.as_deref().unwrap_or_default()),
    };
    let mut right = place.check_with(&compiled, template, &base);
    for (locale, parts) in &template.variants {
        let reader = in_locale(&template.sample, locale);
        right = right.and(place.check_with(&compiled, &Template { parts: parts.clone(), ..template.clone() }, &reader));
    }
    right
}

/// Puts an empty text where a sample has nothing; false where that is not by its path, or something is there.
fn fill(sample: &mut Map<String, Value>, path: &str) -> bool {
    let mut steps: Vec<&str> = path.split('.').collect();
    let Some(last) = steps.pop().filter(|_| !steps.is_empty()) else { return false };
    let mut inside = sample;
    for step in steps {
        let next = inside.entry(step).or_insert_with(|| Map::new().into());
        match next.as_object_mut() {
            Some(object) => inside = object,
            None => return false,
        }
    }
    let is_free = inside.get(last).is_none_or(Value::is_null);
    if is_free {
        inside.insert(last.to_owned(), "".into());
    }
    is_free
}

/// The sample as somebody of another place.
fn in_locale(sample: &Map<String, Value>, locale: &str) -> Map<String, Value> {
    let mut sample = sample.clone();
    let entry = |map: &mut Map<String, Value>, name: &str| map.entry(name).or_insert_with(|| Map::new().into()).clone();
    let mut profile = entry(&mut sample, "profile");
    if let Some(profile) = profile.as_object_mut() {
        let mut traits = entry(profile, "traits");
        if let Some(traits) = traits.as_object_mut() {
            traits.insert("locale".to_owned(), locale.into());
        }
        profile.insert("traits".to_owned(), traits);
    }
    sample.insert("profile".to_owned(), profile);
    sample
}

struct Place<'p, 'a> {
    at: &'p At<'a>,
    files: &'p [PartFile<'p>],
}

impl Place<'_, '_> {
    fn check_with(&self, compiled: &Compiled, template: &Template, sample: &Map<String, Value>) -> Option<()> {
        let sender = Sender::new(None, "preview@example.com", None).ok()?;
        let place = self;
        let mut right = Some(());
        for channel in Channel::ALL.into_iter().filter(|channel| template.parts.has(*channel)) {
            right = right.and(place.try_with(compiled, channel, sample, &sender));
        }
        right
    }

    /// What a sample lacks is taken for an empty text, so that everything it lacks is told.
    fn try_with(
        &self,
        compiled: &Compiled,
        channel: Channel,
        sample: &Map<String, Value>,
        sender: &Sender,
    ) -> Option<()> {
        let (place, at) = (self, self.at);
        let mut sample = sample.clone();
        let mut right = Some(());
        for _ in 0..MISSING_MAX {
            let scope = Scope::sample(Timestamp::from_millis(0), &sample);
            let failed = match preview(compiled, channel, &scope, sender, "sample@example.com") {
                Ok(_) => return right,
                Err(failed) => failed,
            };
            match failed {
                RenderError::Missing { part, variable, line, column } => {
                    place.note(&part, line, column, format!("the sample has no `{variable}`, and it has no default"));
                    right = None;
                    if !fill(&mut sample, &variable) {
                        return None;
                    }
                }
                // That may come of the empty text.
                _ if right.is_none() => return None,
                RenderError::Failed { part, line, column, message } => return place.note(&part, line, column, message),
                RenderError::Limit { part, limit } => return place.note(&part, 1, 1, limit),
                RenderError::UnsafeAddress { part, address } => {
                    return place.note(&part, 1, 1, format!("with the sample, {address}"));
                }
                missing @ RenderError::NoPart { .. } => return at.wrong(missing.to_string()),
            }
        }
        right
    }

    /// Notes a problem at a line of a part: in its file, or at the document that holds it inline.
    fn note(&self, part: &str, line: usize, column: usize, message: String) -> Option<()> {
        // Those of a locale stand in a folder of their own.
        let (folder, own) = part.rsplit_once('/').map_or(("", part), |(locale, own)| (locale, own));
        let own_file = match own {
            "sms" => "sms.hbs",
            "webhook.json" => "webhook.json.hbs",
            _ if own.starts_with("push") => "push.hbs",
            _ if own.starts_with("whatsapp") => "whatsapp.yaml",
            _ => own,
        };
        let name = if folder.is_empty() { own_file.to_owned() } else { format!("{folder}/{own_file}") };
        // What is included has names of its own, and may stand in the document as well.
        let name = if self.files.iter().any(|file| file.name == part) { part.to_owned() } else { name };
        // Parts of a YAML file have lines of their own, which the file's are not.
        let is_mapping = matches!(own_file, "push.hbs" | "whatsapp.yaml");
        let (file, line, column, message) = match self.files.iter().find(|file| file.name == name) {
            Some(file) if is_mapping => (file.file, 1, 1, message),
            Some(file) => (file.file, line, column, message),
            None => {
                let of = if part.starts_with(FOLDER) { part } else { "it" };
                let message = format!("line {line}, column {column} of {of}: {message}");
                (self.at.reader.file, self.at.node.line, self.at.node.column, message)
            }
        };
        self.at.reader.problems.borrow_mut().push(Problem {
            file: file.to_owned(),
            line,
            column,
            field: part.to_owned(),
            code: Code::WrongValue,
            message,
            nearest: None,
        });
        None
    }
}

//! A template is compiled, and rendered with its own sample, when it is read: what is wrong with it is told to its
//! author with line and column, and not to a message on its way.

use crate::definition::problem::{Code, Problem};
use crate::definition::reader::At;
use crate::definition::template::PartFile;
use crate::ids::Timestamp;
use crate::message::Channel;
use crate::render::template::Template;
use crate::render::{Compiled, RenderError, Scope, Sender, TemplateError, preview};

/// Whether every part compiles and, where there is a sample, can be rendered with it; what is wrong is noted.
pub fn check(at: &At<'_>, template: &Template, files: &[PartFile<'_>]) -> Option<()> {
    let place = Place { at, files };
    let compiled = match Compiled::new(template) {
        Ok(compiled) => compiled,
        Err(TemplateError { part, line, column, message }) => return place.note(&part, line, column, message),
    };
    // Without a sample nothing can be known of the variables.
    if template.sample.is_empty() {
        return Some(());
    }
    let sender = Sender::new(None, "preview@example.com", None).ok()?;
    let scope = Scope::sample(Timestamp::from_millis(0), &template.sample);
    let mut right = Some(());
    for channel in Channel::ALL.into_iter().filter(|channel| template.parts.has(*channel)) {
        right = right.and(match preview(&compiled, channel, &scope, &sender, "sample@example.com") {
            Ok(_) => Some(()),
            Err(RenderError::Missing { part, variable, line, column }) => {
                place.note(&part, line, column, format!("the sample has no `{variable}`, and it has no default"))
            }
            Err(RenderError::Failed { part, line, column, message }) => place.note(&part, line, column, message),
            Err(RenderError::Limit { part, limit }) => place.note(&part, 1, 1, limit),
            Err(RenderError::UnsafeAddress { part, address }) => {
                place.note(&part, 1, 1, format!("with the sample, {address}"))
            }
            Err(missing @ RenderError::NoPart { .. }) => at.wrong(missing.to_string()),
        });
    }
    right
}

struct Place<'p, 'a> {
    at: &'p At<'a>,
    files: &'p [PartFile<'p>],
}

impl Place<'_, '_> {
    /// Notes a problem at a line of a part: in its file, or at the document that holds it inline.
    fn note(&self, part: &str, line: usize, column: usize, message: String) -> Option<()> {
        let own_file = match part {
            "sms" => "sms.hbs",
            "webhook.json" => "webhook.json.hbs",
            _ if part.starts_with("push") => "push.hbs",
            _ if part.starts_with("whatsapp") => "whatsapp.yaml",
            _ => part,
        };
        // Parts of a YAML file have lines of their own, which the file's are not.
        let is_mapping = matches!(own_file, "push.hbs" | "whatsapp.yaml");
        let (file, line, column, message) = match self.files.iter().find(|file| file.name == own_file) {
            Some(file) if is_mapping => (file.file, 1, 1, message),
            Some(file) => (file.file, line, column, message),
            None => {
                let message = format!("line {line}, column {column} of it: {message}");
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

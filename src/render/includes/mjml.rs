//! `<mj-include path="header.mjml">`: MJML's own way to share, for those who write it already. A path is one of the
//! files that were read with the template; nothing is looked for on a disk.

use crate::render::compile::TemplateError;
use crate::render::includes::call::Arguments;
use crate::render::includes::{Expander, FOLDER};
use crate::render::markup::{Attribute, Part, parts};
use crate::render::schemes::UNKNOWN;
use crate::render::syntax;

/// An element that matters to what is put in.
pub(super) enum Element<'t> {
    /// `<mjml>`.
    Begin,
    /// `</mj-head>`.
    HeadEnd,
    Include(Include<'t>),
}

#[derive(Default)]
pub(super) struct Include<'t> {
    path: Option<(usize, &'t str)>,
    kind: Option<(usize, &'t str)>,
    inline: Option<(usize, &'t str)>,
    /// An attribute it cannot have.
    odd: Option<(usize, &'t str)>,
    is_open: bool,
}

/// Places, lengths and elements of a text.
pub(super) fn elements(text: &str) -> Vec<(usize, usize, Element<'_>)> {
    let masked = syntax::without_tags(text, UNKNOWN);
    let mut found = Vec::new();
    for part in parts(&masked) {
        match part {
            Part::Open { at, name: "mjml", end, .. } => found.push((at, end - at, Element::Begin)),
            Part::Open { at, name: "mj-include", attributes, is_empty, end } => {
                let close = "</mj-include>";
                let behind = text[end..].trim_start();
                let closed = if is_empty { None } else { behind.strip_prefix(close) };
                let end = closed.map_or(end, |rest| text.len() - rest.len());
                let include = include(text, &attributes, !is_empty && closed.is_none());
                found.push((at, end - at, Element::Include(include)));
            }
            Part::Close { at, name: "mj-head" } => {
                let length = text[at..].find('>').map_or(text.len() - at, |end| end + 1);
                found.push((at, length, Element::HeadEnd));
            }
            _ => {}
        }
    }
    found
}

fn include<'t>(text: &'t str, attributes: &[Attribute<'_>], is_open: bool) -> Include<'t> {
    let mut include = Include { is_open, ..Include::default() };
    for it in attributes {
        let value = Some((it.value_at, &text[it.value_at..it.value_at + it.value.len()]));
        match it.name {
            "path" => include.path = value,
            "type" => include.kind = value,
            "css-inline" => include.inline = value,
            _ => include.odd = Some((it.at, &text[it.at..it.at + it.name.len()])),
        }
    }
    include
}

impl<'t> Expander<'t> {
    pub(super) fn include(&mut self, file: usize, at: usize, include: &Include<'t>) -> Result<(), TemplateError> {
        let Include { path, kind, inline, odd, is_open } = include;
        if let Some((at, name)) = odd {
            let what = format!("`mj-include` has no attribute `{name}`; it has path, type and css-inline");
            return Err(self.error(file, *at, what));
        }
        if *is_open {
            return Err(self.error(file, at, "<mj-include> is not closed: write <mj-include path=\"…\" />"));
        }
        let Some((path_at, path)) = *path else {
            return Err(self.error(file, at, "`mj-include` needs a `path`"));
        };
        let name = resolved(self.files[file].name, path).map_err(|what| self.error(file, path_at, what))?;
        let Some((name, _)) = self.shelf.partials.get_key_value(&name) else {
            return Err(self.error(
                file,
                path_at,
                format!("there is no file {name} in the template's folder or beside it"),
            ));
        };
        let is_inline = match inline {
            None => false,
            Some((_, "inline")) => true,
            Some((at, _)) => return Err(self.error(file, *at, "`css-inline` is `inline` or not there")),
        };
        let (before, after, is_style) = match kind {
            None | Some((_, "mjml")) => ("", "", false),
            Some((_, "html")) => ("<mj-raw>", "</mj-raw>", false),
            Some((_, "css")) if is_inline => ("<mj-style inline=\"inline\">", "</mj-style>", true),
            Some((_, "css")) => ("<mj-style>", "</mj-style>", true),
            Some((at, _)) => return Err(self.error(file, *at, "`type` is mjml, html or css")),
        };
        if is_inline && !is_style {
            return Err(self.error(file, at, "`css-inline` goes with type=\"css\""));
        }
        let opened = self.enter(file, at, name)?;
        let was_mjml = std::mem::replace(&mut self.kind.is_mjml, before.is_empty());
        let was_head = self.in_head;
        self.in_head |= is_style;
        self.copy(before, file, at)?;
        let done = self.pieces(opened, before.is_empty());
        self.copy(after, file, at)?;
        (self.kind.is_mjml, self.in_head) = (was_mjml, was_head);
        self.open.pop();
        done
    }

    /// All of a file; of a whole `<mjml>` what stands in its head goes to the head, what stands in its body here.
    fn pieces(&mut self, file: usize, is_mjml: bool) -> Result<(), TemplateError> {
        let text = self.files[file].text;
        let mut none = Arguments::none();
        let inner = |name: &str| {
            let (mut start, mut end) = (None, None);
            for part in parts(text) {
                match part {
                    Part::Open { name: found, is_empty: false, end, .. } if found == name => {
                        start = start.or(Some(end))
                    }
                    Part::Close { at, name: found } if found == name => end = Some(at),
                    _ => {}
                }
            }
            start.zip(end).filter(|(start, end)| start <= end).map(|(start, end)| start..end)
        };
        if !is_mjml || inner("mjml").is_none() {
            return self.file(file, 0..text.len(), &mut none);
        }
        if let Some(head) = inner("mj-head") {
            let was_head = std::mem::replace(&mut self.in_head, true);
            let done = self.file(file, head, &mut none);
            self.in_head = was_head;
            done?;
        }
        inner("mj-body").map_or(Ok(()), |body| self.file(file, body, &mut none))
    }
}

/// The name, within the template's folder, of a path that stands in a file of it.
fn resolved(from: &str, path: &str) -> Result<String, String> {
    if path.trim().is_empty() || path.contains("{{") {
        return Err("a path names a file, such as partials/header.mjml".to_owned());
    }
    if path.starts_with('/') || path.contains(['\\', ':', '\0']) {
        return Err(
            "a path leads from the file it stands in to one beside it, such as ../partials/header.mjml".to_owned()
        );
    }
    let mut folders: Vec<&str> = from.split('/').collect();
    folders.pop();
    let mut is_above = false;
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." if is_above => return Err(outside()),
            ".." => is_above = folders.pop().is_none(),
            step => folders.push(step),
        }
    }
    // What is shared stands in one folder beside the templates' own.
    if is_above && folders.first() != Some(&FOLDER) {
        return Err(outside());
    }
    let name = folders.join("/");
    let has_ending = folders.last().is_some_and(|own| own.contains('.'));
    Ok(if has_ending { name } else { format!("{name}.mjml") })
}

fn outside() -> String {
    format!("this leads out of the template's folder; what templates share stands in `{FOLDER}` beside their folders")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_lead_to_files_of_the_template_and_to_what_templates_share() {
        for (from, path, name) in [
            ("email.mjml", "header.mjml", "header.mjml"),
            ("email.mjml", "./header", "header.mjml"),
            ("email.mjml", "../partials/a/b.css", "partials/a/b.css"),
            ("de/email.mjml", "header.mjml", "de/header.mjml"),
            ("de/email.mjml", "../header.mjml", "header.mjml"),
            ("de/email.mjml", "../../partials/x.mjml", "partials/x.mjml"),
            ("partials/head.mjml", "styles.css", "partials/styles.css"),
        ] {
            assert_eq!(resolved(from, path).unwrap(), name, "{from} {path}");
        }
        for path in [
            "",
            " ",
            "/etc/passwd",
            "C:\\x",
            "..\\x",
            "https://a.example/x.mjml",
            "../x.mjml",
            "../../partials/x",
            "../other/email.mjml",
            "partials/../../../x",
            "{{event.name}}.mjml",
        ] {
            assert!(resolved("email.mjml", path).is_err(), "{path}");
        }
    }
}

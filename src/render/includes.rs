//! Shared pieces of templates: `{{> name}}` in every part, `<mj-include path="…">` in MJML, put in place before
//! anything else reads the text. So what holds for a part holds for what it includes: strict names, known elements,
//! bounded loops; and only the places of problems have to be led back to the files they stand in (`origins.rs`).

mod call;
mod mjml;
mod origins;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::render::compile::{Escape, TemplateError};
use crate::render::syntax::{self, SOURCE_BYTES_MAX, at_place};
use crate::render::template::{Parts, Template};
use call::Arguments;
use mjml::Element;
use origins::Copied;
pub(super) use origins::Origins;

/// Files within files.
const DEPTH_MAX: usize = 10;
/// Inclusions in one part, each counted as often as it happens.
const INCLUDES_MAX: usize = 1_000;
/// The folder of shared pieces, within a template's own and beside it.
pub const FOLDER: &str = "partials";
/// How the names of files end that may be included.
pub const ENDINGS: [&str; 5] = ["mjml", "html", "css", "txt", "hbs"];

/// A text with everything in it that it includes.
pub(super) struct Expanded {
    pub text: String,
    pub origins: Origins,
}

/// What a part is made of beside its own text.
#[derive(Clone, Copy)]
pub(super) struct Shelf<'t> {
    /// By their names within the template's folder.
    pub partials: &'t BTreeMap<String, String>,
    /// Pieces for its readers stand before those for everybody.
    pub locale: Option<&'t str>,
}

/// How a part is written.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub escape: Escape,
    /// What the names of its pieces end with, the best first.
    pub endings: &'static [&'static str],
    /// Whether `mj-include` means something in it.
    pub is_mjml: bool,
}

impl Kind {
    const TEXT: Self = Self { escape: Escape::Plain, endings: &["txt", "hbs"], is_mjml: false };
    pub const HTML: Self = Self { escape: Escape::Html, endings: &["html", "hbs"], is_mjml: false };
    pub const MJML: Self = Self { escape: Escape::Html, endings: &["mjml", "hbs"], is_mjml: true };

    pub fn of(escape: Escape) -> Self {
        match escape {
            Escape::Html => Self::HTML,
            Escape::Plain => Self::TEXT,
            Escape::Json => Self { escape, ..Self::TEXT },
        }
    }
}

/// Puts in what a part includes.
///
/// # Errors
/// What is not there, includes itself, or becomes too long; with the place of the call.
pub(super) fn expand(shelf: Shelf<'_>, name: &str, source: &str, kind: Kind) -> Result<Expanded, TemplateError> {
    let (expander, done) = expander(shelf, name, source, kind);
    done?;
    Ok(expander.finish())
}

/// The pieces that the parts of a template include, by their names.
pub fn included(template: &Template) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let own = std::iter::once((None, &template.parts));
    for (locale, parts) in own.chain(template.variants.iter().map(|(tag, parts)| (Some(tag.as_str()), parts))) {
        for (source, kind) in texts(parts) {
            let shelf = Shelf { partials: &template.partials, locale };
            let (expander, _) = expander(shelf, "", source, kind);
            all.extend(expander.files.iter().skip(1).map(|file| file.name.to_owned()));
        }
    }
    all
}

fn texts(parts: &Parts) -> Vec<(&str, Kind)> {
    let Parts { email, sms, push, whatsapp, webhook } = parts;
    let mut all = Vec::new();
    if let Some(email) = email {
        all.push((email.markup.source(), email.markup.kind()));
        all.extend(email.preheader.as_deref().map(|it| (it, Kind::HTML)));
        all.extend(
            [Some(email.subject.as_str()), email.text.as_deref()].into_iter().flatten().map(|it| (it, Kind::TEXT)),
        );
    }
    let push = push.iter().flat_map(|it| [Some(&it.title), Some(&it.body), it.link.as_ref()]).flatten();
    let whatsapp = whatsapp.iter().flat_map(|it| &it.parameters);
    all.extend(sms.iter().chain(push).chain(whatsapp).map(|it| (it.as_str(), Kind::TEXT)));
    all.extend(webhook.iter().map(|it| (it.as_str(), Kind::of(Escape::Json))));
    all
}

fn expander<'t>(
    shelf: Shelf<'t>,
    name: &'t str,
    source: &'t str,
    kind: Kind,
) -> (Expander<'t>, Result<(), TemplateError>) {
    let own = File { name, text: source };
    let mut expander = Expander {
        shelf,
        kind,
        files: vec![own],
        open: vec![0],
        body: Vec::new(),
        head: Vec::new(),
        head_at: None,
        has_head: false,
        loops: 0,
        count: 0,
        bytes: 0,
        in_head: false,
    };
    let done = expander.file(0, 0..source.len(), &mut Arguments::none());
    (expander, done)
}

#[derive(Clone, Copy)]
struct File<'t> {
    name: &'t str,
    text: &'t str,
}

/// A piece of the text that is made, and where it comes from.
struct Chunk {
    text: String,
    file: usize,
    at: usize,
}

struct Expander<'t> {
    shelf: Shelf<'t>,
    kind: Kind,
    files: Vec<File<'t>>,
    /// Files that are being read, each included by the one before.
    open: Vec<usize>,
    body: Vec<Chunk>,
    /// What included MJML says in its own head.
    head: Vec<Chunk>,
    /// Where in `body` the head ends; without one, where it would.
    head_at: Option<usize>,
    has_head: bool,
    /// Loops and `with` that are open here.
    loops: usize,
    count: usize,
    bytes: usize,
    in_head: bool,
}

/// What of a file is not copied as it is.
enum Mark<'t> {
    Tag(syntax::Tag<'t>),
    Element(Element<'t>),
}

impl<'t> Expander<'t> {
    fn file(&mut self, file: usize, range: Range<usize>, arguments: &mut Arguments) -> Result<(), TemplateError> {
        let text = self.files[file].text;
        let mut end = range.start;
        for (at, length, mark) in self.marks(file, &range) {
            // A tag within an element that is put in, or an element within a tag, is no place of its own.
            if at < end {
                continue;
            }
            self.copy(&text[end..at], file, end)?;
            end = at + length;
            match mark {
                Mark::Tag(tag) => end += self.tag(file, &tag, arguments)?,
                Mark::Element(Element::Include(include)) => self.include(file, at, &include)?,
                Mark::Element(element) => {
                    self.copy(&text[at..end], file, at)?;
                    self.note_head(&element);
                }
            }
        }
        self.copy(&text[end.min(range.end)..range.end], file, end)
    }

    /// Tags and elements of a file within a range, in their order.
    fn marks(&self, file: usize, range: &Range<usize>) -> Vec<(usize, usize, Mark<'t>)> {
        let text = self.files[file].text;
        let is_escaped = |at: usize| text[..at].ends_with('\\');
        let tags = syntax::tags(text).filter(|tag| range.contains(&tag.at) && !is_escaped(tag.at));
        let mut marks: Vec<_> = tags.map(|tag| (tag.at, tag.text.len(), Mark::Tag(tag))).collect();
        if self.kind.is_mjml {
            let elements = mjml::elements(text).into_iter().filter(|(at, ..)| range.contains(at));
            marks.extend(elements.map(|(at, length, element)| (at, length, Mark::Element(element))));
            marks.sort_by_key(|(at, ..)| *at);
        }
        marks
    }

    /// Where the head of the part itself is, so that heads of included files can join it.
    fn note_head(&mut self, element: &Element<'_>) {
        match element {
            _ if self.in_head => {}
            Element::Begin if self.head_at.is_none() => self.head_at = Some(self.body.len()),
            Element::HeadEnd if !self.has_head => {
                // The end itself was copied as a chunk of its own.
                (self.head_at, self.has_head) = (Some(self.body.len().saturating_sub(1)), true);
            }
            _ => {}
        }
    }

    /// The bytes behind the tag that went with it.
    fn tag(&mut self, file: usize, tag: &syntax::Tag<'t>, arguments: &mut Arguments) -> Result<usize, TemplateError> {
        let inside = tag.inside.unwrap_or_default();
        if let Some(opened) = inside.strip_prefix('#') {
            self.loops += usize::from(is_loop(opened));
        } else if let Some(closed) = inside.strip_prefix('/') {
            self.loops = self.loops.saturating_sub(usize::from(is_loop(closed)));
        }
        let put = arguments.put_into(tag.text, self.loops, self.kind.escape);
        let put = put.map_err(|what| self.error(file, tag.at, what))?;
        let Some(called) = inside.strip_prefix('>') else {
            self.copy(put.as_deref().unwrap_or(tag.text), file, tag.at)?;
            return Ok(0);
        };
        let changed = put.as_deref().and_then(|put| syntax::tags(put).next()?.inside?.strip_prefix('>'));
        let call = call::read(changed.unwrap_or(called)).map_err(|what| self.error(file, tag.at, what))?;
        let Some(name) = self.find(call.name) else {
            return Err(self.error(file, tag.at, self.not_there(call.name)));
        };
        let blanks = |text: &str| text.len() - text.trim_start().len();
        if tag.text.starts_with("{{~") {
            self.trim_end();
        }
        let given = call.arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut given = Arguments::of(given, self.loops);
        let opened = self.enter(file, tag.at, name)?;
        let text = self.files[opened].text;
        self.file(opened, 0..text.trim_end().len(), &mut given)?;
        self.open.pop();
        if let Some(unused) = given.unused() {
            let what = format!("`{unused}` is given here, and {name} has no {{{{{unused}}}}}");
            return Err(self.error(file, tag.at, what));
        }
        let is_trimmed = tag.text.ends_with("~}}");
        Ok(if is_trimmed { blanks(&self.files[file].text[tag.at + tag.text.len()..]) } else { 0 })
    }

    /// The file that is meant: for the readers' place, for their language, for everybody.
    fn find(&self, called: &str) -> Option<&'t str> {
        let locale = self.shelf.locale;
        let language = locale.and_then(|it| it.split('-').next()).filter(|it| locale != Some(*it));
        let folders = [locale, language].into_iter().flatten().map(|it| format!("{FOLDER}/{it}/"));
        let mut names = folders
            .chain([format!("{FOLDER}/")])
            .flat_map(|folder| self.kind.endings.iter().map(move |ending| format!("{folder}{called}.{ending}")));
        names.find_map(|name| self.shelf.partials.get_key_value(&name).map(|(known, _)| known.as_str()))
    }

    fn not_there(&self, called: &str) -> String {
        let own = |name: &'t str| {
            let (stem, ending) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.rsplit_once('.')?;
            self.kind.endings.contains(&ending).then_some(stem)
        };
        let known = self.shelf.partials.keys().filter_map(|name| own(name));
        let near =
            known.filter(|it| strsim::osa_distance(it, called) <= 2).min_by_key(|it| strsim::osa_distance(it, called));
        let advice = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let files: Vec<String> = self.kind.endings.iter().map(|ending| format!("{FOLDER}/{called}.{ending}")).collect();
        format!("there is no {}{advice}", files.join(" and no "))
    }

    /// Opens a file that is included at a place of another.
    fn enter(&mut self, file: usize, at: usize, name: &'t str) -> Result<usize, TemplateError> {
        let known = self.files.iter().position(|file| file.name == name);
        let opened = known.unwrap_or(self.files.len());
        if let Some(from) = self.open.iter().position(|it| *it == opened) {
            let chain: Vec<&str> = self.open[from..].iter().map(|it| self.files[*it].name).collect();
            return Err(self.error(file, at, format!("{name} includes itself: {} → {name}", chain.join(" → "))));
        }
        if self.open.len() > DEPTH_MAX {
            return Err(self.error(file, at, format!("files are included more than {DEPTH_MAX} deep")));
        }
        self.count += 1;
        if self.count > INCLUDES_MAX {
            return Err(self.error(file, at, format!("more than {INCLUDES_MAX} files are put into one part")));
        }
        if known.is_none() {
            let text = self.shelf.partials.get(name).map_or("", String::as_str).trim_start_matches('\u{feff}');
            self.files.push(File { name, text });
        }
        self.open.push(opened);
        Ok(opened)
    }

    fn copy(&mut self, text: &str, file: usize, at: usize) -> Result<(), TemplateError> {
        if text.is_empty() {
            return Ok(());
        }
        self.bytes += text.len();
        // A part that is too long by itself is told so by the compiler.
        if self.bytes > SOURCE_BYTES_MAX && file != 0 {
            let what = format!("with all that is included the part is longer than {SOURCE_BYTES_MAX} bytes");
            return Err(self.error(file, at, what));
        }
        let chunk = Chunk { text: text.to_owned(), file, at };
        if self.in_head {
            self.head.push(chunk)
        } else {
            self.body.push(chunk)
        }
        Ok(())
    }

    fn trim_end(&mut self) {
        while let Some(last) = self.body.last_mut() {
            last.text.truncate(last.text.trim_end().len());
            if !last.text.is_empty() || self.head_at == Some(self.body.len() - 1) {
                return;
            }
            self.body.pop();
        }
    }

    fn error(&self, file: usize, at: usize, what: impl Into<String>) -> TemplateError {
        let File { name, text } = self.files[file];
        let (line, column, message) = at_place(text, at, what.into());
        TemplateError { part: name.to_owned(), line, column, message, more: Vec::new() }
    }

    fn finish(mut self) -> Expanded {
        if !self.head.is_empty() {
            let at = self.head_at.unwrap_or_default().min(self.body.len());
            let wrap = |text: &str| Chunk { text: text.to_owned(), file: 0, at: 0 };
            if !self.has_head {
                self.head.insert(0, wrap("<mj-head>"));
                self.head.push(wrap("</mj-head>"));
            }
            self.body.splice(at..at, self.head);
        }
        let (mut text, mut copied) = (String::with_capacity(self.bytes), Vec::new());
        if self.files.len() > 1 {
            copied.reserve(self.body.len());
        }
        for chunk in &self.body {
            if self.files.len() > 1 {
                copied.push(Copied { here: text.len(), file: chunk.file, there: chunk.at });
            }
            text.push_str(&chunk.text);
        }
        let files: Vec<(&str, &str)> = self.files.iter().map(|file| (file.name, file.text)).collect();
        let origins = Origins::of(&text, &files, &copied);
        Expanded { text, origins }
    }
}

fn is_loop(tag: &str) -> bool {
    matches!(tag.split_whitespace().next(), Some("each" | "with"))
}

#[cfg(test)]
mod tests;

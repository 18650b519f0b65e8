//! MJML made into HTML, once per template version.
//!
//! The converter is lenient: what it does not know it leaves out or writes as HTML. So names are checked here first,
//! each with its place. A template's tags pass the conversion as single letters (`stand_ins.rs`); one that is not
//! there afterwards stood where MJML shows nothing, and is told.

mod components;
mod inlining;
mod selector;
mod stand_ins;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mrml::prelude::parser::{Error, ParserOptions};
use mrml::prelude::render::RenderOptions;

use crate::render::markup::{Attribute, Part, parts};
use crate::render::places::Made;
use crate::render::schemes::UNKNOWN;
use crate::render::syntax::{self, Problem, at_place};
use components::{COMPONENTS, Component, EVERYWHERE, component};
use stand_ins::{Meaning, StandIns};

/// Elements within elements, HTML in a text included.
const DEPTH_MAX: usize = 64;
/// HTML's elements that hold nothing and need no end.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// The HTML of an MJML text, with the template's tags as they were written.
pub(super) fn to_html(source: &str) -> Result<Made, Problem> {
    if let Some((at, _)) = source.char_indices().find(|(_, c)| *c == UNKNOWN) {
        return Err(at_place(source, at, "there is a control character here; remove it".to_owned()));
    }
    let tags: Vec<Range<usize>> = syntax::tags(source).map(|tag| tag.at..tag.at + tag.text.len()).collect();
    let masked = syntax::without_tags(source, UNKNOWN);
    let between = Checker { source, masked: &masked, open: Vec::new(), html: Vec::new(), between: Between::default() };
    let between = between.check()?;
    let asked = inlining::asked(&masked).map_err(|(at, what)| at_place(source, at, what))?;
    let Some(letters) = StandIns::of(&masked, tags.len()) else {
        return Err((1, 1, "has too many tags, or characters that no font shows".to_owned()));
    };
    let (protected, moved) = protect(&masked, &tags, &between, &asked.cuts, &letters);
    let html = convert(&protected).map_err(|(at, what)| {
        // The last piece that began before it tells how far the text has moved.
        let (from, to) = moved.iter().rev().find(|(_, to)| *to <= at).copied().unwrap_or_default();
        let there = (from + (at - to)).min(source.len());
        at_place(source, source.floor_char_boundary(there), what)
    })?;
    let inlined = asked.with(|range| lettered(&masked, range, &tags, &letters));
    restore(source, &tags, &letters, &inlined.write_into(&html))
}

/// A range of a source with its tags and odd characters as letters.
fn lettered(source: &str, range: Range<usize>, tags: &[Range<usize>], letters: &StandIns) -> String {
    let mut out = String::with_capacity(range.len());
    let mut end = range.start;
    let inside = tags.iter().enumerate().filter(|(_, tag)| range.start <= tag.start && tag.end <= range.end);
    let mut push = |text: &str, tag: Option<usize>| {
        out.extend(text.chars().map(|c| letters.of_character(c).unwrap_or(c)));
        out.extend(tag.map(|n| letters.of_tag(n)));
    };
    for (n, tag) in inside {
        push(&source[end..tag.start], Some(n));
        end = tag.end;
    }
    push(&source[end..range.end], None);
    out
}

/// What stands where the converter would not take it as it is meant.
#[derive(Default)]
struct Between {
    /// Tags of the template between components, with blanks around.
    loose: Vec<Range<usize>>,
    /// Blanks between components, which the converter takes for text.
    blanks: Vec<Range<usize>>,
    /// Quotes and ends of lines in the values of attributes, each with what may stand there.
    values: Vec<(Range<usize>, &'static str)>,
}

/// Each tag and each odd character as one letter, tags that stand between components inside `mj-raw`; and pairs of
/// places, before and after. `source` has its tags masked.
fn protect(
    source: &str,
    tags: &[Range<usize>],
    between: &Between,
    cuts: &[Range<usize>],
    letters: &StandIns,
) -> (String, Vec<(usize, usize)>) {
    let numbered = tags.iter().enumerate().map(|(n, tag)| {
        let is_loose = between.loose.iter().any(|it| it.contains(&tag.start));
        let letter = letters.of_tag(n);
        (tag.clone(), if is_loose { format!("<mj-raw>{letter}</mj-raw>") } else { letter.to_string() })
    });
    let odd = source.char_indices().filter_map(|(at, c)| {
        let letter = letters.of_character(c)?;
        Some((at..at + c.len_utf8(), letter.to_string()))
    });
    let blanks = between.blanks.iter().map(|range| (range.clone(), String::new()));
    let values = between.values.iter().map(|(range, instead)| (range.clone(), (*instead).to_owned()));
    let cuts = cuts.iter().map(|range| (range.clone(), String::new()));
    let mut changes: Vec<_> = numbered.chain(blanks).chain(values).chain(odd).chain(cuts).collect();
    changes.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(source.len() + 64);
    let mut moved = vec![(0, 0)];
    let mut end = 0;
    for (range, instead) in changes {
        // An odd character within blanks went with them.
        if range.start < end {
            continue;
        }
        out.push_str(&source[end..range.start]);
        out.push_str(&instead);
        end = range.end;
        moved.push((end, out.len()));
    }
    out.push_str(&source[end..]);
    (out, moved)
}

/// Converts; what cannot be comes with its byte in the text.
fn convert(mjml: &str) -> Result<String, (usize, String)> {
    // No fonts of its own: a mail fetches from others what its author names, and nothing else.
    let options = RenderOptions { disable_comments: true, fonts: Default::default(), ..RenderOptions::default() };
    // The converter is not ours; should it panic on some text, that text is a bad template and nothing else.
    let done = catch_unwind(AssertUnwindSafe(|| {
        let parsed = mrml::parse_with_options(mjml, &ParserOptions::default()).map_err(|cause| told(&cause))?;
        parsed.element.render(&options).map_err(|cause| (0, format!("cannot be converted: {cause}")))
    }));
    done.unwrap_or_else(|_| Err((0, "cannot be converted: a size in it is not one, such as 10px".to_owned())))
}

fn told(cause: &Error) -> (usize, String) {
    let what = |text: &str| format!("cannot be read as MJML: {text}");
    match cause {
        Error::UnexpectedElement { position, .. } => (position.start, what("this element cannot stand here")),
        Error::UnexpectedToken { position, .. } => {
            (position.start, what("an element before this is not closed, or this ends none"))
        }
        Error::MissingAttribute { name, position, .. } => {
            (position.start, what(&format!("the attribute `{name}` is missing")))
        }
        Error::InvalidAttribute { position, .. } => (position.start, what("an attribute has no value it may have")),
        Error::InvalidFormat { position, .. } => (position.start, what("this is not well written")),
        Error::EndOfStream { .. } => (usize::MAX, what("it ends before its last element is closed")),
        Error::ParserError { source, .. } => {
            (0, what(&format!("{}; is every `<` of a text written as &lt;?", source.to_string().to_lowercase())))
        }
        Error::NoRootNode => (0, what("it begins with <mjml>")),
        other => (0, what(&other.to_string())),
    }
}

/// The HTML with the tags in place again; all of them.
fn restore(source: &str, tags: &[Range<usize>], letters: &StandIns, html: &str) -> Result<Made, Problem> {
    let mut made = Made { text: String::with_capacity(html.len() + source.len() / 4), tags: Vec::new() };
    let mut is_there = vec![false; tags.len()];
    for c in html.chars() {
        match letters.meaning(c) {
            Some(Meaning::Tag(n)) => {
                is_there[n] = true;
                made.tags.push((made.text.len(), tags[n].start));
                made.text.push_str(&source[tags[n].clone()]);
            }
            Some(Meaning::Character(c)) => made.text.push(c),
            None => made.text.push(c),
        }
    }
    let is_remark = |tag: &&Range<usize>| source[tag.start..tag.end].trim_start_matches(['{', '~']).starts_with('!');
    let lost = tags.iter().zip(&is_there).filter(|(_, there)| !**there).map(|(tag, _)| tag).find(|tag| !is_remark(tag));
    match lost {
        None => Ok(made),
        Some(tag) => {
            let what = "MJML shows nothing of what is written here; put it into the text of a component, an attribute \
                        that is shown, or <mj-raw>";
            Err(at_place(source, tag.start, what.to_owned()))
        }
    }
}

/// Compares names with the list of components.
struct Checker<'s> {
    source: &'s str,
    /// The source with [`UNKNOWN`] for every byte of a tag.
    masked: &'s str,
    open: Vec<&'static Component>,
    /// Open elements of HTML, each with its place.
    html: Vec<(usize, &'s str)>,
    between: Between,
}

impl<'s> Checker<'s> {
    fn check(mut self) -> Result<Between, Problem> {
        let mut seen = BTreeSet::new();
        for part in parts(self.masked) {
            match part {
                Part::Open { at, name, attributes, is_empty, .. } => {
                    if matches!(name, "mjml" | "mj-head" | "mj-body") && !seen.insert(name) {
                        return self.refuse(at, format!("there is a second <{name}>; one is enough"));
                    }
                    self.values(&attributes);
                    self.open(at, name, &attributes, is_empty)?;
                }
                Part::Close { at, name } => self.close(at, name)?,
                Part::Text { at, text } => self.text(at, text)?,
            }
        }
        if seen.contains("mj-body") {
            Ok(self.between)
        } else {
            Err((1, 1, "begins with <mjml> and has one <mj-body>".to_owned()))
        }
    }

    /// The converter writes a value between double quotes and on one line, whatever is in it.
    fn values(&mut self, attributes: &[Attribute<'_>]) {
        for attribute in attributes {
            let found = attribute.value.char_indices().filter_map(|(offset, c)| match c {
                '"' => Some((offset, "&quot;")),
                '\n' | '\r' | '\t' => Some((offset, " ")),
                _ => None,
            });
            let ranges = found.map(|(offset, instead)| {
                let at = attribute.value_at + offset;
                (at..at + 1, instead)
            });
            self.between.values.extend(ranges);
        }
    }

    /// The converter wants every element closed, HTML's too.
    fn close(&mut self, at: usize, name: &str) -> Result<(), Problem> {
        let component = self.open.last().map(|it| it.name);
        match self.html.last() {
            Some((_, open)) if *open == name => drop(self.html.pop()),
            None if component == Some(name) => drop(self.open.pop()),
            // What stands there is checked where it begins.
            None if component == Some("mj-attributes") => {}
            Some((place, open)) => return self.refuse(*place, format!("<{open}> is not closed: add </{open}>")),
            None => {
                let open = component.map_or_else(String::new, |open| format!("; <{open}> must end first"));
                return self.refuse(at, format!("</{name}> ends nothing here{open}"));
            }
        }
        Ok(())
    }

    fn refuse<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Problem> {
        Err(at_place(self.source, at, what.into()))
    }

    fn open(&mut self, at: usize, name: &'s str, attributes: &[Attribute<'s>], is_empty: bool) -> Result<(), Problem> {
        let Some(parent) = self.open.last() else {
            if name != "mjml" {
                return self.refuse(at, format!("`{name}` cannot stand here: MJML is all inside one <mjml>"));
            }
            return self.enter(at, &COMPONENTS[0], attributes, is_empty);
        };
        if parent.text {
            if name.starts_with("mj-") {
                let what = format!("`{name}` cannot stand inside `{}`, which holds text and HTML", parent.name);
                return self.refuse(at, what);
            }
            if !is_empty && !VOID.contains(&name) {
                self.html.push((at, name));
            }
            return self.bound(at);
        }
        if parent.name == "mj-attributes" {
            return self.default_of(at, name, attributes);
        }
        match component(name) {
            Some(known) if parent.children().any(|it| it == name) => self.enter(at, known, attributes, is_empty),
            known => {
                let inside: Vec<_> = parent.children().collect();
                let what = match known {
                    Some(_) => format!("`{name}` cannot stand inside `{}`", parent.name),
                    None => format!("`{name}` is not an element of MJML"),
                };
                let may = if inside.is_empty() { "nothing".to_owned() } else { inside.join(", ") };
                self.refuse(at, format!("{what}; inside `{}` there may be {may}", parent.name))
            }
        }
    }

    fn enter(
        &mut self,
        at: usize,
        known: &'static Component,
        attributes: &[Attribute<'s>],
        is_empty: bool,
    ) -> Result<(), Problem> {
        for attribute in attributes {
            self.attribute(known.name, attribute, |name| known.attributes().chain(EVERYWHERE).any(|it| it == name))?;
        }
        if !is_empty {
            self.open.push(known);
        }
        self.bound(at)
    }

    /// The converter calls itself for each level.
    fn bound(&self, at: usize) -> Result<(), Problem> {
        match self.open.len() + self.html.len() > DEPTH_MAX {
            true => self.refuse(at, format!("elements are nested more than {DEPTH_MAX} deep")),
            false => Ok(()),
        }
    }

    /// Inside `mj-attributes` stand the attributes of every component, of a class, or of one.
    fn default_of(&self, at: usize, name: &str, attributes: &[Attribute<'s>]) -> Result<(), Problem> {
        let of_any = |wanted: &str| COMPONENTS.iter().flat_map(Component::attributes).any(|it| it == wanted);
        match (name, component(name)) {
            ("mj-all", _) => attributes.iter().try_for_each(|it| self.attribute(name, it, of_any)),
            ("mj-class", _) => {
                attributes.iter().try_for_each(|it| self.attribute(name, it, |it| it == "name" || of_any(it)))
            }
            (_, Some(known)) => attributes.iter().try_for_each(|it| {
                self.attribute(name, it, |name| known.attributes().chain(EVERYWHERE).any(|it| it == name))
            }),
            _ => self.refuse(at, format!("`{name}` is not an element of MJML")),
        }
    }

    fn attribute(&self, owner: &str, it: &Attribute<'_>, is_known: impl Fn(&str) -> bool) -> Result<(), Problem> {
        if it.name.contains(UNKNOWN) {
            let what = "a tag of the template can stand in an attribute's value, not where its name stands";
            return self.refuse(it.at, what);
        }
        if is_known(it.name) {
            return Ok(());
        }
        let names: Vec<&str> = component(owner).into_iter().flat_map(Component::attributes).collect();
        let near = names.iter().copied().filter(|name| strsim::osa_distance(name, it.name) <= 3);
        let near = near.min_by_key(|name| strsim::osa_distance(name, it.name));
        let advice = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        self.refuse(it.at, format!("`{owner}` has no attribute `{}`{advice}", it.name))
    }

    /// Between components there are only tags of the template.
    fn text(&mut self, at: usize, text: &str) -> Result<(), Problem> {
        let Some(parent) = self.open.last().filter(|parent| !parent.text) else {
            let stray = text.find(|c: char| !c.is_whitespace() && c != '\u{feff}');
            return match (self.open.last(), stray) {
                (None, Some(offset)) => self.refuse(at + offset, "MJML is all inside one <mjml>"),
                _ => Ok(()),
            };
        };
        let written = text.find(|c: char| !c.is_whitespace() && c != UNKNOWN);
        if let Some(offset) = written {
            return self.refuse(at + offset, format!("text cannot stand inside `{}`; use mj-text", parent.name));
        }
        let takes_raw = parent.children().any(|it| it == "mj-raw");
        let Some(offset) = text.find(UNKNOWN) else {
            self.between.blanks.push(at..at + text.len());
            return Ok(());
        };
        if !takes_raw {
            return self.refuse(at + offset, format!("a tag of the template cannot stand inside `{}`", parent.name));
        }
        self.between.loose.push(at..at + text.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests;

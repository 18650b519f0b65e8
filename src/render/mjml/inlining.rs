//! `<mj-style inline="inline">` and `<mj-html-attributes>`: rules that are written into the elements they mean, for mail
//! programs that take no styles from a mail's head. Outlook's own copies of elements, in its comments, stay as they are.

use std::ops::Range;

use crate::render::markup::{Attribute, Part, parts};
use crate::render::mjml::VOID;
use crate::render::mjml::selector::{Element, Selector, selectors};
use crate::render::schemes::UNKNOWN;

/// Rules and attributes of one text; their work is bounded by this product.
const RULES_MAX: usize = 500;

/// What is wrong, and at which byte of the source.
type Wrong = (usize, String);

/// What a source asks to be written into elements; ranges are bytes of it.
#[derive(Default)]
pub(super) struct Asked {
    /// Elements the converter need not see.
    pub cuts: Vec<Range<usize>>,
    rules: Vec<Rule<Range<usize>>>,
    attributes: Vec<Set<Range<usize>>>,
}

struct Rule<T> {
    selectors: Vec<Selector>,
    declarations: Vec<Declaration<T>>,
}

struct Declaration<T> {
    name: String,
    value: T,
    is_important: bool,
}

struct Set<T> {
    selectors: Vec<Selector>,
    name: String,
    value: T,
}

/// The same with texts instead of places.
pub(super) struct Inlined {
    rules: Vec<Rule<String>>,
    attributes: Vec<Set<String>>,
}

/// Reads a source whose tags are masked and whose elements are checked.
pub(super) fn asked(masked: &str) -> Result<Asked, Wrong> {
    let mut asked = Asked::default();
    let (mut style, mut group, mut selector, mut set) = (None, None, None, None);
    for part in parts(masked) {
        match part {
            Part::Open { at, name: "mj-style", attributes, end, is_empty: false } => {
                let inline = attributes.iter().find(|it| it.name == "inline");
                if let Some(odd) = inline.filter(|it| it.value != "inline") {
                    return Err((odd.at, "`inline` is `inline` or not there".to_owned()));
                }
                style = inline.map(|_| (at, end));
            }
            Part::Close { at, name: "mj-style" } => {
                if let Some((start, text)) = style.take() {
                    asked.rules.extend(rules(masked, text..at)?);
                    asked.cuts.push(start..closed(masked, at));
                }
            }
            Part::Open { at, name: "mj-html-attributes", end, is_empty, .. } => match is_empty {
                true => asked.cuts.push(at..end),
                false => group = Some(at),
            },
            Part::Close { at, name: "mj-html-attributes" } => {
                asked.cuts.extend(group.take().map(|start| start..closed(masked, at)));
            }
            Part::Open { at, name: "mj-selector", attributes, .. } => {
                let path = value(&attributes, "path").ok_or((at, "`mj-selector` needs a `path`".to_owned()))?;
                let read = selectors(path.value).map_err(|(offset, what)| (path.value_at + offset, what))?;
                selector = Some(read);
            }
            Part::Open { at, name: "mj-html-attribute", attributes, end, .. } => {
                let name = value(&attributes, "name").ok_or((at, "`mj-html-attribute` needs a `name`".to_owned()))?;
                if !is_attribute(name.value) {
                    return Err((name.value_at, "an attribute's name has letters, digits and `-`".to_owned()));
                }
                set = Some((name.value.to_ascii_lowercase(), end));
            }
            Part::Close { at, name: "mj-html-attribute" } => {
                if let (Some((name, start)), Some(selectors)) = (set.take(), selector.clone()) {
                    asked.attributes.push(Set { selectors, name, value: trimmed(masked, start..at) });
                }
            }
            _ => {}
        }
    }
    if asked.rules.len() + asked.attributes.len() > RULES_MAX {
        return Err((0, format!("more than {RULES_MAX} rules and attributes are to be written into elements")));
    }
    Ok(asked)
}

fn value<'a, 's>(attributes: &'a [Attribute<'s>], name: &str) -> Option<&'a Attribute<'s>> {
    attributes.iter().find(|it| it.name == name)
}

fn is_attribute(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The end of the tag that closes an element.
fn closed(text: &str, at: usize) -> usize {
    text[at..].find('>').map_or(text.len(), |end| at + end + 1)
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inside = &text[range.clone()];
    let start = range.start + (inside.len() - inside.trim_start().len());
    start..start + inside.trim().len()
}

/// The rules of a style sheet, which is a range of a text.
fn rules(text: &str, range: Range<usize>) -> Result<Vec<Rule<Range<usize>>>, Wrong> {
    let css = blanked(&text[range.clone()], "/*", "*/");
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        // Some write a `;` behind a rule.
        let rest = css[at..].trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        at = css.len() - rest.len();
        if rest.is_empty() {
            return Ok(found);
        }
        if rest.starts_with('@') {
            let what =
                "what begins with `@` cannot be written into elements; put it into an <mj-style> without `inline`";
            return Err((range.start + at, what.to_owned()));
        }
        let Some(open) = rest.find('{') else {
            return Err((range.start + at, "a rule is written `selector { name: value; }`".to_owned()));
        };
        let Some(close) = rest[open..].find('}') else {
            return Err((range.start + at + open, "this `{` never ends: add }".to_owned()));
        };
        let selectors =
            selectors(rest[..open].trim_end()).map_err(|(offset, what)| (range.start + at + offset, what))?;
        let body = at + open + 1..at + open + close;
        found.push(Rule { selectors, declarations: declarations(&css, body, range.start)? });
        at += open + close + 1;
    }
}

fn declarations(css: &str, body: Range<usize>, base: usize) -> Result<Vec<Declaration<Range<usize>>>, Wrong> {
    let mut found = Vec::new();
    for piece in pieces(css, body) {
        let piece = trimmed(css, piece);
        if piece.is_empty() {
            continue;
        }
        let text = &css[piece.clone()];
        let wrong = |what: &str| (base + piece.start, what.to_owned());
        let Some((name, value)) = text.split_once(':') else { return Err(wrong("wanted `name: value`")) };
        if name.contains(UNKNOWN) {
            return Err(wrong("a tag of the template can stand in a value, not where a name stands"));
        }
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b)) {
            return Err(wrong("wanted `name: value`"));
        }
        let bang = value.rfind('!').filter(|at| value[at + 1..].trim().eq_ignore_ascii_case("important"));
        let start = piece.end - value.len();
        let value = trimmed(css, start..bang.map_or(piece.end, |at| start + at));
        found.push(Declaration { name, value: base + value.start..base + value.end, is_important: bang.is_some() });
    }
    Ok(found)
}

/// What stands between semicolons, apart from those in quotes and brackets.
fn pieces(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let (mut found, mut start, mut quote, mut depth) = (Vec::new(), range.start, None, 0_usize);
    for (offset, c) in text[range.clone()].char_indices() {
        let at = range.start + offset;
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ';') if depth == 0 => {
                found.push(start..at);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    found.push(start..range.end);
    found
}

impl Asked {
    /// With the texts that `of` gives for places.
    pub(super) fn with(self, of: impl Fn(Range<usize>) -> String) -> Inlined {
        let rule = |Rule { selectors, declarations }| Rule {
            selectors,
            declarations: declarations
                .into_iter()
                .map(|Declaration { name, value, is_important }| Declaration { name, value: of(value), is_important })
                .collect(),
        };
        let set = |Set { selectors, name, value }| Set { selectors, name, value: of(value) };
        Inlined {
            rules: self.rules.into_iter().map(rule).collect(),
            attributes: self.attributes.into_iter().map(set).collect(),
        }
    }
}

impl Inlined {
    /// The HTML with everything in its elements.
    pub(super) fn write_into(&self, html: &str) -> String {
        if self.rules.is_empty() && self.attributes.is_empty() {
            return html.to_owned();
        }
        // Most programs show nothing of comments.
        let shown = blanked(html, "<!--", "-->");
        let mut open: Vec<Element> = Vec::new();
        let mut changes = Vec::new();
        let mut is_body = false;
        for part in parts(&shown) {
            match part {
                Part::Open { at, name, attributes, is_empty, .. } => {
                    is_body |= name.eq_ignore_ascii_case("body");
                    open.push(Element::of(name, &attributes));
                    if is_body {
                        changes.extend(self.changes(html, at + 1 + name.len(), &open, &attributes));
                    }
                    if is_empty || VOID.iter().any(|it| it.eq_ignore_ascii_case(name)) {
                        open.pop();
                    }
                }
                Part::Close { name, .. } => {
                    if let Some(at) = open.iter().rposition(|it| it.name.eq_ignore_ascii_case(name)) {
                        open.truncate(at);
                    }
                }
                Part::Text { .. } => {}
            }
        }
        let (mut out, mut end) = (String::with_capacity(html.len() + html.len() / 4), 0);
        changes.sort_by_key(|(range, _): &(Range<usize>, String)| (range.start, range.end));
        for (range, text) in changes {
            out.push_str(&html[end..range.start]);
            out.push_str(&text);
            end = range.end;
        }
        out + &html[end..]
    }

    /// What becomes of the last of the open elements; new attributes stand behind its name.
    fn changes(
        &self,
        html: &str,
        behind: usize,
        open: &[Element],
        attributes: &[Attribute<'_>],
    ) -> Vec<(Range<usize>, String)> {
        let mut values: Vec<(&str, String)> = Vec::new();
        let style = attributes.iter().find(|it| it.name.eq_ignore_ascii_case("style"));
        let written = style.map_or("", |it| &html[it.value_at..it.value_at + it.value.len()]);
        values.extend(self.style(open, written).map(|style| ("style", style)));
        for set in self.attributes.iter().filter(|set| set.selectors.iter().any(|it| it.means(open))) {
            values.retain(|(name, _)| *name != set.name);
            values.push((&set.name, set.value.clone()));
        }
        let change = |(name, value): (&str, String)| {
            let value = value.replace('"', "&quot;");
            match attributes.iter().find(|it| it.name.eq_ignore_ascii_case(name)) {
                Some(it) => {
                    let end = it.value_at + it.value.len();
                    let is_quoted = html[..it.value_at].ends_with(['"', '\'']) && it.value_at > it.at + it.name.len();
                    let quotes = usize::from(is_quoted);
                    let until = if is_quoted { (end + 1).min(html.len()) } else { end };
                    let equals = if html[it.at..it.value_at].contains('=') { "" } else { "=" };
                    (it.value_at - quotes..until, format!("{equals}\"{value}\""))
                }
                None => (behind..behind, format!(" {name}=\"{value}\"")),
            }
        };
        values.into_iter().map(change).collect()
    }

    /// An element's style with what the rules add; none where none means it. What the element says itself counts more,
    /// unless a rule is important; the word itself is left out, for Outlook reads no declaration that has it.
    fn style(&self, open: &[Element], written: &str) -> Option<String> {
        let mut found: Vec<_> = Vec::new();
        for (order, rule) in self.rules.iter().enumerate() {
            let weights = rule.selectors.iter().filter(|it| it.means(open)).map(Selector::weight);
            found.extend(weights.max().map(|weight| (weight, order, rule)));
        }
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(weight, order, _)| (*weight, *order));
        let said = |is_important: bool| {
            let mut last: Vec<(&str, &str)> = Vec::new();
            for it in
                found.iter().flat_map(|(.., rule)| &rule.declarations).filter(|it| it.is_important == is_important)
            {
                last.retain(|(name, _)| *name != it.name);
                last.push((&it.name, &it.value));
            }
            last
        };
        let (usual, important) = (said(false), said(true));
        let own: Vec<(String, &str)> = pieces(written, 0..written.len())
            .into_iter()
            .map(|range| written[range].trim())
            .filter(|piece| !piece.is_empty())
            .map(|piece| (piece.split(':').next().unwrap_or_default().trim().to_ascii_lowercase(), piece))
            .collect();
        let is_own = |name: &str| own.iter().any(|(known, _)| known == name);
        let is_important = |name: &str| important.iter().any(|(known, _)| *known == name);
        let mut style = String::new();
        for (name, value) in usual.iter().filter(|(name, _)| !is_own(name) && !is_important(name)) {
            style.push_str(&format!("{name}:{value};"));
        }
        for (_, piece) in own.iter().filter(|(name, _)| !is_important(name)) {
            style.push_str(piece);
            style.push(';');
        }
        for (name, value) in &important {
            style.push_str(&format!("{name}:{value};"));
        }
        Some(style)
    }
}

/// A text with blanks instead of its comments, as long as before. The shortest comments are `/**/` and `<!-->`.
fn blanked(text: &str, begin: &str, finish: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(begin) {
        let end = rest[start + 2..].find(finish).map_or(rest.len(), |end| start + 2 + end + finish.len());
        out.push_str(&rest[..start]);
        out.extend(std::iter::repeat_n(' ', end - start));
        rest = &rest[end..];
    }
    out + rest
}

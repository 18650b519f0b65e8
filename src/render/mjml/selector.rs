//! Selectors of CSS, as far as an element can tell them from its own names and those around it: `a`, `.name`, `#name`,
//! `*`, `[title]`, `[title="x"]`, together, inside one another, with commas.

use crate::render::markup::Attribute;
use crate::render::schemes::UNKNOWN;

/// One of a list of selectors; steps from the outermost to the element itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Step {
    /// Whether this stands directly in the one before.
    is_child: bool,
    element: Option<String>,
    ids: Vec<String>,
    classes: Vec<String>,
    attributes: Vec<(String, Option<(u8, String)>)>,
}

/// An open element, as selectors see it.
pub(super) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Element {
    pub(super) fn of(name: &str, attributes: &[Attribute<'_>]) -> Self {
        let attributes = attributes.iter().map(|it| (it.name.to_ascii_lowercase(), it.value.to_owned()));
        Self { name: name.to_ascii_lowercase(), attributes: attributes.collect() }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn fits(&self, step: &Step) -> bool {
        let classes: Vec<&str> = self.value("class").unwrap_or_default().split_whitespace().collect();
        step.element.as_deref().is_none_or(|name| name == self.name)
            && step.ids.iter().all(|id| self.value("id") == Some(id))
            && step.classes.iter().all(|class| classes.contains(&class.as_str()))
            && step.attributes.iter().all(|(name, test)| match (self.value(name), test) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(value), Some((b'*', text))) => value.contains(text.as_str()),
                (Some(value), Some((b'^', text))) => value.starts_with(text.as_str()),
                (Some(value), Some((b'$', text))) => value.ends_with(text.as_str()),
                (Some(value), Some((b'~', text))) => value.split_whitespace().any(|word| word == text),
                (Some(value), Some((_, text))) => value == text,
            })
    }
}

impl Selector {
    /// Ids, classes and attributes, elements: what counts more stands first.
    pub(super) fn weight(&self) -> (usize, usize, usize) {
        let sum = |count: fn(&Step) -> usize| self.steps.iter().map(count).sum();
        let elements = |it: &Step| usize::from(it.element.is_some());
        (sum(|it| it.ids.len()), sum(|it| it.classes.len() + it.attributes.len()), sum(elements))
    }

    /// Whether it means the last of these, each of which stands in the one before.
    pub(super) fn means(&self, open: &[Element]) -> bool {
        let (Some((last, outer)), Some((own, around))) = (self.steps.split_last(), open.split_last()) else {
            return false;
        };
        own.fits(last) && stand_in(outer, last.is_child, around)
    }
}

/// Whether elements around fit the steps, the innermost directly around where it must be.
fn stand_in(steps: &[Step], is_child: bool, around: &[Element]) -> bool {
    let Some((step, outer)) = steps.split_last() else { return true };
    let depths = (0..around.len()).rev().take(if is_child { 1 } else { around.len() });
    // The innermost that fits is best, unless one further in has to stand directly in another.
    depths.filter(|n| around[*n].fits(step)).any(|n| stand_in(outer, step.is_child, &around[..n]))
}

/// A list of selectors, with commas; what is wrong comes with its byte.
pub(super) fn selectors(text: &str) -> Result<Vec<Selector>, (usize, String)> {
    let mut all = Vec::new();
    let mut at = 0;
    for one in text.split(',') {
        all.push(Reader { text: one, at: 0 }.selector().map_err(|(offset, what)| (at + offset, what))?);
        at += one.len() + 1;
    }
    Ok(all)
}

struct Reader<'s> {
    text: &'s str,
    at: usize,
}

const STEPS_MAX: usize = 16;

impl Reader<'_> {
    fn selector(mut self) -> Result<Selector, (usize, String)> {
        let mut steps = vec![Step::default()];
        let mut is_new = true;
        while let Some(c) = self.next() {
            let start = self.at;
            if c.is_whitespace() || c == '>' {
                self.at += c.len_utf8();
                match (is_new, steps.last_mut()) {
                    (true, Some(step)) if c == '>' => step.is_child = true,
                    (true, _) => {}
                    (false, _) => steps.push(Step { is_child: c == '>', ..Step::default() }),
                }
                is_new = true;
                continue;
            }
            let Some(step) = steps.last_mut() else { break };
            self.piece(step, c, start, is_new)?;
            is_new = false;
        }
        if is_new && steps.len() > 1 && !steps.last().is_some_and(|it| it.is_child) {
            steps.pop();
            is_new = false;
        }
        if is_new || steps.len() > STEPS_MAX || steps.first().is_some_and(|it| it.is_child) {
            return Err((0, "a selector such as `a`, `.name` or `.name a` is wanted here".to_owned()));
        }
        Ok(Selector { steps })
    }

    fn piece(&mut self, step: &mut Step, c: char, start: usize, is_new: bool) -> Result<(), (usize, String)> {
        let wrong = |what: &str| Err((start, what.to_owned()));
        match c {
            UNKNOWN => return wrong("a tag of the template cannot stand in a selector"),
            ':' => {
                return wrong(
                    "what follows `:` depends on the moment and cannot be written into elements; put this rule into an \
                     <mj-style> without `inline`",
                );
            }
            '+' | '~' => return wrong("neighbours (`+`, `~`) are not known here; give the element a class"),
            '*' => self.at += 1,
            '.' | '#' => {
                self.at += 1;
                let name = self.name();
                if name.is_empty() {
                    return wrong("a name is missing here");
                }
                if c == '.' { step.classes.push(name) } else { step.ids.push(name) }
            }
            '[' => {
                let Some(end) = self.text[start..].find(']') else { return wrong("this `[` never ends: add ]") };
                let inside = &self.text[start + 1..start + end];
                self.at = start + end + 1;
                step.attributes.push(attribute(inside).ok_or((start, "wanted [name] or [name=\"value\"]".to_owned()))?);
            }
            c if is_name(c) && is_new => step.element = Some(self.name().to_ascii_lowercase()),
            _ => return wrong("this cannot stand in a selector"),
        }
        Ok(())
    }

    fn next(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_owned()
    }
}

fn attribute(inside: &str) -> Option<(String, Option<(u8, String)>)> {
    let valid = |name: &str| (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_ascii_lowercase());
    let Some((name, value)) = inside.split_once('=') else { return Some((valid(inside.trim())?, None)) };
    let name = name.trim();
    let how = name.bytes().last().filter(|b| b"*^$~".contains(b)).unwrap_or(b'=');
    let name = name.trim_end_matches(['*', '^', '$', '~']).trim();
    Some((valid(name)?, Some((how, value.trim().trim_matches(['"', '\'']).to_owned()))))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn element(name: &str, class: &str) -> Element {
        let attributes = vec![("class".to_owned(), class.to_owned()), ("id".to_owned(), format!("{name}1"))];
        Element { name: name.to_owned(), attributes }
    }

    #[test]
    fn a_selector_means_what_css_says_it_means() {
        let open = [element("body", ""), element("table", "card"), element("td", "ink pad"), element("a", "go")];
        for (selector, expected) in [
            ("a", true),
            ("A", true),
            ("*", true),
            ("td", false),
            (".go", true),
            ("a.go", true),
            ("a.no", false),
            ("#a1", true),
            ("td a", true),
            ("td > a", true),
            ("table > a", false),
            ("table a", true),
            ("body .card > .ink.pad > a", true),
            ("body > td a", false),
            ("p, a", true),
            ("a[class]", true),
            ("a[class=\"go\"]", true),
            ("[class*=g]", true),
            ("[class^=o]", false),
            ("[href]", false),
            (" td  a ", true),
        ] {
            let all = selectors(selector).unwrap();
            assert_eq!(all.iter().any(|it| it.means(&open)), expected, "{selector}");
        }
    }

    #[test]
    fn what_no_element_tells_is_refused_where_it_stands() {
        for (selector, at) in [
            ("a:hover", 1),
            (".x, a::before", 5),
            ("a + b", 2),
            ("a ~ b", 2),
            ("", 0),
            ("> a", 0),
            ("a >", 0),
            (".", 0),
            ("a{", 1),
            ("a, ", 2),
            ("[", 0),
            ("[=x]", 0),
            ("a\u{1a}", 1),
        ] {
            assert_eq!(selectors(selector).map_err(|(at, _)| at), Err(at), "{selector}");
        }
    }

    #[test]
    fn what_is_said_more_closely_weighs_more() {
        let weight = |text: &str| selectors(text).unwrap()[0].weight();
        assert!(
            weight("#x") > weight(".a.b.c") && weight(".a") > weight("table td a") && weight(".a a") > weight(".a")
        );
    }
}

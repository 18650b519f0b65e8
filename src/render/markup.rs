//! Tags and attributes as they stand in a text, each with its place: the little of a markup reader that finds names to
//! check and addresses to sign. It never fails: what is no tag is text, and sloppy markup is read to its end.

/// A piece of markup; places are bytes of the text read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'s> {
    Open { at: usize, name: &'s str, attributes: Vec<Attribute<'s>>, is_empty: bool, end: usize },
    Close { at: usize, name: &'s str },
    Text { at: usize, text: &'s str },
}

/// `value` is as written, without its quotes; `at` is where the name stands, `value_at` where the value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attribute<'s> {
    pub at: usize,
    pub name: &'s str,
    pub value: &'s str,
    pub value_at: usize,
}

/// What a text consists of. Comments are left out; what stands in a conditional comment is there for a mail program
/// that reads it, and is read here, too.
pub(super) fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut reader = Reader { text, at: 0 };
    std::iter::from_fn(move || reader.next())
}

struct Reader<'s> {
    text: &'s str,
    at: usize,
}

impl<'s> Reader<'s> {
    fn next(&mut self) -> Option<Part<'s>> {
        loop {
            let at = self.at;
            let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
            if let Some(length) = remark(rest) {
                self.at += length;
                continue;
            }
            if let Some(name) = name_at(rest.strip_prefix("</").unwrap_or_default()) {
                self.at += rest.find('>').map_or(rest.len(), |end| end + 1);
                return Some(Part::Close { at, name });
            }
            if let Some(name) = name_at(rest.strip_prefix('<').unwrap_or_default()) {
                return Some(self.open(at, name));
            }
            // At least one character, so that a lone `<` is text.
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let end = rest[first..].find('<').map_or(rest.len(), |end| end + first);
            self.at += end;
            return Some(Part::Text { at, text: &rest[..end] });
        }
    }

    fn open(&mut self, at: usize, name: &'s str) -> Part<'s> {
        let bytes = self.text.as_bytes();
        let mut attributes = Vec::new();
        let (mut here, mut is_empty) = (at + 1 + name.len(), false);
        while let Some(byte) = bytes.get(here) {
            match byte {
                b'>' => {
                    here += 1;
                    break;
                }
                b'/' => {
                    is_empty = bytes.get(here + 1) == Some(&b'>');
                    here += 1;
                }
                b if b.is_ascii_whitespace() => here += 1,
                _ => {
                    let attribute = self.attribute(here);
                    let quoted = usize::from(matches!(
                        bytes.get(attribute.value_at + attribute.value.len()),
                        Some(b'"' | b'\'')
                    ));
                    here = (attribute.value_at + attribute.value.len() + quoted).max(here + 1);
                    attributes.push(attribute);
                }
            }
        }
        self.at = here;
        // The text of these is not markup.
        if matches!(name.to_ascii_lowercase().as_str(), "script" | "style" | "title" | "textarea") && !is_empty {
            let rest = &self.text[here..];
            self.at += rest.find("</").unwrap_or(rest.len());
        }
        Part::Open { at, name, attributes, is_empty, end: here }
    }

    fn attribute(&self, at: usize) -> Attribute<'s> {
        let rest = &self.text[at..];
        // An equals sign at the start is part of the name, as browsers read it.
        let length = rest
            .char_indices()
            .find(|(n, c)| c.is_ascii_whitespace() || *c == '>' || (*n > 0 && (*c == '=' || *c == '/')))
            .map_or(rest.len(), |(n, _)| n);
        let name = &rest[..length];
        let none = Attribute { at, name, value: "", value_at: at + length };
        let behind = rest[length..].trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(value) = behind.strip_prefix('=') else { return none };
        let value = value.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let value_at = self.text.len() - value.len();
        match value.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => {
                let inside = &value[1..];
                let end = inside.find(char::from(*quote)).unwrap_or(inside.len());
                Attribute { at, name, value: &inside[..end], value_at: value_at + 1 }
            }
            _ => {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
                Attribute { at, name, value: &value[..end], value_at }
            }
        }
    }
}

/// The length of a comment, a declaration or a mark of a conditional comment at the start.
fn remark(rest: &str) -> Option<usize> {
    let until = |end: &str| Some(rest.find(end).map_or(rest.len(), |at| at + end.len()));
    if rest.starts_with("<!--[if") {
        return until("]>");
    }
    if rest.starts_with("<!--") {
        // `<!-->` is a whole comment, which ends what some programs skip.
        return if rest.starts_with("<!-->") { Some(5) } else { until("-->") };
    }
    if rest.starts_with("<!") || rest.starts_with("<?") { until(">") } else { None }
}

/// The name at the start of a text: letters, digits, `-` and `:`, beginning with a letter.
fn name_at(text: &str) -> Option<&str> {
    let length =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '_'))).unwrap_or(text.len());
    text.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| &text[..length])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        let told = parts(text).map(|part| match part {
            Part::Open { name, attributes, is_empty, .. } => {
                let attributes: Vec<String> = attributes.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
                format!("<{name} {}{}", attributes.join(" "), if is_empty { "/" } else { "" })
            }
            Part::Close { name, .. } => format!("/{name}"),
            Part::Text { text, .. } => text.to_owned(),
        });
        told.collect()
    }

    #[test]
    fn tags_attributes_and_text_are_told_apart() {
        let text = "a<b class='x > y' hidden href=/p?q>c < d</b><br/><!-- <i> --><!--[if mso]><v:rect href=\"u\"/><![endif]-->";
        assert_eq!(
            found(text),
            ["a", "<b class=x > y hidden= href=/p?q", "c ", "< d", "/b", "<br /", "<v:rect href=u/"]
        );
        assert_eq!(found("<style>a > b { } <x></style>e"), ["<style ", "/style", "e"]);
        assert_eq!(found("<a href=\"never"), ["<a href=never"]);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_places_are_true(text in "(<!?-{0,2}\\[?|</?[a-z]{1,3}|[ =\"'a-zä>/]{0,4}){0,12}") {
            for part in parts(&text) {
                match part {
                    Part::Open { at, name, attributes, .. } => {
                        prop_assert!(text[at + 1..].starts_with(name));
                        for it in attributes {
                            prop_assert!(text[it.at..].starts_with(it.name));
                            prop_assert!(text[it.value_at..].starts_with(it.value));
                        }
                    }
                    Part::Close { at, name } => prop_assert!(text[at + 2..].starts_with(name)),
                    Part::Text { at, text: run } => prop_assert!(!run.is_empty() && text[at..].starts_with(run)),
                }
            }
        }
    }
}

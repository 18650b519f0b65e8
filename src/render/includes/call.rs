//! `{{> name key=value}}`: what it names, and what its values are where the included text uses them.

use handlebars::StringOutput;

use crate::render::compile::{Escape, ROOTS};

/// A call as written; `arguments` in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call<'s> {
    pub name: &'s str,
    pub arguments: Vec<(&'s str, &'s str)>,
}

/// What a text is included with.
pub(super) struct Arguments {
    given: Vec<Argument>,
    /// Loops and `with` that were open around the call.
    pub around: usize,
}

struct Argument {
    name: String,
    value: String,
    is_used: bool,
}

/// What stands behind the `>` of a tag.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(inside: &str) -> Result<Call<'_>, String> {
    let inside = inside.trim();
    let end = inside.find(char::is_whitespace).unwrap_or(inside.len());
    let name = inside[..end].trim_matches(['"', '\'']);
    let is_name = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !name.split('/').all(is_name) {
        return Err("write {{> name}} with the name of a file in `partials`, without its ending".to_owned());
    }
    let mut call = Call { name, arguments: Vec::new() };
    let mut rest = inside[end..].trim_start();
    while !rest.is_empty() {
        let wrong =
            || format!("behind the name stand values such as {{{{> {name} label=\"Go\" url=event.properties.url}}}}");
        let (key, behind) = rest.split_once('=').ok_or_else(wrong)?;
        let length = value_length(behind).ok_or_else(wrong)?;
        if !is_name(key) || ROOTS.contains(&key) || call.arguments.iter().any(|(known, _)| *known == key) {
            return Err(wrong());
        }
        let value = &behind[..length];
        if value.starts_with(['"', '\'']) && value.contains(['\\', '{', '}']) {
            return Err(format!("the value of `{key}` is plain text, without \\, {{ and }}"));
        }
        call.arguments.push((key, value));
        rest = behind[length..].trim_start();
    }
    Ok(call)
}

/// Bytes of a text in quotes, a call in brackets, a path or a number.
fn value_length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => {
                quote = None;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (None, c) if c.is_whitespace() && depth == 0 => return (at > 0).then_some(at),
            (None, _) => {}
        }
    }
    (depth == 0 && quote.is_none() && !text.is_empty()).then_some(text.len())
}

impl Arguments {
    pub(super) fn none() -> Self {
        Self { given: Vec::new(), around: 0 }
    }

    /// Values that name what the caller was itself given are already replaced.
    pub(super) fn of(given: Vec<(String, String)>, around: usize) -> Self {
        let argument = |(name, value)| Argument { name, value, is_used: false };
        Self { given: given.into_iter().map(argument).collect(), around }
    }

    /// The first that the included text does not use.
    pub(super) fn unused(&self) -> Option<&str> {
        self.given.iter().find(|it| !it.is_used).map(|it| it.name.as_str())
    }

    /// A tag with the values in place of their names, where it has any; `open` loops and `with` are around it.
    pub(super) fn put_into(&mut self, tag: &str, open: usize, escape: Escape) -> Result<Option<String>, String> {
        if self.given.is_empty() {
            return Ok(None);
        }
        let inside = tag.trim_start_matches(['{', '~']).trim_end_matches(['}', '~']).trim();
        if inside.starts_with(['!', '/']) {
            return Ok(None);
        }
        let is_deeper = open > self.around;
        let is_inner = self.around > 0;
        if let Some(it) = self.given.iter_mut().find(|it| it.name == inside) {
            it.is_used = true;
            if let Some(text) = it.value.strip_prefix(['"', '\'']) {
                return written(&text[..text.len() - 1], escape).map(Some);
            }
            if is_word(&it.value) {
                return Ok(Some(it.value.clone()));
            }
            let value = reached(&it.name, &it.value, is_deeper, is_inner)?;
            let value = value.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or(&value);
            return Ok(Some(format!("{{{{{value}}}}}")));
        }
        let mut out = String::with_capacity(tag.len() + 32);
        let mut has_any = false;
        for word in words(tag) {
            let (first, rest) = word.find('.').map_or((word, ""), |dot| word.split_at(dot));
            let is_key = tag[out_of(tag, word) + word.len()..].starts_with('=');
            let Some(it) = self.given.iter_mut().find(|it| it.name == first && !is_key) else {
                out.push_str(word);
                continue;
            };
            it.is_used = true;
            has_any = true;
            let value = reached(&it.name, &it.value, is_deeper, is_inner)?;
            if !rest.is_empty() && value.starts_with(['"', '\'', '(']) {
                return Err(format!("`{first}` is given as a text here, and has no `{rest}`"));
            }
            out.push_str(&value);
            out.push_str(rest);
        }
        Ok(has_any.then_some(out))
    }
}

/// Where a word of a text begins in it.
fn out_of(text: &str, word: &str) -> usize {
    word.as_ptr() as usize - text.as_ptr() as usize
}

/// A tag in pieces: texts in quotes, names with their dots, and what stands between.
fn words(tag: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '/' | '$' | '[' | ']');
    let mut rest = tag;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let length = match first {
            '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '{' | '}' | '#' => first.len_utf8(),
            c if is_name(c) && c != '/' => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        rest = behind;
        Some(word)
    })
}

/// A value as it is reached from inside more loops than the call stood in.
fn reached(name: &str, value: &str, is_deeper: bool, is_inner: bool) -> Result<String, String> {
    if !is_deeper || value.starts_with(['"', '\'']) || value.starts_with("@root") || is_word(value) {
        return Ok(value.to_owned());
    }
    let root = value.split(['.', '/']).next().unwrap_or_default();
    if !is_inner && ROOTS.contains(&root) {
        return Ok(format!("@root.{value}"));
    }
    Err(format!("`{name}` is given as `{value}`, which means something else inside `each` and `with`"))
}

/// A text as the part writes it.
fn written(text: &str, escape: Escape) -> Result<String, String> {
    let mut out = StringOutput::new();
    let cannot = "this text cannot be written";
    escape.write(text, &mut out).map_err(|_| cannot)?;
    Ok(out.into_string().map_err(|_| cannot)?)
}

/// A number or a truth, which is written as it stands.
fn is_word(value: &str) -> bool {
    matches!(value, "true" | "false") || value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn put(given: &[(&str, &str)], tag: &str, open: usize) -> String {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut arguments = Arguments::of(given, 0);
        match arguments.put_into(tag, open, Escape::Html) {
            Ok(changed) => changed.unwrap_or_else(|| tag.to_owned()),
            Err(told) => told,
        }
    }

    #[test]
    fn a_call_names_a_file_and_gives_values() {
        let call = read("button label=\"Back to \" url=event.properties.url price=(money a.b \"EUR\") n=3").unwrap();
        assert_eq!(call.name, "button");
        let given =
            [("label", "\"Back to \""), ("url", "event.properties.url"), ("price", "(money a.b \"EUR\")"), ("n", "3")];
        assert_eq!(call.arguments, given);
        assert_eq!(read("\"foot/legal\"").unwrap(), Call { name: "foot/legal", arguments: Vec::new() });
        for wrong in [
            "",
            "../x",
            "a.mjml",
            "/x",
            "a//b",
            "a b",
            "a b=",
            "a b=\"x",
            "a b=(x",
            "a event=1",
            "a b=1 b=2",
            "a b=\"{{x\"",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_stand_where_their_names_stood() {
        let given = [("label", "\"A & B\""), ("url", "event.properties.url"), ("price", "(money a.b \"EUR\")")];
        for (tag, open, expected) in [
            ("{{label}}", 0, "A &amp; B"),
            ("{{ label }}", 1, "A &amp; B"),
            ("{{url}}", 0, "{{event.properties.url}}"),
            ("{{url}}", 1, "{{@root.event.properties.url}}"),
            ("{{price}}", 0, "{{money a.b \"EUR\"}}"),
            ("{{#if url}}", 0, "{{#if event.properties.url}}"),
            ("{{else if label}}", 0, "{{else if \"A & B\"}}"),
            ("{{truncate (default url.x \"url\") 4}}", 0, "{{truncate (default event.properties.url.x \"url\") 4}}"),
            ("{{> deep url=url}}", 0, "{{> deep url=event.properties.url}}"),
            ("{{event.url}}", 0, "{{event.url}}"),
            ("{{/url}}", 0, "{{/url}}"),
            ("{{! url }}", 0, "{{! url }}"),
        ] {
            assert_eq!(put(&given, tag, open), expected, "{tag}");
        }
        assert!(put(&given, "{{label.x}}", 0).contains("has no `.x`"));
        assert!(put(&given, "{{price}}", 1).contains("something else inside"), "{}", put(&given, "{{price}}", 1));
        assert!(put(&[("n", "name")], "{{n}}", 1).contains("something else inside"));
    }
}

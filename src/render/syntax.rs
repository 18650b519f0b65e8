//! A template's text before and beside its parser: what would exhaust the parser is refused before it sees it, and
//! what the parser refuses is said in words about braces and blocks instead of its grammar's.

use handlebars::TemplateErrorReason as Cause;

/// Bytes of one part's source.
pub const SOURCE_BYTES_MAX: usize = 256 * 1024;
/// Blocks within blocks, counting each `else if` as one more.
const DEPTH_MAX: usize = 48;
/// The parser looks for each tag's line from the start again, so its work grows with this product: 250 tags in the
/// longest template, 3,000 in one of 20 KB.
const TAGS_TIMES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one tag, comments excepted.
const TAG_BYTES_MAX: usize = 4 * 1024;
/// Brackets within brackets in one tag.
const BRACKETS_MAX: usize = 8;

/// Line, column and what is wrong there.
pub(super) type Problem = (usize, usize, String);

/// Refuses what would exhaust the parser's stack, before it sees it. Counts generously: a comment counts as code.
pub(super) fn bound(source: &str) -> Result<(), Problem> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err((1, 1, format!("is longer than {SOURCE_BYTES_MAX} bytes")));
    }
    let tags = source.matches("{{").count();
    if tags.saturating_mul(source.len()) > TAGS_TIMES_BYTES_MAX {
        return Err((1, 1, format!("has {tags} tags in {} bytes, which is too many for its length", source.len())));
    }
    let mut chains: Vec<usize> = Vec::new();
    for (at, _) in source.match_indices("{{") {
        let opened = &source.as_bytes()[at..];
        if opened.iter().take(5).filter(|b| **b == b'{').count() == 5 {
            return Err(at_place(source, at, "there are more than four braces in a row".to_owned()));
        }
        let end = source.floor_char_boundary(source.len().min(at + TAG_BYTES_MAX));
        let tag = source[at + 2..end].trim_start_matches(['{', '~', ' ', '\t', '\n', '\r']);
        if tag.starts_with('!') {
            continue;
        }
        let Some((inside, _)) = tag.split_once("}}") else {
            let what = format!("this tag begins with {{{{ and never ends: add }}}} within {TAG_BYTES_MAX} bytes");
            return Err(at_place(source, at, what));
        };
        if tag.starts_with('/') {
            chains.pop();
        } else if tag.starts_with('#') {
            chains.push(1);
        } else if (tag.starts_with("else") || tag.starts_with('^'))
            && let Some(chain) = chains.last_mut()
        {
            *chain += 1;
        }
        if chains.len() > DEPTH_MAX || chains.iter().sum::<usize>() > DEPTH_MAX {
            return Err(at_place(source, at, format!("blocks are nested more than {DEPTH_MAX} deep")));
        }
        if deepest_bracket(inside) > BRACKETS_MAX {
            return Err(at_place(source, at, format!("brackets are nested more than {BRACKETS_MAX} deep")));
        }
    }
    Ok(())
}

fn deepest_bracket(tag: &str) -> usize {
    let mut open = 0_usize;
    tag.bytes().fold(0, |deepest, byte| {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest.max(open)
    })
}

/// Columns count characters, as the parser's and editors' do.
pub(super) fn at_place(source: &str, at: usize, what: String) -> Problem {
    let before = &source[..at];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1, what)
}

/// The text in which every tag is replaced, byte for byte, by `filler`.
pub(super) fn without_tags(source: &str, filler: char) -> String {
    let mut out = String::with_capacity(source.len());
    let mut end = 0;
    for Tag { at, text, .. } in tags(source) {
        out.push_str(&source[end..at]);
        out.extend(std::iter::repeat_n(filler, text.len()));
        end = at + text.len();
    }
    out.push_str(&source[end..]);
    out
}

/// `{{…}}` as it stands in a text.
pub(super) struct Tag<'s> {
    pub(super) at: usize,
    pub(super) text: &'s str,
    /// Without braces, tildes and blanks around; none where the tag never ends.
    pub(super) inside: Option<&'s str>,
}

pub(super) fn tags(source: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + source[from..].find("{{")?;
        let rest = &source[at..];
        let is_long = rest.starts_with("{{!--") || rest.starts_with("{{~!--");
        let end = if is_long { rest.find("--}}").map(|end| end + 4) } else { None };
        let end = end.or_else(|| rest.find("}}").map(|end| end + 2));
        let text = &rest[..end.unwrap_or(rest.len())];
        from = at + text.len();
        let inside = end.and_then(|end| text.get(2..end - 2));
        let blanks = |c: char| c == '~' || c.is_whitespace();
        Some(Tag { at, text, inside: inside.map(|it| it.trim_matches(blanks)) })
    })
}

/// What a parser's refusal means to whoever wrote the text.
pub(super) fn explained(source: &str, place: Option<(usize, usize)>, cause: &Cause) -> Problem {
    if let Some(problem) = unbalanced(source) {
        return problem;
    }
    let (line, column) = place.unwrap_or((1, 1));
    let here = offset(source, line, column);
    // The parser stops inside the tag it cannot read, at its start, or just behind the text before it.
    let tag = tags(source).take_while(|tag| tag.at <= here).last().or_else(|| tags(source).next());
    let Some(Tag { at, text, .. }) = tag else {
        return (line, column, format!("cannot be read: {}", first_line(&cause.to_string())));
    };
    let shown: String = text.chars().take(60).collect();
    let advice = if text.matches('"').count() % 2 == 1 {
        "a quote (\") is missing"
    } else if text.matches('(').count() != text.matches(')').count() {
        "a bracket is missing"
    } else {
        "write a variable such as {{profile.traits.first_name}}, or a function and what it works on, such as \
         {{money event.properties.price \"EUR\"}}"
    };
    at_place(source, at, format!("`{shown}` cannot be read: {advice}"))
}

/// The first tag that does not end, and the first block that does not, or ends what is not open.
fn unbalanced(source: &str) -> Option<Problem> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    for Tag { at, inside, .. } in tags(source) {
        let Some(inside) = inside else {
            return Some(at_place(source, at, "this tag begins with {{ and never ends: add }}".to_owned()));
        };
        if let Some(opened) = inside.strip_prefix('#') {
            open.push((at, opened.split_whitespace().next().unwrap_or_default()));
        } else if let Some(closed) = inside.strip_prefix('/') {
            let closed = closed.trim();
            match open.pop() {
                Some((_, name)) if name == closed => {}
                Some((start, name)) => {
                    let (line, ..) = at_place(source, start, String::new());
                    let what = format!(
                        "{{{{/{closed}}}}} stands where {{{{#{name}}}}} of line {line} must end first: write {{{{/{name}}}}}"
                    );
                    return Some(at_place(source, at, what));
                }
                None => {
                    let what = format!("{{{{/{closed}}}}} ends a block that was never begun with {{{{#{closed} …}}}}");
                    return Some(at_place(source, at, what));
                }
            }
        } else if open.is_empty() && (inside == "else" || inside.starts_with("else ")) {
            return Some(at_place(source, at, "{{else}} stands outside of any block".to_owned()));
        }
    }
    let (at, name) = open.pop()?;
    Some(at_place(source, at, format!("{{{{#{name}}}}} begins a block that never ends: add {{{{/{name}}}}}")))
}

fn offset(source: &str, line: usize, column: usize) -> usize {
    let start = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let before = source[start..].chars().take(column.saturating_sub(1));
    start + before.map(char::len_utf8).sum::<usize>()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

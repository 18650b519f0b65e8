//! The text body of a mail whose author wrote only HTML.
//!
//! HTML is read as a stream of tokens, in which a template's tags pass as single private characters. So the same
//! reading makes a text template of an HTML template, once, and a text of a finished mail where that cannot be. What
//! breaks lines stays a mark until the values are in: both ways give the same text.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

/// Marks: the next line, a paragraph, a line break that counts each time.
const LINE: char = '\u{1c}';
const PARAGRAPH: char = '\u{1d}';
const BREAK: char = '\u{1e}';
/// Tags of a template are numbered from here; no font and no standard gives these characters a meaning.
const TAGS: std::ops::RangeInclusive<char> = '\u{f0000}'..='\u{ffffd}';

/// Readable text, links in brackets behind their words.
pub(super) fn of_html(html: &str) -> Result<String, String> {
    let marked = read(html, &[]).ok_or("the HTML cannot be converted to text; write the text part yourself")?;
    Ok(lay_out(&marked))
}

/// The text template of an HTML template, whose output goes through [`lay_out`]; none where the template's tags stand
/// in places that only each finished mail can tell.
pub(super) fn template(html: &str) -> Option<String> {
    let (protected, tags) = protect(html)?;
    let marked = read(&protected, &tags)?;
    let mut template = String::with_capacity(marked.len() * 2);
    for c in marked.chars() {
        let tag = number(c).and_then(|n| tags.get(n));
        // What was text in HTML may not become a tag here, or join one.
        let opens = template.ends_with('{') && (c == '{' || tag.is_some());
        if opens || tag.is_some() && template.ends_with('\\') {
            return None;
        }
        match tag {
            Some(tag) => template.push_str(tag),
            None => template.push(c),
        }
    }
    Some(template)
}

/// The HTML with each tag of the template as one character, equal ones alike; comments are gone.
fn protect(html: &str) -> Option<(String, Vec<&str>)> {
    if html.contains(|c| TAGS.contains(&c)) || html.contains("\\{{") {
        return None;
    }
    let (mut out, mut tags) = (String::with_capacity(html.len()), Vec::new());
    let mut rest = html;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        // The name of an element: text to us, and markup once it is known.
        if out.ends_with('<') || out.ends_with("</") {
            return None;
        }
        rest = &rest[at..];
        let is_long = rest.starts_with("{{!--") || rest.starts_with("{{~!--");
        let end = if is_long { rest.find("--}}").map(|at| at + 2) } else { None };
        let end = end.or_else(|| rest.find("}}"))? + 2;
        let tag = &rest[..end];
        rest = &rest[end..];
        if tag.trim_start_matches(['{', '~']).starts_with('!') {
            continue;
        }
        // A quoted text may hold the tag's end.
        let quote = if tag.contains('"') { '"' } else { '\'' };
        // And a tilde takes blanks away that markup would keep apart.
        if tag.matches(quote).count() % 2 == 1 || tag.contains('~') {
            return None;
        }
        let n = tags.iter().position(|known| *known == tag).unwrap_or_else(|| {
            tags.push(tag);
            tags.len() - 1
        });
        out.push(char::from_u32(u32::from(*TAGS.start()) + u32::try_from(n).ok()?).filter(|c| TAGS.contains(c))?);
    }
    out.push_str(rest);
    Some((out, tags))
}

fn number(c: char) -> Option<usize> {
    TAGS.contains(&c).then(|| (u32::from(c) - u32::from(*TAGS.start())) as usize)
}

/// Text with marks.
fn read(html: &str, tags: &[&str]) -> Option<String> {
    let reader = Reader { tags, state: RefCell::new(State::default()) };
    let tokenizer = Tokenizer::new(reader, TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    // A foreign parser over any text: a panic in it is this template's problem only.
    catch_unwind(AssertUnwindSafe(|| {
        let _ = tokenizer.feed(&input);
        tokenizer.end();
    }))
    .ok()?;
    let State { out, is_unclear, .. } = tokenizer.sink.state.into_inner();
    (!is_unclear).then_some(out)
}

struct Reader<'t> {
    tags: &'t [&'t str],
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    out: String,
    /// Inside an element whose text nobody sees.
    is_silent: bool,
    /// Open `div`s, from one that is not shown on.
    hidden: usize,
    link: Option<Link>,
    /// The open blocks of the template, each with the number of its branch.
    branches: Vec<usize>,
    branch_last: usize,
    is_unclear: bool,
}

struct Link {
    target: String,
    /// Where its words begin.
    start: usize,
    branches: Vec<usize>,
}

impl TokenSink for Reader<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::CharacterTokens(text) if !state.is_silent && state.hidden == 0 => state.text(&text, self.tags),
            Token::TagToken(tag) => return state.tag(&tag, self.tags),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn text(&mut self, text: &str, tags: &[&str]) {
        for c in text.chars() {
            match number(c).and_then(|n| tags.get(n)) {
                Some(tag) => self.note_block(tag),
                None if matches!(c, LINE | PARAGRAPH | BREAK) => continue,
                None => {}
            }
            self.out.push(c);
        }
    }

    fn note_block(&mut self, tag: &str) {
        let tag = tag.trim_start_matches(['{', '~']).trim_start();
        self.branch_last += 1;
        if tag.starts_with('#') {
            self.branches.push(self.branch_last);
        } else if tag.starts_with('/') {
            self.branches.pop();
        } else if (tag.starts_with("else") || tag.starts_with('^'))
            && let Some(branch) = self.branches.last_mut()
        {
            *branch = self.branch_last;
        }
    }

    fn tag(&mut self, tag: &Tag, tags: &[&str]) -> TokenSinkResult<()> {
        let opens = tag.kind == TagKind::StartTag;
        let is_placeholder = |text: &str| text.contains(|c| number(c).is_some());
        self.is_unclear |= is_placeholder(&tag.name);
        let mut attribute = |name: &str| {
            let found = tag.attrs.iter().find(|it| &*it.name.local == name);
            // An attribute that is there or not is for the finished mail to tell.
            self.is_unclear |= !tags.is_empty() && tag.attrs.iter().any(|it| is_placeholder(&it.name.local));
            found.map(|it| it.value.trim().to_owned()).filter(|it| opens && !it.is_empty())
        };
        match &*tag.name {
            name @ ("style" | "script" | "title" | "textarea" | "iframe" | "noembed" | "noframes" | "xmp") => {
                self.is_silent = opens;
                return match name {
                    _ if !opens => TokenSinkResult::Continue,
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    _ => TokenSinkResult::RawData(RawKind::Rawtext),
                };
            }
            _ if self.is_silent => {}
            "div" if self.hidden > 0 || opens && is_hidden(tag) => {
                self.hidden = if opens { self.hidden + 1 } else { self.hidden - 1 };
            }
            _ if self.hidden > 0 => {}
            "a" => {
                let target = attribute("href");
                self.close_link();
                let (start, branches) = (self.out.len(), self.branches.clone());
                self.link = target.map(|target| Link { target, start, branches });
            }
            "img" => self.out.extend(attribute("alt").iter().map(String::as_str)),
            "br" => self.out.push(BREAK),
            "td" | "th" => self.out.push(' '),
            "li" => {
                self.out.push(LINE);
                self.out.push_str(if opens { "* " } else { "" });
            }
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "blockquote" | "pre" | "hr"
            | "figure" => self.out.push(PARAGRAPH),
            "div" | "table" | "thead" | "tbody" | "tfoot" | "tr" | "caption" | "section" | "article" | "header"
            | "footer" | "main" | "nav" | "aside" | "center" | "form" | "fieldset" | "address" | "dt" | "dd"
            | "figcaption" | "body" => self.out.push(LINE),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    /// Writes where a link leads, behind its words.
    fn close_link(&mut self) {
        let Some(Link { target, start, branches }) = self.link.take() else { return };
        if branches != self.branches {
            self.is_unclear = true;
            return;
        }
        let is_space = |c: char| c.is_whitespace() || matches!(c, LINE | PARAGRAPH | BREAK);
        let words_end = self.out[start..].trim_end_matches(is_space).len() + start;
        let words = self.out[start..words_end].trim_start_matches(is_space);
        let shown = target.strip_prefix("mailto:").or(target.strip_prefix("tel:")).unwrap_or(&target);
        let is_said = words == shown || shown.split_once("://").is_some_and(|(_, rest)| rest == words);
        if is_said || target.starts_with('#') {
            return;
        }
        let behind = if words.is_empty() { shown.to_owned() } else { format!(" ({shown})") };
        self.out.insert_str(words_end, &behind);
    }
}

/// The line an inbox shows beside a subject, as everybody hides it in the mail.
fn is_hidden(tag: &Tag) -> bool {
    let style = tag.attrs.iter().find(|it| &*it.name.local == "style").map(|it| it.value.replace(' ', ""));
    style.is_some_and(|style| style.to_ascii_lowercase().contains("display:none"))
}

/// Lines and paragraphs where the marks stand, any other run of blanks as one.
pub(super) fn lay_out(marked: &str) -> String {
    let mut out = String::with_capacity(marked.len() + 16);
    let mut rest = marked;
    loop {
        let gap = rest.find(|c: char| !is_gap(c)).unwrap_or(rest.len());
        let (blank, text) = rest.split_at(gap);
        if text.is_empty() {
            break;
        }
        if !out.is_empty() {
            out.push_str(between(blank));
        }
        let end = text_end(text);
        out.push_str(&text[..end]);
        rest = &text[end..];
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn is_gap(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}' | '\u{a0}' | LINE | PARAGRAPH | BREAK)
}

/// Up to the first gap that is more than one space between words.
fn text_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    // The no-break space is 0xC2 0xA0.
    let is_odd = |at: usize| bytes.get(at).is_none_or(|b| *b <= b' ' || *b == 0xC2 && bytes.get(at + 1) == Some(&0xA0));
    let is_mark = |b: u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x0C | 0x1C..=0x1E);
    (0..bytes.len())
        .find(|at| match bytes[*at] {
            b' ' => is_odd(at + 1),
            0xC2 => is_odd(*at),
            b => is_mark(b),
        })
        .unwrap_or(bytes.len())
}

fn between(gap: &str) -> &'static str {
    let breaks = gap.matches(BREAK).count();
    match breaks {
        _ if gap.contains(PARAGRAPH) => "\n\n",
        0 if gap.contains(LINE) => "\n",
        0 => " ",
        1 => "\n",
        _ => "\n\n",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn text(html: &str) -> String {
        of_html(html).unwrap()
    }

    #[test]
    fn links_stand_behind_their_words_and_markup_goes() {
        let html = "<head><title>T</title><style>a > b {}</style></head><h1>Hi</h1><p>Your <b>shoes</b>\n wait: \
                    <a href=\"https://shop.example/c?a=1&amp;b=2\"> cart </a></p><script>if (a < b) c()</script>";
        assert_eq!(text(html), "Hi\n\nYour shoes wait: cart (https://shop.example/c?a=1&b=2)\n");
        let html = "<a href=\"https://a.example\"><img alt=\"Logo\"></a><br><a href=https://b.example>b.example</a>\
                    <br><a href=\"mailto:x@a.example\">write</a> <a href=\"#top\">up</a> <a href=\"https://c.example\"></a>";
        assert_eq!(text(html), "Logo (https://a.example)\nb.example\nwrite (x@a.example) up https://c.example\n");
    }

    #[test]
    fn rows_items_and_paragraphs_are_lines() {
        let html = "<table><tr><td>Lamp</td><td>40.50</td></tr>\n<tr><td>Rug</td><td>9</td></tr></table>\
                    <ul><li>one</li><li>two</li></ul><p>a&nbsp;b</p><p>c<br><br>d</p>";
        assert_eq!(text(html), "Lamp 40.50\nRug 9\n\n* one\n* two\n\na b\n\nc\n\nd\n");
        assert_eq!(text(" <p> </p> "), "");
    }

    #[test]
    fn sloppy_and_deep_documents_are_read_all_the_same() {
        assert_eq!(text(&"<div>".repeat(100_000)), "");
        assert_eq!(text(&"<p>line<br>".repeat(2)), "line\n\nline\n");
        assert_eq!(text("<a href='x'>never closed < & &nope; <b"), "never closed < & &nope;\n");
    }

    #[test]
    fn a_templates_tags_pass_where_they_stand() {
        let made =
            template("<p>Hi {{a}}</p>{{! note }}{{#if b}}<tr><td><a href=\"{{u}}\">{{ n }}</a></td></tr>{{/if}}");
        assert_eq!(lay_out(&made.unwrap()), "Hi {{a}}\n\n{{#if b}}\n{{ n }} ({{u}})\n{{/if}}\n");
        assert_eq!(template("<a href=\"{{u}}\">{{u}}</a>").unwrap(), "{{u}}");
    }

    #[test]
    fn what_only_the_finished_mail_can_tell_is_no_template() {
        for html in [
            "{{#if a}}<a href=\"1\">{{else}}<a href=\"2\">{{/if}}x</a>",
            "<a {{#if a}}href=\"1\"{{/if}}>x</a>",
            "<{{a}}>x",
            "&#123;&#123;a}}",
            "&#123;{{a}}",
            "&#92;{{a}}",
            "\\{{a}}",
            "a {{~b~}} c",
            "{{default a \"}}\"}}",
            "\u{f0001} {{a}}",
        ] {
            assert_eq!(template(html), None, "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_layout_is_stable(html in "(<[a-z/]{1,4}[ =\"a-z]{0,6}>|[a-z &;\u{a0}\u{1d}\u{1c}\n]{0,5}|\\{\\{[#/a-z]{0,3}\\}\\}){0,12}") {
            let once = text(&html);
            prop_assert_eq!(lay_out(&once.replace("\n\n", "\u{1d}").replace('\n', "\u{1c}")), once);
            let _ = template(&html);
        }
    }
}

//! What each mail carries beside its author's words: the line an inbox shows, addresses by way of us, and the picture
//! that tells of an opened mail.
//!
//! Where they go is found once, when the template is compiled: calls of `mail` are put there, which no author can
//! write. A render then fills them in on its one pass, and the HTML of a mail is never read again.

use std::ops::Range;
use std::sync::LazyLock;

use handlebars::{
    Context, Handlebars, Helper as Call, HelperDef as Function, HelperResult, Output, RenderContext, Renderable,
    StringOutput,
};

use crate::render::links::{Tracking, Tracks};
use crate::render::markup::{Part, parts};
use crate::render::places::Made;
use crate::render::schemes::UNKNOWN;
use crate::render::syntax;

/// The function these calls are of.
pub(super) const MAIL: &str = "mail";
const PREHEADER: &str = "{{mail \"preheader\"}}";
const TRAP: &str = "{{mail \"trap\"}}";
const PICTURE: &str = "{{mail \"picture\"}}";
const LINK: &str = "{{#mail \"link\"}}";
const PREVIEW: &str = "{{#mail \"preview\"}}";
const END: &str = "{{/mail}}";

/// As many as any inbox shows behind the subject.
const SHOWN_CHARS_MAX: usize = 140;
/// Takes a place in that line and shows nothing: behind a short preheader an inbox would go on with the words of the mail.
const NOTHING: &str = "&#847;&zwnj;&nbsp;";
static NOTHINGS: LazyLock<String> = LazyLock::new(|| NOTHING.repeat(SHOWN_CHARS_MAX));

/// Whether there is a call in a text that we made.
pub(super) fn is_dressed(text: &str) -> bool {
    ["{{mail \"", LINK, PREVIEW].iter().any(|call| text.contains(call))
}

/// Where the line comes from that an inbox shows behind the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// From the words of the mail, or however its author hid one in its HTML.
    AsWritten,
    /// From the template's preheader, which is put into the HTML.
    Preheader,
    /// From `mj-preview`, which the converter has put there.
    Preview,
}

/// The HTML with the calls in it.
pub(super) fn dress(html: &str, shown: Shown, tracks: Tracks) -> Made {
    let masked = syntax::without_tags(html, UNKNOWN);
    let (mut first, mut last) = (0, html.len());
    let mut calls = Vec::new();
    for part in parts(&masked) {
        match part {
            Part::Open { name, end, .. } if name.eq_ignore_ascii_case("body") && first == 0 => first = end,
            Part::Open { name, attributes, .. } if tracks.clicks && leads_somewhere(name) => {
                let hrefs = attributes.iter().filter(|it| it.name.eq_ignore_ascii_case("href"));
                for it in hrefs {
                    let range = it.value_at..it.value_at + it.value.len();
                    if may_be_tracked(&html[range.clone()]) {
                        calls.extend([(range.start, LINK), (range.end, END)]);
                    }
                }
            }
            Part::Close { at, name } if name.eq_ignore_ascii_case("body") => last = at,
            _ => {}
        }
    }
    match shown {
        Shown::AsWritten => {}
        Shown::Preheader => calls.push((first, PREHEADER)),
        Shown::Preview => {
            calls.extend(preview(&masked, first).into_iter().flat_map(|it| [(it.start, PREVIEW), (it.end, END)]))
        }
    }
    if tracks.clicks {
        calls.push((last, TRAP));
    }
    if tracks.opens {
        calls.push((last, PICTURE));
    }
    // Nothing is put into a link but its own two calls, so those at one place may stand in any order.
    calls.sort_by_key(|(at, _)| *at);
    insert(html, &calls)
}

/// The text of the first element of a body, which is what the converter makes of `mj-preview`.
fn preview(masked: &str, body: usize) -> Option<Range<usize>> {
    let mut found = parts(&masked[body..]).filter(|part| !matches!(part, Part::Text { .. }));
    let Some(Part::Open { name: "div", end, .. }) = found.next() else { return None };
    let Some(Part::Close { at, name: "div" }) = found.next() else { return None };
    Some(body + end..body + at)
}

fn insert(html: &str, calls: &[(usize, &str)]) -> Made {
    let mut made = Made { text: String::with_capacity(html.len() + calls.len() * 16), tags: Vec::new() };
    let mut tags = syntax::tags(html).map(|tag| tag.at).peekable();
    let mut end = 0;
    for (at, call) in calls.iter().copied().chain([(html.len(), "")]) {
        // A tag that begins at this very place comes behind the call.
        while let Some(tag) = tags.next_if(|tag| *tag < at) {
            made.tags.push((made.text.len() + (tag - end), tag));
        }
        made.text.push_str(&html[end..at]);
        made.text.push_str(call);
        end = at;
    }
    made
}

/// Links, areas of pictures, and the shapes Outlook draws for buttons; not `link`, which fetches, nor `base`.
fn leads_somewhere(name: &str) -> bool {
    name.eq_ignore_ascii_case("a") || name.eq_ignore_ascii_case("area") || name.starts_with("v:")
}

/// Whether this may be the address of a page that is not ours, and stands in one piece.
fn may_be_tracked(value: &str) -> bool {
    let value = value.trim_start();
    let lower = value.get(..8).unwrap_or(value).to_ascii_lowercase();
    let is_page = value.starts_with("{{") || lower.starts_with("http://") || lower.starts_with("https://");
    let is_ours = value.strip_prefix("{{").is_some_and(|it| it.trim_start_matches(['~', ' ']).starts_with("links."));
    let mut depth = 0_i32;
    let is_whole = syntax::tags(value).all(|tag| {
        let inside = tag.inside.unwrap_or_default();
        match inside.as_bytes().first() {
            Some(b'#') => depth += 1,
            Some(b'/') => depth -= 1,
            _ if inside == "else" || inside.starts_with("else ") || inside.starts_with('^') => return depth > 0,
            _ => {}
        }
        depth >= 0
    });
    is_page && !is_ours && is_whole && depth == 0
}

/// What a render puts in.
pub(super) struct Mail<'a> {
    /// HTML; empty where the template has none.
    pub preheader: &'a str,
    pub tracking: Option<&'a Tracking>,
}

impl Function for &Mail<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Call<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let what = call.param(0).and_then(|it| it.value().as_str()).unwrap_or_default();
        if let Some(inside) = call.template() {
            let mut written = StringOutput::new();
            inside.render(registry, context, state, &mut written)?;
            let written = written.into_string()?;
            if what == "preview" {
                out.write(&written)?;
                out.write(nothings_behind(&written))?;
                return Ok(());
            }
            let tracked = self.tracking.and_then(|tracking| tracking.click(&page(&written)?));
            out.write(tracked.as_deref().unwrap_or(&written))?;
            return Ok(());
        }
        if what == "preheader" {
            out.write(r#"<div style="display:none;max-height:0;overflow:hidden">"#)?;
            out.write(self.preheader.trim())?;
            out.write(nothings_behind(self.preheader))?;
            out.write("</div>")?;
        }
        let Some(tracking) = self.tracking else { return Ok(()) };
        if what == "trap"
            && let Some(address) = tracking.click("")
        {
            // Nobody sees it; only a machine follows it.
            out.write(&format!(r#"<a href="{address}" style="display:none" tabindex="-1" aria-hidden="true"></a>"#))?;
        }
        if what == "picture"
            && let Some(address) = tracking.pixel()
        {
            let style = "display:block;width:1px;height:1px;border:0";
            out.write(&format!(r#"<img src="{address}" width="1" height="1" alt="" style="{style}">"#))?;
        }
        Ok(())
    }
}

/// As many as the line has room for; none where there is no line.
fn nothings_behind(line: &str) -> &'static str {
    let shown = match line.trim().chars().count() {
        0 => SHOWN_CHARS_MAX,
        shown => shown,
    };
    &NOTHINGS[..SHOWN_CHARS_MAX.saturating_sub(shown) * NOTHING.len()]
}

/// The address of a page as a browser reads it in an attribute; none where it is anything else.
fn page(written: &str) -> Option<String> {
    let target = unescaped(written.trim());
    let start = target.get(..8)?.to_ascii_lowercase();
    let is_page = start.starts_with("https://") || start.starts_with("http://");
    // What no browser would follow stays as it is, for a click has to lead on.
    let is_good = is_page && !target.contains(char::is_control) && url::Url::parse(&target).is_ok();
    is_good.then_some(target)
}

/// Character references that end as they should: those our own escaping writes, and numbers.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = rest[1..].split_once(';').and_then(|(name, behind)| Some((reference(name)?, behind)));
        match found {
            Some((c, behind)) => {
                out.push(c);
                rest = behind;
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    let named = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];
    if let Some((_, c)) = named.into_iter().find(|(known, _)| *known == name) {
        return Some(c);
    }
    let number = name.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    code.ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests;

//! Where a mail may lead: every address in its HTML has a scheme that only opens a page, a mail or a call. The finished
//! HTML is read, not the template: whatever data and template made together is what a mail program sees.

use std::fmt;

/// What may stand before the colon of an address; `cid` only where something is shown in place.
const ALLOWED: [&str; 4] = ["http", "https", "mailto", "tel"];
const IN_PLACE: &str = "cid";
/// Attributes that hold an address. Whatever ends like one counts, `xlink:href` and `data-src` too; `url` is that of a
/// refreshing `meta`.
const ATTRIBUTES: [&str; 18] = [
    "href",
    "src",
    "srcset",
    "action",
    "formaction",
    "background",
    "poster",
    "cite",
    "data",
    "ping",
    "longdesc",
    "usemap",
    "codebase",
    "classid",
    "manifest",
    "lowsrc",
    "dynsrc",
    "url",
];
const SHOWN_IN_PLACE: [&str; 6] = ["src", "srcset", "background", "poster", "lowsrc", "dynsrc"];
/// Times an address is decoded: some programs do it more than once.
const DECODED_MAX: usize = 4;
/// What a tag of the template is replaced with before its text is checked: what stands there is not known yet.
pub(super) const UNKNOWN: char = '\u{1a}';

/// An address that may not be in a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Byte of the text at which the attribute's value begins.
    pub at: usize,
    pub attribute: &'static str,
    /// What stands before the colon, at most 20 characters.
    pub scheme: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attribute, scheme, .. } = self;
        let cid = if SHOWN_IN_PLACE.contains(attribute) { ", cid" } else { "" };
        write!(f, "`{attribute}` leads to `{scheme}:`; addresses in a mail begin with {}{cid}", ALLOWED.join(", "))
    }
}

/// The first address in `html` that may not be in a mail.
pub(super) fn refused(html: &str) -> Option<Refused> {
    check(html, false)
}

/// The same for a template's text in which [`UNKNOWN`] stands for what only a render knows.
pub(super) fn refused_in_template(source: &str) -> Option<Refused> {
    check(source, true)
}

/// Looks at each `name =`, wherever it stands, so that no two readings of sloppy HTML make a difference. Data cannot
/// write one: it is escaped.
fn check(html: &str, is_template: bool) -> Option<Refused> {
    memchr::memchr_iter(b'=', html.as_bytes()).find_map(|equals| {
        let attribute = attribute_before(&html.as_bytes()[..equals])?;
        let rest = html[equals + 1..].trim_start_matches(|c: char| c.is_ascii_whitespace());
        let at = html.len() - rest.len();
        let is_space = |c: char| c.is_ascii_whitespace();
        let value = match rest.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => rest[1..].split(char::from(*quote)).next(),
            _ => rest.split(|c: char| is_space(c) || c == '>').next(),
        }?;
        let addresses = value.split(|c| attribute == "srcset" && c == ',');
        let scheme = addresses.filter_map(|address| scheme_of(address, is_template)).find(|scheme| {
            !(ALLOWED.contains(&scheme.as_str()) || (scheme == IN_PLACE && SHOWN_IN_PLACE.contains(&attribute)))
        })?;
        Some(Refused { at, attribute, scheme: scheme.chars().take(20).collect() })
    })
}

fn attribute_before(text: &[u8]) -> Option<&'static str> {
    let text = text.trim_ascii_end();
    let ends_with =
        |name: &str| text.len() >= name.len() && text[text.len() - name.len()..].eq_ignore_ascii_case(name.as_bytes());
    ATTRIBUTES.into_iter().find(|name| ends_with(name))
}

/// What stands before the first colon as a mail program would read it, in small letters; none where there is no scheme,
/// or where it is not known yet.
fn scheme_of(address: &str, is_template: bool) -> Option<String> {
    // Nearly every address begins like this.
    if address.starts_with("https://") || address.starts_with("http://") {
        return None;
    }
    let mut text = address.to_owned();
    for _ in 0..DECODED_MAX {
        let decoded = decoded(&text);
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let mut scheme = String::new();
    for c in text.chars() {
        match c {
            UNKNOWN if is_template => return None,
            ':' => return Some(scheme),
            '/' | '?' | '#' | '\\' => return None,
            c if is_invisible(c) => {}
            c => scheme.extend(c.to_lowercase()),
        }
    }
    None
}

/// Readers of addresses drop some of these; we drop them all before we look.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Character references replaced, with and without their semicolon: the numeric ones, and those named ones that could
/// hide a scheme.
fn decoded(text: &str) -> String {
    const NAMED: [(&str, char); 6] =
        [("colon", ':'), ("tab", '\t'), ("newline", '\n'), ("amp", '&'), ("num", '#'), ("semi", ';')];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        let named = NAMED
            .into_iter()
            .find(|(name, _)| body.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let found = match named {
            Some((name, c)) => Some((c, name.len())),
            None => numeric(body),
        };
        match found {
            Some((c, taken)) => {
                out.push(c);
                rest = body[taken..].strip_prefix(';').unwrap_or(&body[taken..]);
            }
            None => {
                out.push('&');
                rest = body;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The character of `#58` or `#x3A` at the start of a text, and the bytes it took.
fn numeric(body: &str) -> Option<(char, usize)> {
    let digits = body.strip_prefix('#')?;
    let (digits, radix, before) = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => (hex, 16, 2),
        None => (digits, 10, 1),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let significant = digits[..length].trim_start_matches('0');
    let value = if significant.is_empty() { 0 } else { u32::from_str_radix(significant, radix).ok()? };
    (length > 0).then(|| (char::from_u32(value).unwrap_or('\u{fffd}'), before + length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_mails_and_calls_may_be_opened_and_pictures_may_come_with_the_mail() {
        for html in [
            r#"<a href="https://shop.example/a?b=javascript:1">x</a>"#,
            r#"<a href='HTTP://shop.example'>x</a> <a href=mailto:a@shop.example>x</a> <a href=" tel:+49">x</a>"#,
            r##"<a href="#top">x</a> <a href="/path:x">x</a> <a href="">x</a> <a href="www.shop.example">x</a>"##,
            r#"<img src="cid:logo@shop"> <td background="cid:b"> <img srcset="https://a/1 1x, /2 2x">"#,
            r#"<p style="color: red" class="a:b" title="javascript:x">href and src, a = b: c</p>"#,
        ] {
            assert_eq!(refused(html), None, "{html}");
        }
    }

    #[test]
    fn whatever_runs_or_carries_code_is_refused_however_it_is_written() {
        for (html, attribute, scheme) in [
            (r#"<a href="javascript:alert(1)">"#, "href", "javascript"),
            (r#"<a href="JaVaScRiPt:alert(1)">"#, "href", "javascript"),
            ("<a href=\" \t\n\u{1}java\0scr\nipt :alert(1)\">", "href", "javascript"),
            ("<a href=\"\u{200b}javascript\u{ad}:alert(1)\">", "href", "javascript"),
            (r#"<a href="&#106;avascript&colon;alert(1)">"#, "href", "javascript"),
            (r#"<a href="&#x6A;avascript&#x3a;alert(1)">"#, "href", "javascript"),
            (r#"<a href="&#0000106avascript:alert(1)">"#, "href", "javascript"),
            (r#"<a href="java&Tab;script&NewLine;:alert(1)">"#, "href", "javascript"),
            (r#"<a href="&amp;#106;avascript:alert(1)">"#, "href", "javascript"),
            (r#"<a href = 'vbscript:x'>"#, "href", "vbscript"),
            (r#"<a HREF=data:text/html,x>"#, "href", "data"),
            (r#"<img src="data:image/png;base64,AAAA">"#, "src", "data"),
            (r#"<img srcset="https://a/1 1x, javascript:x 2x">"#, "srcset", "javascript"),
            (r#"<a xlink:href="javascript:x">"#, "href", "javascript"),
            (r#"<form action="javascript:x">"#, "action", "javascript"),
            (r#"<meta http-equiv="refresh" content="0;url=javascript:x">"#, "url", "javascript"),
            (r#"<a class="a"href="javascript:x">"#, "href", "javascript"),
            (r#"<!--[if mso]><v:rect href="javascript:x"><![endif]-->"#, "href", "javascript"),
            (r#"<a href="cid:logo">"#, "href", "cid"),
            (r#"<a href="file:///etc/passwd">"#, "href", "file"),
        ] {
            let found = refused(html).unwrap();
            assert_eq!((found.attribute, found.scheme.as_str()), (attribute, scheme), "{html}");
        }
    }

    #[test]
    fn of_a_template_only_what_is_written_out_is_judged() {
        let with = |source: &str| refused_in_template(&source.replace("{{x}}", "\u{1a}\u{1a}")).is_some();
        assert!(!with(r#"<a href="{{x}}">"#) && !with(r#"<a href="{{x}}:y">"#) && !with(r#"<a href="java{{x}}:y">"#));
        assert!(with(r#"<a href="javascript:{{x}}">"#) && !with(r#"<a href="https://a/{{x}}">"#));
        let hidden = "<a href=\"\u{1a}javascript:x\">";
        assert!(refused(hidden).is_some(), "data cannot pretend to be unknown");
    }

    proptest! {
        #[test]
        fn no_text_panics(html in any::<String>(), value in "[&#x0-9a-z:;]{0,12}") {
            let _ = refused(&html);
            let _ = refused(&format!("<a href=\"{value}\">"));
        }
    }
}

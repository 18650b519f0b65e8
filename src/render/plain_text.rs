//! The text body of a mail whose author wrote only HTML.

/// Elements within elements. Deeper documents are refused: the converter recurses.
const DEPTH_MAX: usize = 200;
/// Bytes of HTML the converter is given.
const HTML_BYTES_MAX: usize = 512 * 1024;
const WIDTH: usize = 76;

/// Readable text with links as footnotes, or why there is none.
pub(super) fn of_html(html: &str) -> Result<String, String> {
    if html.len() > HTML_BYTES_MAX {
        return Err(format!("the HTML is longer than {HTML_BYTES_MAX} bytes; write the text part yourself"));
    }
    if depth(html) > DEPTH_MAX {
        return Err(format!("the HTML is nested more than {DEPTH_MAX} deep; write the text part yourself"));
    }
    let convert = || {
        html2text::config::plain()
            .link_footnotes(true)
            .no_table_borders()
            .allow_width_overflow()
            .string_from_read(html.as_bytes(), WIDTH)
    };
    // A foreign parser over any text: a panic in it is this template's problem only.
    match std::panic::catch_unwind(convert) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(cause)) => Err(cause.to_string()),
        Err(_) => Err("the HTML cannot be converted to text; write the text part yourself".to_owned()),
    }
}

/// The deepest nesting, over-counted where a closing tag is missing. Elements that close themselves are not counted.
fn depth(html: &str) -> usize {
    const UNCOUNTED: [&str; 26] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p",
        "li", "td", "tr", "th", "tbody", "thead", "tfoot", "option", "dt", "dd", "html", "body",
    ];
    let (mut open, mut deepest) = (0_usize, 0);
    for (at, _) in html.match_indices('<') {
        let tag = &html[at + 1..];
        let closing = tag.starts_with('/');
        let name = tag.trim_start_matches('/');
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = name[..end].to_ascii_lowercase();
        if name.is_empty() || UNCOUNTED.contains(&name.as_str()) {
            continue;
        }
        open = if closing { open.saturating_sub(1) } else { open + 1 };
        deepest = deepest.max(open);
    }
    deepest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_become_footnotes_and_markup_goes() {
        let text = of_html("<h1>Hi</h1><p>Your <b>shoes</b> wait: <a href=\"https://shop.example/c\">cart</a></p>");
        let text = text.unwrap();
        assert!(text.contains("https://shop.example/c") && text.contains("shoes"), "{text}");
        assert!(!text.contains('<'), "{text}");
    }

    #[test]
    fn deep_documents_are_refused_and_sloppy_ones_are_not() {
        assert!(of_html(&"<div>".repeat(100_000)).is_err());
        assert!(of_html(&"<p>line<br>".repeat(1_000)).is_ok());
        assert!(of_html(&"<tr><td>x".repeat(1_000)).is_ok());
        assert!(of_html(&"x".repeat(HTML_BYTES_MAX + 1)).is_err());
    }
}

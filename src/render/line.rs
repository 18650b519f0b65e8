//! One line of text: the single choke point every header value passes, so that no data can add a header or a line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text without control characters or line separators. Runs of them become one space; everything else, right-to-left
/// marks and emoji included, stays.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Line(String);

impl Line {
    pub fn new(text: &str) -> Self {
        let mut line = String::with_capacity(text.len());
        let mut gap = false;
        for c in text.trim_matches(breaks).chars() {
            if breaks(c) {
                gap = true;
                continue;
            }
            if std::mem::take(&mut gap) {
                line.push(' ');
            }
            line.push(c);
        }
        Self(line)
    }

    /// At most `chars` characters of `text`.
    pub fn limited(text: &str, chars: usize) -> Self {
        let mut line = Self::new(text);
        if let Some((cut, _)) = line.0.char_indices().nth(chars) {
            line.0.truncate(cut);
        }
        line
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

/// C0, DEL, C1, and Unicode's own line and paragraph separators.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn breaks_become_one_space_and_letters_stay() {
        assert_eq!(Line::new("Ann\r\nBcc: eve@example.com").as_str(), "Ann Bcc: eve@example.com");
        assert_eq!(Line::new("\0a\u{7f}\u{85}b\u{2028}c\n").as_str(), "a b c");
        assert_eq!(Line::new("שלום 👩‍👩‍👧 \u{202e}x").as_str(), "שלום 👩‍👩‍👧 \u{202e}x");
        assert_eq!(Line::limited("äöü", 2).as_str(), "äö");
    }

    proptest! {
        #[test]
        fn no_text_keeps_a_control_character(text in any::<String>()) {
            let line = Line::new(&text);
            prop_assert!(!line.as_str().chars().any(breaks));
            prop_assert_eq!(Line::new(line.as_str()), line);
        }
    }
}

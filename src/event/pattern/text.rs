//! Tests of one text: whole, its beginning, its end, by wildcard, with or without regard to case. All in linear time.

use std::fmt;

use crate::event::pattern::matcher::clipped_text;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    Equals(String),
    Prefix(String),
    Suffix(String),
    /// The operand is folded, here and below.
    EqualsIgnoreCase(String),
    PrefixIgnoreCase(String),
    SuffixIgnoreCase(String),
    Wildcard(Wildcard),
}

impl TextTest {
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == wanted,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::EqualsIgnoreCase(folded) => text.chars().map(fold).eq(folded.chars()),
            Self::PrefixIgnoreCase(folded) => begins(text.chars().map(fold), folded.chars()),
            Self::SuffixIgnoreCase(folded) => begins(text.chars().rev().map(fold), folded.chars().rev()),
            Self::Wildcard(wildcard) => wildcard.holds(text),
        }
    }
}

fn begins(mut text: impl Iterator<Item = char>, mut wanted: impl Iterator<Item = char>) -> bool {
    wanted.all(|wanted| text.next() == Some(wanted))
}

/// One letter for all its cases, as far as they are one letter each.
fn fold(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let upper = only(letter.to_uppercase()).unwrap_or(letter);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// A text in the one form that all its spellings by case share.
pub fn folded(text: &str) -> String {
    text.chars().map(fold).collect()
}

/// `*` stands for any characters, also none; `\*` and `\\` for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    written: String,
    /// What stands between the stars; never empty. A single part has no star beside it.
    parts: Vec<String>,
}

impl Wildcard {
    /// The wildcard as written, or what is wrong with it.
    pub fn parse(written: &str) -> Result<Self, &'static str> {
        let mut parts = vec![String::new()];
        let mut letters = written.chars();
        let mut after_star = false;
        while let Some(letter) = letters.next() {
            match letter {
                '*' if after_star => return Err("two stars in a row mean no more than one; write one"),
                '*' => parts.push(String::new()),
                '\\' => match letters.next() {
                    Some(escaped @ ('*' | '\\')) => push(&mut parts, escaped),
                    _ => return Err("a backslash stands only before a star or a backslash, as in `\\*`"),
                },
                other => push(&mut parts, other),
            }
            after_star = letter == '*';
        }
        Ok(Self { written: written.to_owned(), parts })
    }

    /// Each part is looked for once, from where the one before ended; the last must stand at the end.
    fn holds(&self, text: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = text.find(part.as_str()) else { return false };
            text = &text[at + part.len()..];
        }
        text.ends_with(last.as_str())
    }

    /// What every matching text begins and ends with.
    pub fn ends(&self) -> (&str, &str) {
        let first = self.parts.first().map_or("", String::as_str);
        (first, self.parts.last().map_or("", String::as_str))
    }

    /// The whole text, where there is no star.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [whole] => Some(whole),
            _ => None,
        }
    }
}

fn push(parts: &mut [String], letter: char) {
    if let Some(part) = parts.last_mut() {
        part.push(letter);
    }
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(text) => f.write_str(&clipped_text(text)),
            Self::Prefix(text) => write!(f, "text starting with {}", clipped_text(text)),
            Self::Suffix(text) => write!(f, "text ending with {}", clipped_text(text)),
            Self::EqualsIgnoreCase(text) => write!(f, "{} in any case", clipped_text(text)),
            Self::PrefixIgnoreCase(text) => write!(f, "text starting with {} in any case", clipped_text(text)),
            Self::SuffixIgnoreCase(text) => write!(f, "text ending with {} in any case", clipped_text(text)),
            Self::Wildcard(wildcard) => write!(f, "text like {}", clipped_text(&wildcard.written)),
        }
    }
}

//! Letters that pass the conversion in place of what would not.
//!
//! The converter writes an attribute's value as Rust shows text to programmers: what does not print comes out as its
//! number. So a template's tags, and every such character, go through as letters of a script that the text does not
//! use, and are put back afterwards.

use std::collections::BTreeSet;

/// Rare ideographs: each prints, and none is an accent of the letter before it.
const LETTERS: std::ops::RangeInclusive<char> = '\u{20000}'..='\u{2a6d6}';

/// What a letter stands for.
pub(super) enum Meaning {
    /// The tag of that number.
    Tag(usize),
    Character(char),
}

pub(super) struct StandIns {
    /// In ascending order; the first are the tags', then come those of `odd`.
    letters: Vec<char>,
    tags: usize,
    /// In ascending order.
    odd: Vec<char>,
}

impl StandIns {
    /// None where the text has more of both than there are letters it does not use.
    pub(super) fn of(text: &str, tags: usize) -> Option<Self> {
        let used: BTreeSet<char> = text.chars().filter(|c| LETTERS.contains(c) || is_odd(*c)).collect();
        let odd: Vec<char> = used.iter().copied().filter(|c| is_odd(*c)).collect();
        let wanted = tags + odd.len();
        let letters: Vec<char> = LETTERS.filter(|c| !used.contains(c)).take(wanted).collect();
        (letters.len() == wanted).then_some(Self { letters, tags, odd })
    }

    /// The letter of a tag, by its number.
    pub(super) fn of_tag(&self, n: usize) -> char {
        self.letters.get(n).copied().unwrap_or_default()
    }

    pub(super) fn of_character(&self, c: char) -> Option<char> {
        let n = self.odd.binary_search(&c).ok()?;
        self.letters.get(self.tags + n).copied()
    }

    pub(super) fn meaning(&self, letter: char) -> Option<Meaning> {
        let n = self.letters.binary_search(&letter).ok()?;
        if n < self.tags { Some(Meaning::Tag(n)) } else { self.odd.get(n - self.tags).map(|c| Meaning::Character(*c)) }
    }
}

/// Whether the converter writes its number instead. Control characters are left to it, for it refuses them, and quotes
/// to whoever knows what they enclose.
fn is_odd(c: char) -> bool {
    c >= ' ' && !matches!(c, '"' | '\'') && c.escape_debug().len() > 1
}

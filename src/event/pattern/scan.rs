//! The leaves of an event straight from its JSON text: one pass that goes only where some pattern's path leads, and
//! skips the rest without building it.
//!
//! Of a key written twice in one object the last counts, as everywhere else a document is read.

use std::borrow::Cow;

use crate::event::DEPTH_MAX;
use crate::event::json::plain_length;
use crate::event::pattern::leaves::{ElementId, Found, Leaves};
use crate::event::pattern::matcher::{Number, Scalar};
use crate::event::pattern::paths::{NodeId, Paths, ROOT};

impl<'a> Leaves<'a> {
    /// `None` where the text is not a JSON object of at most [`DEPTH_MAX`] levels along the paths that are read; what is
    /// skipped is not judged.
    pub fn scan(text: &'a str, paths: &Paths) -> Option<Self> {
        let mut scan = Scan { text, bytes: text.as_bytes(), at: 0, paths, found: Found::new(), seen: Vec::new() };
        scan.value(ROOT, 0, DEPTH_MAX)?;
        Some(scan.found.finish())
    }
}

struct Scan<'a, 'p> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    paths: &'p Paths,
    found: Found<'a>,
    /// Of the objects being read: where each key led, and its leaves.
    seen: Vec<(NodeId, usize, usize)>,
}

impl<'a> Scan<'a, '_> {
    /// The next byte that is not a space; it stays.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn value(&mut self, node: NodeId, element: ElementId, levels_left: usize) -> Option<()> {
        match self.peek()? {
            b'{' if self.paths.is_leaf(node) => self.skip_nested(),
            b'{' => self.object(node, element, levels_left.checked_sub(1)?),
            b'[' => self.array(node, element, levels_left.checked_sub(1)?),
            _ => {
                let Some(field) = self.paths.field(node) else { return self.skip_scalar() };
                let scalar = self.scalar()?;
                self.found.leaf(field, element, scalar);
                Some(())
            }
        }
    }

    fn object(&mut self, node: NodeId, element: ElementId, levels_left: usize) -> Option<()> {
        self.at += 1;
        let seen_before = self.seen.len();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            match self.paths.walk(node, &key) {
                Some(child) => {
                    self.forget(child, seen_before);
                    let start = self.found.leaves.len();
                    self.value(child, element, levels_left)?;
                    self.seen.push((child, start, self.found.leaves.len()));
                }
                None => self.skip()?,
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
            self.peek()?;
        }
        self.at += 1;
        self.seen.truncate(seen_before);
        Some(())
    }

    /// Where this object had the same key before, its leaves are dropped.
    fn forget(&mut self, child: NodeId, seen_before: usize) {
        let Some(known) = self.seen[seen_before..].iter().position(|(node, ..)| *node == child) else { return };
        let (_, start, end) = self.seen.remove(seen_before + known);
        self.found.leaves.drain(start..end);
        for (_, first, last) in &mut self.seen[seen_before + known..] {
            *first -= end - start;
            *last -= end - start;
        }
    }

    fn array(&mut self, node: NodeId, element: ElementId, levels_left: usize) -> Option<()> {
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        let array = self.found.array();
        loop {
            let inside = match self.peek()? {
                b'{' | b'[' => self.found.element(array, element),
                _ => element,
            };
            self.value(node, inside, levels_left)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        let start = self.at;
        match self.bytes[start] {
            b'"' => self.string().map(Scalar::Text),
            b't' => self.word("true").map(|()| Scalar::Bool(true)),
            b'f' => self.word("false").map(|()| Scalar::Bool(false)),
            b'n' => self.word("null").map(|()| Scalar::Null),
            _ => {
                self.skip_scalar()?;
                Some(Scalar::Number(Number::new(&self.text[start..self.at])))
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// A string, its escapes resolved.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        let escaped = self.skip_string()?;
        if escaped {
            return serde_json::from_str(&self.text[start..self.at]).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(&self.text[start + 1..self.at - 1]))
    }

    /// Whether there was an escape in it.
    fn skip_string(&mut self) -> Option<bool> {
        if *self.bytes.get(self.at)? != b'"' {
            return None;
        }
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_length(self.bytes.get(self.at..)?);
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(escaped)
    }

    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' => self.skip_nested(),
            _ => self.skip_scalar(),
        }
    }

    fn skip_scalar(&mut self) -> Option<()> {
        if self.bytes[self.at] == b'"' {
            return self.skip_string().map(drop);
        }
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let length = self.bytes[self.at..].iter().position(ends)?;
        self.at += length;
        (length > 0).then_some(())
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Some(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

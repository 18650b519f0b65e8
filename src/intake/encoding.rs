//! UTF-16, as spreadsheets save it, read as UTF-8 in bounded memory.

use std::io::{self, BufRead, Read};

/// Which byte of a unit comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    LittleEndian,
    BigEndian,
}

impl Width {
    /// By the mark at the start of a file, or by the zero beside its first letter.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0xff, 0xfe, ..] => Some(Self::LittleEndian),
            [0xfe, 0xff, ..] => Some(Self::BigEndian),
            [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Some(Self::LittleEndian),
            [0, first, 0, second, ..] if *first != 0 && *second != 0 => Some(Self::BigEndian),
            _ => None,
        }
    }
}

/// The same text in UTF-8. A unit that is half a character becomes U+FFFD.
pub(super) struct Utf16<R> {
    input: R,
    width: Width,
    /// The first half of a character.
    high: Option<u16>,
    ready: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Utf16<R> {
    pub(super) fn new(input: R, width: Width) -> Self {
        Self { input, width, high: None, ready: Vec::new(), taken: 0 }
    }

    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut pair = [0; 2];
        for byte in &mut pair {
            let Some(next) = self.input.fill_buf()?.first().copied() else { return Ok(None) };
            *byte = next;
            self.input.consume(1);
        }
        Ok(Some(match self.width {
            Width::LittleEndian => u16::from_le_bytes(pair),
            Width::BigEndian => u16::from_be_bytes(pair),
        }))
    }

    /// A few thousand characters more; nothing at the end.
    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.taken = 0;
        while self.ready.len() < 8 * 1024 {
            let Some(unit) = self.unit()? else {
                if self.high.take().is_some() {
                    self.push(char::REPLACEMENT_CHARACTER);
                }
                break;
            };
            match (self.high.take(), unit) {
                (Some(high), 0xdc00..=0xdfff) => {
                    let pair = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                    self.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                (before, 0xd800..=0xdbff) => {
                    if before.is_some() {
                        self.push(char::REPLACEMENT_CHARACTER);
                    }
                    self.high = Some(unit);
                }
                (before, unit) => {
                    if before.is_some() {
                        self.push(char::REPLACEMENT_CHARACTER);
                    }
                    self.push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, letter: char) {
        self.ready.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            self.refill()?;
        }
        let length = into.len().min(self.ready.len() - self.taken);
        into[..length].copy_from_slice(&self.ready[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        /// Whatever the text, it is the same again, in either order of bytes and however it is cut up.
        #[test]
        fn a_text_is_read_as_it_was_written(text in "[a-zß😀\n,]{2,300}", chunk in 1_usize..50) {
            for (width, bytes) in [
                (Width::LittleEndian, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
                (Width::BigEndian, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ] {
                let mut read = String::new();
                let input = io::BufReader::with_capacity(chunk, bytes.as_slice());
                Utf16::new(input, width).read_to_string(&mut read).unwrap();
                proptest::prop_assert_eq!(&read, &text);
            }
        }
    }

    #[test]
    fn half_a_character_is_told_apart_and_nothing_after_it_is_lost() {
        let units = [0x61_u16, 0xd83d, 0x62, 0xde00, 0x63, 0xd83d];
        let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).chain([0x64]).collect();
        let mut read = String::new();
        Utf16::new(bytes.as_slice(), Width::LittleEndian).read_to_string(&mut read).unwrap();
        assert_eq!(read, "a\u{fffd}b\u{fffd}c\u{fffd}");
    }
}

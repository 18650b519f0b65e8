//! Looking into JSON: dotted paths, and the one scan that refuses text no store could keep faithfully.

use serde_json::Value;

use super::DEPTH_MAX;

/// Characters of one number. Longer ones are no quantity anybody means, and cost every later reader.
pub const NUMBER_CHARS_MAX: usize = 400;

/// Names our own JSON library gives a meaning: an object with such a key would not read back as it was written.
const RESERVED: &str = "$serde_json::private::";

/// The value at a dotted path; `None` where a step is missing, is null, or crosses something that is not an object.
pub fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = document;
    for step in path.split('.') {
        at = at.as_object()?.get(step)?;
    }
    (!at.is_null()).then_some(at)
}

/// Why a JSON text is not taken. `at` counts bytes from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("byte {at} is not UTF-8")]
    InvalidUtf8 { at: usize },
    #[error("not JSON at line {line}, column {column}")]
    Syntax { line: usize, column: usize },
    #[error("nested deeper than {DEPTH_MAX} levels at byte {at}")]
    TooDeep { at: usize },
    #[error("a NUL character at byte {at}")]
    Nul { at: usize },
    #[error("half of a surrogate pair at byte {at}")]
    LoneSurrogate { at: usize },
    #[error("a number of more than {NUMBER_CHARS_MAX} characters at byte {at}")]
    NumberTooLong { at: usize },
    #[error("a reserved name at byte {at}")]
    ReservedName { at: usize },
}

impl JsonFault {
    /// The stable name clients may rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::Syntax { .. } => "invalid_json",
            Self::TooDeep { .. } => "too_deep",
            Self::Nul { .. } => "nul_character",
            Self::LoneSurrogate { .. } => "lone_surrogate",
            Self::NumberTooLong { .. } => "number_too_long",
            Self::ReservedName { .. } => "reserved_name",
        }
    }
}

/// One pass over a JSON text, in linear time and without recursion: UTF-8, at most [`DEPTH_MAX`] levels, no NUL raw or
/// escaped, no half surrogate pair, no absurdly long number. Returns the text.
///
/// It does not judge the grammar; whoever reads the text does. A text that passes here and has the grammar of JSON
/// always reads as a document, and reads back as written.
pub fn check(text: &[u8]) -> Result<&str, JsonFault> {
    let whole = std::str::from_utf8(text).map_err(|error| JsonFault::InvalidUtf8 { at: error.valid_up_to() })?;
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = after_string(text, at)?;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(JsonFault::TooDeep { at });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'0'..=b'9' | b'-' => {
                at = after_number(text, at)?;
                continue;
            }
            0 => return Err(JsonFault::Nul { at }),
            _ => {}
        }
        at += 1;
    }
    Ok(whole)
}

fn after_number(text: &[u8], start: usize) -> Result<usize, JsonFault> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = text[start..].iter().take_while(|byte| is_part(byte)).count();
    if length > NUMBER_CHARS_MAX { Err(JsonFault::NumberTooLong { at: start }) } else { Ok(start + length) }
}

/// Where the string whose opening quote is at `start` ends; the end of the text if nobody closed it.
fn after_string(text: &[u8], start: usize) -> Result<usize, JsonFault> {
    let mut at = start + 1;
    loop {
        // A text that ends in the middle of an escape ends before the escape does.
        at += text.get(at..).map_or(0, plain_length);
        let Some(&byte) = text.get(at) else { return Ok(text.len()) };
        match byte {
            b'"' => {
                refuse_reserved(text, start, at + 1)?;
                return Ok(at + 1);
            }
            b'\\' => at = after_escape(text, at)?,
            0 => return Err(JsonFault::Nul { at }),
            _ => at += 1,
        }
    }
}

/// How many bytes at the start surely are no quote, no backslash and no NUL: most of a text, eight at a time.
pub fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // A borrow may mark a byte above a real find too, never one below it.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut length = 0;
    let (words, _) = text.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let found =
            zero_bytes(word) | zero_bytes(word ^ (ONES * b'"' as u64)) | zero_bytes(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length
}

fn after_escape(text: &[u8], at: usize) -> Result<usize, JsonFault> {
    match escaped_unit(text, at) {
        Some(0) => Err(JsonFault::Nul { at }),
        Some(0xD800..=0xDBFF) => match escaped_unit(text, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(JsonFault::LoneSurrogate { at }),
        },
        Some(0xDC00..=0xDFFF) => Err(JsonFault::LoneSurrogate { at }),
        Some(_) => Ok(at + 6),
        None => Ok(at + 2),
    }
}

/// The UTF-16 unit that `\uXXXX` at `at` stands for.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let escape = text.get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0_u16, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)? as u16))
}

fn refuse_reserved(text: &[u8], start: usize, end: usize) -> Result<(), JsonFault> {
    let token = &text[start..end];
    if !token.starts_with(b"\"$") && !token.starts_with(b"\"\\u0024") {
        return Ok(());
    }
    let reserved = serde_json::from_slice::<String>(token).is_ok_and(|name| name.starts_with(RESERVED));
    if reserved { Err(JsonFault::ReservedName { at: start }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

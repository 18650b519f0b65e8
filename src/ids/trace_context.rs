//! Where a trace of W3C Trace Context goes on: carried beside an event through the log, so that what is decided and sent
//! later belongs to the request it began with.

use std::fmt;

/// Bytes of a packed context.
pub const PACKED_BYTES: usize = 25;

/// A span of a trace that others are children of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TraceContext {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// Bit 0: it is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// `00-TRACE-SPAN-FLAGS`, of this version or a later one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = parts.next().filter(|version| version.len() == 2 && *version != "ff")?;
        let (trace, span, flags) = (hex(parts.next()?)?, hex(parts.next()?)?, hex::<1>(parts.next()?)?);
        let is_whole = hex::<1>(version)? != [0] || parts.next().is_none();
        (is_whole && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags: flags[0] })
    }

    pub fn to_bytes(self) -> [u8; PACKED_BYTES] {
        let mut bytes = [0; PACKED_BYTES];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..24].copy_from_slice(&self.span);
        bytes[24] = self.flags;
        bytes
    }

    /// None: it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PACKED_BYTES] = bytes.try_into().ok()?;
        let (trace, rest) = bytes.split_first_chunk()?;
        let (span, flags) = rest.split_first_chunk()?;
        Some(Self { trace: *trace, span: *span, flags: *flags.first()? })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

/// Lower-case digits, as the standard asks.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_fine = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_fine) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_context_is_read_as_the_standard_says_and_written_the_same() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!((context.span[1], context.flags), (0xf0, 1));
        assert_eq!(context.to_string(), text);
        assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
        assert!(TraceContext::parse(&format!("cc{}-later", &text[2..])).is_some(), "a later version may say more");
        for odd in [
            "",
            "00",
            &format!("{text}-more"),
            &text.replace("00-", "ff-"),
            &text.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(odd), None, "{odd}");
        }
        assert_eq!(TraceContext::from_bytes(&[1; 24]), None);
    }
}

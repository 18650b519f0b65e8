//! Cursors of pages: opaque to their holder, and refused where they are not one that a page of the same list said.
//!
//! A cursor names the last row, not a number of rows, so that pages stay true while rows are added.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{Problem, Refusal};

const CHECK_BYTES: usize = 8;
const CHARS_MAX: usize = 4_096;

/// Of these bytes as a cursor of this list.
fn check(list: &str, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("carillon cursor of a page");
    hasher.update(list.as_bytes()).update(&[0]).update(bytes);
    let mut check = [0; CHECK_BYTES];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// The place of a row in a list of this name, as text for its holder.
pub fn write(list: &str, place: &impl Serialize) -> String {
    // Plain strings and integers into memory: cannot fail.
    let bytes = postcard::to_stdvec(place).unwrap_or_default();
    URL_SAFE_NO_PAD.encode([&check(list, &bytes)[..], &bytes].concat())
}

/// # Errors
/// It is none that [`write`] made for this list.
pub fn read<T: DeserializeOwned>(list: &str, text: &str) -> Result<T, Problem> {
    let wrong = || Refusal::Parameter { field: "cursor", cause: "`cursor` is what `next` of a page said".to_owned() };
    if text.len() > CHARS_MAX {
        return Err(wrong().into());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    let (said, bytes) = bytes.split_at_checked(CHECK_BYTES).ok_or_else(wrong)?;
    if said != check(list, bytes) {
        return Err(wrong().into());
    }
    Ok(postcard::from_bytes(bytes).map_err(|_| wrong())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_is_taken_by_its_own_list_alone_and_only_whole() {
        let place = (1_772_359_200_000_i64, "zoë".to_owned());
        let text = write("people", &place);
        assert_eq!(read::<(i64, String)>("people", &text).unwrap(), place);
        assert!(read::<(i64, String)>("events", &text).is_err());
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(read::<(i64, String)>("people", &other).is_err(), "{other}");
            assert!(read::<(i64, String)>("people", &text[..at]).is_err());
        }
        for odd in ["", "x", "é", &"A".repeat(5_000)] {
            assert!(read::<(i64, String)>("people", odd).is_err());
        }
    }
}

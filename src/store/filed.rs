//! What long addresses are filed under. An index of PostgreSQL refuses rows above some 2,700 bytes, and push tokens and
//! webhooks may have 4,096: in whatever is found by its address, a long one stands by its hash, on every database.
//!
//! Outside the store a subject is the whole address; whoever asks by subjects is answered by the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The migration `m20261123_000235_long_addresses` files by the same length and hash.
const FILED_BYTES_MAX: usize = 512;

/// The same for what it gave.
pub fn filed_under(subject: &str) -> Cow<'_, str> {
    if subject.len() <= FILED_BYTES_MAX {
        return subject.into();
    }
    format!("#{}", blake3::hash(subject.as_bytes()).to_hex()).into()
}

/// Whether what it is filed under says no more what it is.
pub fn is_hashed(filed: &str) -> bool {
    filed.starts_with('#')
}

/// What they are filed under, and which is which.
pub fn by_filed<'s>(subjects: impl IntoIterator<Item = &'s String>) -> BTreeMap<String, &'s String> {
    subjects.into_iter().map(|subject| (filed_under(subject).into_owned(), subject)).collect()
}

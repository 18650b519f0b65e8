//! People by what they are called: an e-mail address, a telephone number, a name, each as people type it. The terms are
//! kept beside the traits they come from; whether one still holds is asked of the person who is found.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;

use crate::audience::Traits;
use crate::ids::ProfileId;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

/// Longer ones are found by their beginning.
const TERM_BYTES_MAX: usize = 80;
/// Words of a name that are terms of their own.
const WORDS_MAX: usize = 6;
/// Terms that are looked at for one question.
const FOUND_MAX: i64 = 400;
/// Traits that name a person, in the track API's spelling and in others.
const NAMES: [&str; 6] = ["name", "first_name", "firstName", "last_name", "lastName", "username"];

/// What somebody types, or a trait, as it is compared.
pub fn folded(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let is_number = lower.starts_with(['+', '0'])
        && lower.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '/' | '.'));
    let mut folded: String =
        if is_number { lower.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect() } else { lower };
    let end = (0..=TERM_BYTES_MAX.min(folded.len())).rev().find(|at| folded.is_char_boundary(*at)).unwrap_or(0);
    folded.truncate(end);
    folded
}

/// The terms a person with these traits is found by.
pub fn terms_of(traits: &Traits) -> BTreeSet<String> {
    let text = |name: &str| traits.get(name).and_then(serde_json::Value::as_str);
    let mut terms: BTreeSet<String> = ["email", "phone"].into_iter().filter_map(text).map(folded).collect();
    for name in NAMES.into_iter().filter_map(text) {
        terms.insert(folded(name));
        terms.extend(name.split_whitespace().take(WORDS_MAX).map(folded));
    }
    terms.remove("");
    terms
}

/// Whether each word of what was typed begins a term of these traits, or all of it does.
pub fn fits(traits: &Traits, typed: &str) -> bool {
    let terms = terms_of(traits);
    let begins = |word: &str| terms.iter().any(|term| term.starts_with(word));
    begins(&folded(typed)) || typed.split_whitespace().map(folded).all(|word| begins(&word))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Keeps the terms of people whose traits changed.
    pub async fn add_terms(&self, terms: Vec<(ProfileId, BTreeSet<String>)>) -> Result<(), Error> {
        let rows: Vec<Values> = terms
            .into_iter()
            .flat_map(|(profile, terms)| terms.into_iter().map(move |term| (profile, term)))
            .map(|(profile, term)| vec![self.id.0.into(), term.into_bytes().into(), profile.0.into()])
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let head = "INSERT INTO people_terms (workspace, term, profile)";
        Rows(self.conn).insert(head, "ON CONFLICT DO NOTHING", 3, rows).await?;
        Ok(())
    }

    /// People who have, or had, a term that begins like this; by term.
    pub async fn people_by_term(&self, typed: &str) -> Result<Vec<ProfileId>, Error> {
        let whole = folded(typed).into_bytes();
        let first = folded(typed.split_whitespace().next().unwrap_or_default()).into_bytes();
        let mut found = Vec::new();
        for start in [whole, first] {
            if start.is_empty() || !found.is_empty() {
                continue;
            }
            // No text has this byte.
            let end = [start.as_slice(), &[0xFF]].concat();
            let sql = "SELECT profile FROM people_terms WHERE workspace = ? AND term >= ? AND term < ?
                       ORDER BY term, profile LIMIT ?";
            let values: Values = vec![self.id.0.into(), start.into(), end.into(), FOUND_MAX.into()];
            for row in Rows(self.conn).all(sql, values).await? {
                let profile = ProfileId(row.try_get_by_index(0)?);
                if !found.contains(&profile) {
                    found.push(profile);
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn people_are_found_as_they_are_typed() {
        let traits = json!({ "email": "Ann@Example.com", "phone": "+44 7700 900-123", "name": "Ann Émile Smith", "age": 3,
            "lastName": "Smith" });
        let traits = traits.as_object().unwrap();
        for typed in
            ["ann@ex", "ANN@EXAMPLE.COM", "+447700900123", "+44 7700", "ann", "émile", "Smith", "ann smi", "smith ann"]
        {
            assert!(fits(traits, typed), "{typed}");
        }
        for typed in ["nn@ex", "447700", "bob", "ann jones", "3"] {
            assert!(!fits(traits, typed), "{typed}");
        }
        assert_eq!(folded(&"é".repeat(100)).len(), TERM_BYTES_MAX);
    }
}

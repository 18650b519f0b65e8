//! People by what they are called: an e-mail address, a telephone number, a name, each as people type it. The terms are
//! kept beside the traits they come from; whether one still holds is asked of the person who is found.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

use crate::audience::Traits;
use crate::decision::Person;
use crate::ids::ProfileId;
use crate::store::Workspace;
use crate::store::reach::{Held, addresses_of};
use crate::store::rows::{Error, Rows, Values, marks};

/// Longer ones are found by their beginning.
const TERM_BYTES_MAX: usize = 80;
/// Words of a name that are terms of their own.
const WORDS_MAX: usize = 6;
/// Terms that are looked at together, and for one page.
const SLICE: usize = 100;
const LOOKED_AT_MAX: usize = 400;
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

    /// A page of those who may be meant by what was typed: who is known by that user id, anonymous id or number, and then
    /// by terms that begin so, in their order; everybody once. A page may hold fewer than `limit` and not be the last.
    pub async fn people_called(
        &self,
        typed: &str,
        from: Option<&Sought>,
        limit: u32,
    ) -> Result<(Vec<Person>, Option<Sought>), Error> {
        let (typed, limit) = (typed.trim(), limit as usize);
        let exact = self.exactly(typed).await?;
        let mut page = match from {
            None => self.in_order(&exact).await?,
            Some(_) => Vec::new(),
        };
        let whole = Sought::first(folded(typed));
        let mut place = from.cloned().unwrap_or_else(|| whole.clone());
        let mut looked_at = 0;
        while !place.start.is_empty() && page.len() < limit && looked_at < LOOKED_AT_MAX {
            let rows = self.terms_after(&place).await?;
            looked_at += rows.len();
            let ids: Vec<ProfileId> = rows.iter().map(|(_, profile)| *profile).collect();
            let people = self.people(&ids).await?;
            let is_last = rows.len() < SLICE;
            for (term, profile) in rows {
                place = Sought { term, profile: profile.0, ..place };
                let Some(Ok(person)) = people.get(&profile) else { continue };
                if !exact.contains(&profile) && place.is_of(person, typed) {
                    page.push(person.clone());
                }
                if page.len() == limit {
                    return Ok((page, Some(place)));
                }
            }
            if is_last {
                let first_word = Sought::first(folded(typed.split_whitespace().next().unwrap_or_default()));
                if looked_at > 0 || from.is_some() || first_word == whole {
                    return Ok((page, None));
                }
                place = first_word;
                looked_at = 1;
            }
        }
        Ok((page, (!place.start.is_empty()).then_some(place)))
    }

    /// Who is known by this user id, anonymous id or number.
    async fn exactly(&self, typed: &str) -> Result<Vec<ProfileId>, Error> {
        let sql = "SELECT profile FROM identifiers WHERE workspace = ? AND kind IN (0, 1) AND value = ? ORDER BY kind";
        let mut found = self.ids(sql, vec![self.id.0.into(), typed.into()]).await?;
        if let Some(ProfileId(number)) = typed.parse().ok().map(ProfileId).or_else(|| ProfileId::of_spelled(typed)) {
            let sql = "SELECT id FROM profiles WHERE workspace = ? AND id = ?";
            found.extend(self.ids(sql, vec![self.id.0.into(), number.into()]).await?);
        }
        let mut people = Vec::new();
        for profile in found {
            let current = self.current_profile(profile).await?;
            if !people.contains(&current) {
                people.push(current);
            }
        }
        Ok(people)
    }

    /// What these people are and were called, as far as it is filed under them.
    pub async fn terms_among(&self, people: &[ProfileId]) -> Result<Vec<(ProfileId, Vec<u8>)>, Error> {
        let mut found = Vec::new();
        for chunk in people.chunks(512) {
            let (condition, keys) = Rows(self.conn).among("profile", chunk.iter().map(|id| id.0.into()).collect());
            let sql = format!("SELECT profile, term FROM people_terms WHERE {condition} AND +workspace = ?");
            for row in Rows(self.conn).all(&sql, keys.into_iter().chain([self.id.0.into()]).collect()).await? {
                found.push((ProfileId(row.try_get_by_index(0)?), row.try_get_by_index(1)?));
            }
        }
        Ok(found)
    }

    async fn terms_after(&self, place: &Sought) -> Result<Vec<(Vec<u8>, ProfileId)>, Error> {
        // No text has this byte.
        let end = [place.start.as_bytes(), &[0xFF]].concat();
        let sql = "SELECT term, profile FROM people_terms WHERE workspace = ? AND (term, profile) > (?, ?) AND term < ?
                   ORDER BY term, profile LIMIT ?";
        let (term, profile) = (place.term.clone(), place.profile);
        let limit = i64::try_from(SLICE).unwrap_or(i64::MAX);
        let values: Values = vec![self.id.0.into(), term.into(), profile.into(), end.into(), limit.into()];
        let rows = Rows(self.conn).all(sql, values).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, ProfileId(row.try_get_by_index(1)?)))).collect()
    }

    /// The next people behind `after`, by id.
    pub async fn people_after(&self, after: ProfileId, limit: u32) -> Result<Vec<ProfileId>, Error> {
        let sql = "SELECT id FROM profiles WHERE workspace = ? AND id > ? ORDER BY id LIMIT ?";
        self.ids(sql, vec![self.id.0.into(), after.0.into(), i64::from(limit).into()]).await
    }

    /// Files these people's terms and addresses, for whoever was stored before those were kept. The caller's transaction
    /// has their shards to itself: whoever changes or erases them has done so before, or sees what is filed.
    pub async fn file_terms(&self, people: &[ProfileId]) -> Result<(), Error> {
        let sql = format!("SELECT id, traits FROM profiles WHERE workspace = ? AND id IN ({})", marks(people.len()));
        let mut values: Values = vec![self.id.0.into()];
        values.extend(people.iter().map(|profile| profile.0.into()));
        let (mut terms, mut held) = (Vec::new(), Held::new());
        for row in &Rows(self.conn).all(&sql, values).await? {
            let id = ProfileId(row.try_get_by_index(0)?);
            let traits: String = row.try_get_by_index(1)?;
            // A row that cannot be read is found by its id alone, as before.
            if let Ok(traits) = serde_json::from_str(&traits) {
                // Nothing was told to whoever was stored before addresses were filed.
                held.extend(addresses_of(&traits).into_iter().map(|subject| (id, subject, Vec::new())));
                terms.push((id, terms_of(&traits)));
            }
        }
        self.add_terms(terms).await?;
        self.file_addresses(&held).await
    }
}

/// How far a search has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// What terms begin with: all that was typed, or where nothing begins so its first word.
    start: String,
    term: Vec<u8>,
    profile: i64,
}

impl Sought {
    fn first(start: String) -> Self {
        Self { term: start.clone().into_bytes(), start, profile: -1 }
    }

    /// Whether this is the row under which a person is shown: the first of those they are called by now.
    fn is_of(&self, person: &Person, typed: &str) -> bool {
        let traits = &person.profile.traits;
        let first = terms_of(traits).into_iter().find(|term| term.starts_with(&self.start));
        person.merged_into.is_none() && first.is_some_and(|first| first.as_bytes() == self.term) && fits(traits, typed)
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

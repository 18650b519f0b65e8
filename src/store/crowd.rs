//! Everybody's rows, a page at a time, with as much of each as a question about people looks at: of a row in which
//! nothing is passed over, reading costs more than the answer.

use std::collections::BTreeSet;
use std::fmt;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::audience::{History, Traits};
use crate::decision::Person;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::store::Workspace;
use crate::store::profiles::{carts_in, consent_in, remembered_in};
use crate::store::rows::{Error, Rows};

/// What of a row is wanted; the rest reads as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Those of these names.
    pub traits: BTreeSet<String>,
    pub consent: bool,
    pub history: bool,
    pub carts: bool,
    /// What decisions left, and by which definitions.
    pub remembered: bool,
}

/// A row as the database gave it.
#[derive(Debug)]
pub struct Unread {
    pub id: ProfileId,
    row: QueryResult,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The lowest and the highest number of a person; none where there is nobody.
    pub async fn ends_of_crowd(&self) -> Result<Option<(ProfileId, ProfileId)>, Error> {
        let end = |order: &str| format!("SELECT id FROM profiles WHERE workspace = ? ORDER BY id {order} LIMIT 1");
        let first: Option<i64> = Rows(self.conn).scalar(&end("ASC"), vec![self.id.0.into()]).await?;
        let last: Option<i64> = Rows(self.conn).scalar(&end("DESC"), vec![self.id.0.into()]).await?;
        Ok(first.zip(last).map(|(first, last)| (ProfileId(first), ProfileId(last))))
    }

    /// A page of those after one and up to another whose state is their own, in the order of their numbers.
    pub async fn crowd(
        &self,
        (after, last): (ProfileId, ProfileId),
        limit: u32,
        parts: &Parts,
    ) -> Result<Vec<Unread>, Error> {
        let sql = format!(
            "SELECT id, user_id{} FROM profiles
             WHERE id > ? AND id <= ? AND workspace = ? AND merged_into IS NULL ORDER BY id LIMIT ?",
            parts.columns()
        );
        let values = vec![after.0.into(), last.0.into(), self.id.0.into(), limit.into()];
        let rows = Rows(self.conn).many(&sql, values, limit as usize).await?;
        rows.into_iter().map(|row| Ok(Unread { id: ProfileId(row.try_get_by_index(0)?), row })).collect()
    }
}

impl Parts {
    /// In the order in which they are read.
    fn columns(&self) -> String {
        let columns = [
            (!self.traits.is_empty(), ", traits"),
            (self.consent, ", consent"),
            (self.history, ", history"),
            (self.carts, ", carts"),
            (self.remembered, ", remembered, segments_seen"),
        ];
        columns.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, column)| column).collect()
    }
}

impl Unread {
    /// # Errors
    /// Something in what is wanted of it is damaged.
    pub fn read(&self, parts: &Parts) -> Result<Person, Error> {
        let mut person = Person::new(self.id, Timestamp::default());
        let (profile, row) = (&mut person.profile, &self.row);
        profile.user_id = row.try_get_by_index(1)?;
        let mut columns = 2..;
        let mut next = || columns.next().unwrap_or_default();
        if !parts.traits.is_empty() {
            let text: String = row.try_get_by_index(next())?;
            profile.traits = traits_in(&text, &parts.traits)?;
        }
        if parts.consent {
            let text: String = row.try_get_by_index(next())?;
            profile.consent = consent_in(&text)?;
        }
        if parts.history {
            let packed: Vec<u8> = row.try_get_by_index(next())?;
            profile.history = History::unpack(&packed).map_err(|error| Error::unreadable("profile", error))?;
        }
        if parts.carts {
            profile.carts = carts_in(row.try_get_by_index(next())?)?;
        }
        if parts.remembered {
            profile.remembered = remembered_in(row.try_get_by_index(next())?)?;
            profile.segments.seen = Position(row.try_get_by_index(next())?);
        }
        Ok(person)
    }
}

fn traits_in(text: &str, names: &BTreeSet<String>) -> Result<Traits, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let traits = Wanted(names).deserialize(&mut reader).and_then(|traits| reader.end().map(|()| traits));
    traits.map_err(|error| Error::unreadable("profile", error))
}

/// Reads these fields of an object and passes over the others.
struct Wanted<'n>(&'n BTreeSet<String>);

/// Reads a name, if it is one of these.
struct Name<'n>(&'n BTreeSet<String>);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Traits;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Traits, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Traits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Traits, A::Error> {
        let mut traits = Traits::new();
        while let Some(name) = from.next_key_seed(Name(self.0))? {
            match name {
                Some(name) => drop(traits.insert(name.to_owned(), from.next_value()?)),
                None => drop(from.next_value::<IgnoredAny>()?),
            }
        }
        Ok(traits)
    }
}

impl<'de, 'n> DeserializeSeed<'de> for Name<'n> {
    type Value = Option<&'n str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name).map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_traits_those_that_are_wanted_are_read_as_from_the_whole() {
        let text = r#"{"plan":"pro","a\"b":1.50,"deep":{"x":[1,{"plan":2}]},"none":null,"big":123456789012345678901234567890}"#;
        let whole: Traits = serde_json::from_str(text).unwrap();
        for names in [&["plan"][..], &["a\"b", "deep"], &["none", "big", "absent"], &[]] {
            let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let wanted: Traits = whole.clone().into_iter().filter(|(name, _)| names.contains(name)).collect();
            assert_eq!(traits_in(text, &names).unwrap(), wanted);
        }
    }

    #[test]
    fn damaged_traits_are_an_error_wherever_the_damage_is() {
        for text in ["", "{", "[]", r#"{"plan":"pro","other":}"#, r#"{"plan":"pro"} x"#] {
            assert!(traits_in(text, &BTreeSet::from(["plan".to_owned()])).is_err(), "{text}");
        }
    }
}

//! What an import is to be: read from a request, and again from what is stored of it.

use crate::intake::mapping::{Mapping, NotAMapping};
use crate::intake::people::{ConsentGiven, NotAConsent};
use crate::intake::uploads::is_a_name;
use crate::intake::{Format, UnknownFormat};
use crate::message::{Channel, SuppressionKind};
use crate::store::imports::{ImportOptions, StoredImport};

const SOURCE_CHARS_MAX: usize = 64;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// People, or what they did.
    Rows(Format),
    /// Addresses nobody is to write to.
    Suppressions,
}

impl Holds {
    const SUPPRESSIONS: &str = "suppressions";

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows(format) => format.as_str(),
            Self::Suppressions => Self::SUPPRESSIONS,
        }
    }

    /// Every name there is.
    pub fn names() -> Vec<&'static str> {
        Format::ALL.into_iter().map(Format::as_str).chain([Self::SUPPRESSIONS]).collect()
    }

    fn parse(text: &str) -> Result<Self, UnknownFormat> {
        if text == Self::SUPPRESSIONS { Ok(Self::Suppressions) } else { text.parse().map(Self::Rows) }
    }
}

/// A file that is to be taken in, and how.
#[derive(Debug, Clone)]
pub struct Asked {
    pub name: String,
    pub holds: Holds,
    pub options: ImportOptions,
    pub(super) mapping: Option<Mapping>,
    pub(super) consent: Option<ConsentGiven>,
}

/// What cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    #[error("`name` is what the file is called, in 1 to 200 bytes without `/`")]
    Name,
    #[error("{0}, and suppressions")]
    Format(#[from] UnknownFormat),
    #[error("a csv is a table like no other: `map` says how it is read, as in docs/imports.md")]
    MapMissing,
    #[error("`map` belongs to the format csv; {} needs none", .0.as_str())]
    MapNotNeeded(Holds),
    #[error("`{field}` does not belong to the format {}", .holds.as_str())]
    NotOfFormat { field: &'static str, holds: Holds },
    #[error("`channel` is email, sms, push, whatsapp or webhook")]
    Channel,
    #[error("`kind` is unsubscribed, complaint, bounced, manual or topic:KEY")]
    Kind,
    #[error("{0}")]
    Map(#[from] NotAMapping),
    #[error("{0}")]
    Consent(#[from] NotAConsent),
    #[error("`source` is a name of 1 to 64 characters")]
    Source,
}

impl Asked {
    /// # Errors
    /// What is asked makes no sense.
    pub fn read(name: String, format: &str, options: ImportOptions) -> Result<Self, NotAsked> {
        if !is_a_name(&name) {
            return Err(NotAsked::Name);
        }
        let is_plain = |c: char| !c.is_control();
        if options.source.is_empty()
            || options.source.chars().count() > SOURCE_CHARS_MAX
            || !options.source.chars().all(is_plain)
        {
            return Err(NotAsked::Source);
        }
        let holds = Holds::parse(format)?;
        let mapping = match (&options.map, holds == Holds::Rows(Format::Csv)) {
            (Some(map), true) => Some(Mapping::read("map", map)?),
            (None, true) => return Err(NotAsked::MapMissing),
            (Some(_), false) => return Err(NotAsked::MapNotNeeded(holds)),
            (None, false) => None,
        };
        let is_list = holds == Holds::Suppressions;
        for (field, given, of_list) in
            [("consent", &options.consent, false), ("channel", &options.channel, true), ("kind", &options.kind, true)]
        {
            if given.is_some() && of_list != is_list {
                return Err(NotAsked::NotOfFormat { field, holds });
            }
        }
        if options.channel.as_deref().is_some_and(|channel| Channel::parse(channel).is_none()) {
            return Err(NotAsked::Channel);
        }
        if options.kind.as_deref().is_some_and(|kind| SuppressionKind::parse(kind).is_none()) {
            return Err(NotAsked::Kind);
        }
        let consent: Option<ConsentGiven> = options.consent.as_deref().map(str::parse).transpose()?;
        if let Some(given) = &consent
            && Channel::parse(&given.channel).is_none()
        {
            return Err(NotAConsent(options.consent.unwrap_or_default().chars().take(40).collect()).into());
        }
        Ok(Self { name, holds, options, mapping, consent })
    }

    /// What was asked when it was stored.
    pub(super) fn of(import: &StoredImport) -> Result<Self, NotAsked> {
        Self::read(import.name.clone(), &import.format, import.options.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(format: &str, map: Option<&str>, consent: Option<&str>) -> Result<Asked, String> {
        let (map, consent) = (map.map(str::to_owned), consent.map(str::to_owned));
        let options = ImportOptions { source: "import".to_owned(), map, consent, ..ImportOptions::default() };
        Asked::read("orders.csv".to_owned(), format, options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let map = "{ event: Signed Up, user_id: id, timestamp: at }";
        assert!(read("csv", Some(map), Some("email=granted")).unwrap().mapping.is_some());
        assert!(read("profiles", None, None).unwrap().mapping.is_none());
        for (refused, words) in [
            (read("xls", None, None), "`xls` is not a format"),
            (read("suppressions", None, Some("email=granted")), "`consent` does not belong to the format suppressions"),
            (read("csv", None, None), "`map` says how it is read"),
            (read("jsonl", Some(map), None), "jsonl needs none"),
            (read("csv", Some("{ event: Signed Up }"), None), "map:1"),
            (read("jsonl", None, Some("fax=granted")), "`fax=granted` is not a consent"),
            (read("jsonl", None, Some("email=maybe")), "`email=maybe` is not a consent"),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}

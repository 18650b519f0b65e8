//! What the holder of an API token may do: a small set of names, each route asking for one.

use std::collections::BTreeSet;
use std::fmt;

/// One permission of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Events with their bodies, the books, the live stream.
    EventsRead,
    /// Messages with their paths, dead letters, counts.
    MessagesRead,
    /// People: what is known of them, their timelines, their caps, why something was or was not sent to them.
    ProfilesRead,
    /// What people have answered, and the suppression list.
    PermissionRead,
    /// Answers said for people, addresses onto and off the suppression list.
    PermissionWrite,
    /// What is in force, every version of it, plans and previews.
    DefinitionsRead,
    /// Put definitions into force.
    DefinitionsWrite,
    /// Pause, resume, redrive, test messages, asking hosts behind links, the demo's clock.
    ControlWrite,
    /// Write keys of sources: list, make, end.
    KeysWrite,
    /// API tokens: list, make, rotate, end; none with more scopes than one's own.
    TokensWrite,
    /// Hand out all that is stored of a person, and erase people.
    PrivacyWrite,
    /// Imports, how far they are, and the rows that were refused.
    ImportsRead,
    /// Take in files of people, their answers, what they did, and whom not to write to, and stop that.
    ImportsWrite,
    /// Make backups, fetch and remove them: all that is stored, the key of the links too.
    BackupsWrite,
    /// The settings without their secrets, and the doctor.
    SettingsRead,
}

impl Scope {
    pub const ALL: [Self; 15] = [
        Self::EventsRead,
        Self::MessagesRead,
        Self::ProfilesRead,
        Self::PermissionRead,
        Self::PermissionWrite,
        Self::DefinitionsRead,
        Self::DefinitionsWrite,
        Self::ControlWrite,
        Self::KeysWrite,
        Self::TokensWrite,
        Self::PrivacyWrite,
        Self::ImportsRead,
        Self::ImportsWrite,
        Self::BackupsWrite,
        Self::SettingsRead,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsRead => "events:read",
            Self::MessagesRead => "messages:read",
            Self::ProfilesRead => "profiles:read",
            Self::PermissionRead => "permission:read",
            Self::PermissionWrite => "permission:write",
            Self::DefinitionsRead => "definitions:read",
            Self::DefinitionsWrite => "definitions:write",
            Self::ControlWrite => "control:write",
            Self::KeysWrite => "keys:write",
            Self::TokensWrite => "tokens:write",
            Self::PrivacyWrite => "privacy:write",
            Self::ImportsRead => "imports:read",
            Self::ImportsWrite => "imports:write",
            Self::BackupsWrite => "backups:write",
            Self::SettingsRead => "settings:read",
        }
    }

    pub const fn says(self) -> &'static str {
        match self {
            Self::EventsRead => "events with their bodies, the books, the live stream",
            Self::MessagesRead => "messages with their paths, dead letters, counts",
            Self::ProfilesRead => "people, their timelines and caps, and why something was or was not sent",
            Self::PermissionRead => "what people have answered, and the suppression list",
            Self::PermissionWrite => "answers said for people, addresses onto and off the suppression list",
            Self::DefinitionsRead => "what is in force, every version of it, plans and previews",
            Self::DefinitionsWrite => "put definitions into force",
            Self::ControlWrite => "pause, resume, redrive, test messages, asking hosts behind links, the demo's clock",
            Self::KeysWrite => "write keys of sources: list, make, end",
            Self::TokensWrite => "API tokens: list, make, rotate, end; none with more scopes than one's own",
            Self::PrivacyWrite => "hand out all that is stored of a person, and erase people",
            Self::ImportsRead => "imports, how far they are, and the rows that were refused",
            Self::ImportsWrite => {
                "take in files of people, their answers, what they did, and whom not to write to, and stop that"
            }
            Self::BackupsWrite => "make backups, fetch and remove them: all that is stored, the key of the links too",
            Self::SettingsRead => "the settings without their secrets, and the doctor",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who calls the controls, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Of the token; none: the one in the data folder, which may do everything.
    pub token: Option<String>,
    /// Of the secret of that token: whoever listens for long is asked again by it.
    pub secret: Option<Vec<u8>>,
    pub scopes: BTreeSet<Scope>,
    /// Known only while the caller speaks: what is kept for them is sealed with it.
    pub seal: [u8; 32],
}

impl Caller {
    /// The holder of the data folder.
    pub fn local(seal: [u8; 32]) -> Self {
        Self { token: None, secret: None, scopes: Scope::ALL.into(), seal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_found_by_its_name_and_no_two_share_one() {
        let names: BTreeSet<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        assert_eq!(names.len(), Scope::ALL.len());
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("events"), None);
    }
}

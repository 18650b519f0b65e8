//! What is wrong with a definition, where, and what was probably meant.

use std::fmt;

use serde::Serialize;

/// What kind of problem it is; stable and documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    UnknownField,
    MissingField,
    WrongType,
    WrongValue,
    NotYetSupported,
    DuplicateKey,
    Syntax,
    UnknownReference,
    Limit,
    /// It is right, and somebody must say that it is meant.
    NeedsConfirmation,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::WrongValue => "wrong_value",
            Self::NotYetSupported => "not_yet_supported",
            Self::DuplicateKey => "duplicate_key",
            Self::Syntax => "syntax",
            Self::UnknownReference => "unknown_reference",
            Self::Limit => "limit",
            Self::NeedsConfirmation => "needs_confirmation",
        }
    }
}

/// One problem, by file, line (from 1), column (from 1) and field (`entry.match.properties.price[0]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub field: String,
    pub code: Code,
    pub message: String,
    /// The known name nearest to an unknown one.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// The known name nearest to `text`, if any is near enough to be meant.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // The distance costs the product of the lengths; no name we know is longer.
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_lowercase();
    let reach = (text.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        // Nobody means nothing, however near it is to a short name.
        .filter(|name| !name.is_empty())
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, name)| name.to_owned())
}

//! Lists in pages: how many rows are asked for and behind which place, and where a page that is not the last ended.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::IntoParams;

use super::{Problem, ROWS_DEFAULT, ROWS_MAX, rows};
use crate::http::cursor;

/// The query of a list that takes nothing else.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Paged {
    /// Rows of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// What no number of rows is, such as -1, is out of range: whoever asked hears what is wanted.
pub fn rows_asked<'de, D: Deserializer<'de>>(asked: D) -> Result<Option<u32>, D::Error> {
    Ok(Some(String::deserialize(asked)?.parse().unwrap_or(0)))
}

impl Paged {
    /// How many rows, and the place behind which they begin, in the list of this name.
    pub fn read<P: DeserializeOwned>(&self, list: &str) -> Result<(u32, Option<P>), Problem> {
        Ok((rows(self.limit, ROWS_DEFAULT, ROWS_MAX)?, behind(list, self.cursor.as_deref())?))
    }
}

/// The place that a cursor of this list names.
pub fn behind<P: DeserializeOwned>(list: &str, cursor: Option<&str>) -> Result<Option<P>, Problem> {
    cursor.map(|text| cursor::read(list, text)).transpose()
}

/// Takes back the row that was read beyond the page, and says where the next page begins if there was one.
pub fn cut<R, P: Serialize>(found: &mut Vec<R>, limit: u32, list: &str, place: impl Fn(&R) -> P) -> Option<String> {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    found.last().filter(|_| more).map(|last| cursor::write(list, &place(last)))
}

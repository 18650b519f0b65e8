//! A batch's own `context` and `integrations` reach each item that lacks them, by splicing text.
//!
//! Nothing is re-serialised: the item's own bytes stay as they came, and only what is missing is put in. Most clients
//! send neither at the top, and then nothing here runs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::fields::{Fields, members};

/// The batch's `context` and `integrations`, when they are objects with something in them.
#[derive(Debug, Default)]
pub(super) struct Shared<'a> {
    context: Option<Member<'a>>,
    integrations: Option<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    name: &'static str,
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Member<'a> {
    fn new(name: &'static str, raw: Option<&'a str>) -> Option<Self> {
        let text = raw?;
        let members = members(text).filter(|members| !members.is_empty())?;
        Some(Self { name, text, members })
    }
}

/// One replacement in an item's text.
struct Edit {
    place: Range<usize>,
    text: String,
}

impl<'a> Shared<'a> {
    pub(super) fn new(context: Option<&'a str>, integrations: Option<&'a str>) -> Self {
        Self { context: Member::new("context", context), integrations: Member::new("integrations", integrations) }
    }

    /// The item with what it lacks, or the item itself; at most `budget` bytes are added, else `None`.
    pub(super) fn merged<'i>(&self, item: &'i str, fields: &Fields<'i>, budget: usize) -> Option<Cow<'i, str>> {
        let mut edits = Vec::new();
        let mut left = budget;
        for (shared, own) in [(&self.context, fields.context), (&self.integrations, fields.integrations)] {
            let Some(shared) = shared else { continue };
            let Some(edit) = shared.edit(item, own, left)? else { continue };
            left = left.checked_sub(edit.text.len().saturating_sub(edit.place.len()))?;
            edits.push(edit);
        }
        if edits.is_empty() {
            return Some(Cow::Borrowed(item));
        }
        edits.sort_by_key(|edit| edit.place.start);
        let mut text = String::with_capacity(item.len() + budget - left);
        let mut done = 0;
        for edit in edits {
            text.push_str(&item[done..edit.place.start]);
            text.push_str(&edit.text);
            done = edit.place.end;
        }
        text.push_str(&item[done..]);
        Some(Cow::Owned(text))
    }
}

impl Member<'_> {
    /// `None` when it would add more than `budget` bytes; `Some(None)` when the item lacks nothing.
    fn edit(&self, item: &str, own: Option<&str>, budget: usize) -> Option<Option<Edit>> {
        if self.text.len() > budget && own.is_none_or(|own| own == "null") {
            return None;
        }
        let Some(own) = own else { return Some(Some(self.insertion(item))) };
        let place = place_of(item, own);
        if own == "null" {
            return Some(Some(Edit { place, text: self.text.to_owned() }));
        }
        // What is no object was sent so on purpose or by accident; either way it is the client's word.
        let Some(own_members) = members(own) else { return Some(None) };
        let names: BTreeSet<&str> = own_members.iter().map(|(name, _)| name.as_ref()).collect();
        let mut added = String::new();
        for (name, raw) in self.members.iter().filter(|(name, _)| !names.contains(name.as_ref())) {
            if !names.is_empty() || !added.is_empty() {
                added.push(',');
            }
            added.push_str(&serde_json::Value::from(name.as_ref()).to_string());
            added.push(':');
            added.push_str(raw);
            if added.len() > budget {
                return None;
            }
        }
        if added.is_empty() {
            return Some(None);
        }
        let text = format!("{}{added}}}", &own[..own.len() - 1]);
        Some(Some(Edit { place, text }))
    }

    fn insertion(&self, item: &str) -> Edit {
        let after_brace = item.len() - item.trim_start().len() + 1;
        let is_empty = item[after_brace..].trim_start().starts_with('}');
        let comma = if is_empty { "" } else { "," };
        Edit { place: after_brace..after_brace, text: format!("\"{}\":{}{comma}", self.name, self.text) }
    }
}

/// Where `part`, a slice of `whole`, stands in it.
fn place_of(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

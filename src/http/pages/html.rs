//! HTML that is escaped where it is put together: whatever goes into [`html!`] is text, unless it is [`Html`] already.

use std::fmt::Write;

use crate::ids::{EventId, MessageId, Position, ProfileId, Timestamp};

/// Finished HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// For text that is written here, never for what came from elsewhere.
    pub(super) fn finished(html: String) -> Self {
        Self(html)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn push(&mut self, more: Self) {
        self.0.push_str(&more.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |mut so_far, one| {
            so_far.push(one);
            so_far
        })
    }
}

/// Text as HTML, also within an attribute's quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// What can be put into HTML.
pub trait Shown {
    fn shown(&self) -> Html;
}

impl Shown for Html {
    fn shown(&self) -> Html {
        self.clone()
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> Html {
        (**self).shown()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Html {
        self.as_ref().map(Shown::shown).unwrap_or_default()
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Html {
        self.iter().map(Shown::shown).collect()
    }
}

impl Shown for str {
    fn shown(&self) -> Html {
        Html(escape(self))
    }
}

impl Shown for String {
    fn shown(&self) -> Html {
        self.as_str().shown()
    }
}

impl Shown for Timestamp {
    /// Whole seconds for people, the instant for machines.
    fn shown(&self) -> Html {
        let at = self.to_string();
        let text = brief(&at);
        Html(format!("<time datetime=\"{at}\">{text}</time>"))
    }
}

macro_rules! shown_as_text {
    ($($type:ty),*) => { $(impl Shown for $type {
        fn shown(&self) -> Html {
            self.to_string().shown()
        }
    })* };
}
shown_as_text!(u32, u64, i64, usize, MessageId, EventId, ProfileId, Position);

/// `html!("<td>{}</td>", name)`: every `{}` is escaped unless it is [`Html`]. Names cannot stand inside the braces, for
/// they would be put in as they are: the pattern comes out of another macro, where the compiler takes none.
macro_rules! html {
    ($pattern:literal $(, $value:expr)* $(,)?) => {
        $crate::http::pages::html::Html::finished(format!(
            concat!($pattern) $(, $crate::http::pages::html::Shown::shown(&$value).as_str())*
        ))
    };
}
pub(super) use html;

/// `2026-03-01T10:00:00.5Z` as people read it.
fn brief(instant: &str) -> String {
    instant.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ")
}

/// A sentence of ours, in which instants are readable and messages lead to why they are what they are.
pub fn linked(sentence: &str) -> Html {
    let mut out = String::with_capacity(sentence.len() + 64);
    let mut rest = sentence;
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !(c.is_alphanumeric() || ":-.".contains(c))).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end.max(first.len_utf8()));
        // What ends a sentence is no part of its last word.
        let kept = word.trim_end_matches(['.', ':', '-']);
        let tail = &word[kept.len()..];
        match (kept.parse::<MessageId>(), kept.parse::<Timestamp>()) {
            (Ok(id), _) => {
                let _ = write!(out, "<a class=\"id\" href=\"/why?message={id}\">{}</a>", &kept[..8]);
            }
            (_, Ok(at)) => out.push_str(at.shown().as_str()),
            _ => out.push_str(&escape(kept)),
        }
        out.push_str(&escape(tail));
        rest = after;
    }
    Html(out)
}

/// One part of an address: a step of its path, or a value of its query.
pub fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_in_is_text() {
        let name = "<script>alert(\"1\")</script>'&";
        let shown = html!("<td title=\"{}\">{}</td>", name, name.to_owned());
        assert!(!shown.as_str().contains("<script") && !shown.as_str().contains("\"1\""), "{}", shown.as_str());
        assert_eq!(html!("<b>{}</b>{}", html!("<i>{}</i>", "<"), Some(2_u32)).as_str(), "<b><i>&lt;</i></b>2");
        assert_eq!(html!("{}{}", None::<String>, vec!["<", "b"]).as_str(), "&lt;b");
    }

    #[test]
    fn sentences_lead_to_the_messages_they_name_and_are_escaped() {
        let id = MessageId::derive(&[b"1"]);
        let text = linked(&format!("used by <a> (message {id}), at 2026-03-01T10:00:00Z; ü."));
        let expected = format!(
            "used by &lt;a&gt; (message <a class=\"id\" href=\"/why?message={id}\">{}</a>), at \
             <time datetime=\"2026-03-01T10:00:00Z\">2026-03-01 10:00:00</time>; ü.",
            &id.to_string()[..8]
        );
        assert_eq!(text.as_str(), expected);
        assert_eq!(linked("").as_str(), "");
        assert_eq!(linked("a - b: c.").as_str(), "a - b: c.");
    }
}

//! The timeline: one text that stories print, the simulator shows and an explanation answers with.
//!
//! ```text
//! 2026-03-01T10:00Z ann Product Added
//!   → entered cart_reminder@v1 with key c1; its delay ends at 2026-03-01T11:00Z
//! 2026-03-01T11:00Z ann
//!   → queued email cart_reminder
//!   ✗ not sent email cart_reminder (c1): …
//! ```

use crate::ids::Timestamp;

#[derive(Debug, Clone, Default)]
pub struct Timeline {
    text: String,
    /// Instant and person of the last heading.
    heading: Option<(Timestamp, String)>,
}

impl Timeline {
    /// Something that happened to a person; its consequences follow below it.
    pub fn event(&mut self, at: Timestamp, person: &str, name: &str) {
        self.text.push_str(&format!("{} {person} {name}\n", instant(at)));
        self.heading = Some((at, person.to_owned()));
    }

    pub fn did(&mut self, at: Timestamp, person: &str, what: &str) {
        self.line(at, person, '→', what);
    }

    pub fn did_not(&mut self, at: Timestamp, person: &str, what: &str) {
        self.line(at, person, '✗', what);
    }

    fn line(&mut self, at: Timestamp, person: &str, sign: char, what: &str) {
        if self.heading.as_ref().is_none_or(|(when, who)| *when != at || who != person) {
            self.text.push_str(&format!("{} {person}\n", instant(at)));
            self.heading = Some((at, person.to_owned()));
        }
        self.text.push_str(&format!("  {sign} {what}\n"));
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// An instant to the minute where it is a whole one.
pub fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    match text.strip_suffix(":00Z") {
        Some(minute) => format!("{minute}Z"),
        None => text,
    }
}

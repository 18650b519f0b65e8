//! Whether the log takes what it is given: what its last commits came to, and where they failed, what one more does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::eventlog::{Queue, Writer};
use crate::store::controls::{set_setting, unset_setting};
use crate::telemetry;

/// Between two tries while commits fail.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// What is written to see whether anything can be.
const PROBE: &str = "write_probe";
const PROBE_BYTES: usize = 64 * 1024;
/// Where the words of a database say what is wrong with the machine under it; nothing else of them is told to strangers.
const CAUSES: &[(&str, &str)] = &[
    ("disk is full", "the disk is full"),
    ("no space left", "the disk is full"),
    ("readonly database", "the database cannot be written to"),
    ("read-only", "the database cannot be written to"),
    ("disk i/o error", "the disk fails"),
];

/// What the last commits came to. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Health(Arc<Mutex<Option<Failing>>>);

struct Failing {
    cause: String,
    tried: Option<Stopwatch>,
}

/// What is known before anything is tried.
enum Known {
    Sound,
    /// Commits failed, and nobody has tried for a while.
    Failing,
    /// One was tried a moment ago.
    Failed(String),
}

impl Health {
    fn state(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit failed. The answer is what may be told of it.
    fn failed(&self, error: &anyhow::Error) -> String {
        let said = format!("{error:#}").to_lowercase();
        let known = CAUSES.iter().find(|(words, _)| said.contains(words));
        let cause = known.map_or("the service's log has the cause", |(_, told)| told);
        let cause = format!("the log cannot be written: {cause}");
        let mut state = self.state();
        let tried = state.take().and_then(|before| before.tried);
        *state = Some(Failing { cause: cause.clone(), tried });
        cause
    }

    pub(super) fn commit_failed(&self, error: &anyhow::Error) {
        telemetry::commit_failed();
        self.failed(error);
    }

    /// Something was written.
    fn kept(&self) {
        *self.state() = None;
    }

    pub(super) fn appended(&self, anything: bool) {
        if anything {
            self.kept();
        }
    }

    /// Whoever hears that commits fail is the one to try.
    fn known(&self) -> Known {
        let mut state = self.state();
        let Some(failing) = state.as_mut() else { return Known::Sound };
        if failing.tried.as_ref().is_some_and(|tried| tried.elapsed() < TRY_EVERY) {
            return Known::Failed(failing.cause.clone());
        }
        failing.tried = Some(Stopwatch::start());
        Known::Failing
    }
}

impl Writer {
    /// Whether the writer answers, and where commits failed, whether it can write again: with one change for nothing, now
    /// and then.
    ///
    /// # Errors
    /// What is wrong, in words for anybody.
    pub async fn check(&self) -> Result<(), String> {
        let tries = match self.health.known() {
            Known::Sound => false,
            Known::Failing => true,
            Known::Failed(cause) => return Err(cause),
        };
        let checking = self.change(Queue::Sends, move |tx, _| {
            Box::pin(async move {
                if tries {
                    // As much as a few events need, and gone with the same commit.
                    set_setting(tx, PROBE, &"x".repeat(PROBE_BYTES)).await?;
                    unset_setting(tx, PROBE).await?;
                }
                Ok(())
            })
        });
        match checking.await {
            Ok(()) if tries => self.health.kept(),
            Ok(()) => {}
            Err(error) => return Err(self.health.failed(&error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_without_the_words_of_a_statement() {
        let health = Health::default();
        let full =
            anyhow::anyhow!("(code: 13) database or disk is full").context("INSERT INTO entries zoe@example.com");
        assert_eq!(health.failed(&full), "the log cannot be written: the disk is full");
        assert!(!health.failed(&anyhow::anyhow!("zoe@example.com")).contains("zoe"));
    }

    #[test]
    fn while_commits_fail_one_is_tried_now_and_then_and_none_once_they_are_kept() {
        let health = Health::default();
        assert!(matches!(health.known(), Known::Sound));
        health.failed(&anyhow::anyhow!("disk is full"));
        assert!(matches!(health.known(), Known::Failing));
        // It fails too.
        health.failed(&anyhow::anyhow!("disk is full"));
        assert!(matches!(health.known(), Known::Failed(cause) if cause.contains("full")));
        health.kept();
        assert!(matches!(health.known(), Known::Sound));
    }
}

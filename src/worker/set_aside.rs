//! What is due and of which the database refuses a row, for what it is: it is found by halves, set aside for a while and
//! tried again, so that whoever is due with it or after it does not wait for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use crate::ids::{Span, Timestamp};
use crate::store::refused::{Refusal, refusal};

/// After the first refusal, and at most: each time twice as long.
const FIRST_PAUSE: Span = Span::from_seconds(5);
const PAUSE_MAX: Span = Span::from_seconds(300);
/// More than these are no single people: the database is in trouble, and nothing is told apart.
const KEPT_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Timestamp,
    length: Span,
}

/// Who or what is set aside, in memory: whoever starts again tries at once.
#[derive(Debug)]
pub struct SetAside<K>(Mutex<BTreeMap<K, Pause>>);

impl<K> Default for SetAside<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy + Debug> SetAside<K> {
    fn all(&self) -> MutexGuard<'_, BTreeMap<K, Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are at most among what is due.
    pub fn count(&self) -> u32 {
        u32::try_from(self.all().len()).unwrap_or(u32::MAX)
    }

    /// When what is due at `due` is to be tried.
    pub fn tried_at(&self, key: K, due: Timestamp) -> Timestamp {
        self.all().get(&key).map_or(due, |pause| pause.until.max(due))
    }

    fn refused(&self, key: K, now: Timestamp) -> bool {
        let mut all = self.all();
        // Of what was tried since, and is due no more.
        all.retain(|_, pause| pause.until.plus(PAUSE_MAX) > now);
        let length =
            all.get(&key).map_or(FIRST_PAUSE, |pause| Span::from_millis(pause.length.millis() * 2).min(PAUSE_MAX));
        all.insert(key, Pause { until: now.plus(length), length });
        all.len() <= KEPT_MAX
    }

    /// Stores as many of these as the database takes, in their order; the answer is what `store` answered, in all.
    ///
    /// # Errors
    /// It cannot be told what is refused, or so much is that the database must be in trouble.
    pub async fn store<T: Clone>(
        &self,
        now: Timestamp,
        due: Vec<T>,
        key: impl Fn(&T) -> K,
        store: impl Fn(Vec<T>) -> BoxFuture<'static, anyhow::Result<usize>>,
    ) -> anyhow::Result<usize> {
        let mut waiting = vec![due];
        let mut count = 0;
        while let Some(mut part) = waiting.pop() {
            if part.is_empty() {
                continue;
            }
            let error = match store(part.clone()).await {
                Ok(stored) => {
                    count += stored;
                    let mut all = self.all();
                    all.retain(|kept, _| !part.iter().any(|one| key(one) == *kept));
                    continue;
                }
                Err(error) => error,
            };
            let Some(Refusal { code, .. }) = refusal(&error) else { return Err(error) };
            if let [one] = part.as_slice() {
                tracing::error!(of = ?key(one), code, "the database refuses what is due; it is tried again later");
                if !self.refused(key(one), now) {
                    return Err(error);
                }
                continue;
            }
            let second = part.split_off(part.len() / 2);
            waiting.extend([second, part]);
        }
        Ok(count)
    }
}

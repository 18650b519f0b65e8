//! The cap store of a single process: the same contract as a server's, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt, ready};

use crate::caps::held::Held;
use crate::caps::{Ask, CapStore, History, Released, Reserved, Unreachable};
use crate::guard::{CapVersion, Subject};
use crate::ids::MessageId;

/// Slots kept of all subjects together: about 200 bytes each.
const SLOTS_MAX: usize = 200_000;
/// Subjects kept: two for each person written to lately.
const SUBJECTS_MAX: usize = 100_000;

/// Keeps the subjects asked about last; one that was forgotten is stale and costs a reseed.
pub struct Embedded {
    shelf: Mutex<Shelf>,
}

struct Shelf {
    subjects_max: usize,
    slots_max: usize,
    n_slots: usize,
    turn: u64,
    subjects: HashMap<Subject, (u64, Held)>,
    /// Turn of last use to subject: the first is forgotten first.
    by_use: BTreeMap<u64, Subject>,
}

impl Default for Embedded {
    fn default() -> Self {
        Self::bounded(SUBJECTS_MAX, SLOTS_MAX)
    }
}

impl Embedded {
    /// Keeps at most so many subjects and slots, and always the subject asked about last.
    pub fn bounded(subjects_max: usize, slots_max: usize) -> Self {
        let (subjects, by_use) = (HashMap::new(), BTreeMap::new());
        let shelf = Shelf { subjects_max, slots_max, n_slots: 0, turn: 0, subjects, by_use };
        Self { shelf: Mutex::new(shelf) }
    }

    /// Forgets everything: each subject is reseeded when next asked about.
    pub fn forget(&self) {
        let mut shelf = self.lock();
        shelf.subjects.clear();
        shelf.by_use.clear();
        shelf.n_slots = 0;
    }

    /// Subjects and slots held at present.
    pub fn held(&self) -> (usize, usize) {
        let shelf = self.lock();
        (shelf.subjects.len(), shelf.n_slots)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Every change is complete before the lock is left, so a panic elsewhere leaves nothing half done.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Runs one change on a subject, if it is held, and keeps the books.
    fn with<T>(&mut self, subject: &Subject, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let (used, held) = self.subjects.get_mut(subject)?;
        let before = held.slots_used();
        let answer = change(held);
        self.n_slots = self.n_slots - before + held.slots_used();
        self.turn += 1;
        if let Some(key) = self.by_use.remove(used) {
            self.by_use.insert(self.turn, key);
        }
        *used = self.turn;
        self.shrink();
        Some(answer)
    }

    fn put(&mut self, subject: &Subject, held: Held) {
        if let Some((used, old)) = self.subjects.remove(subject) {
            self.by_use.remove(&used);
            self.n_slots -= old.slots_used();
        }
        self.turn += 1;
        self.n_slots += held.slots_used();
        self.by_use.insert(self.turn, subject.clone());
        self.subjects.insert(subject.clone(), (self.turn, held));
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.subjects.len() > 1 && (self.subjects.len() > self.subjects_max || self.n_slots > self.slots_max) {
            let Some((_, idle)) = self.by_use.pop_first() else { return };
            if let Some((_, held)) = self.subjects.remove(&idle) {
                self.n_slots -= held.slots_used();
            }
        }
    }
}

impl CapStore for Embedded {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        let answer = self.lock().with(ask.subject, |held| held.reserve(&ask));
        ready(Ok(answer.unwrap_or(Reserved::Stale))).boxed()
    }

    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.lock().put(subject, Held::seeded(history));
        ready(Ok(())).boxed()
    }

    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.lock().with(subject, |held| held.withdraw(message, reserved, before));
        ready(Ok(())).boxed()
    }

    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        let answer = self.lock().with(subject, |held| held.release(message, expected));
        ready(Ok(answer.unwrap_or(Released::Stale))).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        let (subjects, slots) = self.held();
        ready(Ok(format!("kept in this process: {slots} slots of {subjects} subjects"))).boxed()
    }
}

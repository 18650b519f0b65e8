//! Which entries of the log are decided together: up to one that changes what is in force, or that unites too many. And
//! fewer of them after the database has refused something, until it is known which entry that is of.

use std::collections::BTreeMap;

use crate::ids::{Position, ProfileId, WorkspaceId};
use crate::store::entries::{Entry, Logged, ReadEntry};
use crate::store::refused::Refusal;

/// Entries decided together.
const BATCH_ENTRIES: usize = 1_024;
/// Profiles that become one person within a batch: each may look at what belongs to all.
const JOINED_MAX: usize = 16;

/// How many entries are taken at a time. What of a thousand cannot be stored is found by halves, so that all others are
/// decided in the order of the log, as if it had not been there.
#[derive(Debug, Default)]
pub struct Narrowed {
    /// None: as many as there are.
    limit: Option<usize>,
    /// The entry that was refused alone, and why.
    refused: Option<(Position, Refusal)>,
}

impl Narrowed {
    /// Entries of the next batch at most.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(BATCH_ENTRIES)
    }

    /// Why the entry at this place is not decided again, but parked.
    pub fn refusal_at(&self, position: Position) -> Option<&Refusal> {
        self.refused.as_ref().filter(|(at, _)| *at == position).map(|(_, refusal)| refusal)
    }

    /// A batch is stored: the next may be twice as large.
    pub fn stored(&mut self) {
        self.refused = None;
        self.limit = self.limit.map(|limit| limit * 2).filter(|limit| *limit < BATCH_ENTRIES);
    }

    /// It was not, for something that passes: who was refused before may be taken the next time.
    pub fn failed(&mut self) {
        self.refused = None;
    }

    /// So many entries, of which this is the last, were refused. False: also after it was parked, so nothing helps.
    pub fn refused(&mut self, count: usize, last: Position, why: Refusal) -> bool {
        if self.limit != Some(1) {
            self.limit = Some((count / 2).max(1));
        } else if self.refused.is_none() {
            self.refused = Some((last, why));
        } else {
            self.refused = None;
            return false;
        }
        true
    }
}

/// The workspace in which this entry changes what is in force; one that cannot be read may have been such an entry.
pub fn barrier_in(read: &ReadEntry) -> Option<WorkspaceId> {
    let changes = match read {
        Ok(entry) => matches!(entry.logged, Logged::DefinitionsApplied { .. } | Logged::Control { .. }),
        Err(_) => true,
    };
    changes.then(|| workspace_of(read))
}

pub fn workspace_of(read: &ReadEntry) -> WorkspaceId {
    match read {
        Ok(entry) => entry.workspace,
        Err(damaged) => damaged.workspace,
    }
}

/// Entries up to and including the first that changes what is in force.
pub fn up_to_barrier(mut batch: Vec<ReadEntry>) -> Vec<ReadEntry> {
    if let Some(at) = batch.iter().position(|read| barrier_in(read).is_some()) {
        batch.truncate(at + 1);
    }
    batch
}

/// Entries before the one by which too many profiles would become one person.
pub fn up_to_crowd(mut batch: Vec<ReadEntry>) -> Vec<ReadEntry> {
    let mut joined: BTreeMap<ProfileId, usize> = BTreeMap::new();
    let crowd = batch.iter().position(|read| {
        let Ok(Entry { profile: Some(winner), joins: Some(loser), .. }) = read else { return false };
        let theirs = joined.get(loser).copied().unwrap_or(0);
        let all = joined.entry(*winner).or_default();
        *all += 1 + theirs;
        *all > JOINED_MAX
    });
    if let Some(at) = crowd.filter(|at| *at > 0) {
        batch.truncate(at);
    }
    batch
}

pub fn position_of(read: &ReadEntry) -> Position {
    match read {
        Ok(entry) => entry.position,
        Err(damaged) => damaged.position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no() -> Refusal {
        Refusal { cause: "no".to_owned(), code: "23514".to_owned() }
    }

    /// What becomes of a log of which these entries are refused wherever they are: the parked ones, and the tries.
    fn lived(entries: i64, refused: &[i64]) -> (Vec<i64>, usize) {
        let mut narrowed = Narrowed::default();
        let (mut cursor, mut parked, mut tries) = (0, Vec::new(), 0);
        while cursor < entries {
            tries += 1;
            let last = entries.min(cursor + i64::try_from(narrowed.limit()).unwrap());
            let batch = cursor + 1..=last;
            let set_aside: Vec<i64> = batch.clone().filter(|at| narrowed.refusal_at(Position(*at)).is_some()).collect();
            if batch.clone().any(|at| refused.contains(&at) && !set_aside.contains(&at)) {
                let count = usize::try_from(last - cursor).unwrap();
                assert!(narrowed.refused(count, Position(last), no()), "{cursor}");
            } else {
                narrowed.stored();
                parked.extend(set_aside);
                cursor = last;
            }
        }
        (parked, tries)
    }

    #[test]
    fn exactly_what_is_refused_is_parked_however_it_lies() {
        for refused in [&[][..], &[1], &[700], &[2_000], &[1, 2, 3], &[5, 6, 900, 1_024, 1_025, 1_999]] {
            assert_eq!(lived(2_000, refused).0, refused);
        }
        assert_eq!(lived(1, &[1]).0, [1]);
        let all: Vec<i64> = (1..=50).collect();
        assert_eq!(lived(50, &all).0, all);
    }

    #[test]
    fn one_of_a_thousand_is_found_within_some_forty_tries_and_whoever_has_none_pays_nothing() {
        assert_eq!(lived(10_240, &[]).1, 10);
        let most = (1..=1_024).map(|at| lived(1_024, &[at]).1).max().unwrap();
        assert!(most <= 40, "{most}");
    }

    #[test]
    fn nobody_is_parked_for_what_passes_and_what_cannot_even_be_parked_is_an_error() {
        let (mut narrowed, at) = (Narrowed::default(), Position(9));
        assert!(narrowed.refused(1, at, no()));
        assert_eq!(narrowed.refusal_at(at), None, "once more, alone");
        assert!(narrowed.refused(1, at, no()));
        assert_eq!(narrowed.refusal_at(at), Some(&no()));
        assert_eq!(narrowed.refusal_at(Position(8)), None);
        narrowed.failed();
        assert_eq!(narrowed.refusal_at(at), None, "somebody else was faster: it is decided again");
        assert!(narrowed.refused(1, at, no()));
        assert!(!narrowed.refused(1, at, no()), "the row that says so is refused as well");
    }
}

//! Many patterns over one event: each stands under its most selective predicate, and only those whose predicate some
//! scalar of the event meets are looked at as a whole. The answer is that of asking every pattern one by one.
//!
//! An index is a value: a copy costs little, and adding a pattern copies only what it touches, so that whoever reads an
//! older one goes on undisturbed.

mod pivot;

use std::sync::Arc;

use crate::event::Body;
use crate::event::pattern::leaves::Leaves;
use crate::event::pattern::paths::Paths;
use crate::event::pattern::shared::Rows;
use crate::event::pattern::{Clause, Pattern, Wanted};
use pivot::Pivots;

/// The number under which a pattern was added.
pub type RuleId = u32;

#[derive(Debug, Clone, Default)]
pub struct Index {
    paths: Arc<Paths>,
    pivots: Pivots,
    /// Every clause of every pattern, by the number the pivots know it under; none once its rule is removed.
    clauses: Rows<Option<(RuleId, Arc<Clause>)>>,
    removed: usize,
}

impl Index {
    /// Adds a pattern. `rule` is the caller's own number for it; two patterns under one number are alternatives.
    pub fn add(&mut self, rule: RuleId, pattern: &Pattern) {
        for clause in &pattern.clauses {
            let wanted = clause.wanted.iter().map(|wanted| self.known(wanted)).collect();
            self.place(rule, Clause { wanted });
        }
    }

    fn known(&mut self, wanted: &Wanted) -> Wanted {
        let field = wanted.field.clone();
        let id = self.paths.find(&field.path).unwrap_or_else(|| Arc::make_mut(&mut self.paths).add(&field.path));
        Wanted { id, field }
    }

    fn place(&mut self, rule: RuleId, mut clause: Clause) {
        self.pivots.insert(&mut clause, self.clauses.len() as u32);
        self.clauses.push(Some((rule, Arc::new(clause))));
    }

    /// Removes whatever was added under this number.
    pub fn remove(&mut self, rule: RuleId) {
        let is_its = |row: &Option<(RuleId, Arc<Clause>)>| matches!(row, Some((of, _)) if *of == rule);
        let rows: Vec<usize> =
            self.clauses.iter().enumerate().filter(|(_, row)| is_its(row)).map(|(at, _)| at).collect();
        self.removed += rows.len();
        rows.into_iter().for_each(|at| self.clauses.set(at, None));
        // What is gone is passed over, until half of all is.
        if self.removed * 2 > self.clauses.len() {
            let kept = std::mem::take(self);
            self.paths = kept.paths;
            kept.clauses.iter().flatten().for_each(|(rule, clause)| self.place(*rule, Clause::clone(clause)));
        }
    }

    /// The numbers of the patterns that match, ascending, each once.
    pub fn matches(&self, body: &Body) -> Vec<RuleId> {
        if self.clauses.is_empty() {
            return Vec::new();
        }
        match Leaves::scan(body.text(), &self.paths) {
            Some(leaves) => self.met(&leaves),
            None => self.met(&Leaves::of(body.document(), &self.paths)),
        }
    }

    fn met(&self, leaves: &Leaves<'_>) -> Vec<RuleId> {
        let mut candidates = Vec::new();
        self.pivots.candidates(leaves, &mut candidates);
        candidates.sort_unstable();
        candidates.dedup();
        let mut met: Vec<RuleId> = Vec::new();
        for row in candidates {
            // The alternatives of one pattern stand together, and one of them is enough.
            if let Some(Some((rule, clause))) = self.clauses.get(row as usize)
                && met.last() != Some(rule)
                && leaves.meet(clause)
            {
                met.push(*rule);
            }
        }
        met.sort_unstable();
        met.dedup();
        met
    }
}

//! Chance that is the same every time: a stream of numbers hashed from a seed and what it is about.

use std::fmt::Display;

/// Rolls that depend on nothing but their cause, so that people and days can be made in any order.
pub(super) struct Chance(blake3::OutputReader);

impl Chance {
    pub(super) fn new(seed: u64, about: &str, parts: &[i64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("carillon demo shop");
        hasher.update(&seed.to_le_bytes());
        parts.iter().for_each(|part| {
            hasher.update(&part.to_le_bytes());
        });
        hasher.update(about.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// 0 to `sides` − 1, all as likely; 0 where there are no sides.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        // The high half of the product: without the bias of a remainder that would show.
        ((u128::from(u64::from_le_bytes(bytes)) * u128::from(sides)) >> 64) as u64
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// `from` to `to`, both included.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.roll((to + 1).saturating_sub(from))
    }

    /// An item by its weight.
    pub(super) fn weighted<'a, T>(&mut self, items: &'a [T], weight: impl Fn(&T) -> u64) -> Option<&'a T> {
        let mut left = self.roll(items.iter().map(&weight).sum());
        items.iter().find(|item| {
            let weight = weight(item);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }

    pub(super) fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.roll(items.len() as u64) as usize)
    }

    /// Eight letters and digits, for ids that look like a shop's.
    pub(super) fn code(&mut self) -> impl Display {
        format!("{:08x}", self.roll(1 << 32))
    }
}

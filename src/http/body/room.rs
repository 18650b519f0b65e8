//! The memory that bodies still arriving may hold together. Each alone is bounded, but callers without a key could hold
//! thousands of them half sent; beyond this bound long bodies are asked to come again, short ones are not concerned.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The process's own: about 130 bodies of the largest size at once.
pub(super) static ROOM: Room = Room::of(64 * 1024 * 1024);

#[derive(Debug)]
pub(super) struct Room {
    held: AtomicUsize,
    most: usize,
}

impl Room {
    pub(super) const fn of(most: usize) -> Self {
        Self { held: AtomicUsize::new(0), most }
    }

    /// A share of nothing, which can grow.
    pub(super) const fn share(&self) -> Share<'_> {
        Share { room: self, bytes: 0 }
    }
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Share<'_> {
    /// Whether `more` bytes could still be had; they are held from now on.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let most = self.room.most;
        let fits = |held: usize| held.checked_add(more).filter(|total| *total <= most);
        let had = self.room.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        if had {
            self.bytes += more;
        }
        had
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_together_is_bounded_and_given_back() {
        let room = Room::of(100);
        let (mut one, mut two) = (room.share(), room.share());
        assert!(one.grow(60) && two.grow(40));
        assert!(!two.grow(1) && !one.grow(usize::MAX));
        drop(one);
        assert!(two.grow(60) && !two.grow(1));
        drop(two);
        assert!(room.share().grow(100));
    }
}

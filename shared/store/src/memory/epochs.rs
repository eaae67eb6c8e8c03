//! Counters of changes, by resource.

use clientele_api::Uid;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Resources that share one are taken for changed together: that costs a read.
const SLOTS: usize = 16_384;

/// How often resources have changed, as far as this process has noticed.
pub(crate) struct Epochs {
    slots: Box<[AtomicU64]>,
    /// How often any may have changed.
    all: AtomicU64,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(0),
        }
    }

    /// This one has changed.
    pub(crate) fn bump(&self, uid: Uid) {
        self.slot(uid).fetch_add(1, Ordering::AcqRel);
    }

    /// Any may have changed.
    pub(crate) fn bump_all(&self) {
        self.all.fetch_add(1, Ordering::AcqRel);
    }

    /// Stands for the present state of these. Each counter only rises: as long as the sum is the same, none has changed.
    pub(crate) fn stamp(&self, uids: &[Uid]) -> u64 {
        let all = self.all.load(Ordering::Acquire);
        uids.iter()
            .map(|uid| self.slot(*uid).load(Ordering::Acquire))
            .fold(all, u64::wrapping_add)
    }

    /// By the low bits, which are random: the high ones are a time.
    fn slot(&self, uid: Uid) -> &AtomicU64 {
        &self.slots[uid.0.as_u64_pair().1 as usize % SLOTS]
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_lasts_until_one_of_its_resources_changes() {
        let epochs = Epochs::new();
        let [one, two, other] = [1, 2, 3].map(|n| Uid(uuid::Uuid::from_u128(n)));
        let stamp = || epochs.stamp(&[one, two]);
        let first = stamp();
        epochs.bump(other);
        assert_eq!(stamp(), first);
        epochs.bump(two);
        let second = stamp();
        assert_ne!(second, first);
        epochs.bump(one);
        let third = stamp();
        assert!(![first, second].contains(&third));
        epochs.bump_all();
        assert!(![first, second, third].contains(&stamp()));
    }

    #[test]
    fn uids_of_one_moment_are_spread() {
        let epochs = Epochs::new();
        for _ in 0..SLOTS {
            epochs.bump(Uid::new());
        }
        let untouched = epochs.slots.iter().filter(|slot| slot.load(Ordering::Relaxed) == 0);
        assert!(untouched.count() < SLOTS / 2); // by chance 1 of e
    }
}

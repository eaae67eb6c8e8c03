//! How far the epochs are known to tell of all changes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For so long a look at the end of the journal lets memory answer. The next one comes much sooner, unless the database is silent
/// or this process was stopped.
const LEASE: Duration = Duration::from_secs(1);

/// How far the changes in the journal have been noticed here, and whether the next ones would be.
#[derive(Debug)]
pub(crate) struct Coherence {
    /// The life of the database.
    epoch: i64,
    started: Instant,
    /// All changes up to this revision have been noticed.
    applied: AtomicI64,
    /// The number of the connection that wakes this process; 0: there is none.
    connection: AtomicU64,
    /// The one since whose beginning nothing can have been missed.
    caught_up: AtomicU64,
    /// In milliseconds since the start.
    sure_until: AtomicU64,
}

/// The beginning of a look at the end of the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    connection: u64,
    at: Instant,
}

impl Coherence {
    pub(crate) fn new(epoch: i64) -> Self {
        Self {
            epoch,
            started: Instant::now(),
            applied: AtomicI64::new(-1),
            connection: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            sure_until: AtomicU64::new(0),
        }
    }

    /// Whether memory may answer.
    pub(crate) fn is_sure(&self) -> bool {
        let connection = self.connection.load(Ordering::Acquire);
        let now = self.started.elapsed().as_millis();
        connection != 0
            && self.caught_up.load(Ordering::Acquire) == connection
            && now < u128::from(self.sure_until.load(Ordering::Acquire))
    }

    /// Whether all changes up to there have been noticed.
    pub(crate) fn proves(&self, epoch: i64, n: i64) -> bool {
        epoch < self.epoch || (epoch == self.epoch && n <= self.applied.load(Ordering::Acquire))
    }

    /// This process is woken by a new connection, the one of this number.
    pub(crate) fn wake_up_began(&self, connection: u64) {
        self.connection.store(connection, Ordering::Release);
    }

    /// Nobody wakes this process.
    pub(crate) fn wake_up_ended(&self) {
        self.connection.store(0, Ordering::Release);
    }

    /// To be called before the end of the journal is looked for.
    pub(crate) fn look(&self) -> Look {
        Look {
            connection: self.connection.load(Ordering::Acquire),
            at: Instant::now(),
        }
    }

    /// Whether nothing can have been missed before this look.
    pub(crate) fn goes_on(&self, look: Look) -> bool {
        self.is_sure() && self.caught_up.load(Ordering::Acquire) == look.connection
    }

    /// All changes up to the revision that was found have been noticed.
    pub(crate) fn prove(&self, look: Look, n: i64) {
        let until = (look.at + LEASE).duration_since(self.started);
        self.applied.store(n, Ordering::Release);
        self.sure_until
            .store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        self.caught_up.store(look.connection, Ordering::Release);
    }

    /// The end can't be found: nothing is sure until it was.
    pub(crate) fn doubt(&self) {
        self.caught_up.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_is_who_has_looked_since_the_wake_up_began() {
        let coherence = Coherence::new(1);
        coherence.prove(coherence.look(), 5);
        assert!(!coherence.is_sure(), "nobody wakes it");
        let before = coherence.look();
        coherence.wake_up_began(1);
        coherence.prove(before, 5);
        assert!(!coherence.is_sure(), "what came between look and wake-up was missed");
        let look = coherence.look();
        assert!(!coherence.goes_on(look));
        coherence.prove(look, 5);
        assert!(coherence.is_sure() && coherence.goes_on(coherence.look()));
        coherence.wake_up_ended();
        assert!(!coherence.is_sure());
        coherence.wake_up_began(2);
        assert!(!coherence.is_sure() && !coherence.goes_on(coherence.look()));
        coherence.prove(coherence.look(), 5);
        coherence.doubt();
        assert!(!coherence.is_sure() && !coherence.goes_on(coherence.look()));
    }

    #[test]
    fn a_look_does_not_last() {
        let coherence = Coherence::new(1);
        coherence.wake_up_began(1);
        let now = coherence.look();
        let long_ago = Look {
            at: now.at - LEASE,
            ..now
        };
        coherence.prove(long_ago, 5);
        assert!(!coherence.is_sure() && !coherence.goes_on(now));
        coherence.prove(now, 5);
        assert!(coherence.is_sure());
    }

    #[test]
    fn what_is_proven() {
        let coherence = Coherence::new(2);
        assert!(!coherence.proves(2, 0) && coherence.proves(1, 9));
        coherence.prove(coherence.look(), 5);
        assert!(coherence.proves(2, 5) && !coherence.proves(2, 6) && !coherence.proves(3, 1));
    }
}

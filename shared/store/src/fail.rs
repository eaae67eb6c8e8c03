//! Named points at which a process can be made to die or to stand still, so that tests see what that leaves behind.
//!
//! Only with the feature `fail-points`, which no binary has that is not built by a test; without it a point is nothing. The environment
//! says what happens when a point is reached for the n-th time: `CLIENTELE_FAIL_POINTS=after-commit=1:kill,follower-read=2:stop`.

/// A place in the code that a crash may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// `before-commit`: a mutation has nothing more to do than to commit. On SQLite it is alone or the newest of a batch; on PostgreSQL
    /// its transaction is open, or the one statement that is its transaction has not been sent.
    BeforeCommit,
    /// `after-commit`: a mutation is committed, and nobody has been told.
    AfterCommit,
    /// `before-quiet-commit`: as `before-commit`, of a unit that writes nothing to the journal: a follower's, or a job's.
    BeforeQuietCommit,
    /// `after-quiet-commit`: such a unit is committed, and who runs it does not know.
    AfterQuietCommit,
    /// `follower-read`: a follower has read where it stands and decided what to write, and has sent nothing of it.
    FollowerRead,
}

impl Point {
    /// Before the commit of a unit.
    pub(crate) fn before_commit(journaled: bool) -> Self {
        if journaled {
            Self::BeforeCommit
        } else {
            Self::BeforeQuietCommit
        }
    }

    /// After the commit of a unit.
    pub(crate) fn after_commit(journaled: bool) -> Self {
        if journaled {
            Self::AfterCommit
        } else {
            Self::AfterQuietCommit
        }
    }
}

/// Where nobody can arm it.
#[cfg(not(feature = "fail-points"))]
pub(crate) fn point(_: Point) {}

#[cfg(feature = "fail-points")]
pub(crate) use armed::point;

#[cfg(feature = "fail-points")]
mod armed {
    use super::Point;
    use rustix::process::{Signal, getpid, kill_process};
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    const VARIABLE: &str = "CLIENTELE_FAIL_POINTS";
    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let armed = text.split(',').filter(|part| !part.is_empty()).map(Armed::parse);
        // A misspelled one must not look like a test that nothing can break.
        armed.collect::<Option<_>>().unwrap_or_else(|| {
            let _ = writeln!(std::io::stderr(), "{VARIABLE}={text}: no such points");
            std::process::abort()
        })
    });

    /// What happens at a point.
    struct Armed {
        point: Point,
        nth: u64,
        signal: Signal,
        reached: AtomicU64,
    }

    impl Armed {
        fn parse(text: &str) -> Option<Self> {
            let (point, rest) = text.split_once('=')?;
            let (nth, action) = rest.split_once(':')?;
            Some(Self {
                point: named(point)?,
                nth: nth.parse().ok()?,
                signal: match action {
                    "kill" => Signal::KILL,
                    "stop" => Signal::STOP, // until it is told to go on, or killed
                    _ => return None,
                },
                reached: AtomicU64::new(0),
            })
        }
    }

    fn named(name: &str) -> Option<Point> {
        Some(match name {
            "before-commit" => Point::BeforeCommit,
            "after-commit" => Point::AfterCommit,
            "before-quiet-commit" => Point::BeforeQuietCommit,
            "after-quiet-commit" => Point::AfterQuietCommit,
            "follower-read" => Point::FollowerRead,
            _ => return None,
        })
    }

    /// Sends the process the signal that is due here.
    pub(crate) fn point(point: Point) {
        for armed in ARMED.iter().filter(|armed| armed.point == point) {
            if armed.reached.fetch_add(1, Ordering::Relaxed) + 1 == armed.nth
                && kill_process(getpid(), armed.signal).is_err()
            {
                std::process::abort();
            }
        }
    }
}

//! Points in time, as stored and as sent.

use crate::error::Invalid;
use prost_types::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, UTC: what both engines store, so that they agree to the last digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// This much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl From<Micros> for Timestamp {
    fn from(micros: Micros) -> Self {
        let nanos = micros.0.rem_euclid(1_000_000) * 1_000;
        Self {
            seconds: micros.0.div_euclid(1_000_000),
            nanos: i32::try_from(nanos).unwrap_or_default(),
        }
    }
}

impl TryFrom<Timestamp> for Micros {
    type Error = Invalid;

    /// What is finer than a microsecond is dropped.
    fn try_from(timestamp: Timestamp) -> Result<Self, Invalid> {
        let micros = timestamp.seconds.checked_mul(1_000_000);
        let micros = micros.and_then(|micros| micros.checked_add(i64::from(timestamp.nanos) / 1_000));
        match micros {
            Some(micros) if (0..1_000_000_000).contains(&timestamp.nanos) => Ok(Self(micros)),
            _ => Err(Invalid::new("must be a point in time, as in 2026-11-24T12:00:00Z")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_they_are_sent() {
        for micros in [0, 1, -1, 1_764_000_000_000_001] {
            assert_eq!(Micros::try_from(Timestamp::from(Micros(micros))), Ok(Micros(micros)));
        }
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert!(
                Micros::try_from(Timestamp { seconds, nanos }).is_err(),
                "{seconds} {nanos}"
            );
        }
    }
}

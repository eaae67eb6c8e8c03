//! Positions in a journal: as cursors that clients keep, and as revisions that answers carry.

use crate::tx::Position;
use clientele_api::{Error, Result, Uid, error::ErrorReason};
use std::collections::BTreeMap;
use std::fmt;

/// "Everything up to here": an epoch of a journal and a position in it. As text `epoch.xid.seq`; clients treat it as opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Counts the lives of the database: a restored one starts the next.
    pub epoch: i64,
    /// The last position that is included.
    pub position: Position,
}

impl Cursor {
    /// The cursor of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .split('.')
            .map(|part| part.parse::<i64>().ok().filter(|number| *number >= 0));
        let (epoch, xid, seq) = (numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(Self {
            epoch,
            position: Position { xid, seq },
        })
    }

    /// Whether everything up to revision `n` of this epoch is included.
    ///
    /// On PostgreSQL `n` is a transaction, which may have more rows than the one we know, so the cursor must be past it.
    /// On SQLite (where xid is 0) `n` is the sequence itself.
    pub fn includes(&self, n: i64) -> bool {
        let Position { xid, seq } = self.position;
        if xid == 0 {
            seq >= n
        } else {
            xid > n || (xid == n && seq == i64::MAX)
        }
    }

    /// The revision that this cursor stands for.
    pub fn revision(&self) -> (i64, i64) {
        (self.epoch, self.position.revision())
    }
}

impl Position {
    /// The number in revisions: the transaction on PostgreSQL, the sequence on SQLite.
    pub fn revision(self) -> i64 {
        if self.xid == 0 { self.seq } else { self.xid }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.position.xid, self.position.seq)
    }
}

/// Where a Watch stands: behind a cursor, or amid the snapshots that come before one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCursor {
    /// From where the changes go on.
    pub cursor: Cursor,
    /// The snapshots sent so far: which of the service's types, and the last uid of it. None: all.
    pub snapshot: Option<(usize, Uid)>,
}

impl WatchCursor {
    /// Behind a cursor.
    pub fn at(cursor: Cursor) -> Self {
        Self { cursor, snapshot: None }
    }

    /// Up to where everything is told then. None: amid the snapshots.
    pub fn checkpoint(&self) -> Option<Cursor> {
        self.snapshot.is_none().then_some(self.cursor)
    }

    /// The cursor of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((cursor, snapshot)) = text.split_once('~') else {
            return Cursor::parse(text).map(Self::at);
        };
        let (index, uid) = snapshot.split_once('~')?;
        Some(Self {
            cursor: Cursor::parse(cursor)?,
            snapshot: Some((index.parse().ok()?, Uid::parse(uid)?)),
        })
    }
}

impl fmt::Display for WatchCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cursor)?;
        self.snapshot.map_or(Ok(()), |(index, uid)| write!(f, "~{index}~{uid}"))
    }
}

/// Upper bounds of what an answer holds, by service: `org=1.812,assignment=1.455`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision(BTreeMap<String, (i64, i64)>);

impl Revision {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bound; of two for one service the higher holds.
    pub fn raise(&mut self, service: &str, epoch: i64, n: i64) {
        let known = self.0.entry(service.to_owned()).or_insert((epoch, n));
        *known = (*known).max((epoch, n));
    }

    /// Adds all bounds of another one.
    pub fn merge(&mut self, other: &Self) {
        for (service, (epoch, n)) in &other.0 {
            self.raise(service, *epoch, *n);
        }
    }

    /// The bound of a service.
    pub fn of(&self, service: &str) -> Option<(i64, i64)> {
        self.0.get(service).copied()
    }

    /// Reads the header `clientele-min-revision`; services that are unknown here are kept and ignored.
    pub fn parse(text: &str) -> Result<Self> {
        let mut revision = Self::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (service, epoch, n) = parse_bound(part).ok_or_else(|| {
                Error::new(
                    ErrorReason::InvalidHeader,
                    "clientele-min-revision must be what clientele-revision was, as in org=1.812",
                )
                .with("header", "clientele-min-revision")
            })?;
            revision.raise(service, epoch, n);
        }
        Ok(revision)
    }
}

fn parse_bound(part: &str) -> Option<(&str, i64, i64)> {
    let (service, numbers) = part.split_once('=')?;
    let (epoch, n) = numbers.split_once('.')?;
    let (epoch, n) = (epoch.parse().ok()?, n.parse().ok()?);
    (epoch >= 0 && n >= 0).then_some((service, epoch, n))
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (service, (epoch, n))) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{service}={epoch}.{n}")?;
        }
        Ok(())
    }
}

/// What a command or query answers, with the revision that the header will carry.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Nothing newer than this is in it.
    pub revision: Revision,
}

impl<T> Answer<T> {
    /// The answer, made into something else.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: make(self.value),
            revision: self.revision,
        }
    }

    /// The answer, made into something else if that is possible.
    pub fn try_map<U>(self, make: impl FnOnce(T) -> Result<U>) -> Result<Answer<U>> {
        Ok(Answer {
            value: make(self.value)?,
            revision: self.revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text_and_nothing_else_parses() {
        let cursor = Cursor {
            epoch: 1,
            position: Position {
                xid: 812,
                seq: i64::MAX,
            },
        };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        let watch = WatchCursor {
            cursor,
            snapshot: Some((1, Uid::new())),
        };
        assert_eq!(WatchCursor::parse(&watch.to_string()), Some(watch));
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.-2.3",
            "a.b.c",
            "1.2.3~",
            "1.2.3~0",
            "1.2.3~0~x",
            "99999999999999999999.1.1",
        ] {
            assert_eq!(WatchCursor::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_transaction_is_included_only_when_the_cursor_is_past_it() {
        let at = |xid, seq| Cursor {
            epoch: 1,
            position: Position { xid, seq },
        };
        assert!(at(0, 5).includes(5) && !at(0, 4).includes(5));
        assert!(at(6, 0).includes(5) && at(5, i64::MAX).includes(5) && !at(5, 9).includes(5));
    }

    #[test]
    fn revisions_are_merged_by_maximum() {
        let revision = Revision::parse("org=1.5, org=1.3,settings=2.1,other=9.9").unwrap();
        assert_eq!(revision.to_string(), "org=1.5,other=9.9,settings=2.1");
        for bad in ["org", "org=1", "org=1.x", "org=-1.1", "=."] {
            assert!(Revision::parse(bad).is_err(), "{bad:?}");
        }
    }
}

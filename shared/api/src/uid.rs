//! The identity of a resource.

use crate::error::{Error, Result};
use std::fmt;
use uuid::Uuid;

/// The identity of a resource: a UUIDv7, so uids sort by creation. Names may be given out again, uids never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub Uuid);

impl Uid {
    /// Stands for "above workspaces" where a row needs a workspace.
    pub const NIL: Self = Self(Uuid::nil());

    /// A new one.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The uid of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The etag of a version of this resource. A resource that takes over a purged one's name has other etags.
    pub fn etag(self, version: i64) -> String {
        let tail = self.0.as_u64_pair().1;
        format!("{tail:x}-{version}")
    }

    /// Refuses a caller's etag of the resource with this name that is not the one of its present version. An empty one
    /// is not checked.
    pub fn check_etag(self, version: i64, etag: &str, name: &str) -> Result<()> {
        if etag.is_empty() || etag == self.etag(version) {
            return Ok(());
        }
        Err(Error::etag_mismatch(name))
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Uuid> for Uid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<Uid> for Uuid {
    fn from(uid: Uid) -> Self {
        uid.0
    }
}

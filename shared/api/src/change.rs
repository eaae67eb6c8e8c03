//! Changes as the journal tells them.

use crate::journal::{Change, ChangeKind};
use crate::request::Resource;
use prost_types::Any;

impl Change {
    /// It came into being.
    pub fn created<R: Resource>(after: &R) -> Self {
        Self {
            after: Some(pack(after)),
            ..about(after, ChangeKind::Created)
        }
    }

    /// These fields of it changed.
    pub fn updated<R: Resource>(before: &R, after: &R, changed_fields: Vec<String>) -> Self {
        Self {
            before: Some(pack(before)),
            after: Some(pack(after)),
            changed_fields,
            ..about(after, ChangeKind::Updated)
        }
    }

    /// It was deleted, and is kept for a while.
    pub fn deleted<R: Resource>(before: &R, after: &R) -> Self {
        Self {
            before: Some(pack(before)),
            after: Some(pack(after)),
            ..about(after, ChangeKind::Deleted)
        }
    }

    /// It came back.
    pub fn undeleted<R: Resource>(before: &R, after: &R) -> Self {
        Self {
            before: Some(pack(before)),
            after: Some(pack(after)),
            ..about(after, ChangeKind::Undeleted)
        }
    }

    /// It was taken away; what is left of it is a tombstone with the version `version`.
    pub fn removed<R: Resource>(before: &R, version: i64) -> Self {
        Self {
            before: Some(pack(before)),
            version,
            ..about(before, ChangeKind::Deleted)
        }
    }

    /// It exists.
    pub fn snapshot<R: Resource>(resource: &R) -> Self {
        Self {
            after: Some(pack(resource)),
            ..about(resource, ChangeKind::Snapshot)
        }
    }
}

fn about<R: Resource>(resource: &R, kind: ChangeKind) -> Change {
    Change {
        resource: resource.name().to_owned(),
        uid: resource.uid().to_owned(),
        version: resource.version(),
        kind: kind.into(),
        ..Change::default()
    }
}

fn pack<R: Resource>(resource: &R) -> Any {
    Any {
        type_url: R::type_url(),
        value: resource.encode_to_vec(),
    }
}

//! Changes as the journal tells them.

use crate::journal::{Change, ChangeKind};
use crate::request::Resource;
use prost::Message;
use prost_types::Any;

/// What is left of a resource that was erased. Every resource has these fields under these numbers: the build proves it.
#[derive(Clone, PartialEq, Message)]
struct Remains {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(int64, tag = "3")]
    version: i64,
}

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

    /// It is gone for good, and its id is free; what is left of it is a tombstone with the version `version`.
    pub fn purged<R: Resource>(before: &R, version: i64) -> Self {
        let mut change = Self {
            before: Some(pack(before)),
            version,
            ..about(before, ChangeKind::Purged)
        };
        change.scrub();
        change
    }

    /// Takes out everything that the resource held but name, uid and version.
    pub fn scrub(&mut self) {
        for any in self.before.iter_mut().chain(&mut self.after) {
            let remains = Remains::decode(any.value.as_slice()).unwrap_or_default(); // what can't be read does not stay
            any.value = remains.encode_to_vec();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::org::User;
    use prost::Name as _;

    #[test]
    fn of_what_is_scrubbed_stays_which_version_of_which_resource_it_was() {
        let user = |version, email: &str| User {
            name: "workspaces/acme/users/1".to_owned(),
            uid: "1".to_owned(),
            version,
            etag: "etag".to_owned(),
            email: Some(email.to_owned()),
            ..User::default()
        };
        let told = Change::updated(&user(1, "ann@x.de"), &user(2, "anne@x.de"), vec!["email".to_owned()]);
        let mut scrubbed = told.clone();
        scrubbed.scrub();
        for (any, version) in [(&scrubbed.before, 1), (&scrubbed.after, 2)] {
            let any = any.as_ref().unwrap();
            let left = User {
                name: "workspaces/acme/users/1".to_owned(),
                uid: "1".to_owned(),
                version,
                ..User::default()
            };
            assert_eq!(any.type_url, User::type_url());
            assert_eq!(User::decode(any.value.as_slice()).unwrap(), left);
        }
        let (before, after) = (scrubbed.before.take(), scrubbed.after.take());
        assert!(before != told.before && after != told.after);
        let whole = Change {
            before: told.before.clone(),
            after: told.after.clone(),
            ..scrubbed
        };
        assert_eq!(whole, told);
        let purged = Change::purged(&user(2, "anne@x.de"), 3);
        assert_eq!(
            (purged.version, purged.kind(), &purged.before),
            (3, ChangeKind::Purged, &after)
        );
    }
}

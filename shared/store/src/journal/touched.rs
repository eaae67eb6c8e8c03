//! What rows have touched, for memory: nothing else of them is read or decoded.

use super::{frees_name, read, row};
use crate::connect::{Reads, db_error};
use crate::cursor::Cursor;
use crate::tx::Position;
use clientele_api::journal::ChangeKind;
use clientele_api::{Error, Result, Uid};
use prost::Message;
use sea_orm::entity::prelude::*;
use sea_orm::{ConnectionTrait, QuerySelect};

/// More rows are not looked through one by one.
const MOST: u64 = 1_000;

/// Of an encoded `Entry`, what memory needs.
#[derive(Clone, PartialEq, Message)]
struct TouchedEntry {
    #[prost(message, repeated, tag = "13")]
    changes: Vec<TouchedChange>,
}

/// Of an encoded `Change`, what memory needs.
#[derive(Clone, PartialEq, Message)]
struct TouchedChange {
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(enumeration = "ChangeKind", tag = "4")]
    kind: i32,
    /// Of what is gone for good it tells the type.
    #[prost(message, optional, tag = "6")]
    before: Option<TouchedResource>,
}

/// Of an encoded `Any`, what memory needs.
#[derive(Clone, PartialEq, Message)]
struct TouchedResource {
    #[prost(string, tag = "1")]
    type_url: String,
}

impl TouchedChange {
    fn frees_name(&self) -> bool {
        frees_name(self.kind(), self.before.as_ref().map_or("", |any| &any.type_url))
    }
}

/// What rows have touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Their organizations and the resources that changed.
    pub(super) uids: Vec<Uid>,
    /// Whether names may mean something else now.
    pub(super) frees_names: bool,
}

/// What the rows between `from` and `to` have touched. None: too many.
pub(super) async fn between(on: &Reads, from: Position, to: Cursor) -> Result<Option<Touched>> {
    let select = row::Entity::find()
        .select_only()
        .column(row::Column::OrganizationUid)
        .column(row::Column::Changes)
        .filter(row::Column::Epoch.eq(to.epoch))
        .limit(MOST);
    let select = read::behind(select, on.get_database_backend(), from, to.position);
    let rows: Vec<(Option<Uuid>, Vec<u8>)> = select.into_tuple().all(on).await.map_err(db_error)?;
    if rows.len() as u64 == MOST {
        return Ok(None);
    }
    let mut touched = Touched::default();
    for (organization, changes) in rows {
        touched.uids.extend(organization.map(Uid));
        let entry = TouchedEntry::decode(changes.as_slice()).map_err(Error::internal)?;
        let uids = entry.changes.iter().filter_map(|change| Uid::parse(&change.uid));
        touched.uids.extend(uids);
        touched.frees_names |= entry.changes.iter().any(TouchedChange::frees_name);
    }
    Ok(Some(touched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::journal::{Change, Entry};
    use clientele_api::org::{User, Workspace};

    #[test]
    fn names_come_free_with_the_workspaces_and_organizations_that_are_purged() {
        let user = Change::purged(&User::default(), 2);
        let deleted = Change::removed(&Workspace::default(), 2);
        let purged = Change::purged(&Workspace::default(), 2);
        for (change, frees) in [(user, false), (deleted, false), (purged, true)] {
            let touched = TouchedChange::decode(change.encode_to_vec().as_slice()).unwrap();
            assert_eq!(touched.frees_name(), frees, "{change:?}");
        }
    }

    #[test]
    fn the_uids_of_an_encoded_entry_are_found() {
        let uids = [Uid::new().to_string(), Uid::new().to_string()];
        let changes = uids.clone().map(|uid| {
            Change::created(&Workspace {
                name: "workspaces/acme".to_owned(),
                uid,
                version: 1,
                ..Workspace::default()
            })
        });
        let entry = Entry {
            changes: changes.into(),
            ..Entry::default()
        };
        let found = TouchedEntry::decode(entry.encode_to_vec().as_slice()).unwrap();
        assert_eq!(
            found.changes.into_iter().map(|change| change.uid).collect::<Vec<_>>(),
            uids
        );
    }
}

//! What rows have touched, for memory: nothing else of them is read or decoded.

use super::{read, row};
use crate::connect::{Reads, db_error};
use crate::cursor::Cursor;
use crate::tx::Position;
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
}

/// The organizations and resources of the rows between `from` and `to`. None: too many.
pub(super) async fn between(on: &Reads, from: Position, to: Cursor) -> Result<Option<Vec<Uid>>> {
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
    let mut touched = Vec::with_capacity(rows.len() * 2);
    for (organization, changes) in rows {
        touched.extend(organization.map(Uid));
        let entry = TouchedEntry::decode(changes.as_slice()).map_err(Error::internal)?;
        touched.extend(entry.changes.iter().filter_map(|change| Uid::parse(&change.uid)));
    }
    Ok(Some(touched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::journal::{Change, Entry};
    use clientele_api::org::Workspace;

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

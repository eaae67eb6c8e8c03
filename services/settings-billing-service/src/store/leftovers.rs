//! What purged organizations and erased users leave.

use super::settings::organizations;
use super::{canned_response, custom_tab};
use clientele_api::name::OrganizationRef;
use clientele_api::{Result, Uid};
use clientele_store::Db;
use clientele_store::connect::db_error;
use clientele_store::follow::erasures::{Erased, Purged};
use clientele_store::tx::Tx;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect, QueryTrait};

/// What is told of a resource that is taken away: also of one of which this version can't read the rest.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    /// Its identity.
    pub uid: Uid,
    /// Its last version.
    pub version: i64,
}

/// What a purged organization was called that has canned responses or settings left. Of its tabs nothing is left then either: they go
/// before the settings.
pub async fn name_of(db: &Db, purged: &Purged) -> Result<Option<OrganizationRef>> {
    let response = responses_of(purged.uid()).one(db.read()).await.map_err(db_error)?;
    if let Some(row) = response {
        return Ok(Some(organization_of(row)));
    }
    let settings = organizations::Entity::find_by_id(purged.uid().0);
    let row = settings.one(db.read()).await.map_err(db_error)?;
    Ok(row.map(|row| {
        OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        )
    }))
}

fn organization_of(row: canned_response::Model) -> OrganizationRef {
    OrganizationRef::of_row(
        (row.workspace_uid, row.workspace_id),
        (row.organization_uid, row.organization_id),
    )
}

/// Reads the canned responses of a purged organization, in the order of an index of those of each organization: in that of their uids,
/// PostgreSQL would read those of others in between.
pub fn responses_of(organization: Uid) -> Select<canned_response::Entity> {
    canned_response::Entity::find()
        .filter(canned_response::Column::OrganizationUid.eq(organization.0))
        .order_by_asc(canned_response::Column::OrganizationUid)
        .order_by_asc(canned_response::Column::HolderUid)
        .order_by_asc(canned_response::Column::CodeFolded)
        .order_by_asc(canned_response::Column::Language)
}

/// Takes away at most `limit` canned responses of a purged organization; answers which.
pub async fn erase_responses(tx: &Tx, purged: &Purged, limit: u64) -> Result<Vec<Gone>> {
    erase(tx, responses_of(purged.uid()), limit).await
}

/// In which organization an erased user has a canned response left that it kept for itself.
pub async fn place_of(db: &Db, erased: &Erased) -> Result<Option<OrganizationRef>> {
    let row = responses_by(erased.user()).one(db.read()).await.map_err(db_error)?;
    Ok(row.map(organization_of))
}

/// Reads the canned responses that an erased user kept for itself.
pub fn responses_by(user: Uid) -> Select<canned_response::Entity> {
    canned_response::Entity::find()
        .filter(canned_response::Column::OwnerUid.eq(user.0))
        .order_by_asc(canned_response::Column::Uid)
}

/// Takes away at most `limit` canned responses that an erased user kept for itself in an organization; answers which.
pub async fn erase_responses_by(
    tx: &Tx,
    erased: &Erased,
    organization: &OrganizationRef,
    limit: u64,
) -> Result<Vec<Gone>> {
    let there = canned_response::Column::OrganizationUid.eq(organization.uid.0);
    erase(tx, responses_by(erased.user()).filter(there), limit).await
}

/// No other unit takes them until this one has ended.
async fn erase(tx: &Tx, responses: Select<canned_response::Entity>, limit: u64) -> Result<Vec<Gone>> {
    let rows = responses.limit(limit).lock_exclusive();
    let rows = rows.all(tx).await.map_err(db_error)?;
    let uids = rows.iter().map(|row| row.uid);
    let delete = canned_response::Entity::delete_many().filter(canned_response::Column::Uid.is_in(uids));
    tx.write(delete.into_query(), &[]);
    let gone = rows.iter().map(|row| Gone {
        uid: Uid(row.uid),
        version: row.version,
    });
    Ok(gone.collect())
}

/// Takes away at most `limit` ids of tabs that a purged organization gave out; answers how many.
pub async fn erase_tabs(tx: &Tx, purged: &Purged, limit: u64) -> Result<u64> {
    let of_organization = custom_tab::Column::OwnerUid.eq(purged.uid().0);
    let rows = custom_tab::Entity::find().filter(of_organization.clone()).limit(limit);
    let rows = rows.all(tx).await.map_err(db_error)?;
    let ids = rows.iter().map(|row| row.tab_id.as_str());
    let delete = custom_tab::Entity::delete_many()
        .filter(of_organization)
        .filter(custom_tab::Column::TabId.is_in(ids));
    tx.write(delete.into_query(), &[]);
    Ok(rows.len() as u64)
}

/// Takes away the settings of a purged organization; answers which.
pub async fn erase_settings(tx: &Tx, purged: &Purged) -> Result<Option<Gone>> {
    let row = organizations::Entity::find_by_id(purged.uid().0).lock_exclusive();
    let row = row.one(tx).await.map_err(db_error)?;
    let delete = organizations::Entity::delete_by_id(purged.uid().0);
    tx.write(delete.into_query(), &[]);
    Ok(row.map(|row| Gone {
        uid: purged.uid(),
        version: row.version,
    }))
}

//! What is known of organizations: org-service owns them, these are its projections.

use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::{OrganizationProjection, organization, organizations};
use clientele_store::tx::Tx;
use clientele_store::{Answer, Reader};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::BTreeMap;

/// The organization of the scope.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let known = organization(tx, scope.organization().uid).await?;
    known.ok_or_else(|| Error::not_found("Organization", scope.organization().name()))
}

/// The same, which no other unit locks until this one has ended: what is counted in it goes one after the other. SQLite has one writer
/// anyway.
pub async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let select = organizations::Entity::find_by_id(scope.organization().uid.0).lock_exclusive();
    let known = select.one(tx).await.map_err(db_error)?;
    // Without an id it is purged.
    known
        .filter(|known| known.id.is_some())
        .ok_or_else(|| Error::not_found("Organization", scope.organization().name()))
}

/// Those of the organizations of the scope's workspace with these ids that exist, deleted ones too, by their ids.
pub async fn named(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    ids: &[&str],
) -> Result<Answer<BTreeMap<String, OrganizationRef>>> {
    let workspace = scope.workspace();
    let select = organizations::Entity::find()
        .filter(organizations::Column::WorkspaceUid.eq(workspace.uid.0))
        .filter(organizations::Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(organizations::Column::Uid); // a name means its newest uid
    let rows = reader.all(select).await?;
    Ok(rows.map(|rows| {
        let named = rows.iter().map(|row| row.reference(workspace));
        named
            .map(|organization| (organization.id.clone(), organization))
            .collect()
    }))
}

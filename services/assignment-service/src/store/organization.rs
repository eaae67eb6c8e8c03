//! What is known of organizations: org-service owns them, these are its projections.

use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::{OrganizationProjection, organizations};
use clientele_store::tx::Tx;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// The organization of the scope, which no other unit locks until this one has ended: what changes its assignments and scopes goes one
/// after the other. SQLite has one writer anyway.
pub async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let select = organizations::Entity::find_by_id(scope.organization().uid.0).lock_exclusive();
    let known = select.one(tx).await.map_err(db_error)?;
    // Without an id it is purged.
    known
        .filter(|known| known.id.is_some())
        .ok_or_else(|| not_found(scope.organization().name()))
}

/// The organization of the scope and the one of this name in the same workspace, both locked: first the one with the lower uid, so that
/// no two units wait for each other.
pub async fn lock_both(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    other: &str,
) -> Result<(OrganizationProjection, OrganizationProjection)> {
    let organization = scope.organization();
    let select = organizations::Entity::find()
        .filter(organizations::Column::WorkspaceUid.eq(organization.workspace.uid.0))
        .filter(organizations::Column::Id.is_in([organization.id.as_str(), last_id(other)]))
        .order_by_asc(organizations::Column::Uid)
        .lock_exclusive();
    let known = select.all(tx).await.map_err(db_error)?;
    let this = known.iter().find(|one| one.uid == organization.uid.0);
    let this = this.ok_or_else(|| not_found(organization.name()))?;
    // A name means its newest uid.
    let other_one = known.iter().rfind(|one| one.id.as_deref() == Some(last_id(other)));
    let other_one = other_one.ok_or_else(|| not_found(other))?;
    Ok((this.clone(), other_one.clone()))
}

fn not_found(name: impl Into<String>) -> Error {
    Error::not_found("Organization", name.into())
}

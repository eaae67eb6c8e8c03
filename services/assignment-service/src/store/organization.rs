//! What is known of organizations: org-service owns them, these are its projections.

use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::{OrganizationProjection, organization, organizations};
use clientele_store::tx::Tx;
use sea_orm::{EntityTrait, QuerySelect};

/// The organization of the scope.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let known = organization(tx, scope.organization().uid).await?;
    known.ok_or_else(|| not_found(scope))
}

/// The organization of the scope, which no other unit locks until this one has ended: what counts or orders its assignments goes one
/// after the other. SQLite has one writer anyway.
pub async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let select = organizations::Entity::find_by_id(scope.organization().uid.0).lock_exclusive();
    let known = select.one(tx).await.map_err(db_error)?;
    // Without an id it is purged.
    known.filter(|known| known.id.is_some()).ok_or_else(|| not_found(scope))
}

fn not_found(scope: &Scope<OrganizationRef>) -> Error {
    Error::not_found("Organization", scope.organization().name())
}

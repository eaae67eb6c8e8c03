//! What is known of organizations: org-service owns them, these are its projections.

use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::follow::{OrganizationProjection, organization};
use clientele_store::tx::Tx;

/// The organization of the scope.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<OrganizationProjection> {
    let known = organization(tx, scope.organization().uid).await?;
    known.ok_or_else(|| Error::not_found("Organization", scope.organization().name()))
}

//! What is known of teams: org-service owns them, these are its projections.

use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Result, Uid};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::teams;
use clientele_store::tx::Tx;

/// The team of the scope's organization with this key or alias.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>, key: &str) -> Result<Uid> {
    let organization = scope.organization();
    let found = teams::with_key(organization.uid, key).one(tx).await.map_err(db_error)?;
    let missing = || Error::not_found("Team", format!("{}/teams/{key}", organization.name()));
    found.map(|team| Uid(team.uid)).ok_or_else(missing)
}

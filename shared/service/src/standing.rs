//! What client users may do in their organizations: known by the service, never said by a token, so that it holds at once.

use clientele_api::error::ErrorReason;
use clientele_api::org::AccessDenial;
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid};
use clientele_store::{Answer, Reader, Revision};
use futures::future::BoxFuture;
use std::sync::Arc;

/// How a user stands in an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The workspace of both.
    pub workspace: Uid,
    /// Why the user may do nothing at all. Unspecified: it is not denied.
    pub denial: AccessDenial,
    /// What its roles and grants come to, whether it is denied or not.
    pub permissions: Effective,
}

/// Reads the standing of a user (the second uid) in an organization (the first). None: it never was a member.
pub type Load = fn(Reader, Uid, Uid) -> BoxFuture<'static, Result<Answer<Option<Standing>>>>;

/// The standings that a service knows.
#[derive(Debug, Clone)]
pub struct Standings {
    reader: Reader,
    load: Load,
}

impl Standings {
    /// Those that `load` reads.
    pub fn new(reader: Reader, load: Load) -> Self {
        Self { reader, load }
    }

    /// The standing of a user in an organization, for a caller who has seen `min`. None: it never was a member.
    pub async fn get(&self, organization: Uid, user: Uid, _min: &Revision) -> Result<Answer<Option<Arc<Standing>>>> {
        let found = (self.load)(self.reader.clone(), organization, user).await?;
        Ok(found.map(|standing| standing.map(Arc::new)))
    }
}

impl Standing {
    /// PERMISSION_DENIED `ACCESS_DENIED` where the user may do nothing at all.
    pub fn require_access(&self) -> Result<()> {
        match self.denial {
            AccessDenial::Unspecified => Ok(()),
            denial => Err(denied(denial)),
        }
    }
}

/// PERMISSION_DENIED `ACCESS_DENIED`.
pub(crate) fn denied(denial: AccessDenial) -> Error {
    let denial = denial.as_str_name().trim_start_matches("ACCESS_DENIAL_");
    let message = format!("you may do nothing in this organization: {denial}");
    Error::new(ErrorReason::AccessDenied, message).with("denial", denial)
}

/// PERMISSION_DENIED `GRANT_NOT_HELD`, unless the giver holds all that is given. Nobody grants what they lack.
pub fn require_held(giver: &Effective, given: &Effective) -> Result<()> {
    let Some(lacking) = giver.lacks(given) else {
        return Ok(());
    };
    let message = format!("you can't give {lacking}, which you do not hold");
    Err(Error::new(ErrorReason::GrantNotHeld, message).with("permission", lacking))
}

//! What client users may do in their organizations: known by the service, never said by a token, so that it holds at once.

use clientele_api::error::ErrorReason;
use clientele_api::org::AccessDenial;
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid};
use clientele_store::memory::Memory;
use clientele_store::{Answer, Journal, Reader, Revision};
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

/// How many standings are remembered: some 2 KiB each.
const REMEMBERED: u64 = 50_000;

/// The standings that a service knows, answered from memory: they are asked for with every call of a client user.
#[derive(Debug, Clone)]
pub struct Standings {
    memory: Memory<(Uid, Uid), Arc<Standing>>,
    reader: Reader,
    load: Load,
}

impl Standings {
    /// Those that `load` reads. They must depend on nothing but what happens to the user and in the organization.
    pub fn new(journal: Journal, reader: Reader, load: Load) -> Self {
        Self {
            memory: Memory::new(journal, "standings", REMEMBERED),
            reader,
            load,
        }
    }

    /// The standing of a user in an organization, for a caller who has seen `min`. None: it never was a member.
    pub async fn get(&self, organization: Uid, user: Uid, min: &Revision) -> Result<Answer<Option<Arc<Standing>>>> {
        let load = async || {
            let found = (self.load)(self.reader.clone(), organization, user).await?;
            Ok(found.map(|standing| standing.map(Arc::new)))
        };
        self.memory
            .get((organization, user), &[organization, user], min, load)
            .await
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

//! What client users may do in their organizations: known by the service, never said by a token, so that it holds at once.

use clientele_api::error::ErrorReason;
use clientele_api::org::AccessDenial;
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid};
use clientele_store::memory::Memory;
use clientele_store::{Answer, Journal, Reader, Revision};
use futures::future::BoxFuture;
use std::sync::Arc;

/// A client user, where it calls, and in which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignedIn {
    /// The organization.
    pub organization: Uid,
    /// The user.
    pub user: Uid,
    /// The session, if it signed in with us.
    pub session: Option<Uid>,
}

/// How a user stands in an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The workspace of both.
    pub workspace: Uid,
    /// Whether its session is known to be over.
    pub session_ended: bool,
    /// Why the user may do nothing at all. Unspecified: it is not denied.
    pub denial: AccessDenial,
    /// What its roles and grants come to, whether it is denied or not.
    pub permissions: Effective,
}

/// Reads the standing of a user. None: it never was a member.
pub type Load = fn(Reader, SignedIn) -> BoxFuture<'static, Result<Answer<Option<Standing>>>>;

/// How many standings are remembered: some 2 KiB each.
const REMEMBERED: u64 = 50_000;

/// The standings that a service knows, answered from memory: they are asked for with every call of a client user.
#[derive(Debug, Clone)]
pub struct Standings {
    memory: Memory<SignedIn, Arc<Standing>>,
    reader: Reader,
    load: Load,
}

impl Standings {
    /// Those that `load` reads. They must depend on nothing but what happens to the user, to the session and in the
    /// organization.
    pub fn new(journal: Journal, reader: Reader, load: Load) -> Self {
        Self {
            memory: Memory::new(journal, "standings", REMEMBERED),
            reader,
            load,
        }
    }

    /// The standing of a user, for a caller who has seen `min`. None: it never was a member.
    pub async fn get(&self, who: SignedIn, min: &Revision) -> Result<Answer<Option<Arc<Standing>>>> {
        let load = async || {
            let found = (self.load)(self.reader.clone(), who).await?;
            Ok(found.map(|standing| standing.map(Arc::new)))
        };
        // Without a session there is nothing more to depend on.
        let session = who.session.unwrap_or(who.user);
        let depends_on = [who.organization, who.user, session];
        self.memory.get(who, &depends_on, min, load).await
    }
}

impl Standing {
    /// UNAUTHENTICATED `SESSION_ENDED` where its session is over, PERMISSION_DENIED `ACCESS_DENIED` where the user may do nothing at all.
    pub fn require_access(&self) -> Result<()> {
        if self.session_ended {
            return Err(session_ended());
        }
        match self.denial {
            AccessDenial::Unspecified => Ok(()),
            denial => Err(denied(denial)),
        }
    }
}

/// UNAUTHENTICATED `SESSION_ENDED`.
pub fn session_ended() -> Error {
    Error::new(ErrorReason::SessionEnded, "the session is over: sign in again")
}

/// PERMISSION_DENIED `ACCESS_DENIED`.
pub fn denied(denial: AccessDenial) -> Error {
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

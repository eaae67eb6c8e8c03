//! What client users may do in their organizations: known by the service, never said by a token, so that it holds at once.

use clientele_api::error::ErrorReason;
use clientele_api::org::{AccessDenial, member, organization};
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid};
use clientele_store::follow;
use clientele_store::memory::Memory;
use clientele_store::{Answer, Journal, Reader, Revision};
use futures::FutureExt;
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

/// Reads the standing of a user from what was heard of org-service: for the services that follow it.
pub fn followed(reader: Reader, who: SignedIn) -> BoxFuture<'static, Result<Answer<Option<Standing>>>> {
    async move {
        let found = follow::standing::get(&reader, who.organization, who.user, who.session).await?;
        Ok(found.map(|known| known.map(Standing::from)))
    }
    .boxed()
}

impl From<follow::standing::Known> for Standing {
    fn from(known: follow::standing::Known) -> Self {
        let facts = Facts {
            organization: known.organization,
            client_access_enabled: known.client_access_enabled,
            user_disabled: known.user_disabled,
            member: known.member,
        };
        Self {
            workspace: known.workspace,
            session_ended: known.session_ended,
            denial: facts.denial(),
            permissions: known.permissions,
        }
    }
}

/// What decides whether a user may do anything at all in an organization.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The state of the organization. Unspecified: one that this version does not know.
    pub organization: organization::State,
    /// Whether the organization's users may sign in.
    pub client_access_enabled: bool,
    /// Whether the person may use nothing.
    pub user_disabled: bool,
    /// The number of `Member.State`.
    pub member: i32,
}

impl Facts {
    /// Why the user may do nothing: the one place that says so. The organization is looked at first: what is wrong with it is wrong for
    /// all. In a state of a newer version nobody may do anything, whatever else it is.
    pub fn denial(self) -> AccessDenial {
        match self.organization {
            organization::State::Active => {}
            organization::State::Deleted => return AccessDenial::OrganizationDeleted,
            organization::State::Suspended | organization::State::Unspecified => {
                return AccessDenial::OrganizationSuspended;
            }
        }
        if !self.client_access_enabled {
            return AccessDenial::AccessOff;
        }
        if self.user_disabled {
            return AccessDenial::UserDisabled;
        }
        match member::State::try_from(self.member) {
            Ok(member::State::Active) => AccessDenial::Unspecified,
            Ok(member::State::Suspended) => AccessDenial::MemberSuspended,
            _ => AccessDenial::MemberRemoved,
        }
    }
}

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

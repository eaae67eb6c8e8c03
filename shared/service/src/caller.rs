//! Who calls.

use clientele_api::Uid;
use clientele_api::access::StaffRole;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who calls, proven by a token unless the method needs none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The platform's operator: may do all.
    Operator {
        /// Who exactly, by the issuer's word.
        subject: String,
    },
    /// Staff of one workspace.
    Staff {
        /// Who exactly, by the issuer's word.
        subject: String,
        /// The id of the workspace.
        workspace: String,
        /// What it may do there.
        role: StaffRole,
    },
    /// An internal service of the platform.
    Service {
        /// Its name.
        name: String,
    },
    /// A client user in one of its organizations. What it may do there is not said by its token, but known by the services.
    User {
        /// The user.
        user: Uid,
        /// The organization.
        organization: Uid,
        /// The session, if it signed in with us.
        session: Option<Uid>,
        /// The staff who logged in as the user and really calls, as the journal names actors.
        actor: Option<String>,
    },
    /// Somebody who calls a method that needs no token, and showed none.
    Public,
}

/// When the proof of who calls ends, in seconds since 1970: nothing that was begun with it may go on for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofExpiry(pub u64);

impl ProofExpiry {
    /// Of those who prove nothing.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long it still holds.
    pub fn remaining(self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.0).saturating_sub(now)
    }
}

impl Caller {
    /// As the journal names it: `operators/{subject}`, `staff/{subject}`, `services/{name}`, `users/{user}`, `public`.
    pub fn actor(&self) -> String {
        match self {
            Self::Operator { subject } => format!("operators/{subject}"),
            Self::Staff { subject, .. } => format!("staff/{subject}"),
            Self::Service { name } => format!("services/{name}"),
            Self::User { actor: Some(actor), .. } => actor.clone(),
            Self::User { user, .. } => format!("users/{user}"),
            Self::Public => "public".to_owned(),
        }
    }

    /// In whose place it acts, as the journal names actors; None: in its own.
    pub fn acting_for(&self) -> Option<String> {
        match self {
            Self::User {
                user, actor: Some(_), ..
            } => Some(format!("users/{user}")),
            _ => None,
        }
    }
}

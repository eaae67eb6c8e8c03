//! Who calls.

use clientele_api::access::StaffRole;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who calls, proven by a token.
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
}

/// When the proof of who calls ends, in seconds since 1970: nothing that was begun with it may go on for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofExpiry(pub u64);

impl ProofExpiry {
    /// How long it still holds.
    pub fn remaining(self) -> Duration {
        let expiry = UNIX_EPOCH + Duration::from_secs(self.0);
        expiry.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

impl Caller {
    /// As the journal names it: `operators/{subject}`, `staff/{subject}`, `services/{name}`.
    pub fn actor(&self) -> String {
        match self {
            Self::Operator { subject } => format!("operators/{subject}"),
            Self::Staff { subject, .. } => format!("staff/{subject}"),
            Self::Service { name } => format!("services/{name}"),
        }
    }
}

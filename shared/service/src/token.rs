//! Tokens: who may issue them, and whether one that came is genuine.

mod keys;
mod sessions;
mod signing;
#[cfg(test)]
mod tests;

pub use sessions::{FetchedKeys, SessionIssuer, SessionKeys};
pub use signing::{Claims, SigningKey};

use crate::caller::{Caller, ProofExpiry};
use anyhow::{Context as _, ensure};
use clientele_api::access::StaffRole;
use clientele_api::error::{Error, ErrorReason, Result};
use clientele_api::{Uid, parse};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, dangerous::insecure_decode, decode, decode_header, get_current_timestamp,
};
use keys::KeyFile;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far the clocks of an issuer and of this server may differ, in seconds.
const LEEWAY: u64 = 5;
/// A token of ours has a few hundred bytes. What is far longer is not worth a signature check.
const LONGEST: usize = 8 * 1024;
/// So many verified tokens are remembered: some 200 bytes each.
const REMEMBERED: u64 = 50_000;
/// How often the key files are looked at for a change, by calls that come along.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The issuer of the access tokens of sessions.
pub const SESSIONS: &str = "clientele-sessions";

/// What a token says that its bearer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The platform's operator.
    Operator,
    /// An owner of a workspace.
    Owner,
    /// An administrator of a workspace.
    Admin,
    /// Any other member of a workspace's staff.
    Member,
    /// An internal service of the platform.
    Service,
    /// A client user: somebody who uses an agency's dashboard for its customers.
    User,
}

/// The claims of ours besides those that every token has.
#[derive(Serialize, Deserialize)]
struct OurClaims {
    sub: String,
    exp: f64,
    #[serde(rename = "clientele_role")]
    role: Role,
    #[serde(rename = "clientele_workspace", default, skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    /// The uid of the organization that a client user is in.
    #[serde(rename = "clientele_organization", default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    /// The uid of a client user's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// Who logged in as the client user and really calls (RFC 8693).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
}

#[derive(Serialize, Deserialize)]
struct Actor {
    sub: String,
}

/// An entry of the issuers file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    #[serde(default = "default_audience")]
    audience: String,
    jwks: PathBuf,
    algorithms: Vec<Algorithm>,
    roles: Vec<Role>,
}

fn default_audience() -> String {
    "clientele".to_owned()
}

#[derive(Debug)]
struct Issuer {
    audience: String,
    keys: Keys,
    algorithms: Vec<Algorithm>,
    roles: Vec<Role>,
}

/// Where the keys of an issuer are.
#[derive(Debug)]
enum Keys {
    /// In a file that it writes.
    File(KeyFile),
    /// With org-service, which signs the tokens of sessions.
    Sessions(SessionIssuer),
}

/// Proves tokens. One that was proven is remembered, since proving it costs more than a whole small call.
#[derive(Debug)]
pub struct Verifier {
    issuers: HashMap<String, Issuer>,
    proven: Cache<[u8; 32], Proven>,
    /// Counts changes of the keys: what was proven by older ones is proven again.
    generation: AtomicU64,
    began: Instant,
    next_look: AtomicU64,
}

#[derive(Debug, Clone)]
struct Proven {
    caller: Caller,
    expires: u64,
    generation: u64,
}

impl Verifier {
    /// Reads the issuers file and the key files that it names. The tokens of sessions are proven by the keys that org-service has.
    pub fn load(path: &Path, sessions: SessionIssuer) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read the issuers in {}", path.display()))?;
        let entries: Vec<IssuerEntry> =
            serde_json::from_str(&text).with_context(|| format!("the issuers in {}", path.display()))?;
        ensure!(
            !entries.is_empty(),
            "{} lists no issuer, so that nobody could call",
            path.display()
        );
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut issuers = HashMap::from([(SESSIONS.to_owned(), Issuer::of_sessions(sessions))]);
        for entry in entries {
            let name = entry.issuer.clone();
            let issuer = Issuer::load(entry, folder).with_context(|| format!("issuer {name:?}"))?;
            ensure!(
                issuers.insert(name.clone(), issuer).is_none(),
                "issuer {name:?} is listed twice, or is {SESSIONS}, which is our own"
            );
        }
        Ok(Self {
            issuers,
            proven: Cache::new(REMEMBERED),
            generation: AtomicU64::new(0),
            began: Instant::now(),
            next_look: AtomicU64::new(0),
        })
    }

    /// Who bears this token, and until when it proves that; else UNAUTHENTICATED `TOKEN_INVALID` or `TOKEN_EXPIRED`.
    pub fn verify(&self, token: &str) -> Result<(Caller, ProofExpiry)> {
        self.look_for_changes();
        let hash = Sha256::digest(token).into();
        let generation = self.generation.load(Ordering::Acquire);
        if let Some(proven) = self.proven.get(&hash)
            && proven.generation == generation
            && proven.expires > get_current_timestamp()
        {
            return Ok((proven.caller, ProofExpiry(proven.expires)));
        }
        let (caller, expires) = self.prove(token)?;
        self.proven.insert(
            hash,
            Proven {
                caller: caller.clone(),
                expires,
                generation,
            },
        );
        Ok((caller, ProofExpiry(expires)))
    }

    fn prove(&self, token: &str) -> Result<(Caller, u64)> {
        if token.len() > LONGEST {
            return Err(invalid("it is longer than any of ours"));
        }
        let header = decode_header(token).map_err(|_| invalid("it is no signed JWT"))?;
        // Not believed yet: it only says whose keys to try.
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        let named = insecure_decode::<Named>(token)
            .map_err(|_| invalid("it names no issuer"))?
            .claims
            .iss;
        let issuer = self
            .issuers
            .get(&named)
            .ok_or_else(|| invalid("its issuer is not one of those configured"))?;
        if !issuer.algorithms.contains(&header.alg) || header.crit.is_some() {
            return Err(invalid("its algorithm is not one of its issuer's"));
        }
        let id = header.kid.ok_or_else(|| invalid("its header has no kid"))?;
        let key = match issuer.keys.find(&id, header.alg) {
            Some(key) => key,
            None => {
                if issuer.keys.reload_for_unknown_key()? {
                    self.generation.fetch_add(1, Ordering::AcqRel);
                }
                let key = issuer.keys.find(&id, header.alg);
                key.ok_or_else(|| invalid("its issuer has no key with this kid"))?
            }
        };

        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&named]);
        validation.set_audience(&[&issuer.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<OurClaims>(token, &key, &validation)
            .map_err(|error| refused(error.kind()))?
            .claims;
        if !issuer.roles.contains(&claims.role) {
            return Err(invalid("its issuer may not give this role"));
        }
        let expires = (claims.exp as u64).saturating_add(LEEWAY);
        Ok((caller(claims)?, expires))
    }

    /// At most once per second, whichever call comes first looks whether a key file changed.
    fn look_for_changes(&self) {
        let now = millis(self.began.elapsed());
        let next = self.next_look.load(Ordering::Relaxed);
        let after = now.saturating_add(millis(LOOK_EVERY));
        let taken = || {
            self.next_look
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now < next || !taken() {
            return;
        }
        for issuer in self.issuers.values() {
            if issuer.keys.have_changed() {
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

impl Issuer {
    fn load(entry: IssuerEntry, folder: &Path) -> anyhow::Result<Self> {
        let allowed = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
        ensure!(
            !entry.algorithms.is_empty() && entry.algorithms.iter().all(|algorithm| allowed.contains(algorithm)),
            "algorithms must be some of EdDSA, ES256 and RS256"
        );
        ensure!(!entry.roles.is_empty(), "roles must name at least one");
        ensure!(!entry.audience.is_empty(), "audience must not be empty");
        Ok(Self {
            audience: entry.audience,
            keys: Keys::File(KeyFile::load(folder.join(entry.jwks))?),
            algorithms: entry.algorithms,
            roles: entry.roles,
        })
    }

    fn of_sessions(keys: SessionIssuer) -> Self {
        Self {
            audience: default_audience(),
            keys: Keys::Sessions(keys),
            algorithms: vec![Algorithm::EdDSA],
            roles: vec![Role::User],
        }
    }
}

impl Keys {
    fn find(&self, id: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        match self {
            Self::File(file) => file.find(id, algorithm),
            Self::Sessions(keys) => keys.find(id, algorithm),
        }
    }

    /// Whether the keys changed since they were last looked at.
    fn have_changed(&self) -> bool {
        match self {
            Self::File(file) => file.reload_if_touched(),
            Self::Sessions(keys) => keys.have_changed(),
        }
    }

    /// Looks for a key that is not known. Whether the keys changed.
    fn reload_for_unknown_key(&self) -> Result<bool> {
        match self {
            Self::File(file) => Ok(file.reload_for_unknown_key()),
            Self::Sessions(keys) => keys.look_for_unknown_key(),
        }
    }
}

fn caller(claims: OurClaims) -> Result<Caller> {
    let subject =
        parse::line(&claims.sub, 1..=255).map_err(|_| invalid("its sub is not 1 to 255 printable characters"))?;
    if claims.organization.is_some() && claims.role != Role::User {
        return Err(invalid("it names an organization, which this role does not have"));
    }
    let role = match claims.role {
        Role::Owner => StaffRole::Owner,
        Role::Admin => StaffRole::Admin,
        Role::Member => StaffRole::Member,
        Role::User | Role::Operator | Role::Service if claims.workspace.is_some() => {
            return Err(invalid("it names a workspace, which this role does not have"));
        }
        Role::User => return client_user(&subject, claims.organization.as_deref(), claims.sid, claims.act),
        Role::Operator => return Ok(Caller::Operator { subject }),
        Role::Service => return Ok(Caller::Service { name: subject }),
    };
    let workspace = claims
        .workspace
        .ok_or_else(|| invalid("it names no workspace, which this role needs"))?;
    let workspace = parse::resource_id(&workspace).map_err(|_| invalid("its workspace is no id"))?;
    Ok(Caller::Staff {
        subject,
        workspace,
        role,
    })
}

/// A client user goes by uids: its email and its organization's id may be somebody else's one day.
fn client_user(
    subject: &str,
    organization: Option<&str>,
    session: Option<String>,
    actor: Option<Actor>,
) -> Result<Caller> {
    let user = Uid::parse(subject).ok_or_else(|| invalid("its sub is no uid of a user"))?;
    let organization = organization.ok_or_else(|| invalid("it names no organization, which this role needs"))?;
    let organization = Uid::parse(organization).ok_or_else(|| invalid("its organization is no uid"))?;
    let session = session.map(|sid| Uid::parse(&sid).ok_or_else(|| invalid("its sid is no uid of a session")));
    let actor = actor.map(|actor| parse::line(&actor.sub, 1..=300));
    Ok(Caller::User {
        user,
        organization,
        session: session.transpose()?,
        actor: actor
            .transpose()
            .map_err(|_| invalid("the sub of its act is not 1 to 300 printable characters"))?,
    })
}

fn refused(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => Error::new(ErrorReason::TokenExpired, "the token has expired: get a new one"),
        ErrorKind::ImmatureSignature => invalid("it is not valid yet"),
        ErrorKind::InvalidSignature => invalid("its signature is not by its issuer's key"),
        ErrorKind::InvalidAudience => invalid("it is for another audience"),
        ErrorKind::MissingRequiredClaim(claim) => invalid(&format!("it lacks the claim {claim}")),
        _ => invalid("its claims are not of their form"),
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorReason::TokenInvalid, format!("the token is not accepted: {why}"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

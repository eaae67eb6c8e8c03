//! Making tokens: for the all-in-one, for operators and for tests.

use super::{Role, default_audience};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use rand::RngCore as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Who issues it, as the issuers file names it.
    pub issuer: String,
    /// Whom it is for.
    pub audience: String,
    /// Who bears it: a person, or the name of a service.
    pub subject: String,
    /// What its bearer is.
    pub role: Role,
    /// The id of the bearer's workspace; owners, admins and members have one.
    pub workspace: Option<String>,
    /// The uid of the bearer's organization; client users have one.
    pub organization: Option<String>,
    /// The uid of a client user's session with us.
    pub session: Option<String>,
    /// Who logged in as the client user and really calls, as the journal names actors.
    pub actor: Option<String>,
}

impl Claims {
    /// For the usual audience, above workspaces.
    pub fn new(issuer: impl Into<String>, subject: impl Into<String>, role: Role) -> Self {
        Self {
            issuer: issuer.into(),
            audience: default_audience(),
            subject: subject.into(),
            role,
            workspace: None,
            organization: None,
            session: None,
            actor: None,
        }
    }

    /// In this workspace.
    #[must_use]
    pub fn in_workspace(mut self, workspace: impl Into<String>) -> Self {
        self.workspace = Some(workspace.into());
        self
    }

    /// In the organization with this uid.
    #[must_use]
    pub fn in_organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// In the session with this uid.
    #[must_use]
    pub fn in_session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Borne by somebody who logged in as the user.
    #[must_use]
    pub fn borne_by(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }
}

/// A private key that signs tokens (Ed25519).
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    id: String,
}

impl SigningKey {
    /// A new one.
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Self::from_seed(&seed)
    }

    /// Reads a PKCS #8 PEM file.
    pub fn load(path: &Path) -> Result<Self> {
        let key = ed25519_dalek::SigningKey::read_pkcs8_pem_file(path)
            .with_context(|| format!("read an Ed25519 key from {}", path.display()))?;
        Ok(Self::from_seed(key.as_bytes()))
    }

    /// Writes a PKCS #8 PEM file that only its owner can read. Never replaces one: a key that is lost ends all its tokens.
    pub fn save(&self, path: &Path) -> Result<()> {
        // Without the public key inside, which older tools take for an error.
        let pair = KeypairBytes {
            secret_key: self.key.to_bytes(),
            public_key: None,
        };
        let pem = pair.to_pkcs8_pem(LineEnding::LF)?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut file = file.with_context(|| format!("create {}", path.display()))?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        Ok(())
    }

    /// The public key as a set, as the issuers file wants it.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": self.id,
            "x": public(&self.key),
        })
    }

    /// Signs a token that lives this long.
    pub fn mint(&self, claims: &Claims, lifetime: Duration) -> String {
        self.mint_at(claims, SystemTime::now(), lifetime)
    }

    /// Signs a token whose life begins at this time.
    pub fn mint_at(&self, claims: &Claims, begin: SystemTime, lifetime: Duration) -> String {
        let now = begin.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({ "typ": "JWT", "alg": "EdDSA", "kid": self.id });
        let mut body = json!({
            "iss": claims.issuer,
            "aud": claims.audience,
            "sub": claims.subject,
            "iat": now,
            "exp": now.saturating_add(lifetime.as_secs()),
            "clientele_role": claims.role,
        });
        if let Some(workspace) = &claims.workspace {
            body["clientele_workspace"] = json!(workspace);
        }
        if let Some(organization) = &claims.organization {
            body["clientele_organization"] = json!(organization);
        }
        if let Some(session) = &claims.session {
            body["sid"] = json!(session);
        }
        if let Some(actor) = &claims.actor {
            body["act"] = json!({ "sub": actor });
        }
        let encoded = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encoded(header), encoded(body));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        // RFC 7638: the hash of the public key as canonical JSON.
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, public(&key));
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        Self { key, id }
    }
}

fn public(key: &ed25519_dalek::SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

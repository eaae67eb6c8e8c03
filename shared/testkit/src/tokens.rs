//! Tokens of an issuer that the servers of a test trust.

use clientele_api::access::StaffRole;
use clientele_service::token::{Claims, Role, SigningKey};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const ISSUER: &str = "https://issuer.test";
const HOUR: Duration = Duration::from_secs(3600);

/// An issuer, with the file that makes servers trust it.
pub struct Tokens {
    key: SigningKey,
    folder: TempDir,
}

impl Tokens {
    /// A new issuer with a key of its own.
    pub fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        std::fs::write(folder.path().join("jwks.json"), key.jwks().to_string()).unwrap();
        let roles = ["operator", "owner", "admin", "member", "service", "user"];
        let issuers = json!([{ "issuer": ISSUER, "jwks": "jwks.json", "algorithms": ["EdDSA"], "roles": roles }]);
        std::fs::write(folder.path().join("issuers.json"), issuers.to_string()).unwrap();
        std::fs::write(folder.path().join("secret.key"), rand::random::<[u8; 32]>()).unwrap();
        std::fs::create_dir(folder.path().join("sessions")).unwrap();
        SigningKey::generate()
            .save(&folder.path().join("sessions/1.pem"))
            .unwrap();
        Self { key, folder }
    }

    /// The issuers file for the servers' settings.
    pub fn issuers(&self) -> PathBuf {
        self.folder.path().join("issuers.json")
    }

    /// A file with a key for the servers that derive tokens.
    pub fn secret_key(&self) -> PathBuf {
        self.folder.path().join("secret.key")
    }

    /// A folder with a key that access tokens are signed with.
    pub fn session_keys(&self) -> PathBuf {
        self.folder.path().join("sessions")
    }

    /// The platform's operator.
    pub fn operator(&self) -> String {
        self.operator_named("olga")
    }

    /// One of several operators.
    pub fn operator_named(&self, name: &str) -> String {
        self.key.mint(&Claims::new(ISSUER, name, Role::Operator), HOUR)
    }

    /// The platform's operator, for two seconds.
    pub fn short_lived_operator(&self) -> String {
        self.key
            .mint(&Claims::new(ISSUER, "olga", Role::Operator), Duration::from_secs(2))
    }

    /// The platform's operator, too late.
    pub fn expired_operator(&self) -> String {
        let long_ago = std::time::SystemTime::now() - HOUR;
        self.key.mint_at(
            &Claims::new(ISSUER, "olga", Role::Operator),
            long_ago,
            Duration::from_secs(60),
        )
    }

    /// Somebody of a workspace's staff.
    pub fn staff(&self, workspace: &str, role: StaffRole) -> String {
        let role = match role {
            StaffRole::Member => Role::Member,
            StaffRole::Admin => Role::Admin,
            StaffRole::Owner => Role::Owner,
        };
        self.key
            .mint(&Claims::new(ISSUER, "sam", role).in_workspace(workspace), HOUR)
    }

    /// A client user in an organization; both by uid.
    pub fn user(&self, user: &str, organization: &str) -> String {
        let claims = Claims::new(ISSUER, user, Role::User).in_organization(organization);
        self.key.mint(&claims, HOUR)
    }

    /// A client user in an organization and in a session; all by uid.
    pub fn user_in_session(&self, user: &str, organization: &str, session: &str) -> String {
        let claims = Claims::new(ISSUER, user, Role::User).in_organization(organization);
        self.key.mint(&claims.in_session(session), HOUR)
    }

    /// Somebody of a workspace's staff who logged in as a client user; user and organization by uid.
    pub fn staff_as_user(&self, user: &str, organization: &str) -> String {
        let claims = Claims::new(ISSUER, user, Role::User).in_organization(organization);
        self.key.mint(&claims.borne_by("staff/sam"), HOUR)
    }

    /// An internal service.
    pub fn service(&self, name: &str) -> String {
        self.key.mint(&Claims::new(ISSUER, name, Role::Service), HOUR)
    }

    /// A file with the token of an internal service, for services that follow others.
    pub fn service_file(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.token"));
        std::fs::write(&path, self.service(name)).unwrap();
        path
    }
}

//! The folder of the all-in-one: databases, logos, its keys, and the tokens that it wrote.

use anyhow::{Context as _, Result, ensure};
use clientele_service::token::{Claims, Role, SigningKey};
use org_service::domain::secret::SecretKey;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// The name of the all-in-one as an issuer of tokens.
const ISSUER: &str = "clientele";
/// The key that the tokens that are mailed, and refresh tokens, are derived with.
const SECRET_KEY: &str = "keys/secret.key";
/// The folder with the keys that access tokens are signed with.
const SESSION_KEYS: &str = "keys/sessions";
/// How long the tokens that it writes for itself are good; they are written anew every day.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Data(PathBuf);

impl Data {
    /// A folder that the all-in-one has made.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let data = Self(folder.to_owned());
        let key = data.key_file();
        ensure!(
            key.exists(),
            "there is no key in {}: start clientele there first, or name its folder with --data",
            folder.display()
        );
        Ok(data)
    }

    /// The folder, which is made if it is not there, with keys of its own.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let create = |name: &str| {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("can't make {}", folder.join(name).display()))
        };
        create("keys")?;
        create("peers")?;
        create(SESSION_KEYS)?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("can't open {}", folder.display()))?;
        let data = Self(folder);
        if !data.key_file().exists() {
            SigningKey::generate().save(&data.key_file())?;
        }
        if !data.secret_key().exists() {
            data.write(SECRET_KEY, &SecretKey::generate())?;
        }
        if fs::read_dir(data.session_keys())?.next().is_none() {
            SigningKey::generate().save(&data.session_keys().join("1.pem"))?;
        }
        let key = data.key()?;
        data.write("keys/jwks.json", &key.jwks().to_string())?;
        let roles = ["operator", "owner", "admin", "member", "service", "user"];
        let issuers = json!([{ "issuer": ISSUER, "jwks": "keys/jwks.json", "algorithms": ["EdDSA"], "roles": roles }]);
        data.write("issuers.json", &format!("{issuers:#}\n"))?;
        Ok(data)
    }

    /// The URL of a service's database.
    pub(crate) fn database(&self, service: &str) -> String {
        format!("sqlite://{}", self.database_file(service).display())
    }

    /// The file of a service's database.
    pub(crate) fn database_file(&self, service: &str) -> PathBuf {
        self.0.join(format!("{service}.db"))
    }

    /// The folder of logos.
    pub(crate) fn logos(&self) -> PathBuf {
        self.0.join("logos")
    }

    /// The folder with the keys that access tokens are signed with.
    pub(crate) fn session_keys(&self) -> PathBuf {
        self.0.join(SESSION_KEYS)
    }

    /// The file with the key that the tokens that are mailed, and refresh tokens, are derived with.
    pub(crate) fn secret_key(&self) -> PathBuf {
        self.0.join(SECRET_KEY)
    }

    /// The file that makes the services trust our tokens.
    pub(crate) fn issuers(&self) -> PathBuf {
        self.0.join("issuers.json")
    }

    /// The file with the operator's token.
    pub(crate) fn operator_token(&self) -> PathBuf {
        self.0.join("operator.token")
    }

    /// The file with the token by which a service follows others.
    pub(crate) fn peer_token(&self, service: &str) -> PathBuf {
        self.0.join("peers").join(format!("{service}.token"))
    }

    /// Writes the tokens of the operator and of the services that follow others.
    pub(crate) fn write_tokens(&self, services: &[&str]) -> Result<()> {
        let key = self.key()?;
        let operator = key.mint(&Claims::new(ISSUER, "operator", Role::Operator), LIFETIME);
        self.write("operator.token", &operator)?;
        for service in services {
            let token = key.mint(&Claims::new(ISSUER, *service, Role::Service), LIFETIME);
            self.write(&format!("peers/{service}.token"), &token)?;
        }
        Ok(())
    }

    /// Mints a token; the workspace is of staff, the organization of client users.
    pub(crate) fn mint(
        &self,
        subject: &str,
        role: Role,
        workspace: Option<String>,
        organization: Option<String>,
        lifetime: Duration,
    ) -> Result<String> {
        let claims = Claims {
            workspace,
            organization,
            ..Claims::new(ISSUER, subject, role)
        };
        Ok(self.key()?.mint(&claims, lifetime))
    }

    fn key(&self) -> Result<SigningKey> {
        SigningKey::load(&self.key_file())
    }

    fn key_file(&self) -> PathBuf {
        self.0.join("keys").join("signing.pem")
    }

    /// Readers see the old content or the new one, and nobody but the owner sees either.
    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.0.join(name);
        let aside = path.with_extension(Uuid::new_v4().simple().to_string());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?; // a key that is lost with the power would not be made again
        fs::rename(&aside, &path).with_context(|| format!("can't write {}", path.display()))
    }
}

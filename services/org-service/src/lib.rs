//! org-service: workspaces, their client organizations, and the people of those.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

use anyhow::Context as _;
use clap::Args;
use clientele_api::org::invitation_service_server::InvitationServiceServer;
use clientele_api::org::member_service_server::MemberServiceServer;
use clientele_api::org::organization_service_server::OrganizationServiceServer;
use clientele_api::org::role_service_server::RoleServiceServer;
use clientele_api::org::session_service_server::SessionServiceServer;
use clientele_api::org::team_service_server::TeamServiceServer;
use clientele_api::org::user_service_server::UserServiceServer;
use clientele_api::org::workspace_service_server::WorkspaceServiceServer;
use clientele_service::assembly::{Foundation, Rpcs, Service};
use clientele_service::config::Config;
use clientele_service::journal::{SnapshotPage, snapshots};
use clientele_service::peer::OrgPeer;
use clientele_service::standing;
use clientele_service::token::SessionKeys;
use clientele_store::jobs::Job;
use clientele_store::names::Tables;
use commands::App;
use commands::password::Passwords;
use domain::secret::SecretKey;
use grpc::invitation::InvitationRpc;
use grpc::member::MemberRpc;
use grpc::organization::OrganizationRpc;
use grpc::role::RoleRpc;
use grpc::session::SessionRpc;
use grpc::team::TeamRpc;
use grpc::user::UserRpc;
use grpc::workspace::WorkspaceRpc;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::logo::Logos;
use tokio::sync::Semaphore;

/// How many logos are decoded at a time: each may take 256 MiB.
const DECODERS: usize = 2;
/// How old a logo is at least that is removed because no organization has it: much older than one that is just being put.
const ORPHAN: Duration = Duration::from_secs(24 * 3600);

/// The settings of org-service.
#[derive(Debug, Clone, Args)]
pub struct OrgService {
    /// What all services share.
    #[command(flatten)]
    pub config: Config,
    /// The folder that keeps the bytes of logos.
    #[arg(long, env = "CLIENTELE_LOGOS")]
    pub logos: PathBuf,
    /// The file with the key that the tokens that are mailed, and refresh tokens, are derived with: at least 32 random bytes, the same
    /// on every replica.
    #[arg(long, env = "CLIENTELE_SECRET_KEY_FILE")]
    pub secret_key_file: PathBuf,
    /// The folder with the keys that access tokens are signed with: Ed25519 in PKCS #8 PEM files, the same on every replica. The last
    /// in the order of their names signs once it is ten minutes old, all verify.
    #[arg(long, env = "CLIENTELE_SESSION_KEYS")]
    pub session_keys: PathBuf,
}

impl OrgService {
    fn secret_key(&self) -> anyhow::Result<SecretKey> {
        let path = self.secret_key_file.display();
        let bytes =
            std::fs::read(&self.secret_key_file).with_context(|| format!("can't read the secret key in {path}"))?;
        SecretKey::new(&bytes).with_context(|| {
            let length = bytes.len();
            format!(
                "the secret key in {path} has {length} bytes: write at least {} random ones",
                SecretKey::SHORTEST
            )
        })
    }
}

impl Service for OrgService {
    const NAME: &'static str = "org-service";
    const KEY: &'static str = "org";
    const NAMES: Tables = Tables {
        workspaces: "workspaces",
        organizations: "organizations",
    };
    const SNAPSHOTS: &'static [SnapshotPage] = &[
        snapshots::<store::workspace::Entity>,
        snapshots::<store::organization::Entity>,
        snapshots::<store::user::Entity>,
        snapshots::<store::role::Entity>,
        snapshots::<store::member::Entity>,
        snapshots::<store::team::Entity>,
        snapshots::<store::invitation::Entity>,
        snapshots::<store::session::Entity>,
    ];
    const STANDING: Option<standing::Load> = Some(store::standing::load);
    type Migrator = migrations::Migrator;

    fn config(&self) -> &Config {
        &self.config
    }

    fn settings(&self) -> Value {
        let mut settings = self.config.effective();
        settings["logos"] = json!(self.logos);
        settings["secret_key_file"] = json!(self.secret_key_file);
        settings["session_keys"] = json!(self.session_keys);
        settings
    }

    fn org(&self) -> Option<&OrgPeer> {
        None
    }

    fn session_keys(&self) -> anyhow::Result<Option<SessionKeys>> {
        SessionKeys::open(&self.session_keys).map(Some)
    }

    fn rpcs(&self, foundation: &Foundation) -> anyhow::Result<Rpcs> {
        let Foundation {
            admission,
            journal,
            reader,
            standings,
            session_keys,
        } = foundation;
        let app = App {
            journal: journal.clone(),
            reader: reader.clone(),
            standings: standings.clone().context("org-service knows standings")?,
            logos: Logos::open(&self.logos)?,
            secret_key: self.secret_key()?,
            passwords: Passwords::open()?,
            session_keys: session_keys.clone().context("org-service has session keys")?,
            decoders: Arc::new(Semaphore::new(DECODERS)),
        };
        let admission = || admission.clone();
        let workspaces = WorkspaceRpc {
            admission: admission(),
            app: app.clone(),
        };
        let organizations = OrganizationRpc {
            admission: admission(),
            app: app.clone(),
        };
        let users = UserRpc {
            admission: admission(),
            app: app.clone(),
        };
        let members = MemberRpc {
            admission: admission(),
            app: app.clone(),
        };
        let roles = RoleRpc {
            admission: admission(),
            app: app.clone(),
        };
        let teams = TeamRpc {
            admission: admission(),
            app: app.clone(),
        };
        let invitations = InvitationRpc {
            admission: admission(),
            app: app.clone(),
        };
        let sessions = SessionRpc {
            admission: admission(),
            app,
        };
        let largest = self.config.max_message_bytes;
        Ok(Rpcs::new()
            .with(WorkspaceServiceServer::new(workspaces).max_decoding_message_size(largest))
            .with(OrganizationServiceServer::new(organizations).max_decoding_message_size(largest))
            .with(UserServiceServer::new(users).max_decoding_message_size(largest))
            .with(MemberServiceServer::new(members).max_decoding_message_size(largest))
            .with(RoleServiceServer::new(roles).max_decoding_message_size(largest))
            .with(TeamServiceServer::new(teams).max_decoding_message_size(largest))
            .with(InvitationServiceServer::new(invitations).max_decoding_message_size(largest))
            .with(SessionServiceServer::new(sessions).max_decoding_message_size(largest)))
    }

    fn jobs(&self, foundation: &Foundation) -> anyhow::Result<Vec<Job>> {
        let db = foundation.journal.db().clone();
        Ok(vec![
            commands::erasure::job(foundation.journal.clone()),
            commands::logo::sweep(db.clone(), Logos::open(&self.logos)?, ORPHAN),
            commands::session::sweep(db),
        ])
    }
}

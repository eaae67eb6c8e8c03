//! org-service: workspaces and their client organizations.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

use clap::Args;
use clientele_api::org::organization_service_server::OrganizationServiceServer;
use clientele_api::org::workspace_service_server::WorkspaceServiceServer;
use clientele_service::cli::{Built, Service};
use clientele_service::config::Config;
use clientele_service::journal::{JournalRpc, SnapshotPage};
use clientele_service::server::Server;
use clientele_service::token::Verifier;
use clientele_service::{Admission, health};
use clientele_store::connect::Options;
use clientele_store::{Db, Directory, Journal, Reader, migrate};
use commands::App;
use grpc::organization::OrganizationRpc;
use grpc::workspace::WorkspaceRpc;
use migrations::Migrator;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use store::logo::Logos;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The key of this service in revisions.
pub const KEY: &str = "org";

/// What the journal's initial state consists of.
const SNAPSHOTS: &[SnapshotPage] = &[store::workspace::snapshot, store::organization::snapshot];
/// How many logos are decoded at a time: each may take 256 MiB.
const DECODERS: usize = 2;

/// The settings of org-service.
#[derive(Debug, Clone, Args)]
pub struct OrgService {
    /// What all services share.
    #[command(flatten)]
    pub config: Config,
    /// The folder that keeps the bytes of logos.
    #[arg(long, env = "CLIENTELE_LOGOS")]
    pub logos: PathBuf,
}

impl Service for OrgService {
    const NAME: &'static str = "org-service";

    fn config(&self) -> &Config {
        &self.config
    }

    fn settings(&self) -> Value {
        let mut settings = self.config.effective();
        settings["logos"] = json!(self.logos);
        settings
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        Ok(migrate::up::<Migrator>(&self.database()).await?)
    }

    async fn build(&self) -> anyhow::Result<Built> {
        let stop = CancellationToken::new();
        let draining = CancellationToken::new();
        let db = Db::connect(&self.database()).await?;
        let journal = Journal::open(&db, stop.clone()).await?;
        let directory = Directory::new(db.clone(), "workspaces", "organizations");
        let admission = Admission::new(journal.clone(), directory, Vec::new(), self.config.max_in_flight);
        let app = App {
            reader: Reader::new(journal.clone(), &[]),
            journal: journal.clone(),
            logos: Logos::open(&self.logos)?,
            decoders: Arc::new(Semaphore::new(DECODERS)),
        };
        let largest = self.config.max_message_bytes;
        let workspaces = WorkspaceServiceServer::new(WorkspaceRpc {
            admission: admission.clone(),
            app: app.clone(),
        });
        let organizations = OrganizationServiceServer::new(OrganizationRpc {
            admission: admission.clone(),
            app,
        });
        let entries = JournalRpc::server(admission, journal, SNAPSHOTS, draining.clone());
        let routes = Routes::new(workspaces.max_decoding_message_size(largest))
            .add_service(organizations.max_decoding_message_size(largest))
            .add_service(entries.max_decoding_message_size(largest));
        let server = Server {
            name: Self::NAME,
            config: self.config.clone(),
            settings: self.settings(),
            routes,
            services: vec![
                "clientele.org.v1.WorkspaceService",
                "clientele.org.v1.OrganizationService",
                "clientele.journal.v1.JournalService",
            ],
            verifier: Arc::new(Verifier::load(&self.config.issuers)?),
            check: health::of_database::<Migrator>(db.clone()),
            draining,
        };
        Ok(Built { server, db, stop })
    }
}

impl OrgService {
    fn database(&self) -> Options {
        Options {
            url: self.config.database.expose().clone(),
            service: KEY,
        }
    }
}

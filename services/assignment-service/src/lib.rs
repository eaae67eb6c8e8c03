//! assignment-service: the catalogue of a workspace's agents, and which organization may use which.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

use clap::Args;
use clientele_api::assignment::agent_service_server::AgentServiceServer;
use clientele_api::assignment::assignment_service_server::AssignmentServiceServer;
use clientele_service::cli::{Built, Service};
use clientele_service::config::Config;
use clientele_service::journal::{JournalRpc, SnapshotPage};
use clientele_service::peer::OrgPeer;
use clientele_service::server::Server;
use clientele_service::token::Verifier;
use clientele_service::{Admission, health};
use clientele_store::connect::Options;
use clientele_store::follow::{Follower, ORGANIZATIONS, WORKSPACES};
use clientele_store::{Db, Directory, Journal, Reader, migrate};
use commands::App;
use grpc::agent::AgentRpc;
use grpc::assignment::AssignmentRpc;
use migrations::Migrator;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The key of this service in revisions.
pub const KEY: &str = "assignment";

/// What the journal's initial state consists of.
const SNAPSHOTS: &[SnapshotPage] = &[store::agent::snapshot, store::assignment::snapshot];

/// The settings of assignment-service.
#[derive(Debug, Clone, Args)]
pub struct AssignmentService {
    /// What all services share.
    #[command(flatten)]
    pub config: Config,
    /// The service that it follows.
    #[command(flatten)]
    pub org: OrgPeer,
}

impl Service for AssignmentService {
    const NAME: &'static str = "assignment-service";

    fn config(&self) -> &Config {
        &self.config
    }

    fn settings(&self) -> Value {
        let mut settings = self.config.effective();
        settings["org"] = self.org.settings();
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
        let org = Follower::start(&db, self.org.peer()?, stop.clone()).await?;
        let directory = Directory::new(db.clone(), WORKSPACES, ORGANIZATIONS);
        let admission = Admission::new(journal.clone(), directory, vec![org], self.config.max_in_flight);
        let app = App {
            reader: Reader::new(journal.clone(), &["org"]),
            journal: journal.clone(),
        };
        let largest = self.config.max_message_bytes;
        let agents = AgentServiceServer::new(AgentRpc {
            admission: admission.clone(),
            app: app.clone(),
        });
        let assignments = AssignmentServiceServer::new(AssignmentRpc {
            admission: admission.clone(),
            app,
        });
        let entries = JournalRpc::server(admission, journal, SNAPSHOTS, draining.clone());
        let routes = Routes::new(agents.max_decoding_message_size(largest))
            .add_service(assignments.max_decoding_message_size(largest))
            .add_service(entries.max_decoding_message_size(largest));
        let server = Server {
            name: Self::NAME,
            config: self.config.clone(),
            settings: self.settings(),
            routes,
            services: vec![
                "clientele.assignment.v1.AgentService",
                "clientele.assignment.v1.AssignmentService",
                "clientele.journal.v1.JournalService",
            ],
            verifier: Arc::new(Verifier::load(&self.config.issuers)?),
            check: health::of_database::<Migrator>(db.clone()),
            draining,
        };
        Ok(Built { server, db, stop })
    }
}

impl AssignmentService {
    fn database(&self) -> Options {
        Options {
            url: self.config.database.expose().clone(),
            service: KEY,
        }
    }
}

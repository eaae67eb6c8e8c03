//! assignment-service: the catalogue of a workspace's agents, and which organization may use which.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

use clap::Args;
use clientele_api::assignment::agent_service_server::AgentServiceServer;
use clientele_api::assignment::assignment_service_server::AssignmentServiceServer;
use clientele_service::assembly::{Foundation, Rpcs, Service};
use clientele_service::config::Config;
use clientele_service::journal::{SnapshotPage, snapshots};
use clientele_service::peer::OrgPeer;
use clientele_service::standing;
use clientele_store::follow;
use clientele_store::jobs::Job;
use clientele_store::names::Tables;
use commands::App;
use grpc::agent::AgentRpc;
use grpc::assignment::AssignmentRpc;
use serde_json::Value;
use store::access::Access;

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
    const KEY: &'static str = "assignment";
    const NAMES: Tables = follow::NAMES;
    const SNAPSHOTS: &'static [SnapshotPage] = &[
        snapshots::<store::agent::Entity>,
        snapshots::<store::assignment::Entity>,
        snapshots::<store::member_scope::Entity>,
    ];
    const STANDING: Option<standing::Load> = Some(standing::followed);
    type Migrator = migrations::Migrator;

    fn config(&self) -> &Config {
        &self.config
    }

    fn settings(&self) -> Value {
        let mut settings = self.config.effective();
        settings["org"] = self.org.settings();
        settings
    }

    fn org(&self) -> Option<&OrgPeer> {
        Some(&self.org)
    }

    fn rpcs(&self, foundation: &Foundation) -> anyhow::Result<Rpcs> {
        let Foundation {
            admission,
            journal,
            reader,
            ..
        } = foundation;
        let app = App {
            journal: journal.clone(),
            reader: reader.clone(),
            access: Access::new(journal.clone(), reader.clone()),
        };
        let agents = AgentRpc {
            admission: admission.clone(),
            app: app.clone(),
        };
        let assignments = AssignmentRpc {
            admission: admission.clone(),
            app,
        };
        let largest = self.config.max_message_bytes;
        Ok(Rpcs::new()
            .with(AgentServiceServer::new(agents).max_decoding_message_size(largest))
            .with(AssignmentServiceServer::new(assignments).max_decoding_message_size(largest)))
    }

    fn jobs(&self, foundation: &Foundation) -> anyhow::Result<Vec<Job>> {
        Ok(vec![commands::leftovers::job(foundation.journal.clone())])
    }
}

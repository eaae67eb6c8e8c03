//! settings-billing-service: what the client dashboard of an organization looks like and does.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

use clap::Args;
use clientele_api::settings::canned_response_service_server::CannedResponseServiceServer;
use clientele_api::settings::settings_service_server::SettingsServiceServer;
use clientele_service::assembly::{Foundation, Rpcs, Service};
use clientele_service::config::Config;
use clientele_service::journal::{SnapshotPage, snapshots};
use clientele_service::peer::OrgPeer;
use clientele_service::standing;
use clientele_store::follow;
use clientele_store::jobs::Job;
use clientele_store::names::Tables;
use commands::App;
use grpc::canned_response::CannedResponseRpc;
use grpc::settings::SettingsRpc;
use serde_json::Value;
use store::settings::EffectiveSettings;

/// The settings of settings-billing-service.
#[derive(Debug, Clone, Args)]
pub struct SettingsBillingService {
    /// What all services share.
    #[command(flatten)]
    pub config: Config,
    /// The service that it follows.
    #[command(flatten)]
    pub org: OrgPeer,
}

impl Service for SettingsBillingService {
    const NAME: &'static str = "settings-billing-service";
    const KEY: &'static str = "settings";
    const NAMES: Tables = follow::NAMES;
    const SNAPSHOTS: &'static [SnapshotPage] = &[
        snapshots::<store::settings::workspaces::Entity>,
        snapshots::<store::settings::organizations::Entity>,
        snapshots::<store::canned_response::Entity>,
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
            effective: EffectiveSettings::new(journal.clone(), reader.clone()),
        };
        let settings = SettingsRpc {
            admission: admission.clone(),
            app: app.clone(),
        };
        let canned_responses = CannedResponseRpc {
            admission: admission.clone(),
            app,
        };
        let largest = self.config.max_message_bytes;
        Ok(Rpcs::new()
            .with(SettingsServiceServer::new(settings).max_decoding_message_size(largest))
            .with(CannedResponseServiceServer::new(canned_responses).max_decoding_message_size(largest)))
    }

    fn jobs(&self, foundation: &Foundation) -> anyhow::Result<Vec<Job>> {
        Ok(vec![commands::leftovers::job(foundation.journal.clone())])
    }
}

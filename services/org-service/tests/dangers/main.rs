//! What org-service promises while the network and the database fail it.

#![cfg(test)]

mod crash;
mod erasure;
mod faults;
mod feed;
mod order;
mod repeated;
mod replicas;
mod standings;
mod storm;
mod teams;

use clientele_api::access::StaffRole;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateOrganizationRequest, CreateWorkspaceRequest, Organization, Workspace};
use clientele_service::config::Config;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Database, Engine, Proxy, Running, Tokens};
use org_service::OrgService;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TryGetable};
use std::time::Duration;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

/// A running org-service with the workspace `acme`.
struct World {
    running: Running,
    service: OrgService,
    channel: Channel,
    operator: Caller,
    admin: Caller,
    /// A session of the test's own, past every proxy.
    database: DatabaseConnection,
    options: Options,
    _tokens: Tokens,
    _logos: TempDir,
    _database: Database,
}

impl World {
    async fn start(engine: Engine) -> Self {
        let database = Database::create(engine).await;
        let url = database.url.clone();
        Self::on(database, &url).await
    }

    /// On PostgreSQL, behind a proxy.
    async fn behind_a_proxy() -> (Self, Proxy) {
        let database = Database::create(Engine::Postgres).await;
        let proxy = Proxy::start(&database.url).await;
        let url = proxy.url(&database.url);
        (Self::on(database, &url).await, proxy)
    }

    /// On a database that the service reaches by this URL.
    async fn on(database: Database, url: &str) -> Self {
        let tokens = Tokens::create();
        let logos = tempfile::tempdir().unwrap();
        let mut config = Config::new(url, tokens.issuers());
        config.drain_delay = Duration::ZERO;
        let service = OrgService {
            config,
            logos: logos.path().to_owned(),
            secret_key_file: tokens.secret_key(),
            session_keys: tokens.session_keys(),
        };
        let running = Running::start(&service).await;
        let options = Options {
            url: database.url.clone(),
            service: "org",
        };
        let world = Self {
            channel: running.channel().await,
            running,
            service,
            operator: Caller::with(tokens.operator()),
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            database: connect_to_migrate(&options).await.unwrap(),
            options,
            _tokens: tokens,
            _logos: logos,
            _database: database,
        };
        let request = CreateWorkspaceRequest {
            workspace_id: "acme".to_owned(),
            workspace: Some(Workspace {
                display_name: Some("Acme".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut workspaces = WorkspaceServiceClient::new(world.channel.clone());
        workspaces
            .create_workspace(world.operator.request(request))
            .await
            .unwrap();
        world
    }

    fn organizations(&self) -> OrganizationServiceClient<Channel> {
        OrganizationServiceClient::new(self.channel.clone())
    }

    fn journal(&self) -> JournalServiceClient<Channel> {
        JournalServiceClient::new(self.channel.clone())
    }

    async fn create(&self, request: CreateOrganizationRequest) -> Result<Organization, Status> {
        let answer = self
            .organizations()
            .create_organization(self.admin.request(request))
            .await;
        Ok(answer?.into_inner())
    }

    /// What a statement answers in the test's own session: the column `answer` of each row.
    async fn ask<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let statement = Statement::from_string(self.database.get_database_backend(), sql);
        let rows = self.database.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get("", "answer").unwrap()).collect()
    }
}

/// A request for an organization in `acme`.
fn create(id: &str) -> CreateOrganizationRequest {
    CreateOrganizationRequest {
        parent: "workspaces/acme".to_owned(),
        organization_id: id.to_owned(),
        organization: Some(Organization {
            display_name: Some(format!("The {id} client")),
            ..Default::default()
        }),
        ..Default::default()
    }
}

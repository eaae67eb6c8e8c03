//! What a run stands on: databases of its own, and the service in this process.

use crate::Bench;
use crate::bare;
use crate::collector;
use anyhow::{Context as _, Result};
use assignment_service::AssignmentService;
use clientele_api::Uid;
use clientele_api::access::StaffRole;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{Agent, CreateAgentRequest, ListAgentsRequest, ListAssignmentsRequest};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateOrganizationRequest, CreateWorkspaceRequest, Organization, Workspace};
use clientele_api::settings::custom_tab::Visibility;
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{
    CustomTab, CustomTabList, Settings, SettingsValues, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest,
    WorkspaceSettings,
};
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_testkit::{Caller, ClientUser, OrgFeed, Running, Tokens};
use org_service::OrgService;
use settings_billing_service::SettingsBillingService;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// Where databases are made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine<'a> {
    /// In files.
    Sqlite,
    /// On the PostgreSQL whose administrator is reached by this URL.
    Postgres(&'a str),
}

impl Engine<'_> {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}

/// A database of this run.
pub(crate) struct Database {
    /// How it is reached.
    pub(crate) url: String,
    place: Place,
}

enum Place {
    Folder(TempDir),
    Postgres { admin: String, name: String },
}

impl Database {
    /// A new, empty one.
    pub(crate) async fn create(engine: Engine<'_>) -> Result<Self> {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir()?;
                let url = format!("sqlite://{}", folder.path().join("bench.db").display());
                let place = Place::Folder(folder);
                Ok(Self { url, place })
            }
            Engine::Postgres(admin) => {
                let name = format!("bench_{}", Uuid::new_v4().simple());
                let (server, _) = admin
                    .rsplit_once('/')
                    .context("--postgres must end with a database, as in postgres://postgres@127.0.0.1/postgres")?;
                execute(admin, format!("CREATE DATABASE {name}")).await?;
                let url = format!("{server}/{name}");
                let admin = admin.to_owned();
                Ok(Self {
                    url,
                    place: Place::Postgres { admin, name },
                })
            }
        }
    }

    /// Takes it away.
    pub(crate) async fn remove(self) -> Result<()> {
        match self.place {
            Place::Folder(folder) => Ok(folder.close()?),
            Place::Postgres { admin, name } => execute(&admin, format!("DROP DATABASE {name} WITH (FORCE)")).await,
        }
    }
}

/// Executes statements on the PostgreSQL that is reached by this URL.
pub(crate) async fn execute(url: &str, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect(url)
        .await
        .context("PostgreSQL must answer: see --postgres")?;
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(connection.close().await?)
}

/// A running org-service with the workspace `acme`.
pub(crate) struct World {
    /// The connections to it.
    pub(crate) connections: Vec<Channel>,
    /// An admin of the workspace.
    pub(crate) admin: Caller,
    /// An internal service of the platform.
    pub(crate) service: Caller,
    running: Running,
    _tokens: Tokens,
    _logos: TempDir,
}

impl World {
    /// Starts the service on this database.
    pub(crate) async fn start(database: &Database, bench: &Bench) -> Result<Self> {
        let tokens = Tokens::create();
        let logos = tempfile::tempdir()?;
        let service = OrgService {
            config: config(&database.url, &tokens.issuers(), bench.telemetry.as_deref()),
            logos: logos.path().to_owned(),
            secret_key_file: tokens.secret_key(),
            session_keys: tokens.session_keys(),
        };
        let running = Running::start(&service).await;
        let connections = bare::connect(running.address).await?;
        let world = Self {
            connections,
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            service: Caller::with(tokens.service("dashboard")),
            running,
            _tokens: tokens,
            _logos: logos,
        };
        let workspace = CreateWorkspaceRequest {
            workspace_id: "acme".to_owned(),
            workspace: Some(Workspace {
                display_name: Some("Acme".to_owned()),
                ..Workspace::default()
            }),
            ..CreateWorkspaceRequest::default()
        };
        let operator = Caller::with(world._tokens.operator());
        WorkspaceServiceClient::new(world.connection()?)
            .create_workspace(operator.request(workspace))
            .await?;
        Ok(world)
    }

    /// One of the connections.
    pub(crate) fn connection(&self) -> Result<Channel> {
        self.connections.first().cloned().context("no connection")
    }

    /// Ends the service.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

/// A running assignment-service that follows a played org-service with the workspace `acme`.
pub(crate) struct AssignmentWorld {
    /// The connections to it.
    pub(crate) connections: Vec<Channel>,
    /// An admin of the workspace.
    pub(crate) admin: Caller,
    /// An internal service of the platform.
    pub(crate) service: Caller,
    feed: OrgFeed,
    acme: Uid,
    running: Running,
    _tokens: Tokens,
}

impl AssignmentWorld {
    /// Starts the service on this database.
    pub(crate) async fn start(database: &Database, bench: &Bench) -> Result<Self> {
        let tokens = Tokens::create();
        let feed = OrgFeed::start().await;
        let acme = feed.create_workspace("acme");
        let service = AssignmentService {
            config: config(&database.url, &tokens.issuers(), bench.telemetry.as_deref()),
            org: OrgPeer::new(feed.endpoint(), tokens.service_file("assignment-service")),
        };
        let running = Running::start(&service).await;
        let world = Self {
            connections: bare::connect(running.address).await?,
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            service: Caller::with(tokens.service("runtime")),
            feed,
            acme,
            running,
            _tokens: tokens,
        };
        // Until it has heard of the workspace.
        let list = ListAgentsRequest {
            parent: "workspaces/acme".to_owned(),
            ..ListAgentsRequest::default()
        };
        let mut client = AgentServiceClient::new(world.connection()?);
        client.list_agents(world.informed().request(list)).await?;
        Ok(world)
    }

    /// One of the connections.
    pub(crate) fn connection(&self) -> Result<Channel> {
        self.connections.first().cloned().context("no connection")
    }

    /// Enters an agent with this id.
    pub(crate) async fn create_agent(&self, id: &str) -> Result<()> {
        let request = CreateAgentRequest {
            parent: "workspaces/acme".to_owned(),
            agent_id: id.to_owned(),
            agent: Some(Agent {
                title: Some("The Friendly Agent".to_owned()),
                ..Agent::default()
            }),
            ..CreateAgentRequest::default()
        };
        let mut client = AgentServiceClient::new(self.connection()?);
        client.create_agent(self.admin.request(request)).await?;
        Ok(())
    }

    /// Tells of an organization and a member, of which the service has heard when this answers their names.
    pub(crate) async fn create_organization(&self, id: &str) -> Result<(String, String)> {
        let name = format!("workspaces/acme/organizations/{id}");
        let organization = self.feed.create_organization(self.acme, &name);
        let user = ClientUser::with_roles(&self.feed, self.acme, &organization, &["viewer"]);
        let request = ListAssignmentsRequest {
            parent: name.clone(),
            ..ListAssignmentsRequest::default()
        };
        let mut client = AssignmentServiceClient::new(self.connection()?);
        client.list_assignments(self.informed().request(request)).await?;
        Ok((name, user.member.name))
    }

    /// The admin, who wants to be answered with everything that the feed has told.
    fn informed(&self) -> Caller {
        Caller {
            min_revision: Some(self.feed.revision()),
            ..self.admin.clone()
        }
    }

    /// Ends the service.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

/// A running settings-billing-service that follows a played org-service with the workspace `acme`, which has defaults.
pub(crate) struct SettingsWorld {
    /// The connections to it.
    pub(crate) connections: Vec<Channel>,
    /// An internal service of the platform.
    pub(crate) service: Caller,
    admin: Caller,
    feed: OrgFeed,
    acme: Uid,
    running: Running,
    _tokens: Tokens,
}

impl SettingsWorld {
    /// Starts the service on this database.
    pub(crate) async fn start(database: &Database, bench: &Bench) -> Result<Self> {
        let tokens = Tokens::create();
        let feed = OrgFeed::start().await;
        let acme = feed.create_workspace("acme");
        let service = SettingsBillingService {
            config: config(&database.url, &tokens.issuers(), bench.telemetry.as_deref()),
            org: OrgPeer::new(feed.endpoint(), tokens.service_file("settings-billing-service")),
        };
        let running = Running::start(&service).await;
        let world = Self {
            connections: bare::connect(running.address).await?,
            service: Caller::with(tokens.service("dashboard")),
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            feed,
            acme,
            running,
            _tokens: tokens,
        };
        let tab = |id: &str| CustomTab {
            id: id.to_owned(),
            title: format!("The {id}"),
            icon: "star".to_owned(),
            url: format!("https://{id}.friendly-agency.example/"),
            visibility: Visibility::Always.into(),
        };
        let tabs = vec![tab("shop"), tab("manual")];
        let defaults = SettingsValues {
            custom_tabs: Some(CustomTabList { tabs }),
            time_zone: Some("Europe/Berlin".to_owned()),
            ..SettingsValues::default()
        };
        let request = UpdateWorkspaceSettingsRequest {
            workspace_settings: Some(WorkspaceSettings {
                name: "workspaces/acme/settings".to_owned(),
                defaults: Some(defaults),
                ..WorkspaceSettings::default()
            }),
            ..UpdateWorkspaceSettingsRequest::default()
        };
        let mut client = SettingsServiceClient::new(world.connection()?);
        client
            .update_workspace_settings(world.informed().request(request))
            .await?;
        Ok(world)
    }

    /// One of the connections.
    pub(crate) fn connection(&self) -> Result<Channel> {
        self.connections.first().cloned().context("no connection")
    }

    /// Tells of an organization, and sets its language; answers the name of its settings.
    pub(crate) async fn create_organization(&self, id: &str) -> Result<String> {
        let organization = format!("workspaces/acme/organizations/{id}");
        self.feed.create_organization(self.acme, &organization);
        let name = format!("{organization}/settings");
        let overrides = SettingsValues {
            language: Some("de".to_owned()),
            ..SettingsValues::default()
        };
        let request = UpdateSettingsRequest {
            settings: Some(Settings {
                name: name.clone(),
                overrides: Some(overrides),
                ..Settings::default()
            }),
            ..UpdateSettingsRequest::default()
        };
        let mut client = SettingsServiceClient::new(self.connection()?);
        client.update_settings(self.informed().request(request)).await?;
        Ok(name)
    }

    /// The admin, who wants to be answered with everything that the feed has told.
    fn informed(&self) -> Caller {
        Caller {
            min_revision: Some(self.feed.revision()),
            ..self.admin.clone()
        }
    }

    /// Ends the service.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

/// The product's settings; with a collector, metrics and the usual share of traces are on their way to it.
pub(crate) fn config(database: &str, issuers: &Path, telemetry: Option<&str>) -> Config {
    let mut config = Config::new(database, issuers);
    config.drain_delay = Duration::ZERO;
    config.otlp_endpoint = telemetry.map(str::to_owned);
    config.log = collector::LOG.to_owned();
    config
}

/// Creates another organization, as a careful caller does: with an id and a request id.
pub(crate) async fn create(connection: Channel, caller: Caller) -> Result<Organization, Status> {
    let organization = new_organization();
    let answer = OrganizationServiceClient::new(connection)
        .create_organization(caller.request(organization))
        .await?;
    Ok(answer.into_inner())
}

fn new_organization() -> CreateOrganizationRequest {
    let id = Uuid::now_v7().simple().to_string();
    CreateOrganizationRequest {
        parent: "workspaces/acme".to_owned(),
        organization_id: format!("org-{id}"),
        organization: Some(Organization {
            display_name: Some("The Friendly Bakery of Main Street".to_owned()),
            external_id: Some(format!("crm-{id}")),
            contact_email: Some("owner@friendly-bakery.example".to_owned()),
            ..Organization::default()
        }),
        request_id: Uuid::new_v4().to_string(),
        ..CreateOrganizationRequest::default()
    }
}

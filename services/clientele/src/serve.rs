//! The three services in one process, each on its own port and database, as they would be apart.

use crate::data::Data;
use anyhow::{Context as _, Result};
use assignment_service::AssignmentService;
use clap::Args;
use clientele_service::assembly::{Built, Service};
use clientele_service::config::{Config, duration};
use clientele_service::peer::OrgPeer;
use clientele_service::server::shutdown_signal;
use clientele_service::telemetry::Telemetry;
use org_service::OrgService;
use settings_billing_service::SettingsBillingService;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The services that follow others.
const FOLLOWERS: &[&str] = &["assignment-service", "settings-billing-service"];
/// How often the tokens that we wrote are written anew.
const RENEW: Duration = Duration::from_secs(24 * 3600);

/// The settings of the all-in-one.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The address of org-service.
    #[arg(long, default_value = "127.0.0.1:50051")]
    org: SocketAddr,
    /// The address of assignment-service.
    #[arg(long, default_value = "127.0.0.1:50052")]
    assignment: SocketAddr,
    /// The address of settings-billing-service.
    #[arg(long, default_value = "127.0.0.1:50053")]
    settings_billing: SocketAddr,
    /// How long calls in flight may take to end at shutdown.
    #[arg(long, env = "CLIENTELE_GRACE", default_value = "20s", value_parser = duration)]
    grace: Duration,
    /// What is logged, as in `info,sqlx=warn`.
    #[arg(long, env = "CLIENTELE_LOG", default_value = "warn")]
    log: String,
    /// The OpenTelemetry collector (OTLP over gRPC), as in `http://localhost:4317`; none: nothing is exported.
    #[arg(long, env = "CLIENTELE_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl Serve {
    /// Serves until SIGTERM or Ctrl-C.
    pub(crate) async fn run(self, folder: &Path) -> Result<()> {
        let data = Data::open(folder)?;
        data.write_tokens(FOLLOWERS)?;
        let (org_listener, org) = listen(self.org).await?;
        let (assignment_listener, assignment) = listen(self.assignment).await?;
        let (settings_listener, settings) = listen(self.settings_billing).await?;
        let telemetry = Telemetry::start("clientele", &self.config(&data, "org", org))?;

        let follow = |service: &str| OrgPeer::new(format!("http://{org}"), data.peer_token(service));
        let org_service = OrgService {
            config: self.config(&data, "org", org),
            logos: data.logos(),
            secret_key_file: data.secret_key(),
            session_keys: data.session_keys(),
        };
        let assignment_service = AssignmentService {
            config: self.config(&data, "assignment", assignment),
            org: follow("assignment-service"),
        };
        let settings_billing_service = SettingsBillingService {
            config: self.config(&data, "settings-billing", settings),
            org: follow("settings-billing-service"),
        };
        let services = [
            (prepare(org_service).await?, org_listener),
            (prepare(assignment_service).await?, assignment_listener),
            (prepare(settings_billing_service).await?, settings_listener),
        ];

        let shutdown = CancellationToken::new();
        let mut running: JoinSet<Result<()>> = services
            .into_iter()
            .map(|(built, listener)| built.run(listener, shutdown.clone()))
            .collect();
        greet(&data, org, assignment, settings)?;
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = shutdown_signal() => None,
            () = renew_tokens(&data) => None,
        };
        shutdown.cancel(); // also if one of them failed: the others are no use without it
        let mut result = ended.map_or(Ok(()), |ended| ended?);
        while let Some(ended) = running.join_next().await {
            result = result.and(ended?);
        }
        telemetry.shutdown().await;
        result
    }

    fn config(&self, data: &Data, database: &str, listen: SocketAddr) -> Config {
        Config {
            listen,
            drain_delay: Duration::ZERO, // there is no load balancer to notice
            grace: self.grace,
            log: self.log.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            ..Config::new(data.database(database), data.issuers())
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn prepare<S: Service>(service: S) -> Result<Built> {
    service.config().validate()?;
    S::migrate(service.config().database.expose()).await?;
    service.build().await
}

/// Renews the tokens every day, for ever. Where that fails, the present ones are good for weeks, and it is tried again.
async fn renew_tokens(data: &Data) {
    loop {
        tokio::time::sleep(RENEW).await;
        if let Err(error) = data.write_tokens(FOLLOWERS) {
            tracing::error!(%error, "the tokens were not renewed");
        }
    }
}

/// Says where everything is, with commands to paste.
fn greet(data: &Data, org: SocketAddr, assignment: SocketAddr, settings: SocketAddr) -> Result<()> {
    let token = data.operator_token();
    let token = token.display();
    let text = format!(
        "Clientele is serving:
  org-service               {org}
  assignment-service        {assignment}
  settings-billing-service  {settings}
The operator's token, good for 30 days, is in {token}

Try:
  call() {{ grpcurl -plaintext -H \"authorization: Bearer $(cat {token})\" \"$@\"; }}
  call {org} list
  call -d '{{\"workspace_id\": \"acme\", \"workspace\": {{\"display_name\": \"Acme\"}}}}' {org} clientele.org.v1.WorkspaceService/CreateWorkspace
  call -d '{{\"parent\": \"workspaces/acme\", \"organization\": {{\"display_name\": \"Bakery\"}}}}' {org} clientele.org.v1.OrganizationService/CreateOrganization
  call -d '{{\"parent\": \"workspaces/acme\"}}' {org} clientele.journal.v1.JournalService/ListEntries

Ctrl-C ends it.
"
    );
    std::io::stdout().write_all(text.as_bytes()).context("can't print")
}

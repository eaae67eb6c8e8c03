//! What every service's binary can do: `serve`, `migrate`, `healthcheck`, `config`.

use crate::assembly::Service;
use crate::config::Secret;
use crate::peer::OrgPeer;
use crate::server::shutdown_signal;
use crate::telemetry::Telemetry;
use crate::tls::{self, ClientTls};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Exit status for settings that can't work (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;
/// How long what is left may take to notice that the process ends.
const LEAVE: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli<S: Service> {
    #[command(subcommand)]
    command: Command<S>,
}

#[derive(Debug, Subcommand)]
enum Command<S: Service> {
    /// Serves until SIGTERM or Ctrl-C.
    Serve(S),
    /// Brings the database to the present schema, and ends.
    Migrate {
        /// The database, as in `postgres://user:password@host/name` or `sqlite:///path/org.db`.
        #[arg(long, env = "CLIENTELE_DATABASE", hide_env_values = true)]
        database: Secret<String>,
    },
    /// Asks a running server for its health: exit status 0 if it is serving.
    Healthcheck(Healthcheck),
    /// Prints the settings in force, secrets masked.
    Config(S),
}

/// How a running server is asked for its health.
#[derive(Debug, Clone, Args)]
pub struct Healthcheck {
    /// Where the server listens; `https://…` where it speaks TLS.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    pub address: String,
    /// `liveness`, `readiness`, or an RPC service by its full name.
    #[arg(long, default_value = "readiness")]
    pub service: String,
    /// The file with the CA that the server's certificate is of (PEM); needed for `https://`.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate is for, if that is not the host of the address.
    #[arg(long)]
    pub server_name: Option<String>,
    /// The file with a certificate to show (PEM), if the server lets in only clients that do.
    #[arg(long)]
    pub cert: Option<PathBuf>,
    /// The file with the key of that certificate (PEM).
    #[arg(long)]
    pub key: Option<PathBuf>,
}

impl Healthcheck {
    /// An error unless the server says that it is serving.
    pub async fn run(self) -> Result<()> {
        let (ca, cert, key) = (self.ca.as_deref(), self.cert.as_deref(), self.key.as_deref());
        let tls = ClientTls::for_address(&self.address, "", ca, cert, key)?;
        let tls = tls.map(|tls| tls.expecting(self.server_name));
        let endpoint = Endpoint::from_shared(self.address)?
            .timeout(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(2));
        let mut health = HealthClient::new(tls::connect_lazy(&endpoint, tls));
        let service = self.service.clone();
        let answer = health.check(HealthCheckRequest { service }).await?.into_inner();
        ensure!(
            answer.status() == ServingStatus::Serving,
            "{} is {:?}",
            self.service,
            answer.status()
        );
        Ok(())
    }
}

/// The main function of a service's binary.
pub fn main<S: Service>() -> ExitCode {
    let command = Cli::<S>::parse().command;
    if let Command::Serve(settings) | Command::Config(settings) = &command
        && let Err(error) = validate(settings)
    {
        complain(&error);
        return ExitCode::from(USAGE);
    }
    match block_on(run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn validate<S: Service>(settings: &S) -> Result<()> {
    settings.config().validate()?;
    settings.org().map_or(Ok(()), OrgPeer::validate)
}

/// Does what a program is for. Whatever it leaves behind does not hold the process: a file system or a resolver that does not answer
/// keeps a thread for as long as it likes.
pub fn block_on(program: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = Runtime::new().context("can't start the runtime")?;
    let ended = runtime.block_on(program);
    runtime.shutdown_timeout(LEAVE);
    ended
}

async fn run<S: Service>(command: Command<S>) -> Result<()> {
    match command {
        Command::Serve(settings) => serve(settings).await,
        Command::Migrate { database } => S::migrate(database.expose()).await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Config(settings) => {
            let text = serde_json::to_string_pretty(&settings.settings())?;
            writeln!(std::io::stdout(), "{text}").context("can't print")
        }
    }
}

async fn serve<S: Service>(settings: S) -> Result<()> {
    let telemetry = Telemetry::start(S::NAME, settings.config())?;
    let built = settings.build().await?;
    let listen = settings.config().listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    tokio::spawn(async move {
        shutdown_signal().await;
        signal.cancel();
    });
    let served = built.run(listener, shutdown).await;
    telemetry.shutdown().await;
    served
}

fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "{error:#}"); // nowhere else to say it
}

//! What every service's binary can do: `serve`, `migrate`, `healthcheck`, `config`.

use crate::assembly::Service;
use crate::config::Secret;
use crate::server::shutdown_signal;
use crate::telemetry::Telemetry;
use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Exit status for settings that can't work (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

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
    Healthcheck {
        /// Where the server listens.
        #[arg(long, default_value = "http://127.0.0.1:50051")]
        address: String,
        /// `liveness`, `readiness`, or an RPC service by its full name.
        #[arg(long, default_value = "readiness")]
        service: String,
    },
    /// Prints the settings in force, secrets masked.
    Config(S),
}

/// The main function of a service's binary.
pub fn main<S: Service>() -> ExitCode {
    let command = Cli::<S>::parse().command;
    if let Command::Serve(settings) | Command::Config(settings) = &command
        && let Err(error) = settings.config().validate()
    {
        complain(&error);
        return ExitCode::from(USAGE);
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run<S: Service>(command: Command<S>) -> Result<()> {
    match command {
        Command::Serve(settings) => serve(settings).await,
        Command::Migrate { database } => S::migrate(database.expose()).await,
        Command::Healthcheck { address, service } => check_health(address, service).await,
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

async fn check_health(address: String, service: String) -> Result<()> {
    let endpoint = Endpoint::from_shared(address)?
        .timeout(Duration::from_secs(2))
        .connect_timeout(Duration::from_secs(2));
    let mut health = HealthClient::new(endpoint.connect().await?);
    let answer = health
        .check(HealthCheckRequest {
            service: service.clone(),
        })
        .await?
        .into_inner();
    ensure!(
        answer.status() == tonic_health::pb::health_check_response::ServingStatus::Serving,
        "{service} is {:?}",
        answer.status()
    );
    Ok(())
}

fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "{error:#}"); // nowhere else to say it
}

//! Measures the services beside their ceilings, in one go on one machine, and prints the ratios.

mod bare;
mod checks;
mod collector;
mod cpu;
mod creates;
mod gets;
mod imports;
mod load;
mod passwords;
mod permissions;
mod pgbench;
mod searches;
mod settings;
mod table;
mod watch;
mod world;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use clientele_service::telemetry::Telemetry;
use cpu::Meter;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;
use world::Engine;

/// Measures the services beside their ceilings and prints the ratios.
#[derive(Debug, Parser)]
struct Options {
    /// How long a run takes, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often each run is repeated; what is printed are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What is measured; everything if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Rows>,
    /// The administrator of a PostgreSQL, as in `postgres://postgres@127.0.0.1:5432/postgres`; databases are made there, and removed.
    #[arg(long, env = "CLIENTELE_TEST_POSTGRES")]
    postgres: String,
    /// The program `pgbench`.
    #[arg(long, default_value = "pgbench")]
    pgbench: PathBuf,
    /// Without metrics and traces: to see what they cost.
    #[arg(long)]
    without_telemetry: bool,
}

/// Rows of the table that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// The echoes, and GetOrganization beside them.
    Get,
    /// TestPermissions, beside the echo.
    Permissions,
    /// CheckAccess, beside the echo.
    Checks,
    /// GetSettings, beside an echo.
    Settings,
    /// TestPermissions while somebody guesses passwords.
    Passwords,
    /// SearchOrganizations over 100 000 organizations.
    Search,
    /// SearchAgents over 100 000 agents, alone and beside a million of other workspaces.
    SearchAgents,
    /// CreateOrganization on PostgreSQL, beside pgbench.
    CreatePostgres,
    /// CreateOrganization on SQLite, beside one transaction per commit.
    CreateSqlite,
    /// ImportAgents on PostgreSQL, beside INSERT … SELECT.
    Import,
    /// How long a change takes to arrive on a stream.
    Watch,
}

/// How all rows are measured.
struct Bench {
    length: Duration,
    rounds: usize,
    postgres: String,
    pgbench: PathBuf,
    /// Where the collector is.
    telemetry: Option<String>,
    cpu: Meter,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let telemetry = match options.without_telemetry {
        true => None,
        false => Some(collector::start().await?),
    };
    // Lives as long as the process: there is nothing in it that must not be lost.
    let _telemetry = Telemetry::start("bench", &world::config("", Path::new(""), telemetry.as_deref()))?;
    let bench = Bench {
        cpu: Meter::find(&options.postgres).await?,
        length: Duration::from_secs(options.seconds),
        rounds: options.rounds,
        postgres: options.postgres,
        pgbench: options.pgbench,
        telemetry,
    };
    let mut table = Table::default();
    for rows in Rows::value_variants() {
        if options.rows.is_empty() || options.rows.contains(rows) {
            bench.measure(*rows, &mut table).await?;
        }
    }
    write!(std::io::stdout(), "{table}")?;
    Ok(())
}

impl Bench {
    async fn measure(&self, rows: Rows, table: &mut Table) -> Result<()> {
        writeln!(std::io::stderr(), "measuring {rows:?}")?;
        match rows {
            Rows::Get => gets::measure(self, table).await,
            Rows::Permissions => permissions::measure(self, table).await,
            Rows::Checks => checks::measure(self, table).await,
            Rows::Settings => settings::measure(self, table).await,
            Rows::Passwords => passwords::measure(self, table).await,
            Rows::Search => searches::measure(self, table).await,
            Rows::SearchAgents => searches::measure_agents(self, table).await,
            Rows::CreatePostgres => creates::measure_postgres(self, table).await,
            Rows::CreateSqlite => creates::measure_sqlite(self, table).await,
            Rows::Import => imports::measure(self, table).await,
            Rows::Watch => {
                watch::measure(self, Engine::Postgres(&self.postgres), table).await?;
                watch::measure(self, Engine::Sqlite, table).await
            }
        }
    }
}

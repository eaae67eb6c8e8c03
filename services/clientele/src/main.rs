//! clientele: all three services in one process, and the operator's command.

mod data;
mod restore;
mod serve;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use clientele_service::cli;
use clientele_service::config::duration;
use clientele_service::token::Role;
use data::Data;
use restore::Restore;
use serve::Serve;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs org-service, assignment-service and settings-billing-service in one process, on embedded databases.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The folder that keeps everything.
    #[arg(long, global = true, default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints a token signed by the key in the data folder.
    Token {
        /// What its bearer is.
        #[arg(long, value_enum)]
        role: Role,
        /// The id of the workspace whose staff the bearer is; for owner, admin and member.
        #[arg(long)]
        workspace: Option<String>,
        /// The uid of the organization that the bearer is a member of; for user.
        #[arg(long)]
        organization: Option<String>,
        /// Who its bearer is: the journal names it. For user, the user's uid.
        #[arg(long)]
        subject: Option<String>,
        /// How long it is good, as in `90s`, `15m`, or seconds.
        #[arg(long, default_value = "720m", value_parser = duration)]
        lifetime: Duration,
    },
    /// Puts a backup in the place of a service's database, while clientele does not run.
    Restore(Restore),
}

fn main() -> ExitCode {
    match cli::block_on(run(Cli::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "clientele: {error:#}"); // nowhere else to say it
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => cli.serve.run(&cli.data).await,
        Some(Command::Token {
            role,
            workspace,
            organization,
            subject,
            lifetime,
        }) => {
            let staff = matches!(role, Role::Owner | Role::Admin | Role::Member);
            ensure!(
                staff == workspace.is_some(),
                "--workspace goes with --role owner, admin and member, and with no other"
            );
            ensure!(
                (role == Role::User) == organization.is_some() && (role != Role::User || subject.is_some()),
                "--organization and --subject, both uids, go with --role user; --organization with no other"
            );
            let subject = subject.unwrap_or_else(|| format!("{role:?}").to_lowercase());
            let token = Data::of(&cli.data)?.mint(&subject, role, workspace, organization, lifetime)?;
            Ok(writeln!(std::io::stdout(), "{token}")?)
        }
        Some(Command::Restore(restore)) => restore.run(&Data::of(&cli.data)?).await,
    }
}

//! org-service.

use clientele_service::cli;
use org_service::OrgService;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main::<OrgService>()
}

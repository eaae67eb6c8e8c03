//! assignment-service.

use assignment_service::AssignmentService;
use clientele_service::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main::<AssignmentService>()
}

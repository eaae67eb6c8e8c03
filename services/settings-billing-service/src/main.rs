//! settings-billing-service.

use clientele_service::cli;
use settings_billing_service::SettingsBillingService;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main::<SettingsBillingService>()
}

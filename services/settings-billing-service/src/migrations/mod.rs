//! The schema, step by step. Each step works with the code before it and the code after it: expand first, contract a release later.

mod m20261124_000003_create_settings;
mod m20261129_000020_create_canned_responses;
mod m20261129_000021_add_settings;

use clientele_store::follow::erasures::CreateErasures;
use clientele_store::follow::signing_keys::CreateSigningKeys;
use clientele_store::follow::{CreatePeopleProjections, CreateProjections, CreateTeamProjections};
use clientele_store::jobs::CreateJobs;
use clientele_store::journal::CreateJournal;
use sea_orm_migration::prelude::*;

/// All steps in their order.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(CreateJournal),
            Box::new(CreateProjections),
            Box::new(m20261124_000003_create_settings::Step),
            Box::new(CreateJobs),
            Box::new(CreateSigningKeys),
            Box::new(CreatePeopleProjections),
            Box::new(CreateTeamProjections),
            Box::new(CreateErasures),
            Box::new(m20261129_000020_create_canned_responses::Step),
            Box::new(m20261129_000021_add_settings::Step),
        ]
    }
}

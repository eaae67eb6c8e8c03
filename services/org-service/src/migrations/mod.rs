//! The schema, step by step. Each step works with the code before it and the code after it: expand first, contract a release later.

mod m20261124_000003_create_organizations;
mod m20261124_000010_create_people;
mod m20261124_000011_create_passwords;
mod m20261124_000012_create_erasures;
mod m20261124_000013_search_organizations;
mod m20261124_000014_create_sessions;

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
            Box::new(m20261124_000003_create_organizations::Step),
            Box::new(CreateJobs),
            Box::new(m20261124_000010_create_people::Step),
            Box::new(m20261124_000011_create_passwords::Step),
            Box::new(m20261124_000012_create_erasures::Step),
            Box::new(m20261124_000013_search_organizations::Step),
            Box::new(m20261124_000014_create_sessions::Step),
        ]
    }
}

//! The table of leases: a migration of every service.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

/// Creates the table of jobs.
#[derive(Debug)]
pub struct CreateJobs;

impl MigrationName for CreateJobs {
    fn name(&self) -> &str {
        "m20261125_000001_create_jobs"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateJobs {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\""),
            _ => ("blob", "text"),
        };
        let statement = format!(
            "CREATE TABLE jobs (
                name {text} PRIMARY KEY,
                holder {uuid} NOT NULL,
                until bigint NOT NULL,
                last_run bigint NOT NULL
            );"
        );
        manager.get_connection().execute_unprepared(&statement).await.map(drop)
    }
}

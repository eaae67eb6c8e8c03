//! What purged organizations and deleted agents leave. `erasures` and the index of purged organizations are read by the version before
//! `CreateErasures` only: they go when none of it runs any more.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261128_000017_create_leftovers"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let uuid = match manager.get_database_backend() {
            DbBackend::Postgres => "uuid",
            _ => "blob",
        };
        let statements = format!(
            "CREATE TABLE erasures (
                organization_uid {uuid} PRIMARY KEY,
                epoch bigint NOT NULL,
                xid bigint NOT NULL,
                seq bigint NOT NULL,
                done boolean NOT NULL
            );
            CREATE TABLE deleted_agents (
                uid {uuid} PRIMARY KEY
            );
            CREATE INDEX assignments_removed ON assignments (agent_uid) WHERE removed;
            CREATE INDEX projection_organizations_purged ON projection_organizations (uid) WHERE id IS NULL;"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

//! Agents and assignments.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000003_create_assignments"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Both engines order texts by their bytes.
        let (uuid, text, json) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "jsonb"),
            _ => ("blob", "text", "text"),
        };
        let statements = format!(
            "CREATE TABLE agents (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                title {text} NOT NULL,
                description {text} NOT NULL,
                platform {text} NOT NULL,
                channels {json} NOT NULL,
                tags {json} NOT NULL,
                state integer NOT NULL,
                archived boolean NOT NULL
            );
            CREATE UNIQUE INDEX agents_name ON agents (workspace_uid, id);
            CREATE INDEX agents_by_uid ON agents (workspace_uid, uid);
            CREATE TABLE assignments (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                organization_uid {uuid} NOT NULL,
                organization_id {text} NOT NULL,
                agent_uid {uuid} NOT NULL,
                agent_id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                position bigint NOT NULL,
                alias {text} NOT NULL,
                note {text} NOT NULL,
                removed boolean NOT NULL
            );
            CREATE UNIQUE INDEX assignments_agent ON assignments (organization_uid, agent_uid);
            CREATE INDEX assignments_by_position ON assignments (organization_uid, position, uid);
            CREATE INDEX assignments_by_uid ON assignments (workspace_uid, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

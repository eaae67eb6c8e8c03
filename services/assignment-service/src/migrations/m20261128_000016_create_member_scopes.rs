//! Which member may use which agent.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261128_000016_create_member_scopes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text, json) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "jsonb"),
            _ => ("blob", "text", "text"),
        };
        // Whatever was assigned so far was so before any scope was set. A replica of the version before that still runs says no time:
        // what it assigns counts as assigned before, so scopes are to be set when none runs any more.
        let statements = format!(
            "ALTER TABLE assignments ADD COLUMN assign_time bigint NOT NULL DEFAULT 0;
            UPDATE assignments SET assign_time = create_time;
            CREATE TABLE member_scopes (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                organization_uid {uuid} NOT NULL,
                organization_id {text} NOT NULL,
                user_uid {uuid} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                all_agents boolean NOT NULL,
                agents {json} NOT NULL
            );
            CREATE INDEX member_scopes_by_time ON member_scopes (organization_uid, update_time);
            CREATE INDEX member_scopes_by_uid ON member_scopes (workspace_uid, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

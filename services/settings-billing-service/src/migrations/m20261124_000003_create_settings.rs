//! Settings of organizations and of workspaces. NULL: not set on this level.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000003_create_settings"
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
        let (uuid, text) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\""),
            _ => ("blob", "text"),
        };
        let settings = format!(
            "version bigint NOT NULL,
            create_time bigint NOT NULL,
            update_time bigint NOT NULL,
            language {text},
            layout integer,
            human_enabled boolean,
            smart_enabled boolean,
            show_messages boolean,
            canned_responses_enabled boolean"
        );
        let statements = format!(
            "CREATE TABLE settings_organizations (
                organization_uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                organization_id {text} NOT NULL,
                {settings}
            );
            CREATE INDEX settings_organizations_by_uid ON settings_organizations (workspace_uid, organization_uid);
            CREATE TABLE settings_workspaces (
                workspace_uid {uuid} PRIMARY KEY,
                workspace_id {text} NOT NULL,
                {settings}
            );"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

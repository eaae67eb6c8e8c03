//! More of what can be set, and the ids of custom tabs that were given out.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261129_000021_add_settings"
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
        let mut statements = format!(
            "CREATE TABLE settings_tabs (
                owner_uid {uuid} NOT NULL,
                tab_id {text} NOT NULL,
                workspace_uid {uuid} NOT NULL,
                PRIMARY KEY (owner_uid, tab_id)
            );
            CREATE INDEX settings_tabs_by_id ON settings_tabs (workspace_uid, tab_id);"
        );
        for table in ["settings_organizations", "settings_workspaces"] {
            for (column, of) in [
                ("pages", json),
                ("custom_tabs", json),
                ("free_tags_enabled", "boolean"),
                ("time_zone", text),
                ("branding", json),
            ] {
                statements += &format!("ALTER TABLE {table} ADD COLUMN {column} {of};");
            }
        }
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

//! Workspaces and organizations.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000003_create_organizations"
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
        let (uuid, text, bytes, json) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "bytea", "jsonb"),
            _ => ("blob", "text", "blob", "text"),
        };
        let statements = format!(
            "CREATE TABLE workspaces (
                uid {uuid} PRIMARY KEY,
                id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                display_name {text} NOT NULL
            );
            CREATE UNIQUE INDEX workspaces_id ON workspaces (id);
            CREATE TABLE organizations (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL REFERENCES workspaces (uid),
                workspace_id {text} NOT NULL,
                id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                display_name {text} NOT NULL,
                external_id {text},
                contact_email {text},
                annotations {json} NOT NULL,
                max_members integer,
                max_teams integer,
                max_pending_invitations integer,
                max_agents integer,
                client_access_enabled boolean NOT NULL,
                self_edit_enabled boolean NOT NULL,
                logo_content_type {text},
                logo_width integer,
                logo_height integer,
                logo_size integer,
                logo_sha256 {bytes},
                suspend_time bigint,
                suspend_actor {text},
                suspend_reason {text},
                delete_time bigint,
                purge_time bigint
            );
            CREATE UNIQUE INDEX organizations_name ON organizations (workspace_uid, id);
            CREATE UNIQUE INDEX organizations_external_id ON organizations (workspace_uid, external_id);
            CREATE INDEX organizations_by_uid ON organizations (workspace_uid, uid);
            CREATE INDEX organizations_by_display_name ON organizations (workspace_uid, display_name, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

//! Canned responses.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261129_000020_create_canned_responses"
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
        // What is long, and read only where it is searched, comes last. There is no index by organization and uid alone: who lists what a
        // user may read would be led by it through what all the others keep for themselves.
        let statements = format!(
            "CREATE TABLE settings_canned_responses (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                organization_uid {uuid} NOT NULL,
                organization_id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                scope integer NOT NULL,
                holder_uid {uuid} NOT NULL,
                team_key {text},
                owner_uid {uuid},
                short_code {text} NOT NULL,
                code_folded {text} NOT NULL,
                title {text} NOT NULL,
                text {text} NOT NULL,
                language {text} NOT NULL,
                tags {json} NOT NULL,
                code_searched {text} NOT NULL,
                searched {text} NOT NULL
            );
            CREATE UNIQUE INDEX settings_canned_responses_code
                ON settings_canned_responses (organization_uid, holder_uid, code_folded, language);
            CREATE INDEX settings_canned_responses_shared ON settings_canned_responses (organization_uid, uid) WHERE owner_uid IS NULL;
            CREATE INDEX settings_canned_responses_of_workspace ON settings_canned_responses (workspace_uid, uid);
            CREATE INDEX settings_canned_responses_of_owner ON settings_canned_responses (owner_uid, uid) WHERE owner_uid IS NOT NULL;"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

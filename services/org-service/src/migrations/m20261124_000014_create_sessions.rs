//! Sessions. They stand alone: a session outlives what it names, until it expires.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000014_create_sessions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text, bytes) = match manager.get_database_backend() {
            DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "bytea"),
            _ => ("blob", "text", "blob"),
        };
        let statements = format!(
            "CREATE TABLE sessions (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                version bigint NOT NULL,
                create_time bigint NOT NULL,
                update_time bigint NOT NULL,
                user_uid {uuid} NOT NULL,
                organization_uid {uuid} NOT NULL,
                organization_id {text} NOT NULL,
                staff {text},
                generation integer NOT NULL,
                token_hash {bytes} NOT NULL,
                previous_hash {bytes},
                last_use_time bigint NOT NULL,
                expire_time bigint NOT NULL,
                revoked boolean NOT NULL
            );
            CREATE INDEX sessions_of_user ON sessions (user_uid, uid);
            CREATE INDEX sessions_by_expire_time ON sessions (expire_time);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

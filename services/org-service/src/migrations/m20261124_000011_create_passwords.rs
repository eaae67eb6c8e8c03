//! Passwords of users, and the tokens that reset them.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000011_create_passwords"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (text, bytes) = match manager.get_database_backend() {
            DbBackend::Postgres => ("text COLLATE \"C\"", "bytea"),
            _ => ("text", "blob"),
        };
        let statements = format!(
            "ALTER TABLE users ADD COLUMN password_hash {text};
            ALTER TABLE users ADD COLUMN reset_count integer NOT NULL DEFAULT 0;
            ALTER TABLE users ADD COLUMN reset_time bigint;
            ALTER TABLE users ADD COLUMN reset_hash {bytes};"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

//! What is being taken away for good.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000012_create_erasures"
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
        let statements = format!(
            "CREATE TABLE erasures (
                uid {uuid} PRIMARY KEY,
                workspace_uid {uuid} NOT NULL,
                workspace_id {text} NOT NULL,
                organization_uid {uuid},
                step integer NOT NULL,
                epoch bigint NOT NULL,
                xid bigint NOT NULL,
                seq bigint NOT NULL,
                create_time bigint NOT NULL
            );
            CREATE UNIQUE INDEX erasures_organization ON erasures (organization_uid);
            CREATE INDEX erasures_of_workspace ON erasures (workspace_uid);
            CREATE TABLE erased_users (
                erasure_uid {uuid} NOT NULL REFERENCES erasures (uid),
                user_uid {uuid} NOT NULL,
                email_key {text} NOT NULL,
                PRIMARY KEY (erasure_uid, user_uid)
            );
            CREATE INDEX erased_users_by_email ON erased_users (erasure_uid, email_key);
            CREATE TABLE former_emails (
                user_uid {uuid} NOT NULL,
                email_key {text} NOT NULL,
                until bigint NOT NULL,
                PRIMARY KEY (user_uid, until)
            );
            CREATE INDEX organizations_by_purge_time ON organizations (purge_time) WHERE purge_time IS NOT NULL;
            CREATE INDEX invitations_of_email ON invitations (workspace_uid, email_key);
            CREATE INDEX invitations_of_member ON invitations (member_user_uid) WHERE member_user_uid IS NOT NULL;"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

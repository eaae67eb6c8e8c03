//! Users, members, roles, invitations and teams.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000010_create_people"
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
        let in_workspace = format!(
            "uid {uuid} PRIMARY KEY,
            workspace_uid {uuid} NOT NULL REFERENCES workspaces (uid),
            workspace_id {text} NOT NULL,
            version bigint NOT NULL,
            create_time bigint NOT NULL,
            update_time bigint NOT NULL"
        );
        let in_organization = format!(
            "{in_workspace},
            organization_uid {uuid} NOT NULL REFERENCES organizations (uid),
            organization_id {text} NOT NULL"
        );
        let statements = format!(
            "CREATE TABLE users (
                {in_workspace},
                email {text} NOT NULL,
                email_key {text} NOT NULL,
                display_name {text} NOT NULL,
                photo_uri {text} NOT NULL,
                locale {text} NOT NULL,
                disabled boolean NOT NULL
            );
            CREATE UNIQUE INDEX users_email ON users (workspace_uid, email_key);
            CREATE INDEX users_by_uid ON users (workspace_uid, uid);
            CREATE TABLE members (
                {in_organization},
                user_uid {uuid} NOT NULL REFERENCES users (uid),
                roles {json} NOT NULL,
                permissions {json} NOT NULL,
                notify_through integer NOT NULL,
                notify_about integer NOT NULL,
                state integer NOT NULL,
                online boolean NOT NULL
            );
            CREATE UNIQUE INDEX members_user ON members (organization_uid, user_uid);
            CREATE INDEX members_by_uid ON members (organization_uid, uid);
            CREATE INDEX members_of_user ON members (user_uid);
            CREATE TABLE roles (
                {in_organization},
                id {text} NOT NULL,
                title {text} NOT NULL,
                permissions {json} NOT NULL
            );
            CREATE UNIQUE INDEX roles_name ON roles (organization_uid, id);
            CREATE TABLE invitations (
                {in_organization},
                email {text} NOT NULL,
                email_key {text} NOT NULL,
                roles {json} NOT NULL,
                permissions {json} NOT NULL,
                team_keys {json} NOT NULL,
                state integer NOT NULL,
                expire_time bigint NOT NULL,
                sent_count integer NOT NULL,
                token_time bigint,
                token_hash {bytes},
                inviter {text} NOT NULL,
                inviter_user_uid {uuid},
                member_user_uid {uuid}
            );
            CREATE INDEX invitations_by_uid ON invitations (organization_uid, uid);
            CREATE INDEX invitations_by_state ON invitations (organization_uid, state, expire_time);
            CREATE INDEX invitations_by_email ON invitations (organization_uid, email_key);
            CREATE TABLE teams (
                {in_organization},
                team_key {text} NOT NULL,
                aliases {json} NOT NULL,
                label {text} NOT NULL,
                description {text} NOT NULL,
                members {json} NOT NULL
            );
            CREATE INDEX teams_by_uid ON teams (organization_uid, uid);
            CREATE TABLE team_keys (
                organization_uid {uuid} NOT NULL,
                team_key {text} NOT NULL,
                team_uid {uuid} NOT NULL REFERENCES teams (uid),
                PRIMARY KEY (organization_uid, team_key)
            );
            CREATE INDEX team_keys_of_team ON team_keys (team_uid);
            CREATE TABLE team_members (
                team_uid {uuid} NOT NULL REFERENCES teams (uid),
                user_uid {uuid} NOT NULL,
                organization_uid {uuid} NOT NULL,
                pick bigint NOT NULL,
                PRIMARY KEY (team_uid, user_uid)
            );
            CREATE INDEX team_members_of_user ON team_members (organization_uid, user_uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

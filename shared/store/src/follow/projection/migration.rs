//! The tables, step by step.

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, SchemaManager};

/// Creates the projections of org-service, and the cursors of followers.
#[derive(Debug)]
pub struct CreateProjections;

impl MigrationName for CreateProjections {
    fn name(&self) -> &str {
        "m20261124_000002_create_projections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateProjections {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text, bytes) = types(manager);
        let statements = format!(
            "CREATE TABLE follow_cursors (service {text} PRIMARY KEY, cursor {text}, bootstrap bigint NOT NULL);
             CREATE TABLE follow_parked (service {text} NOT NULL, uid {text} NOT NULL, version bigint NOT NULL, change {bytes} NOT NULL,
                 time bigint NOT NULL, PRIMARY KEY (service, uid, version));
             CREATE TABLE projection_workspaces (uid {uuid} PRIMARY KEY, id {text}, version bigint NOT NULL, bootstrap bigint NOT NULL);
             CREATE INDEX projection_workspaces_id ON projection_workspaces (id, uid);
             CREATE TABLE projection_organizations (uid {uuid} PRIMARY KEY, workspace_uid {uuid} NOT NULL, id {text}, version bigint NOT NULL,
                 bootstrap bigint NOT NULL, state integer NOT NULL, client_access_enabled boolean NOT NULL, max_agents integer);
             CREATE INDEX projection_organizations_id ON projection_organizations (workspace_uid, id, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

/// Creates the projections of people: who may do what where. Followers of a version that knows them have a cursor of their own, and
/// so read everything anew into them.
#[derive(Debug)]
pub struct CreatePeopleProjections;

impl MigrationName for CreatePeopleProjections {
    fn name(&self) -> &str {
        "m20261124_000014_create_people_projections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreatePeopleProjections {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text, _) = types(manager);
        let resource = format!("uid {uuid} PRIMARY KEY, id {text}, version bigint NOT NULL, bootstrap bigint NOT NULL");
        let statements = format!(
            "CREATE TABLE projection_users ({resource}, disabled boolean NOT NULL);
             CREATE TABLE projection_members ({resource}, organization_uid {uuid} NOT NULL, user_uid {uuid} NOT NULL,
                 state integer NOT NULL, roles {text} NOT NULL, permissions {text} NOT NULL);
             CREATE INDEX projection_members_user ON projection_members (organization_uid, user_uid, uid);
             CREATE TABLE projection_roles ({resource}, organization_uid {uuid} NOT NULL, permissions {text} NOT NULL);
             CREATE INDEX projection_roles_id ON projection_roles (organization_uid, id, uid);
             CREATE TABLE projection_sessions ({resource}, end_time bigint NOT NULL);
             CREATE INDEX projection_sessions_end_time ON projection_sessions (end_time);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

/// Creates the projection of teams. Followers of a version that knows them read everything anew, as with people.
#[derive(Debug)]
pub struct CreateTeamProjections;

impl MigrationName for CreateTeamProjections {
    fn name(&self) -> &str {
        "m20261128_000018_create_team_projections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateTeamProjections {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, text, _) = types(manager);
        // Who looks for an alias passes over the members, which may be long: they come last.
        let statements = format!(
            "CREATE TABLE projection_teams (uid {uuid} PRIMARY KEY, workspace_uid {uuid} NOT NULL, organization_uid {uuid} NOT NULL,
                 id {text}, version bigint NOT NULL, bootstrap bigint NOT NULL, aliases {text} NOT NULL, members {text} NOT NULL);
             CREATE INDEX projection_teams_id ON projection_teams (organization_uid, id, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

/// For uids, texts and bytes. Both engines order texts by their bytes.
fn types(manager: &SchemaManager) -> (&'static str, &'static str, &'static str) {
    match manager.get_database_backend() {
        DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "bytea"),
        _ => ("blob", "text", "blob"),
    }
}

//! What is kept of org-service: which workspaces and organizations exist, and what other services must enforce of them.

use crate::connect::{Db, db_error};
use crate::names::Tables;
use crate::tx::{self, Mode, Tx, Write};
use clientele_api::journal::{Change, ChangeKind, Entry};
use clientele_api::name::Parts;
use clientele_api::org::{Organization, Workspace, organization::State};
use clientele_api::{Result, Uid};
use prost::{Message, Name};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, IntoIden, OnConflict};
use sea_orm::{EntityTrait, QuerySelect, QueryTrait};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, SchemaManager};
use std::collections::BTreeMap;

/// Where a service that follows org-service finds workspaces and organizations by name.
pub const NAMES: Tables = Tables {
    workspaces: "projection_workspaces",
    organizations: "projection_organizations",
};
/// What those resources are called.
const NAMED: &[&str] = &[
    "workspaces/{workspace}",
    "workspaces/{workspace}/organizations/{organization}",
];
/// The types whose changes are wanted.
pub(super) const TYPES: &[&str] = &["clientele.org.v1.Workspace", "clientele.org.v1.Organization"];

/// Projected workspaces.
pub mod workspaces {
    use sea_orm::entity::prelude::*;

    /// What other services know of a workspace.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "projection_workspaces")]
    pub struct Model {
        /// Its identity.
        #[sea_orm(primary_key, auto_increment = false)]
        pub uid: Uuid,
        /// Its id; NULL: purged.
        pub id: Option<String>,
        /// Its version.
        pub version: i64,
        /// The number of the bootstrap that named it last.
        pub bootstrap: i64,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Projected organizations.
pub mod organizations {
    use sea_orm::entity::prelude::*;

    /// What other services know of an organization.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "projection_organizations")]
    pub struct Model {
        /// Its identity.
        #[sea_orm(primary_key, auto_increment = false)]
        pub uid: Uuid,
        /// Its workspace.
        pub workspace_uid: Uuid,
        /// Its id; NULL: purged.
        pub id: Option<String>,
        /// Its version.
        pub version: i64,
        /// The number of the bootstrap that named it last.
        pub bootstrap: i64,
        /// The number of `Organization.State`.
        pub state: i32,
        /// Whether its users may sign in.
        pub client_access_enabled: bool,
        /// How many agents it may be assigned.
        pub max_agents: Option<i32>,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub use organizations::Model as OrganizationProjection;

impl OrganizationProjection {
    /// What it may be used for. Unspecified: a state that this version does not know; then it is not in use.
    pub fn state(&self) -> State {
        State::try_from(self.state).unwrap_or(State::Unspecified)
    }
}

/// What is known of an organization. None: it is not known, or purged.
pub async fn organization(on: &impl ConnectionTrait, uid: Uid) -> Result<Option<OrganizationProjection>> {
    let row = organizations::Entity::find_by_id(uid.0)
        .one(on)
        .await
        .map_err(db_error)?;
    Ok(row.filter(|row| row.id.is_some()))
}

/// The rows that a batch of entries leads to. Of several changes of one resource the newest counts, since a statement may touch a
/// row only once.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    workspaces: BTreeMap<Uuid, workspaces::Model>,
    organizations: BTreeMap<Uuid, organizations::Model>,
    bootstrap: i64,
    /// What could not be understood.
    pub(super) poisoned: Vec<Change>,
}

impl Batch {
    /// Reads the entries; their rows carry the number of this bootstrap.
    pub(super) fn read(entries: &[Entry], bootstrap: i64) -> Self {
        let mut batch = Self {
            bootstrap,
            ..Self::default()
        };
        for entry in entries {
            for change in &entry.changes {
                if batch.add(entry, change, bootstrap).is_none() {
                    batch.poisoned.push(change.clone());
                }
            }
        }
        batch
    }

    fn add(&mut self, entry: &Entry, change: &Change, bootstrap: i64) -> Option<()> {
        let purged = change.kind() == ChangeKind::Purged;
        let any = change.after.as_ref().or(change.before.as_ref())?;
        let uid = Uid::parse(&change.uid)?.0;
        // Also proves that there is nothing in the name that a database refuses.
        let name = Parts::parse(&change.resource, NAMED).ok()?;
        let id = (!purged).then(|| name.last().map(str::to_owned)).flatten();
        if any.type_url == Workspace::type_url() {
            Workspace::decode(any.value.as_slice()).ok()?;
            let row = workspaces::Model {
                uid,
                id,
                version: change.version,
                bootstrap,
            };
            keep_newest(&mut self.workspaces, uid, row, |row| row.version);
        } else if any.type_url == Organization::type_url() {
            let message = Organization::decode(any.value.as_slice()).ok()?;
            let row = organizations::Model {
                uid,
                workspace_uid: Uid::parse(&entry.workspace_uid)?.0,
                id,
                version: change.version,
                bootstrap,
                state: message.state,
                client_access_enabled: message.client_access_enabled(),
                max_agents: message.limits.and_then(|limits| limits.max_agents),
            };
            keep_newest(&mut self.organizations, uid, row, |row| row.version);
        }
        Some(())
    }

    /// Whether names come free, so that they may mean something else from now on.
    pub(super) fn frees_names(&self) -> bool {
        self.workspaces.values().any(|row| row.id.is_none()) || self.organizations.values().any(|row| row.id.is_none())
    }

    /// The statements. What could not be understood exists all the same: it must not be swept out.
    pub(super) fn writes(&self) -> Vec<Write> {
        let mut writes = Vec::new();
        writes.extend(upsert(
            self.workspaces.values().cloned().map(workspaces::ActiveModel::from),
            workspaces::Column::Uid,
        ));
        writes.extend(upsert(
            self.organizations
                .values()
                .cloned()
                .map(organizations::ActiveModel::from),
            organizations::Column::Uid,
        ));
        let poisoned: Vec<Uuid> = self
            .poisoned
            .iter()
            .filter_map(|change| Some(Uid::parse(&change.uid)?.0))
            .collect();
        if !poisoned.is_empty() {
            writes.push(raise::<workspaces::Entity>(
                workspaces::Column::Uid,
                workspaces::Column::Bootstrap,
                &poisoned,
                self.bootstrap,
            ));
            writes.push(raise::<organizations::Entity>(
                organizations::Column::Uid,
                organizations::Column::Bootstrap,
                &poisoned,
                self.bootstrap,
            ));
        }
        writes
    }
}

fn keep_newest<M>(rows: &mut BTreeMap<Uuid, M>, uid: Uuid, row: M, version: impl Fn(&M) -> i64) {
    if rows.get(&uid).is_none_or(|known| version(known) <= version(&row)) {
        rows.insert(uid, row);
    }
}

/// Insert or update, where the row is newer: by version, and across bootstraps by their number, since a restored journal may tell of
/// lower versions.
fn upsert<A, E, C>(rows: impl Iterator<Item = A>, key: C) -> Option<Write>
where
    A: sea_orm::ActiveModelTrait<Entity = E>,
    E: EntityTrait<Column = C>,
    C: ColumnTrait + IntoIden + Copy + sea_orm::Iterable,
{
    let mut rows = rows.peekable();
    rows.peek()?;
    let table = E::default();
    let newer = Expr::tuple([Expr::cust("excluded.bootstrap"), Expr::cust("excluded.version")]).gt(Expr::tuple([
        Expr::cust(format!("{}.bootstrap", table.table_name())),
        Expr::cust(format!("{}.version", table.table_name())),
    ]));
    let others = C::iter().filter(|column| column.to_string() != key.to_string());
    let on_conflict = OnConflict::column(key)
        .update_columns(others)
        .action_and_where(newer)
        .to_owned();
    let mut insert = E::insert_many(rows).on_conflict(on_conflict);
    Some(QueryTrait::query(&mut insert).to_owned().into())
}

/// Notes that this bootstrap has heard of these.
fn raise<E: EntityTrait>(uid: E::Column, number: E::Column, uids: &[Uuid], bootstrap: i64) -> Write {
    let mut update = E::update_many()
        .col_expr(number, Expr::val(bootstrap))
        .filter(uid.is_in(uids.iter().copied()));
    QueryTrait::query(&mut update).to_owned().into()
}

/// What the bootstrap did not name is gone: it keeps its row, without a name. A stretch at a time, since a transaction must not be long.
pub(super) async fn sweep(db: &Db, bootstrap: i64) -> Result<()> {
    sweep_table::<workspaces::Entity>(
        db,
        workspaces::Column::Uid,
        workspaces::Column::Id,
        workspaces::Column::Bootstrap,
        bootstrap,
    )
    .await?;
    sweep_table::<organizations::Entity>(
        db,
        organizations::Column::Uid,
        organizations::Column::Id,
        organizations::Column::Bootstrap,
        bootstrap,
    )
    .await
}

async fn sweep_table<E: EntityTrait>(
    db: &Db,
    uid: E::Column,
    id: E::Column,
    number: E::Column,
    bootstrap: i64,
) -> Result<()> {
    loop {
        let unnamed = E::find()
            .select_only()
            .column(uid)
            .filter(number.lt(bootstrap))
            .filter(id.is_not_null())
            .limit(1_000);
        let sweep = E::update_many()
            .col_expr(id, Expr::val(Option::<String>::None))
            .filter(uid.in_subquery(unnamed.into_query()));
        let unit = async move |tx: &Tx| Ok(sweep.exec(tx).await.map_err(db_error)?.rows_affected);
        if tx::run(db, Mode::Commit, unit).await?.value == 0 {
            return Ok(());
        }
    }
}

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
        let (uuid, text, bytes) = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => ("uuid", "text COLLATE \"C\"", "bytea"),
            _ => ("blob", "text", "blob"),
        };
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

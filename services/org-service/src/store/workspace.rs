//! Workspaces in the database.

use super::{erasure, organization, user};
use crate::domain::workspace::{Contents, Workspace};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::{Platform, Scope};
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspaces")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its id in names.
    pub id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The name that people see.
    pub display_name: String,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "workspaces_id",
    sqlite: "workspaces.id",
    field: "workspace_id",
    reason: ErrorReason::ResourceExists,
    message: "a workspace with this id exists: choose another id",
}];

/// Inserts a workspace.
pub fn insert(tx: &Tx, _scope: &Scope<Platform>, workspace: &Workspace) {
    let insert = Entity::insert(Model::from(workspace).into_active_model());
    tx.write(insert.into_query(), CONSTRAINTS);
}

/// Writes the next version of a workspace over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<WorkspaceRef>, before: &Workspace, after: &Workspace) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::Uid.eq(scope.workspace().uid.0))
        .filter(Column::Version.eq(before.version));
    tx.guard(update.into_query(), CONSTRAINTS);
}

/// The workspace of the scope, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<Workspace> {
    let workspace = scope.workspace();
    let row = Entity::find_by_id(workspace.uid.0).one(tx).await.map_err(db_error)?;
    row.map(Workspace::from)
        .ok_or_else(|| Error::not_found("Workspace", workspace.name()))
}

/// The same for a unit that takes it away: no other one puts anything into it until this one has ended.
pub async fn lock(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<Workspace> {
    let workspace = scope.workspace();
    let row = Entity::find_by_id(workspace.uid.0).lock_exclusive().one(tx).await;
    let row = row.map_err(db_error)?;
    row.map(Workspace::from)
        .ok_or_else(|| Error::not_found("Workspace", workspace.name()))
}

/// How much of the scope's workspace there is, in a unit that has locked it.
pub async fn contents(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<Contents> {
    Ok(Contents {
        organizations: organization::count(tx, scope).await?,
        users: user::count(tx, scope).await?,
        erasures: erasure::count(tx, scope).await?,
    })
}

/// Takes a workspace away, in a unit that has locked it and found nothing in it.
pub fn delete(tx: &Tx, scope: &Scope<WorkspaceRef>) {
    let delete = Entity::delete_many().filter(Column::Uid.eq(scope.workspace().uid.0));
    tx.write(delete.into_query(), CONSTRAINTS);
}

/// The workspace of the scope.
pub async fn get(reader: &Reader, scope: &Scope<WorkspaceRef>) -> Result<Answer<Option<Workspace>>> {
    let found = reader.one(Entity::find_by_id(scope.workspace().uid.0)).await?;
    Ok(found.map(|row| row.map(Workspace::from)))
}

/// At most `limit` workspaces after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    _scope: &Scope<Platform>,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Workspace>>> {
    let mut select = Entity::find().order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    let rows = reader.all(select).await?;
    Ok(rows.map(|rows| rows.into_iter().map(Workspace::from).collect()))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::Uid;
    const ORGANIZATION: Option<Column> = None;

    fn describe(row: Model) -> Result<Snapshot> {
        let workspace = Workspace::from(row);
        Ok(Snapshot {
            uid: workspace.uid,
            workspace: Some(workspace.reference()),
            organization: None,
            change: Change::snapshot(&api::Workspace::from(&workspace)),
        })
    }
}

impl From<&Workspace> for Model {
    fn from(workspace: &Workspace) -> Self {
        Self {
            uid: workspace.uid.0,
            id: workspace.id.clone(),
            version: workspace.version,
            create_time: workspace.create_time.0,
            update_time: workspace.update_time.0,
            display_name: workspace.display_name.clone(),
        }
    }
}

impl From<Model> for Workspace {
    fn from(row: Model) -> Self {
        Self {
            uid: Uid(row.uid),
            id: row.id,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            display_name: row.display_name,
        }
    }
}

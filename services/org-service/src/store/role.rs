//! Roles of organizations' own in the database. The built-in ones have no rows.

use super::Texts;
use super::erasure::{self, Erasure};
use crate::domain::grants::{CustomRoles, Grants};
use crate::domain::role::{Role, role_name};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "roles")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace of its organization.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// Its organization.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// Its id in names.
    pub id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The title that people see.
    pub title: String,
    /// What its holders may do.
    #[sea_orm(column_type = "JsonBinary")]
    pub permissions: Texts,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "roles_name",
    sqlite: "roles.organization_uid, roles.id",
    field: "role_id",
    reason: ErrorReason::ResourceExists,
    message: "a role with this id exists: choose another id",
}];

/// Inserts a role.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, role: &Role) {
    let insert = Entity::insert(Model::from(role).into_active_model());
    tx.write(insert.into_query(), CONSTRAINTS);
}

/// Writes the next version of a role over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Role, after: &Role) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(before.uid.0))
        .filter(Column::Version.eq(before.version));
    tx.guard(update.into_query(), CONSTRAINTS);
}

/// Takes a role away.
pub fn delete(tx: &Tx, scope: &Scope<OrganizationRef>, role: &Role) {
    let delete = Entity::delete_many()
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(role.uid.0))
        .filter(Column::Version.eq(role.version));
    tx.guard(delete.into_query(), CONSTRAINTS);
}

/// The role of the scope's organization with this id, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>, id: &str) -> Result<Role> {
    let row = by_id(scope.organization(), id).one(tx).await.map_err(db_error)?;
    row.map(Role::from).ok_or_else(|| not_found(scope.organization(), id))
}

/// How many roles of its own the scope's organization has.
pub async fn count(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<u64> {
    in_organization(scope.organization()).count(tx).await.map_err(db_error)
}

/// What the organization's own roles in these grants give. NOT_FOUND for a role that there is not.
pub async fn of_grants<'g>(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    grants: impl IntoIterator<Item = &'g Grants>,
) -> Result<CustomRoles> {
    let mut ids: Vec<&str> = grants.into_iter().flat_map(Grants::custom_roles).collect();
    ids.sort_unstable();
    ids.dedup();
    let organization = scope.organization();
    let rows = match select_custom(organization.uid, &ids) {
        Some(select) => select.all(tx).await.map_err(db_error)?,
        None => Vec::new(),
    };
    let custom = custom_roles(rows);
    match ids.into_iter().find(|id| !custom.contains_key(*id)) {
        Some(missing) => Err(not_found(organization, missing)),
        None => Ok(custom),
    }
}

/// The rows of an organization's own roles with these ids; None: it needs none.
pub(super) fn select_custom(organization: Uid, ids: &[&str]) -> Option<Select<Entity>> {
    let select = || Entity::find().filter(Column::OrganizationUid.eq(organization.0));
    (!ids.is_empty()).then(|| select().filter(Column::Id.is_in(ids.iter().copied())))
}

pub(super) fn custom_roles(rows: Vec<Model>) -> CustomRoles {
    rows.into_iter()
        .map(|row| (row.id, row.permissions.permissions()))
        .collect()
}

/// The role of the scope's organization with this id.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, id: &str) -> Result<Answer<Role>> {
    let found = reader.one(by_id(scope.organization(), id)).await?;
    found.try_map(|row| row.map(Role::from).ok_or_else(|| not_found(scope.organization(), id)))
}

/// At most `limit` roles of the scope's organization after an id, by id.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    after: Option<&str>,
    limit: u64,
) -> Result<Answer<Vec<Role>>> {
    let mut select = in_organization(scope.organization())
        .order_by_asc(Column::Id)
        .limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Id.gt(after));
    }
    let rows = reader.all(select).await?;
    Ok(rows.map(|rows| rows.into_iter().map(Role::from).collect()))
}

/// Takes roles of a purged organization away, as many as one unit may; answers whether there are more.
pub async fn erase(tx: &Tx, _erasure: &Erasure, organization: Uid) -> Result<bool> {
    let some = Entity::find()
        .select_only()
        .column(Column::Uid)
        .filter(Column::OrganizationUid.eq(organization.0))
        .limit(erasure::MOST_ROWS);
    let delete = Entity::delete_many().filter(Column::Uid.in_subquery(some.into_query()));
    let deleted = delete.exec(tx).await.map_err(db_error)?;
    Ok(deleted.rows_affected == erasure::MOST_ROWS)
}

fn in_organization(organization: &OrganizationRef) -> Select<Entity> {
    Entity::find().filter(Column::OrganizationUid.eq(organization.uid.0))
}

fn by_id(organization: &OrganizationRef, id: &str) -> Select<Entity> {
    in_organization(organization).filter(Column::Id.eq(id))
}

fn not_found(organization: &OrganizationRef, id: &str) -> Error {
    Error::not_found("Role", role_name(organization, id))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        Entity::find().filter(Column::OrganizationUid.not_in_subquery(erasure::organizations()))
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let role = Role::from(row);
        let change = Change::snapshot(&api::Role::from(&role));
        Ok(Snapshot::in_organization(role.uid, role.organization, change))
    }
}

impl From<&Role> for Model {
    fn from(role: &Role) -> Self {
        let organization = &role.organization;
        Self {
            uid: role.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            id: role.id.clone(),
            version: role.version,
            create_time: role.create_time.0,
            update_time: role.update_time.0,
            title: role.title.clone(),
            permissions: Texts::of_permissions(&role.permissions),
        }
    }
}

impl From<Model> for Role {
    fn from(row: Model) -> Self {
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        Self {
            uid: Uid(row.uid),
            organization,
            id: row.id,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            title: row.title,
            permissions: row.permissions.permissions(),
        }
    }
}

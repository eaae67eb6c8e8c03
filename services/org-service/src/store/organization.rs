//! Organizations in the database.

use super::erasure::Erasure;
use crate::domain::logo::{ContentType, Logo};
use crate::domain::organization::{Limits, Organization, Suspension};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::organization::State;
use clientele_api::permission::Effective;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::jobs::JobScope;
use clientele_store::search::{self, Findings, Index, Keys, Place, Text};
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Db, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{self, DynIden, ExprTrait, IntoIden, SelectStatement};
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, IntoActiveModel, Iterable, Order, QueryOrder, QuerySelect, Select,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An organization.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// The id of its workspace, which never changes.
    pub workspace_id: String,
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
    /// The agency's own id of the customer.
    pub external_id: Option<String>,
    /// Where to write to the customer.
    pub contact_email: Option<String>,
    /// An object of texts.
    pub annotations: Json,
    /// NULL: no limit.
    pub max_members: Option<i32>,
    /// NULL: no limit.
    pub max_teams: Option<i32>,
    /// NULL: no limit.
    pub max_pending_invitations: Option<i32>,
    /// NULL: no limit.
    pub max_agents: Option<i32>,
    /// Whether its users may sign in.
    pub client_access_enabled: bool,
    /// Whether its users may edit it.
    pub self_edit_enabled: bool,
    /// NULL: no logo.
    pub logo_content_type: Option<String>,
    /// In pixels.
    pub logo_width: Option<i32>,
    /// In pixels.
    pub logo_height: Option<i32>,
    /// In bytes.
    pub logo_size: Option<i32>,
    /// Of the bytes: where the object is.
    pub logo_sha256: Option<Vec<u8>>,
    /// NULL: not suspended.
    pub suspend_time: Option<i64>,
    /// By whom.
    pub suspend_actor: Option<String>,
    /// Why.
    pub suspend_reason: Option<String>,
    /// NULL: not deleted.
    pub delete_time: Option<i64>,
    /// When it will be purged.
    pub purge_time: Option<i64>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[
    Constraint {
        postgres: "organizations_name",
        sqlite: "organizations.workspace_uid, organizations.id",
        field: "organization_id",
        reason: ErrorReason::ResourceExists,
        message: "an organization with this id exists: choose another id",
    },
    Constraint {
        postgres: "organizations_external_id",
        sqlite: "organizations.workspace_uid, organizations.external_id",
        field: "organization.external_id",
        reason: ErrorReason::ExternalIdTaken,
        message: "another organization of the workspace has this external id",
    },
    Constraint {
        postgres: "organizations_workspace_uid_fkey",
        sqlite: "FOREIGN KEY",
        field: "",
        reason: ErrorReason::ResourceNotFound,
        message: "the workspace was deleted at the same time",
    },
];

/// Which organizations of a workspace, and in which order.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Deleted ones too.
    pub show_deleted: bool,
    /// All of these must hold.
    pub terms: Vec<Term>,
    /// By display name; else by creation.
    pub by_display_name: bool,
    /// From the end.
    pub descending: bool,
}

/// What must hold of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// It is in this state.
    State(State),
    /// It has this external id.
    ExternalId(String),
    /// It has this contact email.
    ContactEmail(String),
    /// Its users may sign in, or may not.
    ClientAccessEnabled(bool),
}

/// Where a page goes on: behind this organization.
#[derive(Debug, Clone)]
pub struct After {
    /// Its uid.
    pub uid: Uid,
    /// Its display name, where that is the order.
    pub display_name: String,
}

/// What organizations are found by.
pub const SEARCH: Index = Index { table: "organizations" };

/// What is read of an organization to see how well it fits a search.
#[derive(Debug, FromQueryResult)]
pub struct Searched {
    uid: Uuid,
    id: String,
    display_name: String,
    external_id: Option<String>,
    contact_email: Option<String>,
}

impl Searched {
    /// What is searched of it.
    pub fn text(&self) -> Text<'_> {
        let others = [&self.external_id, &self.contact_email];
        let ids = [self.id.as_str()].into_iter();
        Text {
            uid: Uid(self.uid),
            title: &self.display_name,
            ids: ids.chain(others.into_iter().flatten().map(String::as_str)).collect(),
            others: Vec::new(),
            prose: None,
        }
    }
}

/// Inserts an organization.
pub fn insert(tx: &Tx, _scope: &Scope<WorkspaceRef>, organization: &Organization) {
    let (columns, values): (Vec<DynIden>, Vec<Expr>) = written(organization, tx.get_database_backend()).unzip();
    let mut insert = sea_query::Query::insert();
    // As many values as columns: it does not panic.
    insert.into_table(Entity).columns(columns).values_panic(values);
    tx.write(insert, CONSTRAINTS);
}

/// Organizations, without what is left of those that were purged.
pub fn present() -> Select<Entity> {
    Entity::find().filter(purged().not())
}

/// What is left of an organization that was purged.
pub(super) fn purged() -> Expr {
    Column::DeleteTime.is_not_null().and(Column::PurgeTime.is_null())
}

fn of_scope(scope: &Scope<OrganizationRef>) -> Select<Entity> {
    present().filter(Column::Uid.eq(scope.organization().uid.0))
}

/// An organization that is to be purged: by a call that was admitted, or by the job.
#[derive(Debug, Clone)]
pub struct Doomed(OrganizationRef);

impl Doomed {
    /// The organization of a call that purges it.
    pub fn named(scope: &Scope<OrganizationRef>) -> Self {
        Self(scope.organization().clone())
    }

    /// The organization.
    pub fn organization(&self) -> &OrganizationRef {
        &self.0
    }
}

/// At most `limit` organizations that are due to be purged, those first that are due longest.
pub async fn due(_scope: &JobScope, db: &Db, now: Micros, limit: u64) -> Result<Vec<Doomed>> {
    let due = present()
        .filter(Column::PurgeTime.lte(now.0))
        .order_by_asc(Column::PurgeTime)
        .limit(limit);
    let rows = due.all(db.read()).await.map_err(db_error)?;
    let organizations = rows.into_iter().map(Organization::try_from);
    organizations
        .map(|organization| organization.map(|organization| Doomed(organization.reference())))
        .collect()
}

/// The organization that is to be purged, which no other unit changes or locks until this one has ended.
pub async fn lock_doomed(tx: &Tx, doomed: &Doomed) -> Result<Organization> {
    let organization = doomed.organization();
    let select = present().filter(Column::Uid.eq(organization.uid.0)).lock_exclusive();
    let row = select.one(tx).await.map_err(db_error)?;
    row.map(Organization::try_from)
        .transpose()?
        .ok_or_else(|| Error::not_found("Organization", organization.name()))
}

/// Writes what is left of an organization over it, in a unit that has locked it.
pub fn purge(tx: &Tx, _doomed: &Doomed, remains: &Organization) {
    let mut update = sea_query::Query::update();
    update
        .table(Entity)
        .values(written(remains, tx.get_database_backend()))
        .and_where(Column::Uid.eq(remains.uid.0));
    tx.write(update, CONSTRAINTS);
}

/// Locks these organizations for a unit that takes something out of them; those that exist, purged ones not.
pub async fn lock_for_erasure(tx: &Tx, _erasure: &Erasure, organizations: &BTreeSet<Uid>) -> Result<Vec<Uid>> {
    let select = present()
        .filter(Column::Uid.is_in(organizations.iter().map(|uid| uid.0)))
        .order_by_asc(Column::Uid)
        .lock_exclusive();
    let rows = select.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(|row| Uid(row.uid)).collect())
}

/// Takes away what is left of the organization of an erasure, to which nothing refers any more.
pub async fn erase(tx: &Tx, _erasure: &Erasure, organization: Uid) -> Result<()> {
    let delete = Entity::delete_by_id(organization.0);
    delete.exec(tx).await.map(drop).map_err(db_error)
}

/// How many organizations the scope's workspace has, deleted ones too.
pub async fn count(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<u64> {
    let organizations = present().filter(Column::WorkspaceUid.eq(scope.workspace().uid.0));
    organizations.count(tx).await.map_err(db_error)
}

/// Writes the next version of an organization over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Organization, after: &Organization) {
    let mut update = sea_query::Query::update();
    update
        .table(Entity)
        .values(written(after, tx.get_database_backend()))
        .and_where(Column::Uid.eq(scope.organization().uid.0))
        .and_where(Column::Version.eq(before.version));
    tx.guard(update, CONSTRAINTS);
}

/// All columns with their values; with the keys of the search, which are no part of the model: they are many, and nobody reads them.
fn written(organization: &Organization, backend: DbBackend) -> impl Iterator<Item = (DynIden, Expr)> {
    let searched = Searched {
        uid: organization.uid.0,
        id: organization.id.clone(),
        display_name: organization.display_name.clone(),
        external_id: organization.external_id.clone(),
        contact_email: organization.contact_email.clone(),
    };
    let keys = Keys::of(organization.workspace.uid, &searched.text()).value(backend);
    let row = Model::from(organization).into_active_model();
    let columns = Column::iter().filter_map(move |column| {
        let value = row.get(column).into_value()?;
        Some((column.into_iden(), Expr::val(value)))
    });
    columns.chain([(SEARCH.column().into_iden(), keys)])
}

/// The organization of the scope, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<Organization> {
    let organization = scope.organization();
    let row = of_scope(scope).one(tx).await.map_err(db_error)?;
    row.map(Organization::try_from)
        .transpose()?
        .ok_or_else(|| Error::not_found("Organization", organization.name()))
}

/// The organization of the scope, which no other unit locks until this one has ended: what changes or counts its members, roles,
/// invitations and teams goes one after the other. SQLite has one writer anyway. A client user must still be allowed what it was
/// admitted for; what it may give is answered, None for those who may give everything.
pub async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<(Organization, Option<Effective>)> {
    let organization = scope.organization();
    let select = of_scope(scope).lock_exclusive();
    let row = select.one(tx).await.map_err(db_error)?;
    let row = row.ok_or_else(|| Error::not_found("Organization", organization.name()))?;
    let locked = Organization::try_from(row)?;
    locked.require_not_deleted()?;
    Ok((locked, super::standing::confirm(tx, scope).await?))
}

/// The organization of the scope.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>) -> Result<Answer<Organization>> {
    let organization = scope.organization();
    let found = reader.one(of_scope(scope)).await?;
    found.try_map(|row| {
        row.map(Organization::try_from)
            .transpose()?
            .ok_or_else(|| Error::not_found("Organization", organization.name()))
    })
}

/// At most `limit` organizations of the scope's workspace.
pub async fn list(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    query: &Query,
    after: Option<&After>,
    limit: u64,
) -> Result<Answer<Vec<Organization>>> {
    let mut select = ordered(query, after)
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .limit(limit);
    if !query.show_deleted {
        select = select.filter(Column::DeleteTime.is_null());
    }
    for term in &query.terms {
        select = restrict(select, term);
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Organization::try_from).collect())
}

/// The organizations of the scope's workspace that fit what was typed, the best first.
pub async fn search(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    typed: &str,
    show_deleted: bool,
) -> Result<Answer<Findings<Searched>>> {
    let Some(query) = search::Query::new(scope.workspace().uid, typed) else {
        return Ok(Answer {
            value: Findings::default(),
            revision: reader.revision_now().await?,
        });
    };
    SEARCH
        .find(reader, &query, &searched(show_deleted), Searched::text)
        .await
}

/// Reads what a search reads of organizations.
pub fn searched(show_deleted: bool) -> SelectStatement {
    let mut select = sea_query::Query::select();
    select.columns(
        [
            Column::Uid,
            Column::Id,
            Column::DisplayName,
            Column::ExternalId,
            Column::ContactEmail,
        ]
        .map(|column| column.as_column_ref()),
    );
    if !show_deleted {
        select.and_where(Column::DeleteTime.is_null());
    }
    select
}

/// The organizations at these places, in this order; without those that are gone meanwhile.
pub async fn read_found(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    places: &[Place],
    show_deleted: bool,
) -> Result<Answer<Vec<(Place, Organization)>>> {
    let mut select = present()
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .filter(Column::Uid.is_in(places.iter().map(|place| place.uid().0)));
    if !show_deleted {
        select = select.filter(Column::DeleteTime.is_null());
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| {
        let organizations = rows
            .into_iter()
            .map(|row| Ok((Uid(row.uid), Organization::try_from(row)?)));
        let mut organizations: HashMap<Uid, Organization> = organizations.collect::<Result<_>>()?;
        let found = places
            .iter()
            .filter_map(|place| Some((place.clone(), organizations.remove(&place.uid())?)));
        Ok(found.collect())
    })
}

fn restrict(select: Select<Entity>, term: &Term) -> Select<Entity> {
    match term {
        Term::State(State::Deleted) => select.filter(Column::DeleteTime.is_not_null()),
        Term::State(State::Suspended) => select
            .filter(Column::DeleteTime.is_null())
            .filter(Column::SuspendTime.is_not_null()),
        Term::State(State::Active | State::Unspecified) => select
            .filter(Column::DeleteTime.is_null())
            .filter(Column::SuspendTime.is_null()),
        Term::ExternalId(id) => select.filter(Column::ExternalId.eq(id.as_str())),
        Term::ContactEmail(email) => select.filter(Column::ContactEmail.eq(email.as_str())),
        Term::ClientAccessEnabled(enabled) => select.filter(Column::ClientAccessEnabled.eq(*enabled)),
    }
}

fn ordered(query: &Query, after: Option<&After>) -> Select<Entity> {
    let order = if query.descending { Order::Desc } else { Order::Asc };
    let mut select = present();
    if query.by_display_name {
        select = select.order_by(Column::DisplayName, order.clone());
    }
    select = select.order_by(Column::Uid, order);
    let Some(after) = after else { return select };
    let (key, value) = if query.by_display_name {
        let columns = Expr::tuple([Column::DisplayName.into_expr(), Column::Uid.into_expr()]);
        (
            columns,
            Expr::tuple([Expr::val(after.display_name.as_str()), Expr::val(after.uid.0)]),
        )
    } else {
        (Column::Uid.into_expr(), Expr::val(after.uid.0))
    };
    select.filter(if query.descending { key.lt(value) } else { key.gt(value) })
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::Uid);

    fn present() -> Select<Self> {
        present()
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let organization = Organization::try_from(row)?;
        Ok(Snapshot {
            uid: organization.uid,
            workspace: Some(organization.workspace.clone()),
            organization: Some(organization.reference()),
            change: Change::snapshot(&api::Organization::from(&organization)),
        })
    }
}

impl From<&Organization> for Model {
    fn from(organization: &Organization) -> Self {
        let logo = organization.logo.as_ref();
        let suspension = organization.suspension.as_ref();
        let annotations = organization
            .annotations
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()));
        Self {
            uid: organization.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            id: organization.id.clone(),
            version: organization.version,
            create_time: organization.create_time.0,
            update_time: organization.update_time.0,
            display_name: organization.display_name.clone(),
            external_id: organization.external_id.clone(),
            contact_email: organization.contact_email.clone(),
            annotations: Json::Object(annotations.collect()),
            max_members: organization.limits.max_members,
            max_teams: organization.limits.max_teams,
            max_pending_invitations: organization.limits.max_pending_invitations,
            max_agents: organization.limits.max_agents,
            client_access_enabled: organization.client_access_enabled,
            self_edit_enabled: organization.self_edit_enabled,
            logo_content_type: logo.map(|logo| logo.content_type.as_str().to_owned()),
            logo_width: logo.map(|logo| logo.width),
            logo_height: logo.map(|logo| logo.height),
            logo_size: logo.map(|logo| logo.size),
            logo_sha256: logo.map(|logo| logo.sha256.to_vec()),
            suspend_time: suspension.map(|suspension| suspension.time.0),
            suspend_actor: suspension.map(|suspension| suspension.actor.clone()),
            suspend_reason: suspension.map(|suspension| suspension.reason.clone()),
            delete_time: organization.delete_time.map(|time| time.0),
            purge_time: organization.purge_time.map(|time| time.0),
        }
    }
}

impl TryFrom<Model> for Organization {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let logo = logo(&row)?;
        let annotations: BTreeMap<String, String> = match row.annotations {
            Json::Object(object) => object
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
                .collect(),
            _ => return Err(Error::internal("the annotations of an organization are no object")),
        };
        let suspension = row.suspend_time.map(|time| Suspension {
            reason: row.suspend_reason.unwrap_or_default(),
            actor: row.suspend_actor.unwrap_or_default(),
            time: Micros(time),
        });
        Ok(Self {
            uid: Uid(row.uid),
            workspace: WorkspaceRef {
                uid: Uid(row.workspace_uid),
                id: row.workspace_id,
            },
            id: row.id,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            display_name: row.display_name,
            external_id: row.external_id,
            contact_email: row.contact_email,
            annotations,
            limits: Limits {
                max_members: row.max_members,
                max_teams: row.max_teams,
                max_pending_invitations: row.max_pending_invitations,
                max_agents: row.max_agents,
            },
            client_access_enabled: row.client_access_enabled,
            self_edit_enabled: row.self_edit_enabled,
            logo,
            suspension,
            delete_time: row.delete_time.map(Micros),
            purge_time: row.purge_time.map(Micros),
        })
    }
}

fn logo(row: &Model) -> Result<Option<Logo>> {
    let Some(content_type) = &row.logo_content_type else {
        return Ok(None);
    };
    let damaged = || Error::internal("the logo columns of an organization are incomplete");
    Ok(Some(Logo {
        content_type: ContentType::parse(content_type).map_err(|_| damaged())?,
        width: row.logo_width.ok_or_else(damaged)?,
        height: row.logo_height.ok_or_else(damaged)?,
        size: row.logo_size.ok_or_else(damaged)?,
        sha256: row
            .logo_sha256
            .as_deref()
            .and_then(|hash| hash.try_into().ok())
            .ok_or_else(damaged)?,
    }))
}

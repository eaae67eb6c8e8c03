//! Members in the database. Who was removed keeps its row, so that it can come back as the same.

use super::erasure::{self, Erasure};
use super::{Texts, user};
use crate::domain::grants::Grants;
use crate::domain::member::{Member, Notification, member_name};
use crate::domain::user::email_key;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::org::member::State;
use clientele_api::permission::ORG_ADMIN;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::ActiveValue::NotSet;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SelectStatement};
use sea_orm::{FromQueryResult, IntoActiveModel, JoinType, QueryOrder, QuerySelect, QueryTrait};
use std::collections::BTreeSet;

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "members")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace of both.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// The organization.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// The user.
    pub user_uid: Uuid,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The ids of its roles.
    #[sea_orm(column_type = "JsonBinary")]
    pub roles: Texts,
    /// What it may do besides.
    #[sea_orm(column_type = "JsonBinary")]
    pub permissions: Texts,
    /// The number of `Member.Notification.Through`.
    pub notify_through: i32,
    /// The number of `Member.Notification.About`.
    pub notify_about: i32,
    /// The number of `Member.State`.
    pub state: i32,
    /// Whether it is there. No part of any version: written by [`set_presence`] only.
    pub online: bool,
}

/// A member is a user's.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Who it is.
    #[sea_orm(belongs_to = "user::Entity", from = "Column::UserUid", to = "user::Column::Uid")]
    User,
}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "members_user",
    sqlite: "members.organization_uid, members.user_uid",
    field: "",
    reason: ErrorReason::Contention,
    message: "another call added this member at the same time: try again",
}];

/// A member, and what belongs to no version of it.
#[derive(FromQueryResult)]
struct Row {
    #[sea_orm(nested)]
    member: Model,
    email: String,
    display_name: String,
    photo_uri: String,
}

/// What must hold of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// It is in this state.
    State(State),
    /// It has the role with this id.
    Role(String),
    /// It has this email, whatever its case.
    Email(String),
}

/// Which members of an organization.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Removed ones too.
    pub show_removed: bool,
    /// Whether removed ones are found by who they are.
    pub people_of_removed: bool,
    /// This one and nobody else.
    pub only: Option<Uid>,
    /// All of these must hold.
    pub terms: Vec<Term>,
}

/// Inserts members, if there are any.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, members: &[Member]) {
    if !members.is_empty() {
        let models = members.iter().map(|member| Model::from(member).into_active_model());
        tx.write(Entity::insert_many(models).into_query(), CONSTRAINTS);
    }
}

/// Writes the next version of a member over the one before, in a unit that has locked its organization.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, after: &Member) {
    let mut set = Model::from(after).into_active_model().reset_all();
    if after.present() {
        set.online = NotSet;
    }
    let update = Entity::update_many().set(set).filter(Column::Uid.eq(after.uid.0));
    let update = update.filter(Column::OrganizationUid.eq(scope.organization().uid.0));
    tx.write(update.into_query(), CONSTRAINTS);
}

/// Says whether a member is there.
pub fn set_presence(tx: &Tx, scope: &Scope<OrganizationRef>, member: &Member, online: bool) {
    let update = Entity::update_many()
        .col_expr(Column::Online, Expr::value(online))
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(member.uid.0));
    tx.guard(update.into_query(), CONSTRAINTS); // who was erased meanwhile is not told of
}

/// The member of the scope's organization that is this user, with the person and whether it is there.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>, user: Uid) -> Result<(Member, api::Person, bool)> {
    let query = with_person(in_organization(scope).filter(Column::UserUid.eq(user.0)));
    let row = Row::find_by_statement(tx.get_database_backend().build(&query));
    let row = row.one(tx).await.map_err(db_error)?;
    row.map(Row::split)
        .transpose()?
        .ok_or_else(|| not_found(scope.organization(), user))
}

/// The members of the scope's organization that are these users, in any order, removed ones too; those that it has.
pub async fn read_all(tx: &Tx, scope: &Scope<OrganizationRef>, users: &[Uid]) -> Result<Vec<Member>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let rows = in_organization(scope).filter(Column::UserUid.is_in(users.iter().map(|uid| uid.0)));
    let rows = rows.all(tx).await.map_err(db_error)?;
    rows.into_iter().map(Member::try_from).collect()
}

/// How many members the scope's organization has.
pub async fn count(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<u64> {
    let removed = i32::from(State::Removed);
    let present = in_organization(scope).filter(Column::State.ne(removed));
    present.count(tx).await.map_err(db_error)
}

/// How many members of the scope's organization hold the role with this id.
pub async fn count_with_role(tx: &Tx, scope: &Scope<OrganizationRef>, role: &str) -> Result<u64> {
    holding(in_organization(scope), role).count(tx).await.map_err(db_error)
}

/// Whether the scope's organization has an active org admin, whose user is not disabled, besides this member.
pub async fn has_other_org_admin(tx: &Tx, scope: &Scope<OrganizationRef>, member: &Member) -> Result<bool> {
    let others = holding(in_organization(scope), ORG_ADMIN)
        .join(JoinType::InnerJoin, Relation::User.def())
        .filter(user::Column::Disabled.eq(false))
        .filter(Column::State.eq(i32::from(State::Active)))
        .filter(Column::Uid.ne(member.uid.0));
    let other = others.select_only().column(Column::Uid).into_tuple::<Uuid>();
    Ok(other.one(tx).await.map_err(db_error)?.is_some())
}

/// The member of the scope's organization that is this user.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, user: Uid) -> Result<Answer<api::Member>> {
    let query = with_person(in_organization(scope).filter(Column::UserUid.eq(user.0)));
    let found = reader.one_of::<Row>(query).await?;
    found.try_map(|row| {
        let row = row.ok_or_else(|| not_found(scope.organization(), user))?;
        row.seen()
    })
}

/// At most `limit` members of the scope's organization after a uid, in the order in which they first became members.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    query: &Query,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<api::Member>>> {
    let mut select = in_organization(scope).order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    if let Some(only) = query.only {
        select = select.filter(Column::UserUid.eq(only.0));
    }
    if !query.show_removed {
        select = select.filter(Column::State.ne(i32::from(State::Removed)));
    }
    for term in &query.terms {
        select = match term {
            Term::State(state) => select.filter(Column::State.eq(i32::from(*state))),
            Term::Role(role) => holding(select, role),
            Term::Email(email) => {
                let named = select.filter(user::Column::EmailKey.eq(email_key(email)));
                match query.people_of_removed {
                    true => named,
                    false => named.filter(Column::State.ne(i32::from(State::Removed))),
                }
            }
        };
    }
    let rows = reader.all_of::<Row>(with_person(select)).await?;
    rows.try_map(|rows| rows.into_iter().map(Row::seen).collect())
}

/// At most `limit` members of an organization that is purged, removed ones too: the uids of the members and of their users.
pub async fn of_purged(tx: &Tx, _erasure: &Erasure, organization: Uid, limit: u64) -> Result<Vec<(Uid, Uid)>> {
    let rows = Entity::find()
        .select_only()
        .columns([Column::Uid, Column::UserUid])
        .filter(Column::OrganizationUid.eq(organization.0))
        .order_by_asc(Column::UserUid)
        .limit(limit);
    let rows: Vec<(Uuid, Uuid)> = rows.into_tuple().all(tx).await.map_err(db_error)?;
    Ok(rows
        .into_iter()
        .map(|(member, user)| (Uid(member), Uid(user)))
        .collect())
}

/// Those of these users who are present members of an organization that is not being purged.
pub async fn present_elsewhere(tx: &Tx, _erasure: &Erasure, users: &[Uid]) -> Result<BTreeSet<Uid>> {
    let rows = present_somewhere()
        .select_only()
        .column(Column::UserUid)
        .filter(Column::UserUid.is_in(users.iter().map(|uid| uid.0)));
    let rows: Vec<Uuid> = rows.into_tuple().all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(Uid).collect())
}

/// Members who are not removed, of organizations that are not being purged.
pub(super) fn present_somewhere() -> Select<Entity> {
    Entity::find()
        .filter(Column::State.ne(i32::from(State::Removed)))
        .filter(Column::OrganizationUid.not_in_subquery(erasure::organizations()))
}

/// A user of the erasure who is still a member of something, and be it a removed one.
pub async fn next_erased(tx: &Tx, erasure: &Erasure) -> Result<Option<Uid>> {
    let rows = Entity::find()
        .select_only()
        .column(Column::UserUid)
        .filter(Column::UserUid.in_subquery(erasure.users()));
    let row: Option<Uuid> = rows.into_tuple().one(tx).await.map_err(db_error)?;
    Ok(row.map(Uid))
}

/// At most `limit` organizations that the user is a member of, or was.
pub async fn organizations_of(tx: &Tx, _erasure: &Erasure, user: Uid, limit: u64) -> Result<BTreeSet<Uid>> {
    let rows = Entity::find()
        .select_only()
        .column(Column::OrganizationUid)
        .filter(Column::UserUid.eq(user.0))
        .order_by_asc(Column::OrganizationUid)
        .limit(limit);
    let rows: Vec<Uuid> = rows.into_tuple().all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(Uid).collect())
}

/// The members of these organizations who are this user.
pub async fn of_user(tx: &Tx, _erasure: &Erasure, user: Uid, organizations: &BTreeSet<Uid>) -> Result<Vec<Member>> {
    let rows = Entity::find()
        .filter(Column::UserUid.eq(user.0))
        .filter(Column::OrganizationUid.is_in(organizations.iter().map(|uid| uid.0)))
        .order_by_asc(Column::OrganizationUid);
    let rows = rows.all(tx).await.map_err(db_error)?;
    rows.into_iter().map(Member::try_from).collect()
}

/// Takes members away for good.
pub fn erase(tx: &Tx, _erasure: &Erasure, members: &[Uid]) {
    let delete = Entity::delete_many().filter(Column::Uid.is_in(members.iter().map(|uid| uid.0)));
    tx.write(delete.into_query(), CONSTRAINTS);
}

fn in_organization(scope: &Scope<OrganizationRef>) -> Select<Entity> {
    Entity::find().filter(Column::OrganizationUid.eq(scope.organization().uid.0))
}

fn holding(select: Select<Entity>, role: &str) -> Select<Entity> {
    let roles = Column::Roles.into_expr().cast_as("text");
    select.filter(roles.like(Texts::holding(role)))
}

fn with_person(select: Select<Entity>) -> SelectStatement {
    select
        .join(JoinType::InnerJoin, Relation::User.def())
        .filter(user::is_somebody())
        .columns([user::Column::Email, user::Column::DisplayName, user::Column::PhotoUri])
        .into_query()
}

/// NOT_FOUND for a member.
pub fn not_found(organization: &OrganizationRef, user: Uid) -> Error {
    Error::not_found("Member", member_name(organization, user))
}

impl Row {
    fn split(self) -> Result<(Member, api::Person, bool)> {
        let online = self.member.online;
        let person = api::Person {
            email: self.email,
            display_name: self.display_name,
            photo_uri: self.photo_uri,
        };
        Ok((self.member.try_into()?, person, online))
    }

    fn seen(self) -> Result<api::Member> {
        let (member, person, online) = self.split()?;
        Ok(member.seen(person, online))
    }
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        Entity::find().filter(Column::OrganizationUid.not_in_subquery(erasure::organizations()))
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let member = Member::try_from(row)?;
        let change = Change::snapshot(&api::Member::from(&member));
        Ok(Snapshot::in_organization(member.uid, member.organization, change))
    }
}

impl From<&Member> for Model {
    fn from(member: &Member) -> Self {
        let organization = &member.organization;
        Self {
            uid: member.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            user_uid: member.user.0,
            version: member.version,
            create_time: member.create_time.0,
            update_time: member.update_time.0,
            roles: Texts(member.grants.roles.clone()),
            permissions: Texts::of_permissions(&member.grants.permissions),
            notify_through: member.notification.through.into(),
            notify_about: member.notification.about.into(),
            state: member.state.into(),
            online: false,
        }
    }
}

impl TryFrom<Model> for Member {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let unknown = |_| Error::internal("a member has a value that this version does not know");
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        Ok(Self {
            uid: Uid(row.uid),
            organization,
            user: Uid(row.user_uid),
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            grants: Grants {
                permissions: row.permissions.permissions(),
                roles: row.roles.0,
            },
            notification: Notification {
                through: row.notify_through.try_into().map_err(unknown)?,
                about: row.notify_about.try_into().map_err(unknown)?,
            },
            state: row.state.try_into().map_err(unknown)?,
        })
    }
}

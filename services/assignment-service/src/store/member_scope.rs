//! Scopes of members in the database. Who never was given one has no row.

use crate::domain::member_scope::{Agents, Listed, MemberScope};
use crate::store::assignment;
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::members;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Cond, ExprTrait, JoinType, Query, SelectStatement};
use sea_orm::{FromJsonQueryResult, FromQueryResult, IntoActiveModel, Order, QuerySelect, QueryTrait};
use serde::{Deserialize, Serialize};

/// A scope that was set.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "member_scopes")]
pub struct Model {
    /// The member's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// The organization.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// The user who is the member.
    pub user_uid: Uuid,
    /// Counts how often it was set.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds. Agents of the list that were assigned after that are not in it.
    pub update_time: i64,
    /// Whether it holds every agent.
    pub all_agents: bool,
    /// Otherwise these.
    #[sea_orm(column_type = "JsonBinary")]
    pub agents: AgentList,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Uids and ids of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct AgentList(Vec<(Uuid, String)>);

impl AgentList {
    /// Whether this agent is listed.
    pub fn holds(&self, agent: Uuid) -> bool {
        self.0.iter().any(|(uid, _)| *uid == agent)
    }
}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "member_scopes_pkey",
    sqlite: "member_scopes.uid",
    field: "",
    reason: ErrorReason::Contention,
    message: "another call set this scope at the same time: try again",
}];

/// A member, as far as its scope goes.
#[derive(Debug, Clone)]
pub struct Member {
    /// Whether it was removed from the organization.
    pub removed: bool,
    /// What it may use. An agent that was taken away since is in it no more.
    pub scope: MemberScope,
}

#[derive(FromQueryResult)]
struct Row {
    member_uid: Uuid,
    /// The number of `Member.State`.
    member_state: i32,
    #[sea_orm(nested)]
    scope: Option<Model>,
}

/// Writes a scope over the one that was there, if any, in a unit that has locked the organization.
pub fn write(tx: &Tx, _scope: &Scope<OrganizationRef>, after: &MemberScope) {
    let row = Model::from(after).into_active_model();
    if after.version == 1 {
        tx.write(Entity::insert(row).into_query(), CONSTRAINTS);
    } else {
        let update = Entity::update_many().set(row.reset_all());
        tx.write(update.filter(Column::Uid.eq(after.uid.0)).into_query(), CONSTRAINTS);
    }
}

/// The member of the scope's organization who is this user. None: it is not known to be or have been one.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, user: Uid) -> Result<Answer<Option<Member>>> {
    let found = reader.one_of::<Row>(select(scope.organization(), user)).await?;
    let Some(row) = found.value else {
        return Ok(found.map(|_| None));
    };
    let mut revision = found.revision;
    let held = match select_held(&row) {
        None => Vec::new(),
        Some(select) => {
            let held = reader.all_of::<Held>(select).await?;
            revision.merge(&held.revision);
            held.value
        }
    };
    let value = Some(row.member(scope.organization(), user, &held));
    Ok(Answer { value, revision })
}

/// The same, in a unit that has locked the organization.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>, user: Uid) -> Result<Member> {
    let (organization, backend) = (scope.organization(), tx.get_database_backend());
    let row = Row::find_by_statement(backend.build(&select(organization, user)));
    let row = row.one(tx).await.map_err(db_error)?;
    let row = row.ok_or_else(|| not_found(organization, user))?;
    let held = match select_held(&row) {
        None => Vec::new(),
        Some(select) => Held::find_by_statement(backend.build(&select))
            .all(tx)
            .await
            .map_err(db_error)?,
    };
    Ok(row.member(organization, user, &held))
}

/// NOT_FOUND for a member of this organization.
pub fn not_found(organization: &OrganizationRef, user: impl std::fmt::Display) -> Error {
    Error::not_found("Member", format!("{}/members/{user}", organization.name()))
}

/// Reads the latest time at which a scope of the organization was set; NULL: never.
pub(super) fn latest(organization: Uid) -> SelectStatement {
    Entity::find()
        .select_only()
        .expr(Column::UpdateTime.max())
        .filter(Column::OrganizationUid.eq(organization.0))
        .into_query()
}

/// Reads a member and its scope.
pub fn select(organization: &OrganizationRef, user: Uid) -> SelectStatement {
    let mut select = Query::select();
    select
        .expr_as(members::Column::Uid.into_expr(), "member_uid")
        .expr_as(members::Column::State.into_expr(), "member_state")
        .columns(<Column as sea_orm::Iterable>::iter().map(|column| column.as_column_ref()))
        .from(members::Entity)
        .join(JoinType::LeftJoin, Entity, of_member())
        .and_where(members::Column::OrganizationUid.eq(organization.uid.0))
        .and_where(members::Column::UserUid.eq(user.0))
        .and_where(members::Column::Id.is_not_null())
        .order_by(members::Column::Uid.as_column_ref(), Order::Desc)
        .limit(1);
    select
}

/// Joins the scope of a member.
pub(super) fn of_member() -> Cond {
    Cond::all().add(Column::Uid.into_expr().equals(members::Column::Uid.as_column_ref()))
}

/// An agent that is still in a scope.
#[derive(FromQueryResult)]
struct Held {
    agent_uid: Uuid,
}

/// None: it has no list.
fn select_held(row: &Row) -> Option<SelectStatement> {
    let scope = row.scope.as_ref();
    let listing = scope.filter(|scope| !scope.all_agents && !scope.agents.0.is_empty());
    listing.map(held)
}

/// Reads which of its list have been assigned all the time since it was set.
pub fn held(scope: &Model) -> SelectStatement {
    assignment::Entity::present()
        .select_only()
        .column(assignment::Column::AgentUid)
        .filter(assignment::Column::OrganizationUid.eq(scope.organization_uid))
        .filter(assignment::Column::AgentUid.is_in(scope.agents.0.iter().map(|(uid, _)| *uid)))
        .filter(assignment::Column::AssignTime.lte(scope.update_time))
        .into_query()
}

impl Row {
    fn member(self, organization: &OrganizationRef, user: Uid, held: &[Held]) -> Member {
        let scope = match self.scope {
            None => MemberScope::unset(Uid(self.member_uid), organization.clone(), user),
            Some(model) => {
                let mut scope = MemberScope::from(model);
                if let Agents::Listed(listed) = &mut scope.agents {
                    listed.retain(|agent| held.iter().any(|held| held.agent_uid == agent.uid.0));
                }
                scope
            }
        };
        Member {
            removed: self.member_state == i32::from(clientele_api::org::member::State::Removed),
            scope,
        }
    }
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn describe(row: Model) -> Result<Snapshot> {
        let scope = MemberScope::from(row);
        let change = Change::snapshot(&api::MemberScope::from(&scope));
        Ok(Snapshot::in_organization(scope.uid, scope.organization, change))
    }
}

impl From<&MemberScope> for Model {
    fn from(scope: &MemberScope) -> Self {
        let organization = &scope.organization;
        let listed = match &scope.agents {
            Agents::All => &[][..],
            Agents::Listed(listed) => listed,
        };
        Self {
            uid: scope.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            user_uid: scope.user.0,
            version: scope.version,
            create_time: scope.create_time.0,
            update_time: scope.update_time.0,
            all_agents: scope.agents == Agents::All,
            agents: AgentList(listed.iter().map(|agent| (agent.uid.0, agent.id.clone())).collect()),
        }
    }
}

impl From<Model> for MemberScope {
    fn from(row: Model) -> Self {
        let listed = |(uid, id)| Listed { uid: Uid(uid), id };
        let agents = match row.all_agents {
            true => Agents::All,
            false => Agents::Listed(row.agents.0.into_iter().map(listed).collect()),
        };
        Self {
            uid: Uid(row.uid),
            organization: OrganizationRef::of_row(
                (row.workspace_uid, row.workspace_id),
                (row.organization_uid, row.organization_id),
            ),
            user: Uid(row.user_uid),
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            agents,
        }
    }
}

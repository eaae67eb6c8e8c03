//! Assignments in the database. What was taken away keeps its row, so that it can come back as the same.

use super::{agent, member_scope};
use crate::domain::agent::Agent;
use crate::domain::assignment::Assignment;
use crate::domain::member_scope::Agents;
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::organizations;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{CaseStatement, ExprTrait, IntoCondition, LockType};
use sea_orm::{FromQueryResult, IntoActiveModel, JoinType, QueryOrder, QuerySelect, QueryTrait, SelectTwo};
use std::cmp::max;

/// An assignment.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "assignments")]
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
    /// The agent.
    pub agent_uid: Uuid,
    /// The id of the agent, which never changes.
    pub agent_id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// When the agent was assigned last, in microseconds.
    pub assign_time: i64,
    /// Where it stands among those of the organization.
    pub position: i64,
    /// What the organization calls the agent; empty: its title.
    pub alias: String,
    /// The agency's own note.
    pub note: String,
    /// Whether the agent was taken away.
    pub removed: bool,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "assignments_agent",
    sqlite: "assignments.organization_uid, assignments.agent_uid",
    field: "",
    reason: ErrorReason::Contention,
    message: "another call assigned this agent at the same time: try again",
}];

/// How many agents an organization is assigned, where the first and the last of them stand, and what time it is there.
#[derive(Debug, Clone, Copy, FromQueryResult)]
pub struct Places {
    /// How many.
    pub used: i64,
    /// The lowest position; none without any.
    pub first: Option<i64>,
    /// The highest position; none without any.
    pub last: Option<i64>,
    /// When an agent was assigned last.
    assigned_time: Option<i64>,
    /// When a scope of the organization was set last.
    scopes_time: Option<i64>,
}

impl Places {
    /// The time for what is assigned now: after all scopes that were set before, whatever the clocks of other replicas say.
    pub fn now(&self) -> Micros {
        let after = self.scopes_time.map_or(0, |time| time + 1);
        Micros(max(Micros::now().0, after))
    }

    /// The time for a scope that is set now: not before anything was assigned that it may hold.
    pub fn now_for_scope(&self) -> Micros {
        Micros(max(Micros::now().0, self.assigned_time.unwrap_or(0)))
    }
}

/// Where a page goes on: behind this assignment.
#[derive(Debug, Clone, Copy)]
pub struct After {
    /// Its position.
    pub position: i64,
    /// Its uid.
    pub uid: Uid,
}

/// Inserts assignments, if there are any.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, assignments: &[Assignment]) {
    if !assignments.is_empty() {
        let models = assignments.iter().map(|one| Model::from(one).into_active_model());
        tx.write(Entity::insert_many(models).into_query(), CONSTRAINTS);
    }
}

/// Writes the next version of an assignment over the one before, in a unit that has locked its organization.
pub fn update(tx: &Tx, _scope: &Scope<OrganizationRef>, after: &Assignment) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::Uid.eq(after.uid.0));
    tx.write(update.into_query(), CONSTRAINTS);
}

/// Writes other positions, with one statement, in a unit that has locked the organization.
pub fn reposition(tx: &Tx, scope: &Scope<OrganizationRef>, after: &[Assignment]) {
    let Some(one) = after.first() else {
        return;
    };
    let mut position = CaseStatement::new();
    for one in after {
        position = position.case(Column::Uid.eq(one.uid.0), one.position);
    }
    let update = Entity::update_many()
        .col_expr(Column::Position, position.into())
        .col_expr(Column::Version, Column::Version.into_expr().add(1))
        .col_expr(Column::UpdateTime, Expr::val(one.update_time.0))
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.is_in(after.iter().map(|one| one.uid.0)));
    tx.write(update.into_query(), CONSTRAINTS);
}

/// How many organizations are assigned the agent. Those that are purged are no more, whatever is still there of them.
pub async fn count_of_agent(tx: &Tx, _scope: &Scope<WorkspaceRef>, agent: &Agent) -> Result<u64> {
    of_agent(agent.uid).count(tx).await.map_err(db_error)
}

/// The agents of the workspace with these ids and, of those that ever were assigned to the organization, their assignments there. The
/// agents stay what they are until the unit has ended.
pub async fn find(
    tx: &Tx,
    _scope: &Scope<OrganizationRef>,
    organization: &OrganizationRef,
    agent_ids: &[&str],
) -> Result<Vec<(Agent, Option<Assignment>)>> {
    let rows = found(organization, agent_ids).all(tx).await.map_err(db_error)?;
    let pair =
        |(agent, assignment): (agent::Model, Option<Model>)| Ok((agent.try_into()?, assignment.map(Assignment::from)));
    rows.into_iter().map(pair).collect()
}

/// Reads what [`find`] finds.
pub fn found(organization: &OrganizationRef, agent_ids: &[&str]) -> SelectTwo<agent::Entity, Entity> {
    let uid = organization.uid.0;
    let assigned = agent::Entity::belongs_to(Entity)
        .from(agent::Column::Uid)
        .to(Column::AgentUid)
        .on_condition(move |_, _| Column::OrganizationUid.eq(uid).into_condition());
    let mut select = agent::by_ids(&organization.workspace, agent_ids)
        .join(JoinType::LeftJoin, assigned.into())
        // As whoever changes several locks them, and as the index has them: by uid, SQLite would read all agents of the workspace.
        .order_by_asc(agent::Column::Id)
        .select_also(Entity);
    QueryTrait::query(&mut select).lock_with_tables(LockType::Share, [agent::Entity]);
    select
}

/// All assignments of the scope's organization with these agents' ids.
pub async fn read_all(tx: &Tx, scope: &Scope<OrganizationRef>, agent_ids: &[&str]) -> Result<Vec<Assignment>> {
    let rows = of_agents(scope.organization().uid, agent_ids).all(tx).await;
    Ok(rows.map_err(db_error)?.into_iter().map(Assignment::from).collect())
}

/// Reads what [`read_all`] reads.
pub fn of_agents(organization: Uid, agent_ids: &[&str]) -> Select<Entity> {
    present(organization).filter(Column::AgentId.is_in(agent_ids.iter().copied()))
}

/// The places of an organization; where `others` are given, of all but those.
pub async fn places(tx: &Tx, _scope: &Scope<OrganizationRef>, organization: Uid, others: &[Uid]) -> Result<Places> {
    let select = counted(organization, others).into_model::<Places>();
    let places = select.one(tx).await.map_err(db_error)?;
    places.ok_or_else(|| Error::internal("an aggregate has no row"))
}

/// Reads what [`places`] tells.
pub fn counted(organization: Uid, others: &[Uid]) -> Select<Entity> {
    let mut select = present(organization)
        .select_only()
        .expr_as(Column::Uid.count(), "used")
        .expr_as(Column::Position.min(), "first")
        .expr_as(Column::Position.max(), "last")
        .expr_as(Column::AssignTime.max(), "assigned_time")
        .expr_as(Expr::from(member_scope::latest(organization)), "scopes_time");
    if !others.is_empty() {
        select = select.filter(Column::Uid.is_not_in(others.iter().map(|uid| uid.0)));
    }
    select
}

/// At most `limit` assignments of the scope's organization behind one, by position; only of these agents, if they are given.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    held: Option<&Agents>,
    after: Option<&After>,
    limit: u64,
) -> Result<Answer<Vec<Assignment>>> {
    let rows = reader.all(listed(scope.organization().uid, held, after, limit)).await?;
    Ok(rows.map(|rows| rows.into_iter().map(Assignment::from).collect()))
}

/// Reads what [`list`] lists.
pub fn listed(organization: Uid, held: Option<&Agents>, after: Option<&After>, limit: u64) -> Select<Entity> {
    let mut select = present(organization)
        .order_by_asc(Column::Position)
        .order_by_asc(Column::Uid)
        .limit(limit);
    if let Some(after) = after {
        let key = Expr::tuple([Column::Position.into_expr(), Column::Uid.into_expr()]);
        select = select.filter(key.gt(Expr::tuple([Expr::val(after.position), Expr::val(after.uid.0)])));
    }
    if let Some(Agents::Listed(listed)) = held {
        select = select.filter(Column::AgentUid.is_in(listed.iter().map(|agent| agent.uid.0)));
    }
    select
}

/// At most `limit` assignments of the agent with this id, to whatever organization, behind the one with a uid. An organization that was
/// purged has none.
pub async fn list_of_agent(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    agent_id: &str,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Assignment>>> {
    let agent = agent::uid(reader, scope.workspace(), agent_id).await?;
    let rows = reader.all(listed_of_agent(agent, after, limit)).await?;
    Ok(rows.map(|rows| rows.into_iter().map(Assignment::from).collect()))
}

/// Reads what [`list_of_agent`] lists.
pub fn listed_of_agent(agent: Uid, after: Option<Uid>, limit: u64) -> Select<Entity> {
    let mut select = of_agent(agent).order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    select
}

/// The assignments of an agent, which was found in its workspace: to ask for that once more, PostgreSQL might read all of the workspace's.
pub fn of_agent(agent: Uid) -> Select<Entity> {
    Entity::present()
        .filter(Column::AgentUid.eq(agent.0))
        .filter(of_known_organization())
}

/// Whether the organization of an assignment is not purged. Each is looked for by itself: as EXISTS, PostgreSQL might read all of them
/// instead.
pub(super) fn of_known_organization() -> Expr {
    let known = organizations::Entity::find()
        .select_only()
        .column(organizations::Column::Id)
        .filter(Expr::col(organizations::Column::Uid.as_column_ref()).equals(Column::OrganizationUid.as_column_ref()));
    Expr::from(known.into_query()).is_not_null()
}

/// Those of the organization that were not taken away.
fn present(organization: Uid) -> Select<Entity> {
    Entity::present().filter(Column::OrganizationUid.eq(organization.0))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        // As the index of agents has it.
        Self::find().filter(Column::Removed.into_expr().not())
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let assignment = Assignment::from(row);
        let change = Change::snapshot(&api::Assignment::from(&assignment));
        Ok(Snapshot::in_organization(
            assignment.uid,
            assignment.organization,
            change,
        ))
    }
}

impl From<&Assignment> for Model {
    fn from(assignment: &Assignment) -> Self {
        let organization = &assignment.organization;
        Self {
            uid: assignment.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            agent_uid: assignment.agent_uid.0,
            agent_id: assignment.agent_id.clone(),
            version: assignment.version,
            create_time: assignment.create_time.0,
            update_time: assignment.update_time.0,
            assign_time: assignment.assign_time.0,
            position: assignment.position,
            alias: assignment.alias.clone(),
            note: assignment.note.clone(),
            removed: assignment.removed,
        }
    }
}

impl From<Model> for Assignment {
    fn from(row: Model) -> Self {
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        Self {
            uid: Uid(row.uid),
            organization,
            agent_uid: Uid(row.agent_uid),
            agent_id: row.agent_id,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            assign_time: Micros(row.assign_time),
            position: row.position,
            alias: row.alias,
            note: row.note,
            removed: row.removed,
        }
    }
}

//! Assignments in the database. What was taken away keeps its row, so that it can come back as the same.

use super::agent;
use crate::domain::agent::Agent;
use crate::domain::assignment::Assignment;
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::{Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, IntoCondition};
use sea_orm::{IntoActiveModel, JoinType, QueryOrder, QuerySelect, QueryTrait};

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

/// How many agents an organization is assigned, and where the last of them stands.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// How many.
    pub used: i64,
    /// The highest position; 0 without any.
    pub last: i64,
}

/// Where a page goes on: behind this assignment.
#[derive(Debug, Clone, Copy)]
pub struct After {
    /// Its position.
    pub position: i64,
    /// Its uid.
    pub uid: Uid,
}

/// Inserts an assignment.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, assignment: &Assignment) {
    let insert = Entity::insert(Model::from(assignment).into_active_model());
    tx.write(insert.into_query(), CONSTRAINTS);
}

/// Writes the next version of an assignment over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Assignment, after: &Assignment) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(before.uid.0))
        .filter(Column::Version.eq(before.version));
    tx.guard(update.into_query(), CONSTRAINTS);
}

/// The agent with this id and, if it ever was assigned to the organization of the scope, its assignment there.
pub async fn find(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    agent_id: &str,
) -> Result<Option<(Agent, Option<Assignment>)>> {
    let organization = scope.organization();
    let uid = organization.uid.0;
    let assigned = agent::Entity::belongs_to(Entity)
        .from(agent::Column::Uid)
        .to(Column::AgentUid)
        .on_condition(move |_, _| Column::OrganizationUid.eq(uid).into_condition());
    let select = agent::by_id(&organization.workspace, agent_id).join(JoinType::LeftJoin, assigned.into());
    let rows = select.select_also(Entity).one(tx).await.map_err(db_error)?;
    let Some((agent, assignment)) = rows else {
        return Ok(None);
    };
    Ok(Some((agent.try_into()?, assignment.map(Assignment::from))))
}

/// The places of the scope's organization.
pub async fn places(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<Places> {
    let select = present(scope)
        .select_only()
        .expr(Column::Uid.count())
        .expr(Column::Position.max());
    let counted = select
        .into_tuple::<(i64, Option<i64>)>()
        .one(tx)
        .await
        .map_err(db_error)?;
    let (used, last) = counted.unwrap_or_default();
    Ok(Places {
        used,
        last: last.unwrap_or_default(),
    })
}

/// At most `limit` assignments of the scope's organization behind one, by position.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    after: Option<&After>,
    limit: u64,
) -> Result<Answer<Vec<Assignment>>> {
    let mut select = present(scope)
        .order_by_asc(Column::Position)
        .order_by_asc(Column::Uid)
        .limit(limit);
    if let Some(after) = after {
        let key = Expr::tuple([Column::Position.into_expr(), Column::Uid.into_expr()]);
        select = select.filter(key.gt(Expr::tuple([Expr::val(after.position), Expr::val(after.uid.0)])));
    }
    let rows = reader.all(select).await?;
    Ok(rows.map(|rows| rows.into_iter().map(Assignment::from).collect()))
}

/// Those of the organization that were not taken away.
pub(super) fn present(scope: &Scope<OrganizationRef>) -> Select<Entity> {
    Entity::present().filter(Column::OrganizationUid.eq(scope.organization().uid.0))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        Self::find().filter(Column::Removed.eq(false))
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
            position: row.position,
            alias: row.alias,
            note: row.note,
            removed: row.removed,
        }
    }
}

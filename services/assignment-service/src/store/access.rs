//! Whether an organization may use an agent: everything that decides it, in one statement.

use super::{agent, assignment};
use clientele_api::name::OrganizationRef;
use clientele_api::org::organization::State;
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::follow::organizations;
use clientele_store::{Answer, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{QuerySelect, QueryTrait};

/// An agent as one organization meets it: columns of its row, and what is selected beside them.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agents")]
pub struct Model {
    /// The identity of the agent.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Whether it is archived.
    pub archived: bool,
    /// Selected: whether it is assigned to the organization.
    pub assigned: bool,
    /// Selected: the number of `Organization.State`. NULL: the organization is not known, or purged.
    pub organization_state: Option<i32>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What decides whether an organization may use an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The state of the organization.
    pub organization: State,
    /// Whether the agent is archived.
    pub archived: bool,
    /// Whether it is assigned to the organization.
    pub assigned: bool,
}

/// What decides whether the organization of the scope may use the agent with this id.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, agent_id: &str) -> Result<Answer<Facts>> {
    let organization = scope.organization();
    let assigned = assignment::Entity::find()
        .select_only()
        .expr(Expr::val(1))
        .filter(assignment::Column::OrganizationUid.eq(organization.uid.0))
        .filter(
            assignment::Column::AgentUid
                .into_expr()
                .equals(agent::Column::Uid.as_column_ref()),
        )
        .filter(assignment::Column::Removed.eq(false));
    let state = organizations::Entity::find_by_id(organization.uid.0)
        .select_only()
        .column(organizations::Column::State)
        .filter(organizations::Column::Id.is_not_null());
    let select = Entity::find()
        .select_only()
        .columns([Column::Uid, Column::Archived])
        .column_as(Expr::exists(assigned.into_query()), Column::Assigned)
        .column_as(Expr::from(state.into_query()), Column::OrganizationState)
        .filter(agent::Column::WorkspaceUid.eq(organization.workspace.uid.0))
        .filter(agent::Column::Id.eq(agent_id));
    let row = reader.one(select).await?;
    row.try_map(|row| {
        let row = row.ok_or_else(|| agent::not_found(&organization.workspace, agent_id))?;
        let state = row
            .organization_state
            .ok_or_else(|| Error::not_found("Organization", organization.name()))?;
        Ok(Facts {
            organization: State::try_from(state).unwrap_or_default(),
            archived: row.archived,
            assigned: row.assigned,
        })
    })
}

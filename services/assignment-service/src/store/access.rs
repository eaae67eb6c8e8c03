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
use sea_orm::{FromQueryResult, QuerySelect, QueryTrait};

/// What decides whether an organization may use an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The state of the organization. Unspecified: one that this version does not know.
    pub organization: State,
    /// Whether the agent is archived.
    pub archived: bool,
    /// Whether it is assigned to the organization.
    pub assigned: bool,
}

/// An agent as one organization meets it.
#[derive(FromQueryResult)]
struct Row {
    archived: bool,
    assigned: bool,
    /// NULL: the organization is not known, or purged.
    organization_state: Option<i32>,
}

/// What decides whether the organization of the scope may use the agent with this id.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, agent_id: &str) -> Result<Answer<Facts>> {
    let organization = scope.organization();
    let this_agent = assignment::Column::AgentUid.into_expr();
    let this_agent = this_agent.equals(agent::Column::Uid.as_column_ref());
    let assigned = assignment::present(scope)
        .select_only()
        .expr(Expr::val(1))
        .filter(this_agent);
    let state = organizations::Entity::find_by_id(organization.uid.0)
        .select_only()
        .column(organizations::Column::State)
        .filter(organizations::Column::Id.is_not_null());
    let select = agent::by_id(&organization.workspace, agent_id)
        .select_only()
        .column(agent::Column::Archived)
        .expr_as(Expr::exists(assigned.into_query()), "assigned")
        .expr_as(Expr::from(state.into_query()), "organization_state");
    let row = reader.one_of::<Row>(select.into_query()).await?;
    row.try_map(|row| {
        let row = row.ok_or_else(|| agent::not_found(&organization.workspace, agent_id))?;
        facts(&row).ok_or_else(|| Error::not_found("Organization", organization.name()))
    })
}

/// None: there is no such organization.
fn facts(row: &Row) -> Option<Facts> {
    Some(Facts {
        organization: State::try_from(row.organization_state?).unwrap_or(State::Unspecified),
        archived: row.archived,
        assigned: row.assigned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assignment::{Denial, check};

    #[test]
    fn an_organization_in_a_state_of_a_newer_version_may_use_nothing() {
        let denial = |number| {
            let row = Row {
                archived: false,
                assigned: true,
                organization_state: Some(number),
            };
            let facts = facts(&row).unwrap();
            check(facts.organization, facts.archived, facts.assigned)
        };
        assert_eq!(denial(State::Active.into()), None);
        assert_eq!(denial(State::Deleted.into()), Some(Denial::OrganizationDeleted));
        for unknown in [0, 4, -1, i32::MAX] {
            assert_eq!(denial(unknown), Some(Denial::OrganizationSuspended), "{unknown}");
        }
    }
}

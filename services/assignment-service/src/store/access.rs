//! Whether an organization, or one of its members, may use an agent: everything that decides it, in one statement, and remembered.

use super::{agent, assignment, member_scope};
use crate::domain::access::{Facts, MemberFacts};
use clientele_api::name::OrganizationRef;
use clientele_api::org::organization::State;
use clientele_api::{Error, Result, Uid};
use clientele_service::scope::Scope;
use clientele_store::follow::{members, organizations, users};
use clientele_store::memory::Memory;
use clientele_store::{Answer, Journal, Reader};
use moka::sync::Cache;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Cond, JoinType, Query, SelectStatement};
use sea_orm::{FromQueryResult, Order};

/// How much is remembered: some 200 bytes each.
const REMEMBERED: u64 = 200_000;

/// Everything that decides who may use which agent, answered from memory: it is asked with every conversation.
#[derive(Debug, Clone)]
pub struct Access {
    reader: Reader,
    /// The agents of names. An id means another agent only after it was deleted: then there is nothing about the one remembered.
    agents: Cache<(Uid, String), Uid>,
    memory: Memory<Key, Facts>,
}

/// Who is to use which agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    organization: Uid,
    agent: Uid,
    member: Option<Uid>,
}

/// An agent as one organization, or one of its members, meets it.
#[derive(FromQueryResult)]
struct Row {
    archived: bool,
    /// NULL: the organization is not known, or purged.
    organization_state: Option<i32>,
    /// NULL as that.
    client_access_enabled: Option<bool>,
    /// NULL: it is not assigned.
    assign_time: Option<i64>,
    /// NULL: the user is not known, or erased.
    disabled: Option<bool>,
    /// NULL: the user never was a member.
    member_state: Option<i32>,
    /// NULL: no scope was ever set.
    all_agents: Option<bool>,
    agents: Option<member_scope::AgentList>,
    scope_time: Option<i64>,
}

impl Access {
    /// Nothing is remembered yet.
    pub fn new(journal: Journal, reader: Reader) -> Self {
        Self {
            reader,
            agents: Cache::new(REMEMBERED),
            memory: Memory::new(journal, "access", REMEMBERED),
        }
    }

    /// What decides whether the organization of the scope, or this user as its member, may use the agent with this id.
    pub async fn facts(
        &self,
        scope: &Scope<OrganizationRef>,
        agent_id: &str,
        member: Option<Uid>,
    ) -> Result<Answer<Facts>> {
        let organization = scope.organization();
        let name = (organization.workspace.uid, agent_id.to_owned());
        if let Some(agent) = self.agents.get(&name) {
            let found = self.of_agent(scope, agent, member).await?;
            if let Some(facts) = found.value {
                return Ok(Answer {
                    value: facts,
                    revision: found.revision,
                });
            }
            self.agents.invalidate(&name);
        }
        let agent = agent::uid(&self.reader, &organization.workspace, agent_id).await?;
        self.agents.insert(name, agent);
        let found = self.of_agent(scope, agent, member).await?;
        // It may have been deleted since.
        found.try_map(|facts| facts.ok_or_else(|| agent::not_found(&organization.workspace, agent_id)))
    }

    /// None: there is no such agent.
    async fn of_agent(
        &self,
        scope: &Scope<OrganizationRef>,
        agent: Uid,
        member: Option<Uid>,
    ) -> Result<Answer<Option<Facts>>> {
        let organization = scope.organization();
        let key = Key {
            organization: organization.uid,
            agent,
            member,
        };
        // Without a member there is nothing more to depend on.
        let depends_on = [organization.uid, agent, member.unwrap_or(agent)];
        let load = async || {
            let row = self.reader.one_of::<Row>(select(organization, agent, member)).await?;
            row.try_map(|row| row.map(|row| row.facts(organization, key)).transpose())
        };
        self.memory.get(key, &depends_on, scope.min_revision(), load).await
    }
}

impl Row {
    fn facts(&self, organization: &OrganizationRef, key: Key) -> Result<Facts> {
        let no_organization = || Error::not_found("Organization", organization.name());
        let state = self.organization_state.ok_or_else(no_organization)?;
        let member = match key.member {
            None => None,
            Some(user) => {
                let facts = self.member(key.agent);
                Some(facts.ok_or_else(|| member_scope::not_found(organization, user))?)
            }
        };
        Ok(Facts {
            organization: State::try_from(state).unwrap_or(State::Unspecified),
            archived: self.archived,
            assigned: self.assign_time.is_some(),
            member,
        })
    }

    /// None: the user is not known to be or have been a member.
    fn member(&self, agent: Uid) -> Option<MemberFacts> {
        let listed = self.agents.as_ref().is_some_and(|agents| agents.holds(agent.0));
        // Taken away and assigned again since, it is in it no more.
        let since = self.assign_time.is_some() && self.assign_time <= self.scope_time;
        Some(MemberFacts {
            client_access_enabled: self.client_access_enabled?,
            user_disabled: self.disabled?,
            state: self.member_state?,
            in_scope: self.all_agents.unwrap_or(true) || (listed && since),
        })
    }
}

/// Reads everything that decides whether the organization, or this user as its member, may use the agent.
pub fn select(organization: &OrganizationRef, agent: Uid, member: Option<Uid>) -> SelectStatement {
    let (workspace, uid) = (organization.workspace.uid.0, organization.uid.0);
    let organization = Cond::all()
        .add(organizations::Column::Uid.eq(uid))
        .add(organizations::Column::Id.is_not_null());
    let assigned = Cond::all()
        .add(assignment::Column::OrganizationUid.eq(uid))
        .add(assignment::Column::AgentUid.eq(agent.0))
        .add(assignment::Column::Removed.eq(false));
    let user = member.unwrap_or(Uid::NIL).0;
    let member = Cond::all()
        .add(members::Column::OrganizationUid.eq(uid))
        .add(members::Column::UserUid.eq(user))
        .add(members::Column::Id.is_not_null());
    let user = Cond::all()
        .add(users::Column::Uid.eq(user))
        .add(users::Column::Id.is_not_null());
    let mut select = Query::select();
    select
        .column(agent::Column::Archived.as_column_ref())
        .expr_as(organizations::Column::State.into_expr(), "organization_state")
        .column(organizations::Column::ClientAccessEnabled.as_column_ref())
        .column(assignment::Column::AssignTime.as_column_ref())
        .column(users::Column::Disabled.as_column_ref())
        .expr_as(members::Column::State.into_expr(), "member_state")
        .column(member_scope::Column::AllAgents.as_column_ref())
        .column(member_scope::Column::Agents.as_column_ref())
        .expr_as(member_scope::Column::UpdateTime.into_expr(), "scope_time")
        .from(agent::Entity)
        .join(JoinType::LeftJoin, organizations::Entity, organization)
        .join(JoinType::LeftJoin, assignment::Entity, assigned)
        .join(JoinType::LeftJoin, members::Entity, member)
        .join(JoinType::LeftJoin, users::Entity, user)
        .join(JoinType::LeftJoin, member_scope::Entity, member_scope::of_member())
        .and_where(agent::Column::WorkspaceUid.eq(workspace))
        .and_where(agent::Column::Uid.eq(agent.0))
        .order_by(members::Column::Uid.as_column_ref(), Order::Desc)
        .limit(1);
    select
}

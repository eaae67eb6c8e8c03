//! What can be done with scopes of members.

use super::App;
use crate::domain::agent::agent_name;
use crate::domain::assignment::{Assignment, require_active};
use crate::domain::member_scope::{Agents, Listed, NewScope};
use crate::store;
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::org::AccessDenial;
use clientele_api::org::organization::State;
use clientele_api::{Error, Result, Uid};
use clientele_service::scope::Scope;
use clientele_service::standing::denied;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Recorded};
use std::collections::BTreeMap;

/// Tells which agents a member may use.
pub async fn get(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::GetMemberScopeRequest,
) -> Result<Answer<api::MemberScope>> {
    let user = user(&scope, &request.name)?;
    let found = store::member_scope::get(&app.reader, &scope, user).await?;
    found.try_map(|member| {
        let member = member.ok_or_else(|| store::member_scope::not_found(scope.organization(), user))?;
        Ok(api::MemberScope::from(&member.scope))
    })
}

/// Says which agents a member may use.
pub async fn set(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::SetMemberScopeRequest,
) -> Result<Answer<api::MemberScope>> {
    let message = request.member_scope.unwrap_or_default();
    let new = NewScope::parse(scope.organization(), &message)?;
    let user = user(&scope, &message.name)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        // While it is suspended, the staff may change all but assignments.
        if organization.state() == State::Deleted {
            require_active(scope.organization(), State::Deleted)?;
        }
        let member = store::member_scope::read(tx, &scope, user).await?;
        if member.removed {
            return Err(removed(scope.organization(), user));
        }
        let before = member.scope;
        before.check_etag(&message.etag)?;
        let agents = listed(tx, &scope, &new).await?;
        if let Some(client) = scope.client() {
            let own = store::member_scope::read(tx, &scope, client.user).await?;
            if own.removed {
                return Err(denied(AccessDenial::MemberRemoved));
            }
            own.scope.require_holds(&agents)?;
        }
        let places = store::assignment::places(tx, &scope, scope.organization().uid, &[]).await?;
        let after = before.set(agents, places.now_for_scope());
        let answer = api::MemberScope::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        store::member_scope::write(tx, &scope, &after);
        let change = match before.version {
            0 => Change::created(&answer),
            _ => {
                let changed = before.changed_fields(&after);
                Change::updated(&api::MemberScope::from(&before), &answer, changed)
            }
        };
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// The agents that the scope is to hold. Each must be assigned to the organization.
async fn listed(tx: &Tx, scope: &Scope<OrganizationRef>, new: &NewScope) -> Result<Agents> {
    let NewScope::Listed(ids) = new else {
        return Ok(Agents::All);
    };
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let assigned = store::assignment::read_all(tx, scope, &asked).await?;
    let assigned: BTreeMap<&str, &Assignment> = assigned.iter().map(|one| (one.agent_id.as_str(), one)).collect();
    let listed = asked.iter().map(|id| match assigned.get(id) {
        Some(assignment) => Ok(Listed {
            uid: assignment.agent_uid,
            id: (*id).to_owned(),
        }),
        None => Err(not_assigned(scope.organization(), id)),
    });
    listed.collect::<Result<Vec<_>>>().map(Agents::Listed)
}

/// The user in the name of a scope, or of one that can't be.
fn user(scope: &Scope<OrganizationRef>, name: &str) -> Result<Uid> {
    let id = last_id(name);
    Uid::parse(id).ok_or_else(|| store::member_scope::not_found(scope.organization(), id))
}

fn not_assigned(organization: &OrganizationRef, agent_id: &str) -> Error {
    let agent = agent_name(&organization.workspace, agent_id);
    let message = format!(
        "{agent:?} is not assigned to {:?}: assign it first",
        organization.name()
    );
    Error::new(ErrorReason::AgentNotAssigned, message)
        .with("agent", &agent)
        .about("Agent", agent)
}

fn removed(organization: &OrganizationRef, user: Uid) -> Error {
    let name = format!("{}/members/{user}", organization.name());
    let message = format!("{name:?} is removed: add it again first");
    Error::new(ErrorReason::MemberRemoved, message).about("Member", name)
}

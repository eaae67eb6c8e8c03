//! Whether agents may be used.

use super::App;
use crate::domain::agent;
use crate::store;
use clientele_api::assignment::{self as api, DenialReason};
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::{Result, Uid, Violations};
use clientele_service::scope::Scope;
use clientele_store::{Answer, Revision};

/// How many agents are checked together.
const LARGEST_CHECK: usize = 100;

/// Tells whether the organization, or one of its members, may use an agent.
pub async fn check(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CheckAccessRequest,
) -> Result<Answer<api::CheckAccessResponse>> {
    let member = member(&scope, &request.member)?;
    check_one(app, &scope, &request.agent, member).await
}

/// Tells the same of several agents.
pub async fn batch_check(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::BatchCheckAccessRequest,
) -> Result<Answer<api::BatchCheckAccessResponse>> {
    let agents = request.agents;
    let mut violations = Violations::new();
    if agents.is_empty() || agents.len() > LARGEST_CHECK {
        violations.add("agents", format!("must be 1 to {LARGEST_CHECK}, not {}", agents.len()));
        return violations.finish(None);
    }
    for (at, name) in agents.iter().enumerate() {
        violations.check(
            &format!("agents[{at}]"),
            agent::id_of(&scope.organization().workspace, name),
        );
    }
    violations.finish(Some(()))?;
    let member = member(&scope, &request.member)?;
    let mut checks = Vec::with_capacity(agents.len());
    let mut revision = Revision::new();
    for agent in &agents {
        let check = check_one(app, &scope, agent, member).await?;
        revision.merge(&check.revision);
        checks.push(check.value);
    }
    Ok(Answer {
        value: api::BatchCheckAccessResponse { checks },
        revision,
    })
}

async fn check_one(
    app: &App,
    scope: &Scope<OrganizationRef>,
    agent: &str,
    member: Option<Uid>,
) -> Result<Answer<api::CheckAccessResponse>> {
    let facts = app.access.facts(scope, last_id(agent), member).await?;
    Ok(facts.map(|facts| {
        let reason = facts.denial();
        api::CheckAccessResponse {
            allowed: reason == DenialReason::Unspecified,
            reason: reason.into(),
        }
    }))
}

/// The user who is the member of this name, if one is given.
fn member(scope: &Scope<OrganizationRef>, name: &str) -> Result<Option<Uid>> {
    if name.is_empty() {
        return Ok(None);
    }
    let organization = scope.organization();
    let id = name.strip_prefix(&format!("{}/members/", organization.name()));
    let Some(id) = id else {
        let mut violations = Violations::new();
        violations.add("member", "must be a member of the same organization");
        return violations.finish(None);
    };
    let user = Uid::parse(id).ok_or_else(|| store::member_scope::not_found(organization, id))?;
    Ok(Some(user))
}

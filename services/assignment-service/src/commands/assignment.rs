//! What can be done with assignments.

use super::App;
use crate::domain::assignment::{Assignment, NewAssignment, check, require_active, require_room};
use crate::store;
use crate::store::assignment::After;
use clientele_api::assignment::{self as api, DenialReason};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded, page};

/// Lets the organization use an agent. One that it may use already is answered as it is.
pub async fn assign(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::AssignAgentRequest,
) -> Result<Answer<api::Assignment>> {
    let new = NewAssignment::parse(&request)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        require_active(scope.organization(), organization.state())?;
        let found = store::assignment::find(tx, &scope, last_id(&request.agent)).await?;
        let (agent, before) = found.ok_or_else(|| Error::not_found("Agent", request.agent.as_str()))?;
        agent.require_not_archived()?;
        if let Some(present) = before.as_ref().filter(|before| !before.removed) {
            return Ok(Recorded::nothing(api::Assignment::from(present)));
        }
        let places = store::assignment::places(tx, &scope).await?;
        require_room(scope.organization(), organization.max_agents, places.used)?;
        let position = places.last + 1;
        let Some(removed) = before else {
            let assignment = new.into_assignment(scope.organization(), &agent, position, Micros::now());
            store::assignment::insert(tx, &scope, &assignment);
            let message = api::Assignment::from(&assignment);
            let change = Change::created(&message);
            return Ok(Recorded::change(message, change));
        };
        let revived = removed.revive(new, position, Micros::now());
        store::assignment::update(tx, &scope, &removed, &revived);
        let message = api::Assignment::from(&revived);
        let change = Change::undeleted(&api::Assignment::from(&removed), &message);
        Ok(Recorded::change(message, change))
    };
    app.journal.write(author, unit).await
}

/// Takes an agent away from the organization.
pub async fn unassign(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UnassignAgentRequest,
) -> Result<Answer<()>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::read(tx, &scope).await?;
        require_active(scope.organization(), organization.state())?;
        let before = read_present(tx, &scope, &request.name).await?;
        before.check_etag(&request.etag)?;
        let after = before.remove(Micros::now());
        store::assignment::update(tx, &scope, &before, &after);
        Ok(Recorded::change(
            (),
            Change::removed(&api::Assignment::from(&before), after.version),
        ))
    };
    app.journal.write(author, unit).await
}

async fn read_present(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str) -> Result<Assignment> {
    let found = store::assignment::find(tx, scope, last_id(name)).await?;
    let present = found
        .and_then(|(_, assignment)| assignment)
        .filter(|assignment| !assignment.removed);
    present.ok_or_else(|| Error::not_found("Assignment", name))
}

/// Lists the assignments of the organization by position, whatever its state.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListAssignmentsRequest,
) -> Result<Answer<api::ListAssignmentsResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let after = page.after.as_deref().map(read_key).transpose()?;
    let rows = store::assignment::list(&app.reader, &scope, after.as_ref(), page.size + 1).await?;
    Ok(rows.map(|rows| {
        let (assignments, next_page_token) = page.fill(rows, |row| row.into(), write_key);
        api::ListAssignmentsResponse {
            assignments,
            next_page_token,
        }
    }))
}

/// Tells whether the organization may use an agent.
pub async fn check_access(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CheckAccessRequest,
) -> Result<Answer<api::CheckAccessResponse>> {
    let facts = store::access::get(&app.reader, &scope, last_id(&request.agent)).await?;
    Ok(facts.map(|facts| {
        let denial = check(facts.organization, facts.archived, facts.assigned);
        let reason = denial.map_or(DenialReason::Unspecified, DenialReason::from);
        api::CheckAccessResponse {
            allowed: denial.is_none(),
            reason: reason.into(),
        }
    }))
}

/// The key of a page: position and uid.
fn write_key(last: &Assignment) -> Vec<u8> {
    [&last.position.to_be_bytes()[..], last.uid.0.as_bytes()].concat()
}

fn read_key(key: &[u8]) -> Result<After> {
    let (position, uid) = key.split_first_chunk().ok_or_else(page::invalid)?;
    let uid = uuid::Uuid::from_slice(uid).map_err(|_| page::invalid())?;
    Ok(After {
        position: i64::from_be_bytes(*position),
        uid: Uid(uid),
    })
}

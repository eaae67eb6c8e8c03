//! What can be done with assignments.

use super::App;
use crate::domain::agent;
use crate::domain::assignment::{self, Assignment, NewAssignment, put_first, require_active, require_room};
use crate::store;
use crate::store::assignment::After;
use clientele_api::assignment as api;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef, last_id};
use clientele_api::org::AccessDenial;
use clientele_api::{Error, Micros, Result, Uid, Violations};
use clientele_service::batch;
use clientele_service::scope::Scope;
use clientele_service::standing::denied;
use clientele_store::follow::OrganizationProjection;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded, Revision, page};
use std::collections::BTreeMap;

/// How many assignments are put first together.
const LARGEST_ORDER: usize = 100;

/// Lets the organization use an agent. One that it may use already is answered as it is.
pub async fn assign(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::AssignAgentRequest,
) -> Result<Answer<api::Assignment>> {
    let mut violations = Violations::new();
    let new = NewAssignment::parse(&request, "", &mut violations);
    let new = violations.finish(new)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        let added = add(tx, &scope, &organization, vec![new]).await?;
        let answer = added.assignments.into_iter().next().unwrap_or_default();
        Ok(Recorded {
            changes: added.changes,
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Lets the organization use several agents, all of them or none.
pub async fn batch_assign(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::BatchAssignAgentsRequest,
) -> Result<Answer<api::BatchAssignAgentsResponse>> {
    let wanted = read_batch(&scope, &request)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        let added = add(tx, &scope, &organization, wanted).await?;
        let assignments = added.assignments;
        Ok(Recorded {
            changes: added.changes,
            ..Recorded::nothing(api::BatchAssignAgentsResponse { assignments })
        })
    };
    app.journal.write(author, unit).await
}

fn read_batch(scope: &Scope<OrganizationRef>, request: &api::BatchAssignAgentsRequest) -> Result<Vec<NewAssignment>> {
    let mut violations = Violations::new();
    if batch::has_wrong_size(&request.requests, &mut violations) {
        return violations.finish(None);
    }
    let mut wanted: Vec<NewAssignment> = Vec::new();
    for (at, one) in request.requests.iter().enumerate() {
        let path = format!("requests[{at}]");
        batch::check_part(one, &one.parent, &request.parent, &path, &mut violations);
        let path = format!("{path}.");
        let agent = agent::id_of(&scope.organization().workspace, &one.agent);
        if let Some(id) = violations.check(&format!("{path}agent"), agent)
            && wanted.iter().any(|other| other.agent_id == id)
        {
            violations.add(format!("{path}agent"), "must not repeat another one");
        }
        wanted.extend(NewAssignment::parse(one, &path, &mut violations));
    }
    violations.finish(Some(wanted))
}

/// The assignments that a unit made or found, in the order in which they were wanted, and what changed by it.
struct Added {
    assignments: Vec<api::Assignment>,
    changes: Vec<Change>,
}

/// Assigns agents in a unit that has locked the organization: with few reads, however many they are.
async fn add(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    to: &OrganizationProjection,
    wanted: Vec<NewAssignment>,
) -> Result<Added> {
    let organization = &to.reference(&scope.organization().workspace);
    require_active(organization, to.state())?;
    let ids: Vec<&str> = wanted.iter().map(|new| new.agent_id.as_str()).collect();
    let found = store::assignment::find(tx, scope, organization, &ids).await?;
    let found: BTreeMap<String, _> = found.into_iter().map(|pair| (pair.0.id.clone(), pair)).collect();
    let places = store::assignment::places(tx, scope, organization.uid, &[]).await?;
    let (now, mut position) = (places.now(), places.last.unwrap_or(0));
    let mut inserted = Vec::new();
    let mut added = Added {
        assignments: Vec::new(),
        changes: Vec::new(),
    };
    for new in wanted {
        let missing = || store::agent::not_found(&organization.workspace, &new.agent_id);
        let (agent, before) = found.get(&new.agent_id).ok_or_else(missing)?;
        agent.require_not_archived()?;
        let message = match before {
            Some(present) if !present.removed => api::Assignment::from(present),
            Some(removed) => {
                position += 1;
                let revived = removed.revive(new, position, now);
                store::assignment::update(tx, scope, &revived);
                let message = api::Assignment::from(&revived);
                let before = api::Assignment::from(removed);
                added.changes.push(Change::undeleted(&before, &message));
                message
            }
            None => {
                position += 1;
                let assignment = new.into_assignment(organization, agent, position, now);
                let message = api::Assignment::from(&assignment);
                added.changes.push(Change::created(&message));
                inserted.push(assignment);
                message
            }
        };
        added.assignments.push(message);
    }
    require_room(organization, to.max_agents, places.used, added.changes.len())?;
    store::assignment::insert(tx, scope, &inserted);
    Ok(added)
}

/// Takes an agent away from the organization.
pub async fn unassign(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UnassignAgentRequest,
) -> Result<Answer<()>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        require_active(scope.organization(), organization.state())?;
        let before = read_present(tx, &scope, &request.name).await?;
        before.check_etag(&request.etag)?;
        Ok(Recorded::change((), remove(tx, &scope, &before)))
    };
    app.journal.write(author, unit).await
}

/// Takes an agent from the organization to another one.
pub async fn move_to(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::MoveAssignmentRequest,
) -> Result<Answer<api::Assignment>> {
    if request.destination == scope.organization().name() {
        let mut violations = Violations::new();
        violations.add("destination", "must be another organization");
        return violations.finish(None);
    }
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (from, to) = store::organization::lock_both(tx, &scope, &request.destination).await?;
        require_active(scope.organization(), from.state())?;
        let before = read_present(tx, &scope, &request.name).await?;
        before.check_etag(&request.etag)?;
        let added = add(tx, &scope, &to, vec![before.as_new()]).await?;
        let answer = added.assignments.into_iter().next().unwrap_or_default();
        // The answer is the destination's, and so is the row that remembers it.
        Ok(Recorded {
            organization: Some(to.reference(&scope.organization().workspace)),
            changes: added.changes,
            elsewhere: vec![(scope.organization().clone(), vec![remove(tx, &scope, &before)])],
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Puts assignments first, in the order of the request.
pub async fn reorder(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ReorderAssignmentsRequest,
) -> Result<Answer<api::ReorderAssignmentsResponse>> {
    let ids = read_order(&scope, &request.names)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        require_active(scope.organization(), organization.state())?;
        let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
        let found = store::assignment::read_all(tx, &scope, &asked).await?;
        let found: BTreeMap<String, Assignment> = found.into_iter().map(|one| (one.agent_id.clone(), one)).collect();
        let missing = |id| {
            Error::not_found(
                "Assignment",
                format!("{}/assignments/{id}", scope.organization().name()),
            )
        };
        let listed = asked.iter().map(|id| found.get(*id).ok_or_else(|| missing(*id)));
        let listed = listed.collect::<Result<Vec<&Assignment>>>()?;
        let uids: Vec<Uid> = listed.iter().map(|one| one.uid).collect();
        let others = store::assignment::places(tx, &scope, scope.organization().uid, &uids).await?;
        let after = put_first(&listed, others.first, Micros::now());
        let (mut changes, mut changed) = (Vec::new(), Vec::new());
        for (before, after) in listed.iter().zip(&after).filter(|(before, after)| **before != *after) {
            let message = api::Assignment::from(after);
            let fields = before.changed_fields(after);
            changes.push(Change::updated(&api::Assignment::from(*before), &message, fields));
            changed.push(after.clone());
        }
        store::assignment::reposition(tx, &scope, &changed);
        let assignments = after.iter().map(api::Assignment::from).collect();
        Ok(Recorded {
            changes,
            ..Recorded::nothing(api::ReorderAssignmentsResponse { assignments })
        })
    };
    app.journal.write(author, unit).await
}

/// The ids of the agents of these assignments of the scope's organization.
fn read_order(scope: &Scope<OrganizationRef>, names: &[String]) -> Result<Vec<String>> {
    let mut violations = Violations::new();
    if !(1..=LARGEST_ORDER).contains(&names.len()) {
        violations.add("names", format!("must be 1 to {LARGEST_ORDER}, not {}", names.len()));
        return violations.finish(None);
    }
    let mut ids = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("names[{at}]");
        match violations.check(&path, assignment::agent_id_of(scope.organization(), name)) {
            None => {}
            Some(id) if ids.contains(&id) => violations.add(path, "must not repeat another one"),
            Some(id) => ids.push(id),
        }
    }
    violations.finish(Some(ids.into_iter().map(str::to_owned).collect()))
}

/// Changes alias and note of an assignment.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateAssignmentRequest,
) -> Result<Answer<api::Assignment>> {
    let mask = scope.mask(&request)?;
    let message = request.assignment.unwrap_or_default();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock(tx, &scope).await?;
        require_active(scope.organization(), organization.state())?;
        let before = read_present(tx, &scope, &message.name).await?;
        before.check_etag(&message.etag)?;
        let mut violations = Violations::new();
        let after = before.update(&message, &mask, &mut violations, Micros::now());
        let after = violations.finish(Some(after))?;
        let answer = api::Assignment::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        store::assignment::update(tx, &scope, &after);
        let change = Change::updated(&api::Assignment::from(&before), &answer, before.changed_fields(&after));
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

async fn read_present(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str) -> Result<Assignment> {
    let found = store::assignment::find(tx, scope, scope.organization(), &[last_id(name)]).await?;
    let present = found.into_iter().find_map(|(_, assignment)| assignment);
    let present = present.filter(|assignment| !assignment.removed);
    present.ok_or_else(|| Error::not_found("Assignment", name))
}

fn remove(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Assignment) -> Change {
    let after = before.remove(Micros::now());
    store::assignment::update(tx, scope, &after);
    Change::removed(&api::Assignment::from(before), after.version)
}

/// Lists the assignments of the organization by position, whatever its state; for a client user those in its scope.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListAssignmentsRequest,
) -> Result<Answer<api::ListAssignmentsResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let after = page.after.as_deref().map(read_key).transpose()?;
    let mut revision = Revision::new();
    let held = match scope.client() {
        None => None,
        Some(client) => {
            let own = store::member_scope::get(&app.reader, &scope, client.user).await?;
            revision.merge(&own.revision);
            let own = own.value.ok_or_else(|| denied(AccessDenial::MemberRemoved))?;
            Some(own.scope.agents)
        }
    };
    let rows = store::assignment::list(&app.reader, &scope, held.as_ref(), after.as_ref(), page.size + 1).await?;
    revision.merge(&rows.revision);
    let (mut assignments, next_page_token) = page.fill(rows.value, |row| api::Assignment::from(row), write_key);
    if scope.client().is_some() {
        assignments.iter_mut().for_each(|assignment| assignment.note = None);
    }
    Ok(Answer {
        value: api::ListAssignmentsResponse {
            assignments,
            next_page_token,
        },
        revision,
    })
}

/// Lists the assignments of an agent of the scope's workspace.
pub async fn list_of_agent(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListAgentOrganizationsRequest,
) -> Result<Answer<api::ListAgentOrganizationsResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let (agent, after) = (last_id(&request.agent), page.after_uid()?);
    let rows = store::assignment::list_of_agent(&app.reader, &scope, agent, after, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &Assignment| last.uid.0.as_bytes().to_vec();
        let (assignments, next_page_token) = page.fill(rows, |row| row.into(), key);
        api::ListAgentOrganizationsResponse {
            assignments,
            next_page_token,
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

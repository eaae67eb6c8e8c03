//! What can be done with agents.

use super::App;
use crate::domain::agent::{Agent, NewAgent, agent_name};
use crate::store;
use crate::store::agent::Query;
use clientele_api::assignment::{self as api, agent::State};
use clientele_api::error::{ErrorReason, Violations};
use clientele_api::journal::Change;
use clientele_api::name::{WorkspaceRef, last_id};
use clientele_api::{Micros, Result};
use clientele_service::filter::{self, Operator, Term};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};

/// Enters an agent.
pub async fn create(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::CreateAgentRequest,
) -> Result<Answer<api::Agent>> {
    let new = NewAgent::parse(&request)?;
    let name = agent_name(scope.workspace(), &new.id);
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let agent = new.into_agent(scope.workspace(), Micros::now());
        store::agent::insert(tx, &scope, &agent);
        let message = api::Agent::from(&agent);
        let change = Change::created(&message);
        Ok(Recorded::change(message, change))
    };
    app.journal
        .write(author, unit)
        .await
        .map_err(|error| match error.reason() {
            ErrorReason::ResourceExists => error.about("Agent", name),
            _ => error,
        })
}

/// Gets the agent with this name.
pub async fn get(app: &App, scope: Scope<WorkspaceRef>, name: String) -> Result<Answer<api::Agent>> {
    let found = store::agent::get(&app.reader, &scope, last_id(&name)).await?;
    Ok(found.map(|agent| api::Agent::from(&agent)))
}

/// Lists the agents of the scope's workspace.
pub async fn list(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListAgentsRequest,
) -> Result<Answer<api::ListAgentsResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let query = read_query(&request)?;
    let rows = store::agent::list(&app.reader, &scope, &query, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let (agents, next_page_token) =
            page.fill(rows, |row| row.into(), |last: &Agent| last.uid.0.as_bytes().to_vec());
        api::ListAgentsResponse {
            agents,
            next_page_token,
        }
    }))
}

/// Changes fields of an agent.
pub async fn update(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UpdateAgentRequest,
) -> Result<Answer<api::Agent>> {
    let mask = scope.mask(&request)?;
    let message = request.agent.unwrap_or_default();
    let (name, etag) = (message.name.clone(), message.etag.clone());
    change(app, scope, name, etag, move |agent| {
        agent.require_not_archived()?;
        let mut violations = Violations::new();
        let after = agent.update(&message, &mask, &mut violations, Micros::now());
        violations.finish(Some(after))
    })
    .await
}

/// Archives an agent.
pub async fn archive(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ArchiveAgentRequest,
) -> Result<Answer<api::Agent>> {
    change(app, scope, request.name, request.etag, |agent| {
        agent.archive(Micros::now())
    })
    .await
}

/// Brings an archived agent back.
pub async fn unarchive(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UnarchiveAgentRequest,
) -> Result<Answer<api::Agent>> {
    change(app, scope, request.name, request.etag, |agent| {
        agent.unarchive(Micros::now())
    })
    .await
}

/// Reads the agent, lets the verb make its next version, and writes that. A verb that changes nothing answers its equal.
async fn change<Verb>(
    app: &App,
    scope: Scope<WorkspaceRef>,
    name: String,
    etag: String,
    verb: Verb,
) -> Result<Answer<api::Agent>>
where
    Verb: Fn(&Agent) -> Result<Agent> + Clone + Send + Sync + 'static,
{
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = store::agent::read(tx, &scope, last_id(&name)).await?;
        before.check_etag(&etag)?;
        let after = verb(&before)?;
        let message = api::Agent::from(&after);
        if after == before {
            return Ok(Recorded::nothing(message));
        }
        store::agent::update(tx, &scope, &before, &after);
        let change = Change::updated(&api::Agent::from(&before), &message, before.changed_fields(&after));
        Ok(Recorded::change(message, change))
    };
    app.journal.write(author, unit).await
}

fn read_query(request: &api::ListAgentsRequest) -> Result<Query> {
    let mut query = Query::default();
    for term in filter::parse(&request.filter)? {
        restrict(&mut query, &term)?;
    }
    Ok(query)
}

fn restrict(query: &mut Query, term: &Term) -> Result<()> {
    match (term.field.as_str(), term.operator) {
        ("state", Operator::Equal) => {
            let state =
                State::from_str_name(&format!("STATE_{}", term.value)).filter(|state| *state != State::Unspecified);
            let state =
                state.ok_or_else(|| filter::malformed("state must be DRAFT, DEPLOYED, DISABLED or ARCHIVED"))?;
            query.states.push(state);
        }
        ("platform", Operator::Equal) => query.platforms.push(term.value.clone()),
        _ => return Err(filter::unknown(term)),
    }
    Ok(())
}

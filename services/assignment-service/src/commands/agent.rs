//! What can be done with agents.

use super::App;
use crate::domain::agent::{Agent, NewAgent, agent_name};
use crate::store;
use crate::store::agent::{Query, Searched};
use clientele_api::assignment::{self as api, agent::State, agent_facets::Count};
use clientele_api::error::{ErrorReason, Violations};
use clientele_api::journal::Change;
use clientele_api::name::{WorkspaceRef, last_id};
use clientele_api::{Error, Micros, Result, parse};
use clientele_service::batch;
use clientele_service::filter::{self, Operator, Term};
use clientele_service::scope::Scope;
use clientele_store::search::{Found, Place};
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many values a facet counts.
const MOST_VALUES: usize = 50;

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

/// Gets the agents with these names, in their order.
pub async fn batch_get(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::BatchGetAgentsRequest,
) -> Result<Answer<api::BatchGetAgentsResponse>> {
    let names = batch::read_names(&request.names, &request.parent, "workspaces/{workspace}/agents/{agent}")?;
    let ids: Vec<&str> = names.iter().filter_map(|name| name.id("agents")).collect();
    let found = store::agent::get_all(&app.reader, &scope, &ids).await?;
    found.try_map(|agents| {
        let agent = |id: &&str| {
            let agent = agents.get(*id).map(api::Agent::from);
            agent.ok_or_else(|| Error::not_found("Agent", agent_name(scope.workspace(), id)))
        };
        let agents = ids.iter().map(agent).collect::<Result<_>>()?;
        Ok(api::BatchGetAgentsResponse { agents })
    })
}

/// Lists the agents of the scope's workspace.
pub async fn list(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListAgentsRequest,
) -> Result<Answer<api::ListAgentsResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let query = read_filter(&request.filter)?;
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

/// Searches the agents of the scope's workspace.
pub async fn search(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::SearchAgentsRequest,
) -> Result<Answer<api::SearchAgentsResponse>> {
    let mut violations = Violations::new();
    let typed = violations.check("query", parse::line(request.query.trim(), 0..=200));
    let typed = violations.finish(typed)?;
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let after = Place::after(&page)?;
    let query = Query {
        not_assigned_to: scope.named_organization().map(|organization| organization.uid),
        assigned_nowhere: request.assigned_nowhere,
        ..read_filter(&request.filter)?
    };
    let answer = store::agent::search(&app.reader, &scope, &typed, &query).await?;
    let mut response = api::SearchAgentsResponse {
        facets: Some(count(&answer.value.found)),
        truncated: answer.value.more,
        ..api::SearchAgentsResponse::default()
    };
    let (places, more) = answer.value.page(after.as_ref(), page.size);
    let Some(last) = places.last() else {
        return Ok(Answer {
            value: response,
            revision: answer.revision,
        });
    };
    let rows = store::agent::read_found(&app.reader, &scope, &places, &query).await?;
    Ok(rows.map(|rows| {
        let (agents, mut next_page_token) = page.fill(rows, |(_, row)| row.into(), |(place, _)| place.to_key());
        if next_page_token.is_empty() && more {
            next_page_token = page.token(&last.to_key());
        }
        response.agents = agents;
        response.next_page_token = next_page_token;
        response
    }))
}

/// What those that were found have in common.
fn count(found: &[Found<Searched>]) -> api::AgentFacets {
    let rows = || found.iter().map(|one| &one.row);
    let states = rows().map(|row| row.state().as_str_name().trim_start_matches("STATE_"));
    let platforms = rows().map(Searched::platform).filter(|platform| !platform.is_empty());
    api::AgentFacets {
        states: most_frequent(states),
        platforms: most_frequent(platforms),
        tags: most_frequent(rows().flat_map(Searched::tags)),
    }
}

fn most_frequent<'v>(values: impl Iterator<Item = &'v str>) -> Vec<Count> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut counts: Vec<(&str, i32)> = counts.into_iter().collect();
    // Stable: those that are equally frequent stay ordered by value.
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts.truncate(MOST_VALUES);
    let count = |(value, count): (&str, i32)| Count {
        value: value.to_owned(),
        count,
    };
    counts.into_iter().map(count).collect()
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

/// Deletes an agent that is assigned nowhere.
pub async fn delete(app: &App, scope: Scope<WorkspaceRef>, request: api::DeleteAgentRequest) -> Result<Answer<()>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let agent = store::agent::lock(tx, &scope, last_id(&request.name)).await?;
        agent.check_etag(&request.etag)?;
        agent.require_unassigned(store::assignment::count_of_agent(tx, &scope, &agent).await?)?;
        store::agent::delete(tx, &scope, &agent);
        store::leftovers::note_deleted(tx, &agent);
        let change = Change::removed(&api::Agent::from(&agent), agent.version + 1);
        Ok(Recorded::change((), change))
    };
    app.journal.write(author, unit).await
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

fn read_filter(text: &str) -> Result<Query> {
    let mut query = Query::default();
    for term in filter::parse(text)? {
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
        ("tag", Operator::Equal) => query.tags.push(term.value.clone()),
        _ => return Err(filter::unknown(term)),
    }
    Ok(())
}

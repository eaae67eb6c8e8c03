//! CheckAccess beside the echo: what an agent runtime asks with every conversation.

use crate::Bench;
use crate::bare::{Ceiling, call_empty};
use crate::load;
use crate::table::{Series, Table};
use crate::world::{AssignmentWorld, Database, Engine};
use anyhow::Result;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{AssignAgentRequest, CheckAccessRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many organizations there are, and agents assigned to each.
const ORGANIZATIONS: usize = 100;
const AGENTS: usize = 10;
const IN_FLIGHT: usize = 32;

/// Measures an internal service that asks whether one of many organizations, or its member, may use one of its agents, answered from
/// memory.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let database = Database::create(Engine::Postgres(&bench.postgres)).await?;
    let world = AssignmentWorld::start(&database, bench).await?;
    let checks = Arc::new(fill(&world).await?);
    let without_members = |check: &CheckAccessRequest| CheckAccessRequest {
        member: String::new(),
        ..check.clone()
    };
    let of_organizations = Arc::new(checks.iter().map(without_members).collect::<Vec<_>>());
    let empty = Ceiling::serve(async |(): ()| Ok(())).await?;
    let [mut echo, mut organizations, mut members]: [Series; 3] = Default::default();
    for _ in 0..bench.rounds {
        let caller = world.service.clone();
        let call = move |connection| call_empty(connection, caller.clone());
        echo.add(load::run(bench, &empty.connections, IN_FLIGHT, call).await?);
        organizations.add(ask(bench, &world, &of_organizations).await?);
        members.add(ask(bench, &world, &checks).await?);
    }
    table.ceiling("empty echo, 32 in flight", &echo);
    for (scenario, series) in [("CheckAccess", &organizations), ("CheckAccess of a member", &members)] {
        let scenario = format!("{scenario}, PostgreSQL");
        table.ratio(scenario, series, ("the empty echo", &[&echo]), Some(0.75));
    }
    world.stop().await;
    database.remove().await
}

/// Organizations with agents and a member each; a check for every agent of each.
async fn fill(world: &AssignmentWorld) -> Result<Vec<CheckAccessRequest>> {
    for agent in 0..AGENTS {
        world.create_agent(&format!("agent-{agent}")).await?;
    }
    let mut checks = Vec::new();
    for at in 0..ORGANIZATIONS {
        let (organization, member) = world.create_organization(&format!("organization-{at}")).await?;
        for agent in 0..AGENTS {
            let agent = format!("workspaces/acme/agents/agent-{agent}");
            let request = AssignAgentRequest {
                parent: organization.clone(),
                agent: agent.clone(),
                ..AssignAgentRequest::default()
            };
            let mut client = AssignmentServiceClient::new(world.connection()?);
            client.assign_agent(world.admin.request(request)).await?;
            checks.push(CheckAccessRequest {
                organization: organization.clone(),
                agent,
                member: member.clone(),
            });
        }
    }
    Ok(checks)
}

async fn ask(bench: &Bench, world: &AssignmentWorld, checks: &Arc<Vec<CheckAccessRequest>>) -> Result<load::Sample> {
    let turn = Arc::new(AtomicUsize::new(0));
    let (caller, checks) = (world.service.clone(), checks.clone());
    let call = move |connection| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % checks.len();
        let request = caller.request(checks[turn].clone());
        async move {
            let mut client = AssignmentServiceClient::new(connection);
            client.check_access(request).await.map(drop)
        }
    };
    load::run(bench, &world.connections, IN_FLIGHT, call).await
}

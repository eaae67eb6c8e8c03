//! SearchOrganizations and SearchAgents over the many that one workspace has.

use crate::Bench;
use crate::load;
use crate::table::{Series, Table};
use crate::world::{AssignmentWorld, Database, Engine, World, execute};
use anyhow::Result;
use assignment_service::store::agent::SEARCH;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::{Agent, CreateAgentRequest, SearchAgentsRequest};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, Organization, SearchOrganizationsRequest};
use clientele_testkit::Caller;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sea_orm::DbBackend;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// How many organizations, or agents, the workspace has.
const MANY: usize = 100_000;
/// How many other workspaces have as many.
const OTHERS: usize = 10;
/// All but one in a hundred searches are to be answered within this time.
const GOAL: Duration = Duration::from_millis(50);
/// With others beside it, a search may take half as long again.
const BESIDE_OTHERS: f64 = 1.0 / 1.5;
const IN_FLIGHT: usize = 32;
/// What names are made of.
const WHOSE: [&str; 20] = [
    "Müller", "Schmidt", "Garcia", "Rossi", "Dubois", "Novak", "Larsen", "Kowalski", "Silva", "Yilmaz", "Tanaka",
    "Haddad", "Okafor", "Nguyen", "Kumar", "Cohen", "Murphy", "Fischer", "Moreau", "Costa",
];
const WHAT: [&str; 25] = [
    "Bakery",
    "Butcher",
    "Pharmacy",
    "Florist",
    "Garage",
    "Hotel",
    "Clinic",
    "Studio",
    "Brewery",
    "Library",
    "Nursery",
    "Carpentry",
    "Laundry",
    "Optician",
    "Gallery",
    "Vineyard",
    "Bookshop",
    "Plumbing",
    "Roofing",
    "Catering",
    "Dentist",
    "Jeweller",
    "Notary",
    "Tailor",
    "Workshop",
];
const WHERE: [&str; 20] = [
    "Hamburg", "Lisbon", "Kraków", "Bergen", "Lyon", "Turin", "Seville", "Prague", "Dublin", "Izmir", "Osaka", "Lagos",
    "Hanoi", "Pune", "Haifa", "Graz", "Ghent", "Malmö", "Porto", "Basel",
];
/// What is typed: beginnings, whole names, parts of words, typos, ids, and what fits thousands.
const TYPED: [&str; 12] = [
    "ba",
    "bakery",
    "bakrey muller",
    "kowalski dentist",
    "vinyard",
    "lagos book",
    "hotel",
    "krakow",
    "crm-77",
    "ller phar",
    "nobodyhasthis",
    "schmidt roofing graz 4",
];

/// Measures searches of organizations by people who type at the same time; and by one alone.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for engine in [Engine::Postgres(&bench.postgres), Engine::Sqlite] {
        let database = Database::create(engine).await?;
        let world = World::start(&database, bench).await?;
        let connection = world.connection()?;
        fill(|at| create_organization(connection.clone(), &world.admin, at)).await?;
        let [mut alone, mut many]: [Series; 2] = Default::default();
        let caller = world.admin.clone();
        let call = move |connection, typed| search_organizations(connection, caller.clone(), typed);
        for _ in 0..bench.rounds {
            alone.add(search(bench, &world.connections, 1, call.clone()).await?);
            many.add(search(bench, &world.connections, IN_FLIGHT, call.clone()).await?);
        }
        let scenario = format!("SearchOrganizations, {}, 100 000 of a workspace", engine.name());
        table.ceiling(format!("{scenario}, one at a time"), &alone);
        table.ceiling(format!("the same, {IN_FLIGHT} in flight"), &many);
        world.stop().await;
        database.remove().await?;
    }
    Ok(())
}

/// Measures searches of agents; on PostgreSQL also with many more in other workspaces.
pub(crate) async fn measure_agents(bench: &Bench, table: &mut Table) -> Result<()> {
    for engine in [Engine::Postgres(&bench.postgres), Engine::Sqlite] {
        let database = Database::create(engine).await?;
        let world = AssignmentWorld::start(&database, bench).await?;
        let connection = world.connection()?;
        fill(|at| create_agent(connection.clone(), &world.admin, at)).await?;
        let [mut alone, mut many, mut beside_others]: [Series; 3] = Default::default();
        let caller = world.admin.clone();
        let call = move |connection, typed| search_agents(connection, caller.clone(), typed);
        if let Engine::Postgres(_) = engine {
            execute(&database.url, "VACUUM ANALYZE agents".to_owned()).await?;
        }
        for _ in 0..bench.rounds {
            alone.add(search(bench, &world.connections, 1, call.clone()).await?);
            many.add(search(bench, &world.connections, IN_FLIGHT, call.clone()).await?);
        }
        let scenario = format!("SearchAgents, {}, 100 000 of a workspace", engine.name());
        table.delay(format!("{scenario}, one at a time"), &alone, GOAL);
        table.ceiling(format!("the same, {IN_FLIGHT} in flight"), &many);
        if let Engine::Postgres(_) = engine {
            fill_others(&database).await?;
            for _ in 0..bench.rounds {
                beside_others.add(search(bench, &world.connections, 1, call.clone()).await?);
            }
            let alone: (&str, &[&Series]) = ("without them", &[&alone]);
            let scenario = "one at a time, 1 000 000 in other workspaces";
            table.ratio(scenario, &beside_others, alone, Some(BESIDE_OTHERS));
        }
        world.stop().await;
        database.remove().await?;
    }
    Ok(())
}

/// Makes as many as the workspace is to have.
async fn fill<Answer>(create: impl Fn(usize) -> Answer) -> Result<()>
where
    Answer: Future<Output = Result<(), Status>>,
{
    let created = stream::iter(0..MANY).map(create);
    Ok(created.buffer_unordered(IN_FLIGHT * 2).try_collect().await?)
}

/// Gives other workspaces the same agents, by copying them: with other keys, as each workspace has keys of its own. The index is made anew
/// afterwards, as nobody searches meanwhile.
async fn fill_others(database: &Database) -> Result<()> {
    execute(&database.url, format!("DROP INDEX {}_search", SEARCH.table)).await?;
    for other in 1..=OTHERS {
        let workspace = Uuid::now_v7();
        let copy = format!(
            "INSERT INTO agents (uid, workspace_uid, workspace_id, id, version, create_time, update_time, title, description, platform,
                channels, tags, state, archived, search_keys)
            SELECT gen_random_uuid(), '{workspace}', 'other-{other}', id, version, create_time, update_time, title, description, platform,
                channels, tags, state, archived, ARRAY(SELECT key # ({other}::bigint << 40) FROM unnest(search_keys) AS key)
            FROM agents WHERE workspace_id = 'acme'"
        );
        execute(&database.url, copy).await?;
    }
    execute(
        &database.url,
        format!(
            "SET maintenance_work_mem = '1GB'; {}",
            SEARCH.add_index(DbBackend::Postgres)
        ),
    )
    .await?;
    execute(&database.url, "VACUUM ANALYZE agents".to_owned()).await
}

/// What one of the many is called: a name, and the trade and the place that are in it.
fn named(at: usize) -> (String, &'static str, &'static str) {
    let (whose, what) = (WHOSE[at % WHOSE.len()], WHAT[at / WHOSE.len() % WHAT.len()]);
    let place = WHERE[at / (WHOSE.len() * WHAT.len()) % WHERE.len()];
    (format!("{whose} {what} {place} {at}"), what, place)
}

fn create_organization(connection: Channel, caller: &Caller, at: usize) -> impl Future<Output = Result<(), Status>> {
    let (name, what, _) = named(at);
    let request = caller.request(CreateOrganizationRequest {
        parent: "workspaces/acme".to_owned(),
        organization_id: format!("org-{}", Uuid::now_v7().simple()),
        organization: Some(Organization {
            display_name: Some(name),
            external_id: Some(format!("crm-{at}")),
            contact_email: Some(format!("owner-{at}@{}.example", what.to_lowercase())),
            ..Organization::default()
        }),
        ..CreateOrganizationRequest::default()
    });
    let mut client = OrganizationServiceClient::new(connection);
    async move { client.create_organization(request).await.map(drop) }
}

fn create_agent(connection: Channel, caller: &Caller, at: usize) -> impl Future<Output = Result<(), Status>> {
    let (name, what, place) = named(at);
    let request = caller.request(CreateAgentRequest {
        parent: "workspaces/acme".to_owned(),
        agent_id: format!("crm-{at}"),
        agent: Some(Agent {
            description: Some(format!(
                "Takes the calls of the {what} in {place} around the clock, books appointments, tells prices and hands over to people"
            )),
            title: Some(name),
            platform: Some(["native", "voiceflow", "botpress"][at % 3].to_owned()),
            tags: vec![place.to_owned(), format!("team {}", at % 40)],
            ..Agent::default()
        }),
        ..CreateAgentRequest::default()
    });
    let mut client = AgentServiceClient::new(connection);
    async move { client.create_agent(request).await.map(drop) }
}

async fn search_organizations(connection: Channel, caller: Caller, typed: &str) -> Result<(), Status> {
    let request = caller.request(SearchOrganizationsRequest {
        parent: "workspaces/acme".to_owned(),
        query: typed.to_owned(),
        ..SearchOrganizationsRequest::default()
    });
    let mut client = OrganizationServiceClient::new(connection);
    client.search_organizations(request).await.map(drop)
}

async fn search_agents(connection: Channel, caller: Caller, typed: &str) -> Result<(), Status> {
    let request = caller.request(SearchAgentsRequest {
        parent: "workspaces/acme".to_owned(),
        query: typed.to_owned(),
        ..SearchAgentsRequest::default()
    });
    let mut client = AgentServiceClient::new(connection);
    client.search_agents(request).await.map(drop)
}

/// Searches by what is typed, in turn.
async fn search<Answer>(
    bench: &Bench,
    connections: &[Channel],
    in_flight: usize,
    call: impl Fn(Channel, &'static str) -> Answer + Clone + Send + 'static,
) -> Result<load::Sample>
where
    Answer: Future<Output = Result<(), Status>> + Send + 'static,
{
    let turn = Arc::new(AtomicUsize::new(0));
    let call = move |connection| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % TYPED.len();
        call(connection, TYPED[turn])
    };
    load::run(bench, connections, in_flight, call).await
}

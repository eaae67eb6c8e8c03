//! SearchOrganizations over the many organizations of one workspace.

use crate::Bench;
use crate::load;
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World};
use anyhow::Result;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, Organization, SearchOrganizationsRequest};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// How many organizations the workspace has.
const ORGANIZATIONS: usize = 100_000;
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

/// Measures searches by people who type at the same time; and by one alone.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for (engine, name) in [
        (Engine::Postgres(&bench.postgres), "PostgreSQL"),
        (Engine::Sqlite, "SQLite"),
    ] {
        let database = Database::create(engine).await?;
        let world = World::start(&database, bench).await?;
        fill(&world).await?;
        let [mut alone, mut many]: [Series; 2] = Default::default();
        for _ in 0..bench.rounds {
            alone.add(search(bench, &world, 1).await?);
            many.add(search(bench, &world, IN_FLIGHT).await?);
        }
        table.ceiling(
            format!("SearchOrganizations, {name}, 100 000 of a workspace, one at a time"),
            &alone,
        );
        table.ceiling(format!("the same, {IN_FLIGHT} in flight"), &many);
        world.stop().await;
        database.remove().await?;
    }
    Ok(())
}

async fn fill(world: &World) -> Result<()> {
    let connection = world.connection()?;
    let created = stream::iter(0..ORGANIZATIONS).map(|at| {
        let request = world.admin.request(new_organization(at));
        let mut client = OrganizationServiceClient::new(connection.clone());
        async move { client.create_organization(request).await.map(drop) }
    });
    Ok(created.buffer_unordered(IN_FLIGHT * 2).try_collect().await?)
}

fn new_organization(at: usize) -> CreateOrganizationRequest {
    let (whose, what) = (WHOSE[at % WHOSE.len()], WHAT[at / WHOSE.len() % WHAT.len()]);
    let place = WHERE[at / (WHOSE.len() * WHAT.len()) % WHERE.len()];
    CreateOrganizationRequest {
        parent: "workspaces/acme".to_owned(),
        organization_id: format!("org-{}", Uuid::now_v7().simple()),
        organization: Some(Organization {
            display_name: Some(format!("{whose} {what} {place} {at}")),
            external_id: Some(format!("crm-{at}")),
            contact_email: Some(format!("owner-{at}@{}.example", what.to_lowercase())),
            ..Organization::default()
        }),
        ..CreateOrganizationRequest::default()
    }
}

async fn search(bench: &Bench, world: &World, in_flight: usize) -> Result<load::Sample> {
    let turn = Arc::new(AtomicUsize::new(0));
    let caller = world.admin.clone();
    let call = move |connection| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % TYPED.len();
        let request = caller.request(SearchOrganizationsRequest {
            parent: "workspaces/acme".to_owned(),
            query: TYPED[turn].to_owned(),
            ..SearchOrganizationsRequest::default()
        });
        async move {
            let mut client = OrganizationServiceClient::new(connection);
            client.search_organizations(request).await.map(drop)
        }
    };
    load::run(bench, &world.connections, in_flight, call).await
}

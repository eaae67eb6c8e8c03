//! GetSettings beside an echo: what a dashboard asks with every page.

use crate::Bench;
use crate::bare::{self, Ceiling};
use crate::load;
use crate::table::{Series, Table};
use crate::world::{Database, Engine, SettingsWorld};
use anyhow::{Context as _, Result};
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{GetSettingsRequest, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Request;

/// How many organizations there are, each asked for in turn.
const ORGANIZATIONS: usize = 1_000;
const IN_FLIGHT: usize = 32;

/// Measures an internal service that asks for the settings of one of many organizations, answered from memory.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let database = Database::create(Engine::Postgres(&bench.postgres)).await?;
    let world = SettingsWorld::start(&database, bench).await?;
    let mut names = Vec::new();
    for at in 0..ORGANIZATIONS {
        names.push(world.create_organization(&format!("organization-{at}")).await?);
    }
    let names = Arc::new(names);
    let settings = get_first(&world, &names).await?;
    let prebuilt = Ceiling::serve(move |_: GetSettingsRequest| {
        let settings = settings.clone();
        async { Ok(settings) }
    })
    .await?;
    let [mut echo, mut service]: [Series; 2] = Default::default();
    for _ in 0..bench.rounds {
        let next = requests(&world, &names);
        let call = move |connection| {
            let request = next();
            async move { bare::call::<_, Settings>(connection, request).await.map(drop) }
        };
        echo.add(load::run(bench, &prebuilt.connections, IN_FLIGHT, call).await?);
        let next = requests(&world, &names);
        let call = move |connection| {
            let request = next();
            async move {
                let mut client = SettingsServiceClient::new(connection);
                client.get_settings(request).await.map(drop)
            }
        };
        service.add(load::run(bench, &world.connections, IN_FLIGHT, call).await?);
    }
    table.ceiling("echo of prebuilt Settings, 32 in flight", &echo);
    table.ratio(
        "GetSettings, PostgreSQL",
        &service,
        ("the prebuilt echo", &[&echo]),
        Some(0.75),
    );
    world.stop().await;
    database.remove().await
}

async fn get_first(world: &SettingsWorld, names: &[String]) -> Result<Settings> {
    let request = GetSettingsRequest {
        name: names.first().context("no organization")?.clone(),
    };
    let mut client = SettingsServiceClient::new(world.connection()?);
    let answer = client.get_settings(world.service.request(request)).await?;
    Ok(answer.into_inner())
}

/// Asks for one after the other.
fn requests(
    world: &SettingsWorld,
    names: &Arc<Vec<String>>,
) -> impl Fn() -> Request<GetSettingsRequest> + Clone + use<> {
    let turn = Arc::new(AtomicUsize::new(0));
    let (caller, names) = (world.service.clone(), names.clone());
    move || {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % names.len();
        caller.request(GetSettingsRequest {
            name: names[turn].clone(),
        })
    }
}

//! How long after its answer a change arrives on a stream.

use crate::Bench;
use crate::load::Sample;
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World, create};
use anyhow::{Context as _, Result, bail};
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{WatchRequest, WatchResponse};
use clientele_testkit::Caller;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// A calm writer creates an organization this often.
const CALM: Duration = Duration::from_millis(20);
const BUSY_WRITERS: usize = 16;
/// How long the stream may take to tell what was written.
const PATIENCE: Duration = Duration::from_secs(20);

/// On this engine: idle, and while many write as fast as they can.
pub(crate) async fn measure(bench: &Bench, engine: Engine<'_>, table: &mut Table) -> Result<()> {
    let database = Database::create(engine).await?;
    let world = World::start(&database, bench).await?;
    let [mut idle, mut busy]: [Series; 2] = Default::default();
    for _ in 0..bench.rounds {
        idle.add(delays(bench, &world, 1, Some(CALM)).await?);
        busy.add(delays(bench, &world, BUSY_WRITERS, None).await?);
    }
    let name = engine.name();
    table.delay(format!("Watch delay, {name}, idle"), &idle, Duration::from_millis(25));
    table.delay(
        format!("Watch delay, {name}, {BUSY_WRITERS} writers"),
        &busy,
        Duration::from_millis(100),
    );
    world.stop().await;
    database.remove().await
}

async fn delays(bench: &Bench, world: &World, writers: usize, pause: Option<Duration>) -> Result<Sample> {
    let mut client = JournalServiceClient::new(world.connection()?);
    let request = WatchRequest {
        parent: "workspaces/acme".to_owned(),
        ..WatchRequest::default()
    };
    let mut stream = client.watch(world.admin.request(request)).await?.into_inner();
    // The first checkpoint: from here on nothing is missed.
    timeout(PATIENCE, stream.message())
        .await??
        .context("the stream ended")?;

    let end = Instant::now() + bench.length;
    let connections = world.connections.iter().cycle().take(writers);
    let writers =
        connections.map(|connection| tokio::spawn(write(connection.clone(), world.admin.clone(), pause, end)));
    let writers = futures::future::try_join_all(writers.collect::<Vec<_>>());
    let (last, written) = tokio::sync::oneshot::channel();
    let arrivals = tokio::spawn(listen(stream, written));
    let answered = writers.await?.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    // Whoever listens ended already only if the stream did, which is told below.
    let _ = last.send(answered.len());
    let arrivals = arrivals.await??;

    let delays = answered.iter().map(|(uid, answered)| {
        let arrived = arrivals.get(uid).context("a change never arrived")?;
        Ok(arrived.saturating_duration_since(*answered))
    });
    let delays = delays.collect::<Result<Vec<_>>>()?;
    Ok(Sample::new(delays, answered.len(), bench.length, None))
}

async fn write(
    connection: Channel,
    caller: Caller,
    pause: Option<Duration>,
    end: Instant,
) -> Result<Vec<(String, Instant)>, Status> {
    let mut answered = Vec::new();
    let mut pauses = pause.map(interval);
    if let Some(pauses) = &mut pauses {
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    while Instant::now() < end {
        if let Some(pauses) = &mut pauses {
            pauses.tick().await;
        }
        let organization = create(connection.clone(), caller.clone()).await?;
        answered.push((organization.uid, Instant::now()));
    }
    Ok(answered)
}

/// When each change arrived, until as many have as were written.
async fn listen(
    mut stream: Streaming<WatchResponse>,
    mut written: tokio::sync::oneshot::Receiver<usize>,
) -> Result<HashMap<String, Instant>> {
    let mut arrivals = HashMap::new();
    let mut expected = None;
    while expected.is_none_or(|expected| arrivals.len() < expected) {
        tokio::select! {
            count = &mut written, if expected.is_none() => expected = Some(count?),
            message = timeout(PATIENCE, stream.message()) => {
                let Some(message) = message.context("the stream is silent")?? else {
                    bail!("the stream ended");
                };
                let arrived = Instant::now();
                if let Some(Item::Entry(entry)) = message.item {
                    arrivals.extend(entry.changes.into_iter().map(|change| (change.uid, arrived)));
                }
            }
        }
    }
    Ok(arrivals)
}

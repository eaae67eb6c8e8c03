//! Clients that do not wait for their answers.

use crate::{World, create};
use clientele_api::org::CreateOrganizationRequest;
use clientele_testkit::{Engine, seed, until};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

const CLIENTS: usize = 16;
const CALLS: usize = 24;

const WRITERS: &str = "FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'clientele-org-writer'";

/// Each client makes its calls and leaves each after a random time; answers the organizations whose creation was acknowledged. On a
/// machine so slow that nobody was answered, once more with more patience.
async fn storm(world: &World, mut random: StdRng, patience: Duration) -> BTreeSet<String> {
    for round in 0..6 {
        let clients = (0..CLIENTS).map(|client| {
            let random = StdRng::seed_from_u64(random.random());
            impatient(
                world,
                random,
                format!("client-{round}-{client}"),
                patience * 2_u32.pow(round),
            )
        });
        let acknowledged: BTreeSet<String> = join_all(clients).await.into_iter().flatten().collect();
        if !acknowledged.is_empty() {
            return acknowledged;
        }
    }
    panic!("the storm must let some calls through");
}

async fn impatient(world: &World, mut random: StdRng, name: String, patience: Duration) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for call in 0..CALLS {
        let id = format!("{name}-{call}");
        // These begin a transaction and roll it back; the others are a single statement.
        let validate_only = random.random_ratio(1, 3);
        let request = CreateOrganizationRequest {
            validate_only,
            ..create(&id)
        };
        let limit = patience.mul_f64(random.random());
        if let Ok(answer) = timeout(limit, world.create(request)).await {
            answer.unwrap();
            acknowledged.extend((!validate_only).then_some(id));
        }
    }
    acknowledged
}

/// Whether what was acknowledged is there, and what is there is in the journal.
async fn nothing_is_lost(world: &World, acknowledged: &BTreeSet<String>) {
    let there: BTreeSet<String> = BTreeSet::from_iter(world.ask("SELECT id AS answer FROM organizations").await);
    let lost: Vec<&String> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    // In one statement each: the units of those who left may still be at work.
    let apart = "SELECT coalesce(id, organization_id) AS answer FROM organizations \
        FULL JOIN (SELECT organization_id FROM journal WHERE organization_id IS NOT NULL) AS told ON organization_id = id \
        WHERE id IS NULL OR organization_id IS NULL";
    assert_eq!(
        world.ask::<String>(apart).await,
        [""; 0],
        "without a row of the journal, or the other way round"
    );
    let twice = "SELECT organization_id AS answer FROM journal WHERE organization_id IS NOT NULL \
        GROUP BY organization_id HAVING count(*) > 1";
    assert_eq!(
        world.ask::<String>(twice).await,
        [""; 0],
        "more than one row of the journal"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_lose_nothing_that_was_acknowledged() {
    let (world, proxy) = World::behind_a_proxy().await;
    proxy.delay(Duration::from_millis(100));
    // All writing connections are open before: each of these has one of its own for a while.
    let previews = (0..CLIENTS).map(|at| {
        let preview = CreateOrganizationRequest {
            validate_only: true,
            ..create(&format!("early-{at}"))
        };
        world.create(preview)
    });
    join_all(previews)
        .await
        .into_iter()
        .for_each(|previewed| drop(previewed.unwrap()));
    let pids = format!("SELECT pid AS answer {WRITERS} ORDER BY pid");
    let before: Vec<i32> = world.ask(&pids).await;

    let acknowledged = storm(&world, seed(), Duration::from_millis(300)).await;

    nothing_is_lost(&world, &acknowledged).await;
    // A unit that is at work waits for the network most of the time, in its transaction: it has a second to end.
    let open = format!("SELECT count(*) AS answer {WRITERS} AND state <> 'idle'");
    until(
        Duration::from_secs(3),
        "the units of those who left have ended",
        async || world.ask::<i64>(&open).await == [0],
    )
    .await;
    let after: Vec<i32> = world.ask(&pids).await;
    assert_eq!(before, after, "leaving costs no connection");

    proxy.restore();
    for at in 0..CLIENTS {
        world.create(create(&format!("late-{at}"))).await.unwrap();
    }
    let late = "SELECT count(*) AS answer FROM organizations WHERE id LIKE 'late-%'";
    assert_eq!(
        world.ask::<i64>(late).await,
        [CLIENTS as i64],
        "seen by another session"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_lose_nothing_on_sqlite() {
    let world = World::start(Engine::Sqlite).await;
    let acknowledged = storm(&world, seed(), Duration::from_millis(30)).await;
    nothing_is_lost(&world, &acknowledged).await;
    world.create(create("late")).await.unwrap();
    let late = "SELECT count(*) AS answer FROM organizations WHERE id = 'late'";
    assert_eq!(world.ask::<i64>(late).await, [1], "seen by another session");
}

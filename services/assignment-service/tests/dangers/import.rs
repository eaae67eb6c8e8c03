//! The process dies while it imports agents: before and after each of its chunks.

use crate::World;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::{Agent, ImportAgentsRequest, ImportAgentsResponse, ImportedAgent};
use clientele_testkit::{Caller, Engine, Process, reason};
use futures::stream;
use tonic::{Response, Status};
use uuid::Uuid;

/// Three chunks.
const ROWS: i32 = 1_201;

/// Messages of rows, which end elsewhere than chunks do.
fn messages(prefix: &str, title: &str, request_id: Uuid) -> Vec<ImportAgentsRequest> {
    let row = |at| ImportedAgent {
        agent_id: format!("{prefix}-{at}"),
        agent: Some(Agent {
            title: Some(title.to_owned()),
            ..Default::default()
        }),
    };
    let rows = Vec::from_iter((0..ROWS).map(row));
    let parted = rows.chunks(333).map(|rows| ImportAgentsRequest {
        agents: rows.to_vec(),
        ..Default::default()
    });
    let first = ImportAgentsRequest {
        parent: "workspaces/acme".to_owned(),
        request_id: request_id.to_string(),
        ..Default::default()
    };
    [first].into_iter().chain(parted).collect()
}

async fn import(
    process: &Process,
    caller: &Caller,
    messages: Vec<ImportAgentsRequest>,
) -> Result<ImportAgentsResponse, Status> {
    let mut agents = AgentServiceClient::new(process.channel().await);
    let answer = agents.import_agents(caller.request(stream::iter(messages))).await;
    answer.map(Response::into_inner)
}

async fn an_import_whose_server_dies_is_finished_by_its_repetition(engine: Engine) {
    let world = World::start(engine).await;
    world.feed.create_workspace("acme");
    let caller = Caller {
        min_revision: Some(world.feed.revision()),
        ..world.operator.clone()
    };
    for (death, committed) in [("before-commit", 0), ("after-commit", 1)] {
        for nth in 1..=3 {
            let prefix = format!("{death}-{nth}");
            let rows = messages(&prefix, "A", Uuid::new_v4());
            let mut dying = world.serve(&format!("{death}={nth}:kill"));
            let lost = import(&dying, &caller, rows.clone()).await;
            lost.expect_err("the answer is lost");
            dying.until_killed().await;
            let count = format!("SELECT count(*) AS answer FROM agents WHERE id LIKE '{prefix}-%'");
            let written = ROWS.min((nth - 1 + committed) * 500);
            assert_eq!(world.ask::<i64>(&count).await, [i64::from(written)], "{prefix}");

            let server = world.serve("");
            let again = import(&server, &caller, rows.clone()).await.unwrap();
            // With its last chunk it has remembered what it did.
            let before = if written == ROWS { 0 } else { written };
            assert_eq!((again.created, again.unchanged), (ROWS - before, before), "{prefix}");
            assert_eq!((again.updated, again.failed), (0, 0), "{prefix}");
            assert_eq!(world.ask::<i64>(&count).await, [i64::from(ROWS)]);
            let told = world.ask::<i64>("SELECT count(*) AS answer FROM journal").await;
            assert_eq!(import(&server, &caller, rows.clone()).await.unwrap(), again);
            let id = rows[0].request_id.parse().unwrap();
            let other = import(&server, &caller, messages(&prefix, "B", id)).await;
            assert_eq!(reason(&other.unwrap_err()), "REQUEST_ID_REUSED");
            assert_eq!(world.ask::<i64>("SELECT count(*) AS answer FROM journal").await, told);
            server.kill();
        }
    }
    let twice = "SELECT count(*) AS answer FROM (SELECT id FROM agents GROUP BY id HAVING count(*) > 1) AS twice";
    assert_eq!(world.ask::<i64>(twice).await, [0]);
    assert_eq!(world.ask::<i64>("SELECT max(version) AS answer FROM agents").await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_whose_server_dies_is_finished_by_its_repetition_on_sqlite() {
    an_import_whose_server_dies_is_finished_by_its_repetition(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_whose_server_dies_is_finished_by_its_repetition_on_postgres() {
    an_import_whose_server_dies_is_finished_by_its_repetition(Engine::Postgres).await;
}

//! The process dies: between commit and answer, and wherever its follower stands.

use crate::World;
use clientele_api::Uid;
use clientele_api::journal::{Change, ChangeKind};
use clientele_api::org::Organization;
use clientele_api::org::organization::State;
use clientele_testkit::{Engine, Step, repeat_what_died, until};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

async fn a_call_whose_server_dies_happens_once(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.feed.create_workspace("acme");
    world
        .feed
        .create_organization(acme, "workspaces/acme/organizations/bakery");
    let server = world.serve("");
    until(PATIENCE, "the organization is known", async || world.heard().await).await;
    for agent in ["before-commit", "after-commit"] {
        let create = json!({ "parent": "workspaces/acme", "agentId": agent, "agent": { "title": "Anna" } });
        let path = "/clientele.assignment.v1.AgentService/CreateAgent";
        server.calls().await.call(path, &world.operator, create).await.unwrap();
    }
    server.kill();

    let remembered = async || world.ask("SELECT count(request_id) AS answer FROM journal").await[0];
    let assign = |agent: &str| Step {
        method: "/clientele.assignment.v1.AssignmentService/AssignAgent",
        request: json!({
            "parent": "workspaces/acme/organizations/bakery",
            "agent": format!("workspaces/acme/agents/{agent}"),
            "assignment": { "alias": "A" },
        }),
    };
    let unassign = |agent: &str| Step {
        method: "/clientele.assignment.v1.AssignmentService/UnassignAgent",
        request: json!({ "name": format!("workspaces/acme/organizations/bakery/assignments/{agent}") }),
    };
    let rename = |title: &str| {
        let title = title.to_owned();
        move |agent: &str| Step {
            method: "/clientele.assignment.v1.AgentService/UpdateAgent",
            request: json!({ "agent": { "name": format!("workspaces/acme/agents/{agent}"), "title": title } }),
        }
    };
    let serve = |fail_points: &str| world.serve(fail_points);
    repeat_what_died(serve, remembered, &world.operator, assign, unassign).await;
    repeat_what_died(serve, remembered, &world.operator, rename("Bea"), rename("Cleo")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_sqlite() {
    a_call_whose_server_dies_happens_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_postgres() {
    a_call_whose_server_dies_happens_once(Engine::Postgres).await;
}

impl World {
    fn create(&self, acme: Uid, count: usize) -> Vec<Organization> {
        let create = |at| {
            let name = format!("workspaces/acme/organizations/client-{at}");
            self.feed.create_organization(acme, &name)
        };
        (0..count).map(create).collect()
    }

    /// Lets the follower hear everything, while the process dies before and after each of its commits.
    async fn hear_and_die_at_every_commit(&self) {
        let mut nth = 1;
        while !self.heard().await {
            let before = self.cursor().await;
            for point in ["before", "after"] {
                let mut process = self.serve(&format!("{point}-quiet-commit={nth}:kill"));
                until(PATIENCE, "it dies, or has heard everything", async || {
                    process.was_killed() || self.heard().await
                })
                .await;
            }
            // Up to the first commit that moves the cursor, every life comes one commit further than the last.
            nth = if self.cursor().await == before { nth + 1 } else { 1 };
        }
    }
}

async fn a_follower_that_dies_at_every_commit_knows_what_it_was_told(engine: Engine) {
    let world = World::start(engine).await;
    // A first life runs the jobs, which are then not due for an hour: all further commits are the follower's.
    let idle = world.serve("");
    let done = "SELECT count(*) AS answer FROM jobs WHERE last_run > 0";
    until(PATIENCE, "the jobs are done", async || {
        world.ask::<i64>(done).await == [2]
    })
    .await;
    until(PATIENCE, "that nothing happened is heard", async || world.heard().await).await;
    idle.kill();

    // More than are written at a time, as news.
    let acme = world.feed.create_workspace("acme");
    let mut told = world.create(acme, 250);
    world.hear_and_die_at_every_commit().await;
    world.knows(told.clone()).await;

    // Some of it changes, and some is purged.
    for organization in &mut told[..30] {
        *organization = world
            .feed
            .update(acme, organization, |after| after.set_state(State::Suspended));
    }
    for gone in told.drain(220..) {
        let purged = Change {
            kind: ChangeKind::Purged.into(),
            ..Change::removed(&gone, 2)
        };
        world.feed.tell(&acme.to_string(), purged);
    }
    world.hear_and_die_at_every_commit().await;
    world.knows(told.clone()).await;

    // Everything is read anew, and part of it is not there any more.
    told.truncate(210);
    let kept: Vec<String> = told.iter().map(|organization| organization.uid.clone()).collect();
    world.feed.restore(|entry| {
        let uid = &entry.changes[0].uid;
        (*uid == acme.to_string() || kept.contains(uid)).then(|| entry.clone())
    });
    world.hear_and_die_at_every_commit().await;
    world.knows(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_dies_at_every_commit_knows_what_it_was_told_on_sqlite() {
    a_follower_that_dies_at_every_commit_knows_what_it_was_told(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_dies_at_every_commit_knows_what_it_was_told_on_postgres() {
    a_follower_that_dies_at_every_commit_knows_what_it_was_told(Engine::Postgres).await;
}

//! `max_agents`, also when everybody calls at the same moment.

use crate::arranging::part;
use crate::{BAKERY, CAFE, World, assign, coded, ids, refused};
use clientele_api::assignment::{AssignAgentRequest, Assignment, BatchAssignAgentsRequest, MoveAssignmentRequest};
use clientele_api::org::Organization;
use clientele_testkit::{on_both_engines, patiently};
use futures::future::join_all;
use std::collections::BTreeSet;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

/// How many call at once.
const CALLERS: usize = 64;
const LIMIT: usize = 20;

impl World {
    async fn limit(&self, before: &Organization, max_agents: Option<i32>) -> Organization {
        self.change(before, |organization| {
            organization.limits.as_mut().unwrap().max_agents = max_agents
        })
        .await
    }

    /// So many agents, `agent-0` and so on.
    async fn create_many(&self, many: usize) -> Vec<String> {
        let agents: Vec<String> = (0..many).map(|at| format!("agent-{at}")).collect();
        for some in agents.chunks(CALLERS) {
            join_all(some.iter().map(|id| self.create_agent(id))).await;
        }
        agents
    }
}

/// The ways in which agents come to `bakery`, patiently: so many at once may take a busy machine longer than a call may. Each answers how
/// many were wanted.
impl World {
    async fn assign_one(&self, agent: &str) -> (usize, Result<Vec<Assignment>, Status>) {
        let request = AssignAgentRequest {
            request_id: Uuid::new_v4().to_string(),
            ..assign(agent)
        };
        let call = || async {
            self.assignments()
                .assign_agent(self.admin.request(request.clone()))
                .await
        };
        (1, patiently(call).await.map(|answer| vec![answer.into_inner()]))
    }

    async fn assign_some(&self, agents: &[String]) -> (usize, Result<Vec<Assignment>, Status>) {
        let request = BatchAssignAgentsRequest {
            parent: BAKERY.into(),
            requests: agents.iter().map(|id| part(id)).collect(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let call = || async {
            self.assignments()
                .batch_assign_agents(self.admin.request(request.clone()))
                .await
        };
        let answer = patiently(call).await.map(Response::into_inner);
        (agents.len(), answer.map(|answer| answer.assignments))
    }

    async fn move_one(&self, agent: &str) -> (usize, Result<Vec<Assignment>, Status>) {
        let request = MoveAssignmentRequest {
            name: format!("{CAFE}/assignments/{agent}"),
            destination: BAKERY.into(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let call = || async {
            self.assignments()
                .move_assignment(self.admin.request(request.clone()))
                .await
        };
        (1, patiently(call).await.map(|answer| vec![answer.into_inner()]))
    }
}

/// The figures of a refusal that says that the limit was reached.
fn figures(status: &Status) -> (String, String) {
    assert_eq!(coded(status.clone()), refused(Code::ResourceExhausted, "LIMIT_REACHED"));
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, BAKERY);
    assert_eq!(
        status.get_details_quota_failure().unwrap().violations[0].subject,
        BAKERY
    );
    let mut metadata = status.get_details_error_info().unwrap().metadata;
    (metadata.remove("limit").unwrap(), metadata.remove("used").unwrap())
}

/// Each refusal must say that what was wanted, so many, did not fit; answers how many were assigned.
fn count(answers: Vec<(usize, Result<Vec<Assignment>, Status>)>) -> usize {
    let mut assigned = 0;
    for (wanted, answer) in answers {
        match answer {
            Ok(assignments) => {
                assert_eq!(assignments.len(), wanted);
                assigned += wanted;
            }
            Err(refusal) => {
                let (limit, used) = figures(&refusal);
                let used: usize = used.parse().unwrap();
                assert_eq!(limit, LIMIT.to_string());
                assert!(
                    used <= LIMIT && used + wanted > LIMIT,
                    "{used} of {LIMIT}, {wanted} wanted"
                );
            }
        }
    }
    assigned
}

#[tokio::test]
async fn an_organization_gets_as_many_agents_as_it_may() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        for id in ["a", "b", "c"] {
            world.create_agent(id).await;
        }
        let bakery = world.limit(&bakery, Some(0)).await;
        assert_eq!(figures(&world.assign("a").await.unwrap_err()), ("0".into(), "0".into()));
        let bakery = world.limit(&bakery, Some(2)).await;
        world.assign("a").await.unwrap();
        world.assign("b").await.unwrap();
        assert_eq!(figures(&world.assign("c").await.unwrap_err()), ("2".into(), "2".into()));
        world
            .assign("a")
            .await
            .expect("an agent that is assigned needs no more room");
        // What is taken away makes room, and needs room to come back.
        world.unassign("a", "").await.unwrap();
        world.assign("c").await.unwrap();
        assert_eq!(figures(&world.assign("a").await.unwrap_err()), ("2".into(), "2".into()));
        // A lower limit takes nothing away.
        let bakery = world.limit(&bakery, Some(1)).await;
        assert_eq!(ids(&world.assigned().await.unwrap()), ["b", "c"]);
        assert_eq!(figures(&world.assign("a").await.unwrap_err()), ("1".into(), "2".into()));
        world.limit(&bakery, None).await;
        world.assign("a").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_limit_and_the_order_hold_when_all_call_at_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let agents = world.create_many(CALLERS).await;
        world.limit(&bakery, Some(LIMIT as i32)).await;
        let answers = join_all(agents.iter().map(|agent| world.assign_one(agent))).await;
        assert_eq!(count(answers), LIMIT);
        let assigned = world.assigned().await.unwrap();
        let positions: BTreeSet<i64> = assigned.iter().map(|one| one.position).collect();
        assert_eq!(positions, (1..=LIMIT as i64).collect());
    })
    .await;
}

#[tokio::test]
async fn the_limit_holds_when_all_assign_batches_at_once() {
    on_both_engines(async |engine| {
        const SIZE: usize = 3;
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let agents = world.create_many(CALLERS * SIZE).await;
        world.limit(&bakery, Some(LIMIT as i32)).await;
        let answers = join_all(agents.chunks(SIZE).map(|some| world.assign_some(some))).await;
        let assigned = count(answers);
        // All or none of each.
        assert_eq!(assigned, LIMIT - LIMIT % SIZE);
        assert_eq!(world.assigned().await.unwrap().len(), assigned);
    })
    .await;
}

#[tokio::test]
async fn the_limit_holds_when_all_move_agents_to_one_organization_at_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_organization("cafe").await;
        let agents = world.create_many(CALLERS).await;
        for agent in &agents {
            world.assign(agent).await.unwrap();
            world.move_to(BAKERY, agent, CAFE).await.unwrap();
        }
        world.limit(&bakery, Some(LIMIT as i32)).await;
        let answers = join_all(agents.iter().map(|agent| world.move_one(agent))).await;
        assert_eq!(count(answers), LIMIT);
        let (there, left) = (world.assigned().await.unwrap(), world.assigned_to(CAFE).await);
        assert_eq!((there.len(), left.len()), (LIMIT, CALLERS - LIMIT));
        // Those who were refused lost nothing.
        let all: BTreeSet<&str> = ids(&there).into_iter().chain(ids(&left)).collect();
        assert_eq!(all.len(), CALLERS);
    })
    .await;
}

#[tokio::test]
async fn the_limit_holds_when_agents_come_in_every_way_at_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_organization("cafe").await;
        let agents = world.create_many(2 * CALLERS).await;
        for agent in agents.chunks(2).skip(2).step_by(3).flatten() {
            world.assign(agent).await.unwrap();
            world.move_to(BAKERY, agent, CAFE).await.unwrap();
        }
        world.limit(&bakery, Some(LIMIT as i32)).await;
        let come = async |(at, two): (usize, &[String])| match at % 3 {
            0 => world.assign_one(&two[0]).await,
            1 => world.assign_some(two).await,
            _ => world.move_one(&two[0]).await,
        };
        let assigned = count(join_all(agents.chunks(2).enumerate().map(come)).await);
        let there = world.assigned().await.unwrap();
        assert_eq!((there.len(), assigned), (LIMIT, LIMIT));
        let positions: BTreeSet<i64> = there.iter().map(|one| one.position).collect();
        assert_eq!(positions, (1..=LIMIT as i64).collect());
    })
    .await;
}

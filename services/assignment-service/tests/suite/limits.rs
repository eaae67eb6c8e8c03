//! `max_agents`, also when everybody calls at the same moment.

use crate::{BAKERY, World, coded, ids, refused};
use clientele_api::org::Organization;
use clientele_testkit::on_both_engines;
use futures::future::join_all;
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

impl World {
    async fn limit(&self, before: &Organization, max_agents: Option<i32>) -> Organization {
        self.change(before, |organization| {
            organization.limits.as_mut().unwrap().max_agents = max_agents
        })
        .await
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
    const CALLERS: usize = 64;
    const LIMIT: i32 = 20;
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let agents: Vec<String> = (0..CALLERS).map(|at| format!("agent-{at}")).collect();
        for agent in join_all(agents.iter().map(|id| world.create(id, crate::titled(id)))).await {
            agent.unwrap();
        }
        world.limit(&bakery, Some(LIMIT)).await;
        let (assigned, refusals): (Vec<_>, Vec<_>) = join_all(agents.iter().map(|id| world.assign(id)))
            .await
            .into_iter()
            .partition(Result::is_ok);
        for refusal in refusals.into_iter().map(Result::unwrap_err) {
            assert_eq!(figures(&refusal), (LIMIT.to_string(), LIMIT.to_string()));
        }
        let positions: BTreeSet<i64> = assigned.into_iter().map(|answer| answer.unwrap().position).collect();
        assert_eq!(positions, (1..=LIMIT.into()).collect());
        assert_eq!(world.assigned().await.unwrap().len(), LIMIT as usize);
    })
    .await;
}

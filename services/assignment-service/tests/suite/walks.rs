//! Walks over every method of the descriptors.

use crate::{ACME, BAKERY, World, agent_name};
use clientele_testkit::{Step, on_both_engines, refuse_everybody_else, replay_every_mutation};
use serde_json::json;

#[tokio::test]
async fn nobody_gets_what_the_policy_does_not_give() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        refuse_everybody_else(&world.calls(), &world.tokens, &world.running.services, "acme", "bakery").await;
    })
    .await;
}

#[tokio::test]
async fn every_mutation_happens_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let on = |method, request| Step { method, request };
        let anna = json!({ "name": agent_name("anna") });
        let create = json!({ "parent": ACME, "agentId": "anna", "agent": { "title": "Anna" } });
        let update = json!({ "agent": { "name": agent_name("anna"), "title": "B", "tags": ["t"] } });
        let assign = json!({ "parent": BAKERY, "agent": agent_name("anna"), "assignment": { "alias": "A" } });
        let unassign = json!({ "name": format!("{BAKERY}/assignments/anna") });
        let steps = vec![
            on("/clientele.assignment.v1.AgentService/CreateAgent", create),
            on("/clientele.assignment.v1.AgentService/UpdateAgent", update.clone()),
            // Changes nothing, and is remembered all the same.
            on("/clientele.assignment.v1.AgentService/UpdateAgent", update),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign.clone()),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign.clone()),
            on(
                "/clientele.assignment.v1.AssignmentService/UnassignAgent",
                unassign.clone(),
            ),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign),
            on("/clientele.assignment.v1.AssignmentService/UnassignAgent", unassign),
            on("/clientele.assignment.v1.AgentService/ArchiveAgent", anna.clone()),
            on("/clientele.assignment.v1.AgentService/UnarchiveAgent", anna),
        ];
        replay_every_mutation(&world.calls(), &world.tokens, &world.running.services, steps).await;
    })
    .await;
}

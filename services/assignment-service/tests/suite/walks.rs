//! Walks over every method of the descriptors.

use crate::{ACME, BAKERY, CAFE, World, agent_name};
use clientele_testkit::{ClientUser, Step, on_both_engines, refuse_everybody_else, replay_every_mutation};
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
        let bakery = world.create_organization("bakery").await;
        world.create_organization("cafe").await;
        let ann = ClientUser::create(&world.feed, world.acme, &bakery);
        world.hear().await;
        let member_scope = format!("{BAKERY}/memberScopes/{}", ann.user.uid);
        let on = |method, request| Step { method, request };
        let anna = json!({ "name": agent_name("anna") });
        let create = json!({ "parent": ACME, "agentId": "anna", "agent": { "title": "Anna" } });
        let update = json!({ "agent": { "name": agent_name("anna"), "title": "B", "tags": ["t"] } });
        let assign = json!({ "parent": BAKERY, "agent": agent_name("anna"), "assignment": { "alias": "A" } });
        let anna_of = |organization: &str| format!("{organization}/assignments/anna");
        let unassign = json!({ "name": anna_of(BAKERY) });
        let batch = json!({ "parent": BAKERY, "requests": [{ "agent": agent_name("anna") }] });
        let alias = json!({ "assignment": { "name": anna_of(BAKERY), "alias": "Ann" } });
        let first = json!({ "parent": BAKERY, "names": [anna_of(BAKERY)] });
        let there = json!({ "name": anna_of(BAKERY), "destination": CAFE });
        let back = json!({ "name": anna_of(CAFE), "destination": BAKERY });
        let scope = json!({ "memberScope": { "name": member_scope, "agents": [agent_name("anna")] } });
        let import = json!({ "parent": ACME, "agents": [{ "agentId": "anna", "agent": { "title": "Anna" } }] });
        let steps = vec![
            on("/clientele.assignment.v1.AgentService/CreateAgent", create),
            on("/clientele.assignment.v1.AgentService/UpdateAgent", update.clone()),
            // Changes nothing, and is remembered all the same.
            on("/clientele.assignment.v1.AgentService/UpdateAgent", update),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign.clone()),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign.clone()),
            on("/clientele.assignment.v1.AssignmentService/UpdateAssignment", alias),
            on("/clientele.assignment.v1.AssignmentService/ReorderAssignments", first),
            on(
                "/clientele.assignment.v1.AssignmentService/SetMemberScope",
                scope.clone(),
            ),
            on("/clientele.assignment.v1.AssignmentService/SetMemberScope", scope),
            on("/clientele.assignment.v1.AssignmentService/MoveAssignment", there),
            on("/clientele.assignment.v1.AssignmentService/MoveAssignment", back),
            on(
                "/clientele.assignment.v1.AssignmentService/UnassignAgent",
                unassign.clone(),
            ),
            on(
                "/clientele.assignment.v1.AssignmentService/BatchAssignAgents",
                batch.clone(),
            ),
            on("/clientele.assignment.v1.AssignmentService/BatchAssignAgents", batch),
            on(
                "/clientele.assignment.v1.AssignmentService/UnassignAgent",
                unassign.clone(),
            ),
            on("/clientele.assignment.v1.AssignmentService/AssignAgent", assign),
            on("/clientele.assignment.v1.AssignmentService/UnassignAgent", unassign),
            on("/clientele.assignment.v1.AgentService/ArchiveAgent", anna.clone()),
            on("/clientele.assignment.v1.AgentService/UnarchiveAgent", anna.clone()),
            on("/clientele.assignment.v1.AgentService/DeleteAgent", anna),
            on("/clientele.assignment.v1.AgentService/ImportAgents", import),
        ];
        replay_every_mutation(&world.calls(), &world.tokens, &world.running.services, steps).await;
    })
    .await;
}

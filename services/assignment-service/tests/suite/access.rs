//! CheckAccess: may this organization use this agent, and if not, why.

use crate::{ACME, BAKERY, World, agent_name, coded, refused, titled};
use clientele_api::assignment::agent::State as AgentState;
use clientele_api::assignment::{Agent, CheckAccessRequest, DeleteAgentRequest, DenialReason};
use clientele_api::org::organization::State;
use clientele_testkit::on_both_engines;
use tonic::{Code, Status};

impl World {
    /// Why `bakery` may not use the agent; unspecified: it may.
    pub(crate) async fn check(&self, agent: &str) -> Result<DenialReason, Status> {
        self.check_in(BAKERY, agent).await
    }

    pub(crate) async fn check_in(&self, organization: &str, agent: &str) -> Result<DenialReason, Status> {
        let request = CheckAccessRequest {
            organization: organization.into(),
            agent: agent_name(agent),
            ..Default::default()
        };
        let answer = self.assignments().check_access(self.service.request(request)).await?;
        let answer = answer.into_inner();
        assert_eq!(answer.allowed, answer.reason() == DenialReason::Unspecified);
        Ok(answer.reason())
    }
}

#[tokio::test]
async fn an_assigned_agent_may_be_used_in_every_state_but_archived() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        for state in [AgentState::Draft, AgentState::Deployed, AgentState::Disabled] {
            let id = format!("agent-{}", i32::from(state));
            let agent = Agent {
                state: Some(state.into()),
                ..titled(&id)
            };
            world.create(&id, agent).await.unwrap();
            assert_eq!(world.check(&id).await.unwrap(), DenialReason::NotAssigned);
            world.assign(&id).await.unwrap();
            assert_eq!(world.check(&id).await.unwrap(), DenialReason::Unspecified, "{state:?}");
            world.archive(&id, "").await.unwrap();
            assert_eq!(world.check(&id).await.unwrap(), DenialReason::AgentArchived);
            world.unarchive(&id, "").await.unwrap();
            assert_eq!(world.check(&id).await.unwrap(), DenialReason::Unspecified);
        }
        // The switch for client logins is no business of agents.
        world
            .change(&bakery, |bakery| bakery.client_access_enabled = Some(false))
            .await;
        assert_eq!(world.check("agent-1").await.unwrap(), DenialReason::Unspecified);
        world.unassign("agent-1", "").await.unwrap();
        assert_eq!(world.check("agent-1").await.unwrap(), DenialReason::NotAssigned);
    })
    .await;
}

#[tokio::test]
async fn an_id_that_was_given_out_again_means_the_new_agent() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        for _ in 0..3 {
            world.create_agent("anna").await;
            assert_eq!(world.check("anna").await.unwrap(), DenialReason::NotAssigned);
            world.assign("anna").await.unwrap();
            assert_eq!(world.check("anna").await.unwrap(), DenialReason::Unspecified);
            world.unassign("anna", "").await.unwrap();
            let request = DeleteAgentRequest {
                name: agent_name("anna"),
                ..Default::default()
            };
            world.agents().delete_agent(world.admin.request(request)).await.unwrap();
            let gone = world.check("anna").await.unwrap_err();
            assert_eq!(coded(gone), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_may_be_used_while_the_organization_is_not_active() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.create_agent("other").await;
        world.assign("anna").await.unwrap();
        let suspended = world.change(&bakery, |bakery| bakery.set_state(State::Suspended)).await;
        for agent in ["anna", "other"] {
            assert_eq!(world.check(agent).await.unwrap(), DenialReason::OrganizationSuspended);
        }
        let deleted = world
            .change(&suspended, |bakery| bakery.set_state(State::Deleted))
            .await;
        for agent in ["anna", "other"] {
            assert_eq!(world.check(agent).await.unwrap(), DenialReason::OrganizationDeleted);
        }
        world.change(&deleted, |bakery| bakery.set_state(State::Active)).await;
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::Unspecified);
    })
    .await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let unknown_agent = world.check("nobody").await.unwrap_err();
        let unknown_organization = world
            .check_in(&format!("{ACME}/organizations/nobody"), "anna")
            .await
            .unwrap_err();
        for status in [unknown_agent, unknown_organization] {
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
    })
    .await;
}

//! CheckAccess: may this organization use this agent, and if not, why.

use crate::member_scopes::{all, listing};
use crate::{ACME, BAKERY, World, agent_name, coded, fields, refused, titled};
use clientele_api::assignment::agent::State as AgentState;
use clientele_api::assignment::{Agent, BatchCheckAccessRequest, CheckAccessRequest, DeleteAgentRequest, DenialReason};
use clientele_api::org::organization::State;
use clientele_api::org::{member, user};
use clientele_testkit::{ClientUser, on_both_engines};
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

    /// Why `bakery`, and why this member of it may not use the agent.
    async fn check_both(&self, user: &ClientUser, agent: &str) -> [DenialReason; 2] {
        [
            self.check(agent).await.unwrap(),
            self.check_member(user, agent).await.unwrap(),
        ]
    }

    /// Why `bakery`, or this member of it, may not use each of the agents.
    async fn check_all(&self, agents: &[&str], member: &str) -> Result<Vec<DenialReason>, Status> {
        let request = BatchCheckAccessRequest {
            organization: BAKERY.into(),
            agents: agents.iter().map(|id| agent_name(id)).collect(),
            member: member.into(),
        };
        let answer = self
            .assignments()
            .batch_check_access(self.service.request(request))
            .await?;
        let checks = answer.into_inner().checks;
        for check in &checks {
            assert_eq!(check.allowed, check.reason() == DenialReason::Unspecified);
        }
        Ok(checks.iter().map(|check| check.reason()).collect())
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

/// Everything is wrong at first, and is put right one by one.
#[tokio::test]
async fn the_first_reason_that_applies_is_told() {
    use DenialReason::{
        AccessOff, AgentArchived, MemberRemoved, MemberSuspended, NotAssigned, OrganizationDeleted,
        OrganizationSuspended, OutOfScope, Unspecified, UserDisabled,
    };
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = world.client_user(&bakery).await;
        world.create_agent("a").await;
        world.set_scope(&world.admin, listing(&ann, &[])).await.unwrap();
        world.archive("a", "").await.unwrap();
        ann.change_member(|member| member.set_state(member::State::Removed));
        ann.change_user(|user| user.set_state(user::State::Disabled));
        ann.change_organization(|bakery| {
            bakery.client_access_enabled = Some(false);
            bakery.set_state(State::Deleted);
        });
        let expect = async |ann: &ClientUser, organization: DenialReason, member: DenialReason| {
            world.hear().await;
            assert_eq!(world.check_member(ann, "a").await.unwrap(), member);
            assert_eq!(world.check("a").await.unwrap(), organization);
            // Of an organization that may use it, too, and asked for several.
            assert_eq!(world.check_all(&["a"], "").await.unwrap(), [organization]);
            assert_eq!(world.check_all(&["a"], &ann.member.name).await.unwrap(), [member]);
        };
        expect(&ann, OrganizationDeleted, OrganizationDeleted).await;
        ann.change_organization(|bakery| bakery.set_state(State::Suspended));
        expect(&ann, OrganizationSuspended, OrganizationSuspended).await;
        // A state of a newer version.
        ann.change_organization(|bakery| bakery.state = 77);
        expect(&ann, OrganizationSuspended, OrganizationSuspended).await;
        ann.change_organization(|bakery| bakery.set_state(State::Active));
        expect(&ann, AgentArchived, AccessOff).await;
        ann.change_organization(|bakery| bakery.client_access_enabled = Some(true));
        expect(&ann, AgentArchived, UserDisabled).await;
        ann.change_user(|user| user.set_state(user::State::Active));
        expect(&ann, AgentArchived, MemberRemoved).await;
        ann.change_member(|member| member.state = 77);
        expect(&ann, AgentArchived, MemberRemoved).await;
        ann.change_member(|member| member.set_state(member::State::Suspended));
        expect(&ann, AgentArchived, MemberSuspended).await;
        ann.change_member(|member| member.set_state(member::State::Active));
        expect(&ann, AgentArchived, AgentArchived).await;
        world.unarchive("a", "").await.unwrap();
        expect(&ann, NotAssigned, NotAssigned).await;
        world.assign("a").await.unwrap();
        expect(&ann, Unspecified, OutOfScope).await;
        world.set_scope(&world.admin, listing(&ann, &["a"])).await.unwrap();
        expect(&ann, Unspecified, Unspecified).await;
        ann.purge_user();
        world.hear().await;
        let erased = world.check_member(&ann, "a").await.unwrap_err();
        assert_eq!(coded(erased), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        assert_eq!(world.check("a").await.unwrap(), Unspecified);
    })
    .await;
}

#[tokio::test]
async fn several_agents_are_checked_in_the_order_of_the_request() {
    use DenialReason::{AgentArchived, NotAssigned, OutOfScope, Unspecified};
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = world.client_user(&bakery).await;
        for id in ["a", "b", "c", "d"] {
            world.create_agent(id).await;
        }
        for id in ["a", "b", "c"] {
            world.assign(id).await.unwrap();
        }
        world.archive("c", "").await.unwrap();
        world.set_scope(&world.admin, listing(&ann, &["b"])).await.unwrap();
        let asked = ["d", "c", "b", "a", "b"];
        let of_organization = world.check_all(&asked, "").await.unwrap();
        assert_eq!(
            of_organization,
            [NotAssigned, AgentArchived, Unspecified, Unspecified, Unspecified]
        );
        let of_ann = world.check_all(&asked, &ann.member.name).await.unwrap();
        assert_eq!(
            of_ann,
            [NotAssigned, AgentArchived, Unspecified, OutOfScope, Unspecified]
        );
        assert_eq!(world.check_all(&["a"; 100], "").await.unwrap().len(), 100);

        for wrong in [vec![], vec!["a"; 101]] {
            assert_eq!(fields(&world.check_all(&wrong, "").await.unwrap_err()), ["agents"]);
        }
        let long = "x".repeat(100_000);
        let malformed = world.check_all(&["a", "", "a/b", "a\0", &long], "").await.unwrap_err();
        assert_eq!(fields(&malformed), ["agents[1]", "agents[2]", "agents[3]", "agents[4]"]);
        let user = &ann.user.uid;
        let elsewhere = format!("{ACME}/organizations/cafe/members/{user}");
        assert_eq!(
            fields(&world.check_all(&["a"], &elsewhere).await.unwrap_err()),
            ["member"]
        );
        let nobody = format!("{BAKERY}/members/0198c0de-0000-7000-8000-000000000000");
        for (agent, member) in [("nobody", ""), ("a", nobody.as_str())] {
            let unknown = world.check_all(&["b", agent], member).await.unwrap_err();
            assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_remembered_is_not_read_again() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = world.client_user(&bakery).await;
        // As soon as the process is sure that it hears of everything.
        for attempt in 0..1000 {
            let id = format!("a{attempt}");
            world.create_agent(&id).await;
            world.assign(&id).await.unwrap();
            assert_eq!(world.check_both(&ann, &id).await, [DenialReason::Unspecified; 2]);
            // Which no journal tells.
            world.execute("UPDATE agents SET archived = true").await;
            if world.check_both(&ann, &id).await == [DenialReason::Unspecified; 2] {
                // What is told of the organization, whatever it is, lets all of it be read again.
                world.unassign(&id, "").await.unwrap();
                assert_eq!(world.check_both(&ann, &id).await, [DenialReason::AgentArchived; 2]);
                return;
            }
            world.execute("UPDATE agents SET archived = false").await;
        }
        panic!("it is not remembered");
    })
    .await;
}

/// Each change is of something else that an answer depends on.
#[tokio::test]
async fn what_was_changed_is_seen_by_the_next_check() {
    use DenialReason::{
        AgentArchived, MemberSuspended, NotAssigned, OrganizationSuspended, OutOfScope, Unspecified, UserDisabled,
    };
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = world.client_user(&bakery).await;
        world.create_agent("a").await;
        world.assign("a").await.unwrap();
        let expect = async |ann: &ClientUser, organization: DenialReason, member: DenialReason| {
            // Twice: what the first one found is remembered.
            for _ in 0..2 {
                assert_eq!(world.check_both(ann, "a").await, [organization, member]);
            }
        };
        for _ in 0..10 {
            world.archive("a", "").await.unwrap();
            expect(&ann, AgentArchived, AgentArchived).await;
            world.unarchive("a", "").await.unwrap();
            expect(&ann, Unspecified, Unspecified).await;
            world.unassign("a", "").await.unwrap();
            expect(&ann, NotAssigned, NotAssigned).await;
            world.assign("a").await.unwrap();
            expect(&ann, Unspecified, Unspecified).await;
            world.set_scope(&world.admin, listing(&ann, &[])).await.unwrap();
            expect(&ann, Unspecified, OutOfScope).await;
            world.set_scope(&world.admin, all(&ann)).await.unwrap();
            expect(&ann, Unspecified, Unspecified).await;

            ann.change_user(|user| user.set_state(user::State::Disabled));
            world.hear().await;
            expect(&ann, Unspecified, UserDisabled).await;
            ann.change_user(|user| user.set_state(user::State::Active));
            ann.change_member(|member| member.set_state(member::State::Suspended));
            world.hear().await;
            expect(&ann, Unspecified, MemberSuspended).await;
            ann.change_member(|member| member.set_state(member::State::Active));
            ann.change_organization(|bakery| bakery.set_state(State::Suspended));
            world.hear().await;
            expect(&ann, OrganizationSuspended, OrganizationSuspended).await;
            ann.change_organization(|bakery| bakery.set_state(State::Active));
            world.hear().await;
            expect(&ann, Unspecified, Unspecified).await;
        }
    })
    .await;
}

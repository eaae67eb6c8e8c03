//! Scopes of members: which of their organization's agents they may use.

use crate::{BAKERY, CAFE, World, agent_name, coded, fields, ids, refused};
use clientele_api::assignment::{
    Assignment, CheckAccessRequest, DenialReason, GetMemberScopeRequest, ListAssignmentsRequest, MemberScope,
    MoveAssignmentRequest, SetMemberScopeRequest,
};
use clientele_api::journal::ListEntriesRequest;
use clientele_api::org::member::State;
use clientele_api::org::organization;
use clientele_testkit::{Caller, ClientUser, on_both_engines};
use tonic::{Code, Response, Status};

impl World {
    /// A client user of `bakery` with `members.manage`, of whom the service has heard.
    pub(crate) async fn client_user(&self, bakery: &clientele_api::org::Organization) -> ClientUser {
        let user = ClientUser::create(&self.feed, self.acme, bakery);
        self.hear().await;
        user
    }

    async fn scope_of(&self, caller: &Caller, user: &ClientUser) -> Result<MemberScope, Status> {
        let request = GetMemberScopeRequest { name: scope_name(user) };
        let answer = self.assignments().get_member_scope(caller.request(request)).await;
        answer.map(Response::into_inner)
    }

    pub(crate) async fn set_scope(&self, caller: &Caller, scope: MemberScope) -> Result<MemberScope, Status> {
        let request = SetMemberScopeRequest {
            member_scope: Some(scope),
            ..Default::default()
        };
        let answer = self.assignments().set_member_scope(caller.request(request)).await;
        answer.map(Response::into_inner)
    }

    /// Why this member of `bakery` may not use the agent; unspecified: it may.
    pub(crate) async fn check_member(&self, user: &ClientUser, agent: &str) -> Result<DenialReason, Status> {
        let request = CheckAccessRequest {
            organization: BAKERY.into(),
            agent: agent_name(agent),
            member: user.member.name.clone(),
        };
        let caller = self.informed(&self.service);
        let answer = self.assignments().check_access(caller.request(request)).await?;
        Ok(answer.into_inner().reason())
    }

    /// The assignments of `bakery` that the caller sees.
    async fn listed_for(&self, caller: &Caller) -> Vec<Assignment> {
        let request = ListAssignmentsRequest {
            parent: BAKERY.into(),
            ..Default::default()
        };
        let answer = self.assignments().list_assignments(caller.request(request)).await;
        answer.unwrap().into_inner().assignments
    }

    async fn create_and_assign(&self, agents: &[&str]) {
        for agent in agents {
            self.create_agent(agent).await;
            self.assign(agent).await.unwrap();
        }
    }
}

fn scope_name(user: &ClientUser) -> String {
    format!("{BAKERY}/memberScopes/{}", user.user.uid)
}

pub(crate) fn all(user: &ClientUser) -> MemberScope {
    MemberScope {
        name: scope_name(user),
        all_agents: Some(true),
        ..Default::default()
    }
}

pub(crate) fn listing(user: &ClientUser, agents: &[&str]) -> MemberScope {
    MemberScope {
        name: scope_name(user),
        all_agents: Some(false),
        agents: agents.iter().map(|id| agent_name(id)).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_member_may_use_every_agent_until_a_scope_is_set() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = world.client_user(&bakery).await;
        world.create_and_assign(&["a", "b"]).await;
        let unset = world.scope_of(&world.admin, &ann).await.unwrap();
        assert_eq!(
            (unset.version, unset.all_agents, unset.agents.len()),
            (0, Some(true), 0)
        );
        assert_eq!((&unset.uid, unset.create_time), (&ann.member.uid, None));
        assert_eq!(world.check_member(&ann, "a").await.unwrap(), DenialReason::Unspecified);
        let ann_calls = ann.caller(&world.tokens);
        assert_eq!(ids(&world.listed_for(&ann_calls).await), ["a", "b"]);

        let only_b = MemberScope {
            etag: unset.etag,
            ..listing(&ann, &["b"])
        };
        let set = world.set_scope(&world.admin, only_b.clone()).await.unwrap();
        assert_eq!((set.version, set.uid == ann.member.uid), (1, true));
        assert_eq!(world.scope_of(&world.admin, &ann).await.unwrap(), set);
        let stale = world.set_scope(&world.admin, only_b).await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
        assert_eq!(world.check_member(&ann, "a").await.unwrap(), DenialReason::OutOfScope);
        assert_eq!(world.check_member(&ann, "b").await.unwrap(), DenialReason::Unspecified);
        assert_eq!(world.check("a").await.unwrap(), DenialReason::Unspecified);
        assert_eq!(ids(&world.listed_for(&ann_calls).await), ["b"]);
        assert_eq!(ids(&world.listed_for(&world.member).await), ["a", "b"]);

        // The same again changes nothing.
        let again = world.set_scope(&world.admin, listing(&ann, &["b"])).await.unwrap();
        assert_eq!(again, set);
        let none = world.set_scope(&world.admin, listing(&ann, &[])).await.unwrap();
        assert_eq!((none.version, none.agents.len()), (2, 0));
        assert!(world.listed_for(&ann_calls).await.is_empty());
        let all = world.set_scope(&world.admin, all(&ann)).await.unwrap();
        assert_eq!((all.version, all.create_time), (3, set.create_time));
        assert_eq!(world.check_member(&ann, "a").await.unwrap(), DenialReason::Unspecified);
    })
    .await;
}

#[tokio::test]
async fn client_users_do_not_get_the_notes() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = world.client_user(&bakery).await;
        world.create_agent("a").await;
        let with_note = Assignment {
            alias: Some("Anna".into()),
            note: Some("pays late".into()),
            ..Default::default()
        };
        world.assign_with("a", with_note).await.unwrap();
        let seen = world.listed_for(&ann.caller(&world.tokens)).await;
        assert_eq!((seen[0].alias(), seen[0].note.as_deref()), ("Anna", None));
        assert_eq!(world.listed_for(&world.member).await[0].note(), "pays late");
        // Nor in the log.
        world.set_scope(&world.admin, listing(&ann, &["a"])).await.unwrap();
        let request = ListEntriesRequest {
            parent: BAKERY.into(),
            ..Default::default()
        };
        let ann_calls = ann.caller(&world.tokens);
        let entries = world.journal().list_entries(ann_calls.request(request)).await;
        let entries = entries.unwrap().into_inner().entries;
        let told: Vec<&str> = entries
            .iter()
            .flat_map(|entry| &entry.changes)
            .map(|change| change.resource.as_str())
            .collect();
        assert_eq!(told, [scope_name(&ann)]);
    })
    .await;
}

#[tokio::test]
async fn a_scope_shrinks_with_the_assignments_and_does_not_grow_again() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_organization("cafe").await;
        let ann = world.client_user(&bakery).await;
        world.create_and_assign(&["a", "b", "c"]).await;
        world
            .set_scope(&world.admin, listing(&ann, &["a", "b", "c"]))
            .await
            .unwrap();
        let held = async || {
            let scope = world.scope_of(&world.admin, &ann).await.unwrap();
            let ids: Vec<String> = scope
                .agents
                .iter()
                .map(|name| name.rsplit('/').next().unwrap().to_owned())
                .collect();
            let listed = world.listed_for(&ann.caller(&world.tokens)).await;
            let mut listed: Vec<String> = self::ids(&listed).into_iter().map(str::to_owned).collect();
            listed.sort();
            assert_eq!(listed, ids);
            for agent in ["a", "b", "c"] {
                let may = world.check_member(&ann, agent).await.unwrap() == DenialReason::Unspecified;
                assert_eq!(may, ids.iter().any(|id| id == agent), "{agent}");
            }
            ids.join(" ")
        };
        assert_eq!(held().await, "a b c");
        world.unassign("a", "").await.unwrap();
        assert_eq!(held().await, "b c");
        world.assign("a").await.unwrap();
        assert_eq!(held().await, "b c");
        // What is moved away and back is gone, too.
        for (from, to) in [(BAKERY, CAFE), (CAFE, BAKERY)] {
            let there = MoveAssignmentRequest {
                name: format!("{from}/assignments/b"),
                destination: to.into(),
                ..Default::default()
            };
            world
                .assignments()
                .move_assignment(world.admin.request(there))
                .await
                .unwrap();
        }
        assert_eq!(held().await, "c");
        // To list it again is a change, though the list is the one that was set at first.
        let again = world
            .set_scope(&world.admin, listing(&ann, &["a", "b", "c"]))
            .await
            .unwrap();
        assert_eq!(again.version, 2);
        assert_eq!(held().await, "a b c");
        // Nothing of it depends on clocks: this scope was set by one that is an hour ahead.
        let ahead = "UPDATE member_scopes SET update_time = update_time + 3600000000";
        world.execute(ahead).await;
        world.unassign("a", "").await.unwrap();
        world.assign("a").await.unwrap();
        assert_eq!(held().await, "b c");
        let after = world.set_scope(&world.admin, listing(&ann, &["a", "b"])).await.unwrap();
        assert_eq!(held().await, "a b");
        assert_eq!(after.version, 3);
        // And these were assigned by one that is further ahead.
        world
            .execute("UPDATE assignments SET assign_time = assign_time + 7200000000")
            .await;
        world.set_scope(&world.admin, listing(&ann, &["a"])).await.unwrap();
        assert_eq!(held().await, "a");
    })
    .await;
}

#[tokio::test]
async fn nobody_gives_more_than_its_own_scope_holds() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let (ann, ben) = (world.client_user(&bakery).await, world.client_user(&bakery).await);
        world.create_and_assign(&["a", "b", "c"]).await;
        let ann_calls = ann.caller(&world.tokens);
        // Whose own scope is all gives all.
        world.set_scope(&ann_calls, listing(&ben, &["c"])).await.unwrap();
        world.set_scope(&ann_calls, all(&ben)).await.unwrap();
        world.set_scope(&world.admin, listing(&ann, &["a", "b"])).await.unwrap();
        for more in [
            all(&ben),
            listing(&ben, &["a", "c"]),
            all(&ann),
            listing(&ann, &["a", "b", "c"]),
        ] {
            let refusal = world.set_scope(&ann_calls, more).await.unwrap_err();
            assert_eq!(coded(refusal), refused(Code::PermissionDenied, "GRANT_NOT_HELD"));
        }
        world.set_scope(&ann_calls, listing(&ben, &["b"])).await.unwrap();
        assert_eq!(
            world.scope_of(&ann_calls, &ben).await.unwrap().agents,
            [agent_name("b")]
        );
        // What it lost since it can't give either.
        world.unassign("b", "").await.unwrap();
        world.assign("b").await.unwrap();
        let refusal = world.set_scope(&ann_calls, listing(&ben, &["b"])).await.unwrap_err();
        assert_eq!(coded(refusal), refused(Code::PermissionDenied, "GRANT_NOT_HELD"));
        world.set_scope(&ann_calls, listing(&ben, &["a"])).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_scope_needs() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = world.client_user(&bakery).await;
        world.create_and_assign(&["a"]).await;
        world.create_agent("b").await;
        let admin = &world.admin;
        let set = async |scope: MemberScope| coded(world.set_scope(admin, scope).await.unwrap_err());

        assert_eq!(
            set(listing(&ann, &["a", "b"])).await,
            refused(Code::FailedPrecondition, "AGENT_NOT_ASSIGNED")
        );
        let elsewhere = MemberScope {
            agents: vec!["workspaces/other/agents/a".into(), "a".into()],
            ..listing(&ann, &[])
        };
        let invalid = world.set_scope(admin, elsewhere).await.unwrap_err();
        assert_eq!(fields(&invalid), ["member_scope.agents[0]", "member_scope.agents[1]"]);
        for nobody in ["nobody", "0198c0de-0000-7000-8000-000000000000"] {
            let name = format!("{BAKERY}/memberScopes/{nobody}");
            let scope = MemberScope { name, ..all(&ann) };
            assert_eq!(set(scope.clone()).await, refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
            let get = GetMemberScopeRequest { name: scope.name };
            let unknown = world
                .assignments()
                .get_member_scope(admin.request(get))
                .await
                .unwrap_err();
            assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }

        ann.change_member(|member| member.set_state(State::Removed));
        world.hear().await;
        assert_eq!(
            set(all(&ann)).await,
            refused(Code::FailedPrecondition, "MEMBER_REMOVED")
        );
        assert!(world.scope_of(admin, &ann).await.is_ok());
        ann.change_member(|member| member.set_state(State::Active));
        let suspended = world
            .change(&bakery, |it| it.set_state(organization::State::Suspended))
            .await;
        world.set_scope(admin, listing(&ann, &[])).await.unwrap();
        world
            .change(&suspended, |it| it.set_state(organization::State::Deleted))
            .await;
        assert_eq!(
            set(all(&ann)).await,
            refused(Code::FailedPrecondition, "ORGANIZATION_DELETED")
        );
    })
    .await;
}

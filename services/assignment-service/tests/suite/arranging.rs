//! Assignments by the batch, moved, put in order, changed, and seen from the agent.

use crate::{ACME, BAKERY, CAFE, World, agent_name, coded, fields, ids, refused};
use clientele_api::assignment::{
    AssignAgentRequest, Assignment, BatchAssignAgentsRequest, ListAgentOrganizationsRequest, ListAssignmentsRequest,
    MoveAssignmentRequest, ReorderAssignmentsRequest, UpdateAssignmentRequest,
};
use clientele_api::journal::ListEntriesRequest;
use clientele_api::org::organization::State;
use clientele_testkit::{ClientUser, on_both_engines};
use futures::future::join_all;
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

impl World {
    async fn create_agents(&self, ids: &[&str]) {
        for id in ids {
            self.create_agent(id).await;
        }
    }

    pub(crate) async fn assign_batch(&self, requests: Vec<AssignAgentRequest>) -> Result<Vec<Assignment>, Status> {
        let request = BatchAssignAgentsRequest {
            parent: BAKERY.into(),
            requests,
            ..Default::default()
        };
        let answer = self
            .assignments()
            .batch_assign_agents(self.admin.request(request))
            .await?;
        Ok(answer.into_inner().assignments)
    }

    pub(crate) async fn move_to(&self, from: &str, agent: &str, to: &str) -> Result<Assignment, Status> {
        let request = MoveAssignmentRequest {
            name: format!("{from}/assignments/{agent}"),
            destination: to.into(),
            ..Default::default()
        };
        let answer = self.assignments().move_assignment(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn reorder(&self, agents: &[&str]) -> Result<Vec<Assignment>, Status> {
        let request = ReorderAssignmentsRequest {
            parent: BAKERY.into(),
            names: agents.iter().map(|id| format!("{BAKERY}/assignments/{id}")).collect(),
            ..Default::default()
        };
        let answer = self
            .assignments()
            .reorder_assignments(self.admin.request(request))
            .await?;
        Ok(answer.into_inner().assignments)
    }

    async fn change_assignment(&self, assignment: Assignment, paths: Option<&[&str]>) -> Result<Assignment, Status> {
        let request = UpdateAssignmentRequest {
            assignment: Some(assignment),
            update_mask: paths.map(|paths| FieldMask {
                paths: crate::texts(paths),
            }),
            ..Default::default()
        };
        let answer = self.assignments().update_assignment(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    pub(crate) async fn assigned_to(&self, organization: &str) -> Vec<Assignment> {
        let request = ListAssignmentsRequest {
            parent: organization.into(),
            page_size: 500,
            ..Default::default()
        };
        let answer = self.assignments().list_assignments(self.member.request(request)).await;
        answer.unwrap().into_inner().assignments
    }

    /// The organizations that an agent is assigned to, read in pages of two.
    async fn organizations_of(&self, agent: &str) -> Result<Vec<String>, Status> {
        let mut request = ListAgentOrganizationsRequest {
            agent: agent_name(agent),
            page_size: 2,
            ..Default::default()
        };
        let mut names = Vec::new();
        loop {
            let call = self.member.request(request.clone());
            let page = self.assignments().list_agent_organizations(call).await?.into_inner();
            assert!(page.assignments.len() <= 2);
            let organization = |one: &Assignment| one.name.split("/assignments/").next().unwrap().to_owned();
            names.extend(page.assignments.iter().map(organization));
            if page.next_page_token.is_empty() {
                return Ok(names);
            }
            request.page_token = page.next_page_token;
        }
    }
}

pub(crate) fn part(agent: &str) -> AssignAgentRequest {
    AssignAgentRequest {
        agent: agent_name(agent),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_batch_is_assigned_whole_or_not_at_all() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agents(&["a", "b", "c", "d", "e"]).await;
        let a = world.assign("a").await.unwrap();
        world.assign("b").await.unwrap();
        world.unassign("b", "").await.unwrap();
        // One that is there, one that comes back, one that is new.
        let three = world.assign_batch(vec![part("c"), part("a"), part("b")]).await.unwrap();
        assert_eq!(ids(&three), ["c", "a", "b"]);
        assert_eq!((three[1] == a, three[2].version), (true, 3));
        assert_eq!(ids(&world.assigned_to(BAKERY).await), ["a", "c", "b"]);

        world.archive("e", "").await.unwrap();
        for (wrong, code, reason) in [
            ("nobody", Code::NotFound, "RESOURCE_NOT_FOUND"),
            ("e", Code::FailedPrecondition, "AGENT_ARCHIVED"),
        ] {
            let refusal = world.assign_batch(vec![part("d"), part(wrong)]).await.unwrap_err();
            assert_eq!(coded(refusal), refused(code, reason));
        }
        let bakery = world
            .change(&bakery, |it| it.limits.as_mut().unwrap().max_agents = Some(3))
            .await;
        let full = world.assign_batch(vec![part("a"), part("d")]).await.unwrap_err();
        assert_eq!(coded(full), refused(Code::ResourceExhausted, "LIMIT_REACHED"));
        assert_eq!(world.assign_batch(vec![part("a"), part("b")]).await.unwrap().len(), 2);
        assert_eq!(ids(&world.assigned_to(BAKERY).await), ["a", "c", "b"]);
        world.change(&bakery, |it| it.set_state(State::Suspended)).await;
        let refusal = world.assign_batch(vec![part("a")]).await.unwrap_err();
        assert_eq!(
            coded(refusal),
            refused(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
    })
    .await;
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_batch_is_said() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agents(&["a"]).await;
        let wrong = vec![
            part("a"),
            AssignAgentRequest {
                parent: CAFE.into(),
                request_id: "0198c0de-0000-7000-8000-000000000000".into(),
                ..part("b")
            },
            part("a"),
            AssignAgentRequest {
                agent: "workspaces/other/agents/a".into(),
                assignment: Some(Assignment {
                    alias: Some("a\nb".into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ];
        let refusal = world.assign_batch(wrong).await.unwrap_err();
        let expected = [
            "requests[1].parent",
            "requests[1].request_id",
            "requests[2].agent",
            "requests[3].agent",
            "requests[3].assignment.alias",
        ];
        assert_eq!(fields(&refusal), expected);
        for size in [0, 101] {
            let refusal = world.assign_batch(vec![part("a"); size]).await.unwrap_err();
            assert_eq!(fields(&refusal), ["requests"]);
        }
        // What is no name at all does not reach the database, nor comes back.
        for agent in ["", "a\0", "a/b", &"x".repeat(100_000)] {
            let refusal = world.assign_batch(vec![part(agent)]).await.unwrap_err();
            assert_eq!(fields(&refusal), ["requests[0].agent"]);
        }
        let many: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
        join_all(many.iter().map(|id| world.create_agent(id))).await;
        let most = many.iter().map(|id| part(id)).collect();
        assert_eq!(ids(&world.assign_batch(most).await.unwrap()), many);
    })
    .await;
}

#[tokio::test]
async fn an_agent_is_moved_whole_or_not_at_all() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let cafe = world.create_organization("cafe").await;
        world.create_agents(&["a", "b"]).await;
        let named = Assignment {
            alias: Some("Anna".into()),
            note: Some("n".into()),
            ..Default::default()
        };
        world.assign_with("a", named).await.unwrap();
        let moved = world.move_to(BAKERY, "a", CAFE).await.unwrap();
        assert_eq!(moved.name, format!("{CAFE}/assignments/a"));
        assert_eq!((moved.alias(), moved.note(), moved.version), ("Anna", "n", 1));
        assert_eq!(world.assigned_to(CAFE).await, std::slice::from_ref(&moved));
        assert!(world.assigned_to(BAKERY).await.is_empty());
        // One mutation, a row for each of the two organizations.
        let mut rows = Vec::new();
        for organization in [BAKERY, CAFE] {
            let request = ListEntriesRequest {
                parent: organization.into(),
                page_size: 1,
                ..Default::default()
            };
            let answer = world
                .journal()
                .list_entries(world.member.request(request))
                .await
                .unwrap();
            rows.extend(answer.into_inner().entries);
        }
        assert_eq!(rows[0].mutation_id, rows[1].mutation_id);
        assert_eq!((rows[0].changes.len(), rows[1].changes.len()), (1, 1));

        // Where it is assigned already it stays as it is.
        world.assign("a").await.unwrap();
        assert_eq!(world.move_to(BAKERY, "a", CAFE).await.unwrap(), moved);
        assert!(world.assigned_to(BAKERY).await.is_empty());
        let gone = world.move_to(BAKERY, "a", CAFE).await.unwrap_err();
        assert_eq!(coded(gone), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        let stale = MoveAssignmentRequest {
            name: moved.name.clone(),
            etag: "stale".into(),
            destination: BAKERY.into(),
            ..Default::default()
        };
        let stale = world.assignments().move_assignment(world.admin.request(stale)).await;
        assert_eq!(coded(stale.unwrap_err()), refused(Code::Aborted, "ETAG_MISMATCH"));
        let same = world.move_to(CAFE, "a", CAFE).await.unwrap_err();
        assert_eq!(fields(&same), ["destination"]);
        let unknown = format!("{ACME}/organizations/unknown");
        let unknown = world.move_to(CAFE, "a", &unknown).await.unwrap_err();
        assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));

        // What would not be assigned is not taken away either.
        let bakery = world
            .change(&bakery, |it| it.limits.as_mut().unwrap().max_agents = Some(0))
            .await;
        let full = world.move_to(CAFE, "a", BAKERY).await.unwrap_err();
        assert_eq!(coded(full), refused(Code::ResourceExhausted, "LIMIT_REACHED"));
        let bakery = world.change(&bakery, |it| it.set_state(State::Deleted)).await;
        let deleted = world.move_to(CAFE, "a", BAKERY).await.unwrap_err();
        assert_eq!(
            coded(deleted),
            refused(Code::FailedPrecondition, "ORGANIZATION_DELETED")
        );
        world
            .change(&bakery, |it| {
                it.set_state(State::Active);
                it.limits.as_mut().unwrap().max_agents = None;
            })
            .await;
        let cafe = world.change(&cafe, |it| it.set_state(State::Suspended)).await;
        let suspended = world.move_to(CAFE, "a", BAKERY).await.unwrap_err();
        assert_eq!(
            coded(suspended),
            refused(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
        world.change(&cafe, |it| it.set_state(State::Active)).await;
        world.archive("a", "").await.unwrap();
        let archived = world.move_to(CAFE, "a", BAKERY).await.unwrap_err();
        assert_eq!(coded(archived), refused(Code::FailedPrecondition, "AGENT_ARCHIVED"));
        world.unarchive("a", "").await.unwrap();
        assert_eq!(ids(&world.assigned_to(CAFE).await), ["a"]);
        let back = world.move_to(CAFE, "a", BAKERY).await.unwrap();
        assert_eq!((back.alias(), back.note()), ("Anna", "n"));
    })
    .await;
}

/// Many move agents to and fro between the same two organizations: nobody waits for ever for another, and each agent is somewhere.
#[tokio::test]
async fn moves_to_and_fro_do_not_lock_each_other_out() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("cafe").await;
        let agents: Vec<String> = (0..16).map(|n| format!("a{n}")).collect();
        for agent in &agents {
            world.create_agent(agent).await;
            world.assign(agent).await.unwrap();
        }
        let to_and_fro = async |agent: &String| {
            for _ in 0..4 {
                world.move_to(BAKERY, agent, CAFE).await.unwrap();
                world.move_to(CAFE, agent, BAKERY).await.unwrap();
            }
        };
        join_all(agents.iter().map(to_and_fro)).await;
        assert_eq!(world.assigned_to(BAKERY).await.len(), agents.len());
        assert!(world.assigned_to(CAFE).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn those_that_are_named_stand_first() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        for id in ["a", "b", "c", "d", "e"] {
            world.create_agent(id).await;
            world.assign(id).await.unwrap();
        }
        let first = world.reorder(&["d", "b"]).await.unwrap();
        assert_eq!(ids(&first), ["d", "b"]);
        let listed = world.assigned_to(BAKERY).await;
        assert_eq!(ids(&listed), ["d", "b", "a", "c", "e"]);
        assert_eq!(listed[..2], first);
        // Again: nothing changes.
        assert_eq!(world.reorder(&["d", "b"]).await.unwrap(), first);
        assert_eq!(
            ids(&world.reorder(&["e", "d", "c", "b", "a"]).await.unwrap()),
            ["e", "d", "c", "b", "a"]
        );
        assert_eq!(ids(&world.assigned_to(BAKERY).await), ["e", "d", "c", "b", "a"]);
        world.create_agent("f").await;
        world.assign("f").await.unwrap();
        assert_eq!(ids(&world.assigned_to(BAKERY).await), ["e", "d", "c", "b", "a", "f"]);

        let missing = world.reorder(&["a", "nobody"]).await.unwrap_err();
        assert_eq!(coded(missing), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        let twice = world.reorder(&["a", "b", "a"]).await.unwrap_err();
        assert_eq!(fields(&twice), ["names[2]"]);
        let elsewhere = ReorderAssignmentsRequest {
            parent: BAKERY.into(),
            names: vec![format!("{CAFE}/assignments/a"), "a".into()],
            ..Default::default()
        };
        let elsewhere = world
            .assignments()
            .reorder_assignments(world.admin.request(elsewhere))
            .await;
        assert_eq!(fields(&elsewhere.unwrap_err()), ["names[0]", "names[1]"]);
        for agent in ["", "a\0", "x/a", &"x".repeat(100_000)] {
            let refusal = world.reorder(&["a", agent]).await.unwrap_err();
            assert_eq!(fields(&refusal), ["names[1]"]);
        }
        for size in [0, 101] {
            let refusal = world.reorder(&vec!["a"; size]).await.unwrap_err();
            assert_eq!(fields(&refusal), ["names"]);
        }
        assert_eq!(ids(&world.assigned_to(BAKERY).await), ["e", "d", "c", "b", "a", "f"]);
        world.change(&bakery, |it| it.set_state(State::Suspended)).await;
        let refusal = world.reorder(&["a"]).await.unwrap_err();
        assert_eq!(
            coded(refusal),
            refused(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
    })
    .await;
}

#[tokio::test]
async fn a_hundred_are_put_in_order_by_one_call() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let agents: Vec<String> = (0..100).map(|n| format!("a{n:03}")).collect();
        for some in agents.chunks(50) {
            join_all(some.iter().map(|id| world.create_agent(id))).await;
        }
        for some in agents.chunks(100) {
            world
                .assign_batch(some.iter().map(|id| part(id)).collect())
                .await
                .unwrap();
        }
        let reversed: Vec<&str> = agents.iter().rev().map(String::as_str).collect();
        world.reorder(&reversed).await.unwrap();
        assert_eq!(ids(&world.assigned_to(BAKERY).await), reversed);
    })
    .await;
}

#[tokio::test]
async fn alias_and_note_are_changed() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agents(&["a"]).await;
        let before = world.assign("a").await.unwrap();
        let given = |alias: Option<&str>, note: Option<&str>| Assignment {
            name: before.name.clone(),
            alias: alias.map(Into::into),
            note: note.map(Into::into),
            ..Default::default()
        };
        let after = world
            .change_assignment(given(Some("Anna"), Some("n")), None)
            .await
            .unwrap();
        assert_eq!((after.alias(), after.note(), after.version), ("Anna", "n", 2));
        assert_eq!(
            (after.position, after.assign_time),
            (before.position, before.assign_time)
        );
        assert_eq!(world.assigned_to(BAKERY).await, std::slice::from_ref(&after));
        let same = world.change_assignment(given(Some("Anna"), None), None).await.unwrap();
        assert_eq!(same, after);
        let cleared = world
            .change_assignment(given(None, None), Some(&["note"]))
            .await
            .unwrap();
        assert_eq!((cleared.alias(), cleared.note()), ("Anna", ""));
        let stale = Assignment {
            etag: before.etag.clone(),
            ..given(Some("B"), None)
        };
        let stale = world.change_assignment(stale, None).await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
        let long = "x".repeat(201);
        let wrong = world
            .change_assignment(given(Some(&long), Some("\0")), None)
            .await
            .unwrap_err();
        assert_eq!(fields(&wrong), ["assignment.alias", "assignment.note"]);
        let output = world
            .change_assignment(given(None, None), Some(&["position"]))
            .await
            .unwrap_err();
        assert_eq!(coded(output), refused(Code::InvalidArgument, "INVALID_FIELDS"));
        world.change(&bakery, |it| it.set_state(State::Suspended)).await;
        let refusal = world.change_assignment(given(Some("B"), None), None).await.unwrap_err();
        assert_eq!(
            coded(refusal),
            refused(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
    })
    .await;
}

#[tokio::test]
async fn an_agent_tells_where_it_is_assigned() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agents(&["a", "b"]).await;
        let (mut organizations, mut deli) = (Vec::new(), None);
        for id in ["bakery", "cafe", "deli", "eatery", "farm"] {
            let organization = world.create_organization(id).await;
            if id == "deli" {
                deli = Some(organization);
            }
            let name = format!("{ACME}/organizations/{id}");
            let request = AssignAgentRequest {
                parent: name.clone(),
                ..part("a")
            };
            world
                .assignments()
                .assign_agent(world.admin.request(request))
                .await
                .unwrap();
            organizations.push(name);
        }
        assert_eq!(world.organizations_of("a").await.unwrap(), organizations);
        assert!(world.organizations_of("b").await.unwrap().is_empty());
        world.unassign("a", "").await.unwrap();
        assert_eq!(world.organizations_of("a").await.unwrap(), organizations[1..]);
        let deli = world.change(&deli.unwrap(), |it| it.set_state(State::Deleted)).await;
        assert_eq!(world.organizations_of("a").await.unwrap(), organizations[1..]);
        ClientUser::create(&world.feed, world.acme, &deli).purge_organization();
        world.hear().await;
        assert_eq!(
            world.organizations_of("a").await.unwrap(),
            [&organizations[1..2], &organizations[3..]].concat()
        );
        let unknown = world.organizations_of("nobody").await.unwrap_err();
        assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

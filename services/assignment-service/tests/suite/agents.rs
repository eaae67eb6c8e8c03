//! The catalogue of agents.

use crate::{ACME, World, agent_name, coded, full, refused, texts, titled};
use clientele_api::assignment::agent::State;
use clientele_api::assignment::{
    Agent, ArchiveAgentRequest, BatchGetAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest,
    UnarchiveAgentRequest, UnassignAgentRequest,
};
use clientele_api::journal::Change;
use clientele_api::org::organization;
use clientele_testkit::{Engine, on_both_engines, reason};
use futures::FutureExt;
use futures::future::join_all;
use std::collections::BTreeSet;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

impl World {
    pub(crate) async fn agent(&self, name: &str) -> Result<Agent, Status> {
        let request = GetAgentRequest { name: name.to_owned() };
        let answer = self.agents().get_agent(self.member.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn batch_get(&self, names: Vec<String>) -> Result<Vec<Agent>, Status> {
        let request = BatchGetAgentsRequest {
            parent: ACME.into(),
            names,
        };
        let answer = self.agents().batch_get_agents(self.member.request(request)).await;
        answer.map(|answer| answer.into_inner().agents)
    }

    /// The ids of the agents that match, read in pages of two.
    async fn list(&self, filter: &str) -> Result<Vec<String>, Status> {
        let mut request = ListAgentsRequest {
            parent: ACME.into(),
            filter: filter.into(),
            page_size: 2,
            ..Default::default()
        };
        let mut ids = Vec::new();
        loop {
            let answer = self.agents().list_agents(self.member.request(request.clone())).await;
            let page = answer?.into_inner();
            assert!(page.agents.len() <= 2);
            ids.extend(page.agents.into_iter().map(|agent| agent.title.unwrap()));
            if page.next_page_token.is_empty() {
                return Ok(ids);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn archive(&self, id: &str, etag: &str) -> Result<Agent, Status> {
        let request = ArchiveAgentRequest {
            name: agent_name(id),
            etag: etag.into(),
            ..Default::default()
        };
        let answer = self.agents().archive_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    pub(crate) async fn unarchive(&self, id: &str, etag: &str) -> Result<Agent, Status> {
        let request = UnarchiveAgentRequest {
            name: agent_name(id),
            etag: etag.into(),
            ..Default::default()
        };
        let answer = self.agents().unarchive_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    pub(crate) async fn delete_agent(&self, id: &str, etag: &str) -> Result<(), Status> {
        let request = DeleteAgentRequest {
            name: agent_name(id),
            etag: etag.into(),
            ..Default::default()
        };
        let answer = self.agents().delete_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn unassign_from(&self, organization: &str, agent: &str) -> Result<(), Status> {
        let request = UnassignAgentRequest {
            name: format!("{organization}/assignments/{agent}"),
            ..Default::default()
        };
        let answer = self.assignments().unassign_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }
}

fn named(id: &str) -> Agent {
    Agent {
        name: agent_name(id),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_agent_is_entered_and_read_back_equal() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let given = full();
        let created = world.create("Agent_1-a", given.clone()).await.unwrap();
        assert_eq!((created.name.as_str(), created.version), (&*agent_name("Agent_1-a"), 1));
        assert!(created.create_time.is_some() && created.create_time == created.update_time);
        let shown = Agent {
            name: String::new(),
            uid: String::new(),
            version: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
            ..created.clone()
        };
        assert_eq!(shown, given);
        assert_eq!(world.agent(&created.name).await.unwrap(), created);
        assert_eq!(world.create_agent("draft").await.state(), State::Draft);

        // Ids are the platform's: capitals count.
        assert_eq!(world.create_agent("Draft").await.name, agent_name("Draft"));
        let taken = world.create("draft", titled("Again")).await.unwrap_err();
        assert_eq!(coded(taken), refused(Code::AlreadyExists, "RESOURCE_EXISTS"));
        let unknown = world.agent(&agent_name("nobody")).await.unwrap_err();
        assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        assert_eq!(world.list("").await.unwrap(), ["Support", "draft", "Draft"]);
        world.running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn several_agents_are_got_in_the_order_in_which_they_are_asked_for() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.create_workspace("globex");
        world.hear().await;
        let mut created = Vec::new();
        for at in 0..3 {
            created.push(world.create_agent(&format!("agent-{at}")).await);
        }
        let names = |ids: &[usize]| {
            ids.iter()
                .map(|at| agent_name(&format!("agent-{at}")))
                .collect::<Vec<_>>()
        };
        for asked in [&[2, 0, 1][..], &[1], &[1, 1, 0, 1], &[0; 100]] {
            let expected: Vec<&Agent> = asked.iter().map(|at| &created[*at]).collect();
            let got = world.batch_get(names(asked)).await.unwrap();
            assert_eq!(got.iter().collect::<Vec<_>>(), expected);
        }
        // All of them or none.
        let status = world.batch_get(names(&[0, 7, 1, 8])).await.unwrap_err();
        let missing = tonic_types::StatusExt::get_details_resource_info(&status).unwrap();
        assert_eq!(missing.resource_name, agent_name("agent-7"));
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        for (names, field) in [
            (vec![], "names"),
            (names(&[0; 101]), "names"),
            ([names(&[0]), vec![ACME.to_owned()]].concat(), "names[1]"),
            (vec![String::new()], "names[0]"),
            (vec!["workspaces/globex/agents/agent-0".to_owned()], "names[0]"),
            (vec![agent_name("a\0")], "names[0]"),
        ] {
            let status = world.batch_get(names).await.unwrap_err();
            let request = tonic_types::StatusExt::get_details_bad_request(&status).unwrap();
            assert_eq!(request.field_violations[0].field, field);
            assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_FIELDS"));
        }
    })
    .await;
}

#[tokio::test]
async fn agents_of_other_workspaces_look_as_if_they_did_not_exist() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.create_workspace("globex");
        world.hear().await;
        let foreign = clientele_api::assignment::CreateAgentRequest {
            parent: "workspaces/globex".into(),
            agent_id: "support".into(),
            agent: Some(titled("Theirs")),
            ..Default::default()
        };
        // The same id in both: an id belongs to one workspace.
        world
            .agents()
            .create_agent(world.service.request(foreign))
            .await
            .unwrap();
        world.create_agent("support").await;
        for name in ["workspaces/globex/agents/support", "workspaces/globex/agents/nobody"] {
            let status = world.agent(name).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
        assert_eq!(world.agent(&agent_name("support")).await.unwrap().title(), "support");
        assert_eq!(world.list("").await.unwrap(), ["support"]);
    })
    .await;
}

#[tokio::test]
async fn agents_are_listed_by_state_platform_and_tag() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (id, state, platform) in [
            ("d", State::Draft, "native"),
            ("c", State::Deployed, "voiceflow"),
            ("b", State::Deployed, "native"),
            ("a", State::Disabled, "native"),
            ("e", State::Deployed, "native"),
        ] {
            let agent = Agent {
                state: Some(state.into()),
                platform: Some(platform.into()),
                tags: texts(&[platform, "a \"b\"", &id.to_uppercase()]),
                ..titled(id)
            };
            world.create(id, agent).await.unwrap();
        }
        world.archive("e", "").await.unwrap();
        for (filter, expected) in [
            ("", &["d", "c", "b", "a", "e"][..]),
            ("state = DRAFT", &["d"]),
            ("state = DEPLOYED", &["c", "b"]),
            ("state = DISABLED", &["a"]),
            ("state = ARCHIVED", &["e"]),
            (r#"platform = "native""#, &["d", "b", "a", "e"]),
            (r#"state = DEPLOYED AND platform = "native""#, &["b"]),
            (r#"platform = "%""#, &[]),
            ("tag = native", &["d", "b", "a", "e"]),
            (r#"tag = "a \"b\"" AND state = DRAFT"#, &["d"]),
            ("tag = A AND tag = native", &["a"]),
            ("tag = A AND tag = B", &[]),
            ("tag = b", &[]),
            (r#"tag = "%""#, &[]),
            (r#"tag = """#, &[]),
            ("state = DRAFT AND state = DRAFT", &["d"]),
            ("state = DRAFT AND state = DEPLOYED", &[]),
            ("state = ARCHIVED AND state = DEPLOYED", &[]),
        ] {
            assert_eq!(world.list(filter).await.unwrap(), expected, "{filter}");
        }
        for filter in [
            "state = NEW",
            "state = UNSPECIFIED",
            "state < DRAFT",
            "title = x",
            "tag < x",
            "state =",
        ] {
            let status = world.list(filter).await.unwrap_err();
            assert_eq!(
                coded(status),
                refused(Code::InvalidArgument, "INVALID_FIELDS"),
                "{filter}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn pages_have_no_gaps_and_no_repeats_while_others_write() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut before = BTreeSet::new();
        for at in 0..5 {
            before.insert(world.create_agent(&format!("before-{at}")).await.name);
        }
        let mut request = ListAgentsRequest {
            parent: ACME.into(),
            page_size: 2,
            ..Default::default()
        };
        let mut seen = Vec::new();
        for at in 0.. {
            let answer = world.agents().list_agents(world.member.request(request.clone())).await;
            let page = answer.unwrap().into_inner();
            seen.extend(page.agents.into_iter().map(|agent| agent.name));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            if at < 2 {
                world.create_agent(&format!("during-{at}")).await;
            }
        }
        let once: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(once.len(), seen.len());
        assert!(before.is_subset(&once));
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_agent("support").await;
        let change = Agent {
            tags: texts(&["a", "b"]),
            state: Some(State::Disabled.into()),
            ..named("support")
        };
        let updated = world.update(change.clone(), None).await.unwrap();
        assert_eq!(
            (updated.version, updated.title(), updated.state()),
            (2, "support", State::Disabled)
        );
        assert_eq!(updated.tags, ["a", "b"]);
        assert_eq!((&updated.uid, updated.create_time), (&created.uid, created.create_time));
        assert_ne!(updated.etag, created.etag);
        assert_eq!(world.agent(&agent_name("support")).await.unwrap(), updated);
        // Again: nothing changes. An empty list without a mask is absent, with one it clears.
        assert_eq!(world.update(change, None).await.unwrap(), updated);
        let renamed = Agent {
            title: Some("New".into()),
            ..named("support")
        };
        let renamed = world.update(renamed, None).await.unwrap();
        assert_eq!((renamed.title(), renamed.tags.len()), ("New", 2));
        let cleared = world.update(named("support"), Some(&["tags", "state"])).await.unwrap();
        assert_eq!(
            (cleared.version, cleared.tags.len(), cleared.state()),
            (4, 0, State::Draft)
        );
        assert_eq!(cleared.title(), "New");

        let stranger = world
            .update(
                Agent {
                    title: Some("X".into()),
                    ..named("nobody")
                },
                None,
            )
            .await;
        assert_eq!(
            coded(stranger.unwrap_err()),
            refused(Code::NotFound, "RESOURCE_NOT_FOUND")
        );
    })
    .await;
}

#[tokio::test]
async fn of_two_writers_with_one_etag_one_wins() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_agent("support").await;
        let change = |title: &str| Agent {
            etag: created.etag.clone(),
            title: Some(title.into()),
            ..named("support")
        };
        let (a, b) = tokio::join!(world.update(change("A"), None), world.update(change("B"), None));
        let (winner, loser) = match (a, b) {
            (Ok(winner), Err(loser)) | (Err(loser), Ok(winner)) => (winner, loser),
            other => panic!("one wins and one loses: {other:?}"),
        };
        assert_eq!(coded(loser), refused(Code::Aborted, "ETAG_MISMATCH"));
        assert_eq!(world.agent(&agent_name("support")).await.unwrap(), winner);
        let stale = world.archive("support", &created.etag).await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
    })
    .await;
}

#[tokio::test]
async fn of_writers_without_etags_none_is_lost() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("support").await;
        let changes = [
            titled("New"),
            Agent {
                description: Some("D".into()),
                ..Default::default()
            },
            Agent {
                platform: Some("P".into()),
                ..Default::default()
            },
            Agent {
                channels: texts(&["c"]),
                ..Default::default()
            },
            Agent {
                tags: texts(&["t"]),
                ..Default::default()
            },
            Agent {
                state: Some(State::Disabled.into()),
                ..Default::default()
            },
        ];
        let calls = changes.map(|change| {
            world.update(
                Agent {
                    name: agent_name("support"),
                    ..change
                },
                None,
            )
        });
        for answer in join_all(calls).await {
            answer.unwrap();
        }
        let agent = world.agent(&agent_name("support")).await.unwrap();
        assert_eq!((agent.version, agent.title(), agent.description()), (7, "New", "D"));
        assert_eq!((agent.platform(), agent.state()), ("P", State::Disabled));
        assert_eq!((agent.channels, agent.tags), (texts(&["c"]), texts(&["t"])));
    })
    .await;
}

#[tokio::test]
async fn an_archived_agent_comes_back_as_it_was() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let deployed = Agent {
            state: Some(State::Deployed.into()),
            ..titled("support")
        };
        let created = world.create("support", deployed).await.unwrap();
        let archived = world.archive("support", &created.etag).await.unwrap();
        assert_eq!((archived.version, archived.state()), (2, State::Archived));
        for status in [
            world.archive("support", "").await.unwrap_err(),
            world
                .update(
                    Agent {
                        title: Some("X".into()),
                        ..named("support")
                    },
                    None,
                )
                .await
                .unwrap_err(),
        ] {
            assert_eq!(coded(status), refused(Code::FailedPrecondition, "AGENT_ARCHIVED"));
        }
        let stale = world.unarchive("support", &created.etag).await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
        let back = world.unarchive("support", &archived.etag).await.unwrap();
        assert_eq!(
            (back.version, back.state(), &back.uid),
            (3, State::Deployed, &created.uid)
        );
        let again = world.unarchive("support", "").await.unwrap_err();
        assert_eq!(coded(again), refused(Code::FailedPrecondition, "AGENT_NOT_ARCHIVED"));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_agent_is_gone_and_its_id_is_free() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.create_agent("support").await;
        let stale = world.delete_agent("support", "stale").await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
        let preview = DeleteAgentRequest {
            name: agent_name("support"),
            validate_only: true,
            ..Default::default()
        };
        world.agents().delete_agent(world.admin.request(preview)).await.unwrap();
        assert_eq!(world.agent(&agent_name("support")).await.unwrap(), first);

        world.delete_agent("support", &first.etag).await.unwrap();
        let gone = [
            world.agent(&agent_name("support")).await.map(drop),
            world.delete_agent("support", "").await,
        ];
        for status in gone.into_iter().map(Result::unwrap_err) {
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
        assert_eq!(world.list("").await.unwrap(), [""; 0]);
        let again = world.create_agent("support").await;
        assert_ne!(again.uid, first.uid);
        assert_eq!(again.version, 1);
        world.archive("support", "").await.unwrap();
        world.delete_agent("support", "").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_agent_is_deleted_only_when_it_is_assigned_nowhere() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut organizations = Vec::new();
        for id in ["bakery", "butcher", "brewery"] {
            organizations.push(world.create_organization(id).await);
        }
        world.create_agent("anna").await;
        let mut assigned = Vec::new();
        for organization in &organizations {
            assigned.push(world.assign_to(&organization.name, "anna").await.unwrap());
        }
        let count = async || {
            let status = world.delete_agent("anna", "").await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(reason(&status), "AGENT_ASSIGNED");
            assert_eq!(
                status.get_details_resource_info().unwrap().resource_name,
                agent_name("anna")
            );
            status.get_details_error_info().unwrap().metadata["organizations"].clone()
        };
        assert_eq!(count().await, "3");
        world.archive("anna", "").await.unwrap();
        assert_eq!(count().await, "3", "archived or not");
        world.unassign("anna", "").await.unwrap();
        assert_eq!(count().await, "2", "what was taken away does not count");
        // A deleted organization comes back, perhaps; one that is purged does not.
        let butcher = world
            .change(&organizations[1], |one| one.set_state(organization::State::Deleted))
            .await;
        assert_eq!(count().await, "2");
        for gone in [&butcher, &organizations[2]] {
            world
                .feed
                .tell(&world.acme.to_string(), Change::purged(gone, gone.version + 1));
        }
        world.hear().await;
        world.delete_agent("anna", "").await.unwrap();

        // What the organization was assigned was another agent.
        let anna = world.create_agent("anna").await;
        assert_eq!(world.assigned().await.unwrap(), []);
        let again = world.assign("anna").await.unwrap();
        assert_eq!((again.version, again.position), (1, 1));
        assert_ne!(again.uid, assigned[0].uid);
        assert_eq!(world.agent(&agent_name("anna")).await.unwrap(), anna);
    })
    .await;
}

async fn what_is_being_assigned_is_not_deleted(engine: Engine) {
    let world = World::start(engine).await;
    let organizations: Vec<String> = (0..64).map(|at| format!("{ACME}/organizations/client-{at}")).collect();
    for name in &organizations {
        world.feed.create_organization(world.acme, name);
    }
    world.hear().await;
    let mut outcomes = BTreeSet::new();
    for round in 0..24 {
        world.create_agent("anna").await;
        // Against many it is likely to meet those that have found the agent and not yet assigned it; against one it wins at times.
        let most = if round % 2 == 0 { organizations.len() } else { 1 };
        let assigns = organizations[..most].iter().map(|name| world.assign_to(name, "anna"));
        let mut calls: Vec<_> = assigns
            .map(|call| call.map(|answer| answer.map(drop)).boxed())
            .collect();
        let place = round / 2 % (most + 1);
        calls.insert(place, world.delete_agent("anna", "").boxed());
        let mut answers = join_all(calls).await;
        let delete = answers.remove(place);
        let assigned = answers.iter().filter(|answer| answer.is_ok()).count();
        for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(reason(status), "RESOURCE_NOT_FOUND", "{status:?}");
        }
        outcomes.insert(delete.is_ok());
        if let Err(status) = delete {
            assert_eq!(coded(status), refused(Code::FailedPrecondition, "AGENT_ASSIGNED"));
            assert_eq!(assigned, most);
            join_all(
                organizations[..most]
                    .iter()
                    .map(|name| world.unassign_from(name, "anna")),
            )
            .await;
            world.delete_agent("anna", "").await.unwrap();
        } else {
            assert_eq!(assigned, 0, "an agent that is gone is assigned");
        }
    }
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_assigned_is_not_deleted_on_sqlite() {
    what_is_being_assigned_is_not_deleted(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_assigned_is_not_deleted_on_postgres() {
    what_is_being_assigned_is_not_deleted(Engine::Postgres).await;
}

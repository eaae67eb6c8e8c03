//! The conventions that every method keeps: request ids, previews, revisions, page tokens.

use crate::{ACME, BAKERY, World, agent_name, assign, coded, refused, titled};
use clientele_api::access::StaffRole;
use clientele_api::assignment::{
    ArchiveAgentRequest, AssignAgentRequest, CreateAgentRequest, GetAgentRequest, ListAgentsRequest,
    ListAssignmentsRequest, UnassignAgentRequest,
};
use clientele_api::journal::ListEntriesRequest;
use clientele_testkit::{Caller, on_both_engines};
use futures::future::join_all;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response};
use uuid::Uuid;

impl World {
    async fn journal_rows(&self) -> usize {
        let request = ListEntriesRequest {
            parent: ACME.into(),
            page_size: 500,
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await.unwrap();
        page.into_inner().entries.len()
    }
}

fn revision(headers: &MetadataMap) -> String {
    headers.get("clientele-revision").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_id_gives_the_first_answer_also_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.create_agent("bert").await;
        let before = world.journal_rows().await;
        let request = AssignAgentRequest {
            request_id: Uuid::new_v4().to_string(),
            ..assign("anna")
        };
        let call = async |request: AssignAgentRequest| {
            let answer = world.assignments().assign_agent(world.admin.request(request)).await;
            answer.map(Response::into_inner)
        };
        let answers = join_all((0..8).map(|_| call(request.clone()))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(world.journal_rows().await, before + 1);
        // Also after the assignment has gone.
        world.unassign("anna", "").await.unwrap();
        let again = call(request.clone()).await;
        assert!(
            world.assigned().await.unwrap().is_empty(),
            "the repetition must not assign again"
        );
        assert_eq!(again.unwrap(), answers[0]);

        let another = AssignAgentRequest {
            agent: agent_name("bert"),
            ..request.clone()
        };
        let status = call(another).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        let malformed = AssignAgentRequest {
            request_id: "once".into(),
            ..request
        };
        let status = call(malformed).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_FIELDS"));
    })
    .await;
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_a_request_id() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = CreateAgentRequest {
            parent: ACME.into(),
            agent_id: "anna".into(),
            agent: Some(titled("Anna")),
            request_id: Uuid::new_v4().to_string(),
            validate_only: false,
        };
        let mut agents = world.agents();
        agents.create_agent(world.admin.request(request.clone())).await.unwrap();
        let stranger = Caller::with(world.tokens.staff("globex", StaffRole::Owner));
        let status = agents.create_agent(stranger.request(request)).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn validation_runs_everything_and_keeps_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let request_id = Uuid::new_v4().to_string();
        let preview = CreateAgentRequest {
            parent: ACME.into(),
            agent_id: "anna".into(),
            agent: Some(titled("Anna")),
            request_id: request_id.clone(),
            validate_only: true,
        };
        let create = async |request| {
            let answer = world.agents().create_agent(world.admin.request(request)).await;
            answer.map(Response::into_inner)
        };
        let agent = create(preview.clone()).await.unwrap();
        assert_eq!((agent.name.as_str(), agent.version), (&*agent_name("anna"), 1));
        assert_eq!((agent.uid.as_str(), agent.etag.as_str()), ("", ""));
        assert_eq!((agent.create_time, agent.update_time), (None, None));
        assert_eq!(world.journal_rows().await, 0);
        // It remembered no request id, and sees what is unique.
        let real = CreateAgentRequest {
            validate_only: false,
            ..preview.clone()
        };
        create(real).await.unwrap();
        let taken = CreateAgentRequest {
            request_id: String::new(),
            ..preview
        };
        assert_eq!(
            coded(create(taken).await.unwrap_err()),
            refused(Code::AlreadyExists, "RESOURCE_EXISTS")
        );

        let archive = ArchiveAgentRequest {
            name: agent_name("anna"),
            validate_only: true,
            ..Default::default()
        };
        let archived = world
            .agents()
            .archive_agent(world.admin.request(archive))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((archived.version, archived.update_time), (2, None));
        let preview = AssignAgentRequest {
            validate_only: true,
            ..assign("anna")
        };
        let assigned = world
            .assignments()
            .assign_agent(world.admin.request(preview.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((assigned.version, assigned.position, assigned.uid.as_str()), (1, 1, ""));
        assert_eq!(world.assigned().await.unwrap(), []);

        world.assign("anna").await.unwrap();
        let unassign = UnassignAgentRequest {
            name: format!("{BAKERY}/assignments/anna"),
            validate_only: true,
            ..Default::default()
        };
        world
            .assignments()
            .unassign_agent(world.admin.request(unassign))
            .await
            .unwrap();
        assert_eq!(world.assigned().await.unwrap().len(), 1);
        assert_eq!(world.journal_rows().await, 2);
    })
    .await;
}

#[tokio::test]
async fn answers_tell_how_new_they_are_in_both_journals() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let assigned = world
            .assignments()
            .assign_agent(world.admin.request(assign("anna")))
            .await
            .unwrap();
        let written = revision(assigned.metadata());
        assert!(written.starts_with("assignment=1."), "{written}");

        let number = |revision: &str| revision.rsplit('.').next().unwrap().parse::<i64>().unwrap();
        let list = ListAssignmentsRequest {
            parent: BAKERY.into(),
            ..Default::default()
        };
        let empty = ListAgentsRequest {
            parent: ACME.into(),
            filter: "state = DISABLED".into(),
            ..Default::default()
        };
        let read = [
            revision(
                world
                    .assignments()
                    .list_assignments(world.member.request(list))
                    .await
                    .unwrap()
                    .metadata(),
            ),
            revision(
                world
                    .agents()
                    .list_agents(world.member.request(empty))
                    .await
                    .unwrap()
                    .metadata(),
            ),
        ];
        for read in read {
            let (own, org) = read.split_once(',').unwrap();
            assert!(
                own.starts_with("assignment=1.") && number(own) >= number(&written),
                "{read} after {written}"
            );
            assert_eq!(org, world.feed.revision());
        }
        // Its own journal it knows; of a later life of it not yet; services that it does not follow do not matter.
        let get = async |min: &str| {
            let caller = Caller {
                min_revision: Some(min.to_owned()),
                ..world.member.clone()
            };
            world
                .agents()
                .get_agent(caller.request(GetAgentRequest {
                    name: agent_name("anna"),
                }))
                .await
        };
        assert!(get(&written).await.is_ok());
        assert!(get("settings=9.999999").await.is_ok());
        let status = get("assignment=2.1").await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Unavailable, "NOT_CAUGHT_UP"));
        let status = get("assignment").await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_HEADER"));
    })
    .await;
}

#[tokio::test]
async fn page_tokens_are_good_for_their_list_only() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("butcher").await;
        for id in ["a", "b", "c"] {
            world.create_agent(id).await;
            world.assign(id).await.unwrap();
        }
        let list = async |request: ListAssignmentsRequest| {
            let answer = world
                .assignments()
                .list_assignments(world.member.request(request))
                .await;
            answer.map(Response::into_inner)
        };
        let first = ListAssignmentsRequest {
            parent: BAKERY.into(),
            page_size: 1,
            page_token: String::new(),
        };
        let token = list(first.clone()).await.unwrap().next_page_token;
        let changed = [
            ListAssignmentsRequest {
                page_token: format!("{token}x"),
                ..first.clone()
            },
            ListAssignmentsRequest {
                page_token: "\u{0}".into(),
                ..first.clone()
            },
            ListAssignmentsRequest {
                parent: format!("{ACME}/organizations/butcher"),
                page_token: token.clone(),
                ..first.clone()
            },
        ];
        for request in changed {
            assert_eq!(
                coded(list(request).await.unwrap_err()),
                refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID")
            );
        }
        let agents = ListAgentsRequest {
            parent: ACME.into(),
            page_size: 1,
            page_token: token.clone(),
            ..Default::default()
        };
        let status = world
            .agents()
            .list_agents(world.member.request(agents))
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        let negative = ListAssignmentsRequest {
            page_size: -1,
            ..first.clone()
        };
        assert_eq!(
            coded(list(negative).await.unwrap_err()),
            refused(Code::InvalidArgument, "INVALID_FIELDS")
        );
        let rest = ListAssignmentsRequest {
            page_size: 10_000,
            page_token: token,
            ..first
        };
        let rest = list(rest).await.unwrap();
        assert_eq!((rest.assignments.len(), rest.next_page_token.as_str()), (2, ""));
    })
    .await;
}

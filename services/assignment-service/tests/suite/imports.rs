//! Importing agents: what a stream of rows makes of the catalogue.

use crate::{ACME, World, agent_name, coded, full, refused, service, texts, titled};
use bytes::Bytes;
use clientele_api::assignment::agent::State;
use clientele_api::assignment::{
    Agent, BadRow, DeleteAgentRequest, ImportAgentsRequest, ImportAgentsResponse, ImportedAgent, ListAgentsRequest,
};
use clientele_api::error::ErrorReason;
use clientele_api::journal::{ChangeKind, Entry, ListEntriesRequest};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Engine, Running, on_both_engines, seed, until};
use futures::future::join_all;
use futures::{StreamExt, stream};
use prost::Message;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sea_orm::ConnectionTrait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
const IMPORT: &str = "/clientele.assignment.v1.AgentService/ImportAgents";

impl World {
    async fn import(&self, messages: Vec<ImportAgentsRequest>) -> Result<ImportAgentsResponse, Status> {
        self.import_as(&self.admin, messages).await
    }

    async fn import_as(
        &self,
        caller: &Caller,
        messages: Vec<ImportAgentsRequest>,
    ) -> Result<ImportAgentsResponse, Status> {
        let request = caller.request(stream::iter(messages));
        let answer = self.agents().import_agents(request).await;
        answer.map(Response::into_inner)
    }

    /// Imports rows in one message.
    async fn import_rows(&self, rows: Vec<ImportedAgent>) -> ImportAgentsResponse {
        self.import(vec![message(rows)]).await.unwrap()
    }

    /// All agents by id, without what no row says.
    async fn catalogue(&self) -> BTreeMap<String, Agent> {
        let mut request = ListAgentsRequest {
            parent: ACME.into(),
            page_size: 500,
            ..Default::default()
        };
        let mut agents = BTreeMap::new();
        loop {
            let page = self.agents().list_agents(self.member.request(request.clone())).await;
            let page = page.unwrap().into_inner();
            agents.extend(page.agents.into_iter().map(|agent| (id(&agent.name), shown(agent))));
            if page.next_page_token.is_empty() {
                return agents;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// What imports have told the journal, oldest first.
    async fn imported(&self) -> Vec<Entry> {
        self.entries_that(&format!("method = \"{IMPORT}\"")).await
    }
}

fn id(name: &str) -> String {
    name.rsplit('/').next().unwrap().to_owned()
}

fn shown(agent: Agent) -> Agent {
    Agent {
        name: String::new(),
        uid: String::new(),
        version: 0,
        etag: String::new(),
        create_time: None,
        update_time: None,
        ..agent
    }
}

fn row(id: &str, agent: Agent) -> ImportedAgent {
    ImportedAgent {
        agent_id: id.to_owned(),
        agent: Some(agent),
    }
}

/// Rows of new agents with these numbers.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<ImportedAgent> {
    numbers
        .map(|at| row(&format!("agent-{at}"), titled(&format!("Agent {at}"))))
        .collect()
}

fn message(agents: Vec<ImportedAgent>) -> ImportAgentsRequest {
    ImportAgentsRequest {
        parent: ACME.into(),
        agents,
        ..Default::default()
    }
}

/// Messages of so many rows each, of which the first one says where and with which id.
fn messages(rows: &[ImportedAgent], size: usize, request_id: &str) -> Vec<ImportAgentsRequest> {
    let mut messages: Vec<_> = rows
        .chunks(size)
        .map(|rows| ImportAgentsRequest {
            agents: rows.to_vec(),
            ..Default::default()
        })
        .collect();
    messages[0].parent = ACME.into();
    messages[0].request_id = request_id.to_owned();
    messages
}

/// Created, updated, unchanged, failed.
fn counts(answer: &ImportAgentsResponse) -> [i32; 4] {
    [answer.created, answer.updated, answer.unchanged, answer.failed]
}

/// The bad rows: which, why, and the fields.
fn bad(answer: &ImportAgentsResponse) -> Vec<(i32, ErrorReason, Vec<&str>)> {
    fn fields(row: &BadRow) -> Vec<&str> {
        row.violations.iter().map(|one| one.field.as_str()).collect()
    }
    Vec::from_iter(answer.bad_rows.iter().map(|row| (row.index, row.reason(), fields(row))))
}

#[tokio::test]
async fn agents_are_afterwards_what_their_rows_say() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let full = full();
        let before = world.create("changed", full.clone()).await.unwrap();
        let same = world.create("same", full.clone()).await.unwrap();
        world.create_agent("unnamed").await;
        let answer = world
            .import_rows(vec![
                row("new", full.clone()),
                row("changed", titled("Bare")),
                row(
                    "same",
                    Agent {
                        state: None,
                        ..full.clone()
                    },
                ),
                row("draft", titled("Draft")),
            ])
            .await;
        assert_eq!(counts(&answer), [2, 1, 1, 0]);
        assert_eq!(answer.bad_rows, []);
        let empty = Agent {
            description: Some(String::new()),
            platform: Some(String::new()),
            ..Default::default()
        };
        let bare = |title: &str, state: State| Agent {
            title: Some(title.into()),
            state: Some(state.into()),
            ..empty.clone()
        };
        let expected = BTreeMap::from([
            ("new".to_owned(), full.clone()),
            // The state that no row says is kept.
            ("changed".to_owned(), bare("Bare", State::Deployed)),
            ("same".to_owned(), full.clone()),
            ("draft".to_owned(), bare("Draft", State::Draft)),
            ("unnamed".to_owned(), bare("unnamed", State::Draft)),
        ]);
        assert_eq!(world.catalogue().await, expected);
        let get = async |id: &str| world.agent(&agent_name(id)).await.unwrap();
        assert_eq!(get("same").await, same);
        let changed = get("changed").await;
        assert_eq!((&changed.uid, changed.version), (&before.uid, 2));
        assert_eq!(changed.create_time, before.create_time);

        // Again: nothing to do, and nothing is told.
        let told = world.imported().await.len();
        let again = world
            .import_rows(vec![row("new", full), row("changed", titled("Bare"))])
            .await;
        assert_eq!(counts(&again), [0, 0, 2, 0]);
        assert_eq!(world.imported().await.len(), told);
        assert_eq!(counts(&world.import_rows(Vec::new()).await), [0, 0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn a_bad_row_is_answered_and_keeps_no_other_from_being_written() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("archived").await;
        world.archive("archived", "").await.unwrap();
        let with_state = |state: i32| Agent {
            state: Some(state),
            ..titled("A")
        };
        let several = Agent {
            description: Some("a\0b".into()),
            platform: Some("x".repeat(65)),
            channels: texts(&["web", "web"]),
            tags: texts(&["", "b"]),
            state: Some(State::Archived.into()),
            ..titled("\u{7}")
        };
        let rows = vec![
            row("good", titled("Good")),
            row("archived", titled("A")),
            row("not an id", several),
            ImportedAgent {
                agent_id: "bare".into(),
                agent: None,
            },
            row("untitled", Agent::default()),
            row("odd", with_state(77)),
            row("unspecified", with_state(0)),
        ];
        let answer = world.import(messages(&rows, 2, "")).await.unwrap();
        assert_eq!(counts(&answer), [2, 0, 0, 5]);
        let all =
            ["title", "description", "platform", "channels", "tags", "state"].map(|field| format!("agent.{field}"));
        let all: Vec<&str> = ["agent_id"].into_iter().chain(all.iter().map(String::as_str)).collect();
        let invalid = ErrorReason::InvalidFields;
        assert_eq!(
            bad(&answer),
            [
                (1, ErrorReason::AgentArchived, vec!["agent_id"]),
                (2, invalid, all),
                (3, invalid, vec!["agent.title"]),
                (4, invalid, vec!["agent.title"]),
                (5, invalid, vec!["agent.state"]),
            ]
        );
        assert!(
            answer
                .bad_rows
                .iter()
                .all(|row| row.violations.iter().all(|one| !one.message.is_empty()))
        );
        let catalogue = world.catalogue().await;
        assert_eq!(Vec::from_iter(catalogue.keys()), ["archived", "good", "unspecified"]);
        assert_eq!(catalogue["unspecified"].state(), State::Draft);
        assert_eq!(catalogue["archived"].title(), "archived");
        // What an archived agent is already needs no change, and is refused all the same: it is not in use.
        let same = world.import_rows(vec![row("archived", titled("archived"))]).await;
        assert_eq!(counts(&same), [0, 0, 0, 1]);
    })
    .await;
}

#[tokio::test]
async fn of_many_bad_rows_the_first_are_listed_and_all_are_counted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["early", "late"] {
            world.create_agent(id).await;
            world.archive(id, "").await.unwrap();
        }
        let mut rows = vec![row("", titled("A")); 1_500];
        // Found later than the bad rows behind them.
        rows[3] = row("early", titled("A"));
        rows[1_200] = row("late", titled("A"));
        rows.insert(700, row("good", titled("Good")));
        let answer = world.import(messages(&rows, 400, "")).await.unwrap();
        assert_eq!(counts(&answer), [1, 0, 0, 1_500]);
        let listed: Vec<i32> = answer.bad_rows.iter().map(|row| row.index).collect();
        assert_eq!(listed, Vec::from_iter((0..1_001).filter(|index| *index != 700)));
        assert_eq!(answer.bad_rows[3].reason(), ErrorReason::AgentArchived);
    })
    .await;
}

#[tokio::test]
async fn chunks_are_cut_by_rows_and_bytes_and_not_by_messages() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (round, size) in [1, 7, 499, 500, 501, 1_201].into_iter().enumerate() {
            let told = world.imported().await.len();
            let rows = numbered(round * 10_000..round * 10_000 + 1_201);
            let answer = world.import(messages(&rows, size, "")).await.unwrap();
            assert_eq!(counts(&answer), [1_201, 0, 0, 0]);
            let entries = world.imported().await.split_off(told);
            let sizes: Vec<usize> = entries.iter().map(|entry| entry.changes.len()).collect();
            assert_eq!(sizes, [500, 500, 201], "messages of {size}");
            let mutations: BTreeSet<&String> = entries.iter().map(|entry| &entry.mutation_id).collect();
            assert_eq!(mutations.len(), 1);
            let changes = entries.iter().flat_map(|entry| &entry.changes);
            assert!(changes.clone().all(|change| change.kind() == ChangeKind::Created));
            let names: Vec<String> = changes.map(|change| id(&change.resource)).collect();
            assert_eq!(names, rows.iter().map(|row| row.agent_id.clone()).collect::<Vec<_>>());
        }
        // What the journal tells at once stays small.
        let told = world.imported().await.len();
        let large = |title: &str| Agent {
            tags: (0..50).map(|at| format!("{at:0>64}")).collect(),
            description: Some("ä".repeat(2_000)),
            ..titled(title)
        };
        let rows: Vec<_> = (0..300).map(|at| row(&format!("large-{at}"), large("One"))).collect();
        assert_eq!(counts(&world.import_rows(rows).await), [300, 0, 0, 0]);
        let rows = (0..300).map(|at| row(&format!("large-{at}"), titled("Two"))).collect();
        assert_eq!(counts(&world.import_rows(rows).await), [0, 300, 0, 0]);
        let entries = world.imported().await.split_off(told);
        assert_eq!(entries.iter().map(|entry| entry.changes.len()).sum::<usize>(), 600);
        let largest = entries.iter().map(Message::encoded_len).max().unwrap();
        assert!(largest < 300 * 1024, "{largest}");
    })
    .await;
}

#[tokio::test]
async fn rows_of_one_agent_take_effect_one_after_the_other() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let rows = [
            row("anna", titled("One")),
            row("bert", titled("Bert")),
            row("anna", titled("Two")),
            row("anna", titled("Two")),
            row("carl", titled("Carl")),
            row("anna", titled("Three")),
        ];
        let answer = world.import(messages(&rows, 4, "")).await.unwrap();
        assert_eq!(counts(&answer), [3, 2, 1, 0]);
        let anna = world.agent(&agent_name("anna")).await.unwrap();
        assert_eq!((anna.version, anna.title()), (3, "Three"));
        let told = world.imported().await;
        let told: Vec<Vec<String>> = told
            .iter()
            .map(|entry| entry.changes.iter().map(|change| id(&change.resource)).collect())
            .collect();
        assert_eq!(
            told,
            [
                texts(&["anna", "bert"]),
                texts(&["anna"]),
                texts(&["carl"]),
                texts(&["anna"])
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_id_gives_the_first_answer_and_changes_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("archived").await;
        world.archive("archived", "").await.unwrap();
        let mut rows = numbered(0..1_100);
        rows.insert(600, row("archived", titled("A")));
        rows.insert(900, row("", titled("A")));
        let request_id = Uuid::new_v4().to_string();
        let first = world.import(messages(&rows, 300, &request_id)).await.unwrap();
        assert_eq!(counts(&first), [1_100, 0, 0, 2]);
        let entries = world.imported().await;
        let ids: Vec<&str> = entries.iter().map(|entry| entry.request_id.as_str()).collect();
        assert_eq!(ids, ["", "", &request_id], "the last row remembers the call");

        // What has changed since stays so.
        world.delete_agent("agent-3", "").await.unwrap();
        world
            .update(
                Agent {
                    name: agent_name("agent-7"),
                    ..titled("Another")
                },
                None,
            )
            .await
            .unwrap();
        let catalogue = world.catalogue().await;
        for size in [1, 300, 999, 2_000] {
            let again = world.import(messages(&rows, size, &request_id)).await.unwrap();
            assert_eq!(again, first, "messages of {size}");
        }
        assert!(world.catalogue().await == catalogue, "it changed something");
        assert_eq!(world.imported().await.len(), 3);

        let mut others = vec![rows[..1_000].to_vec(), rows.clone(), rows.clone(), rows.clone()];
        others[1].swap(5, 6);
        others[2][1_101].agent = Some(titled("Another"));
        others[3].push(row("one-more", titled("One more")));
        for rows in others {
            let refusal = world.import(messages(&rows, 300, &request_id)).await.unwrap_err();
            assert_eq!(coded(refusal), refused(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        }
        let refusal = world.import_as(&world.service, messages(&rows, 300, &request_id)).await;
        assert_eq!(
            coded(refusal.unwrap_err()),
            refused(Code::InvalidArgument, "REQUEST_ID_REUSED")
        );
        // Nor may it be the id of another call.
        let delete = DeleteAgentRequest {
            name: agent_name("agent-9"),
            request_id: request_id.clone(),
            ..Default::default()
        };
        let refusal = world
            .agents()
            .delete_agent(world.admin.request(delete))
            .await
            .unwrap_err();
        assert_eq!(coded(refusal), refused(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        assert!(world.catalogue().await == catalogue, "it changed something");
        assert_eq!(world.imported().await.len(), 3);
        let malformed = world.import(messages(&rows, 300, "once")).await.unwrap_err();
        assert_eq!(coded(malformed), refused(Code::InvalidArgument, "INVALID_FIELDS"));
    })
    .await;
}

#[tokio::test]
async fn an_import_that_changes_nothing_is_remembered() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let rows = numbered(0..3);
        world.import_rows(rows.clone()).await;
        let request_id = Uuid::new_v4().to_string();
        let first = world.import(messages(&rows, 2, &request_id)).await.unwrap();
        assert_eq!(counts(&first), [0, 0, 3, 0]);
        world.delete_agent("agent-0", "").await.unwrap();
        assert_eq!(world.import(messages(&rows, 3, &request_id)).await.unwrap(), first);
        assert_eq!(world.catalogue().await.len(), 2);
        // Without any row, too.
        let nothing = ImportAgentsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..message(Vec::new())
        };
        let told = world.imported().await.len();
        for _ in 0..2 {
            let answer = world.import(vec![nothing.clone()]).await.unwrap();
            assert_eq!(answer, ImportAgentsResponse::default());
        }
        assert_eq!(world.imported().await.len(), told + 1);
    })
    .await;
}

#[tokio::test]
async fn a_request_id_that_is_used_twice_at_the_same_moment_gives_one_answer() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let rows = numbered(0..20);
        let request_id = Uuid::new_v4().to_string();
        let calls = (0..8).map(|_| world.import(messages(&rows, 7, &request_id)));
        let answers = join_all(calls).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let told = world.imported().await;
        assert_eq!(told.iter().filter(|entry| !entry.request_id.is_empty()).count(), 1);
        assert_eq!(told.iter().map(|entry| entry.changes.len()).sum::<usize>(), 20);
    })
    .await;
}

#[tokio::test]
async fn what_holds_for_all_is_said_by_the_first_message() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.create_workspace("globex");
        world.hear().await;
        let request_id = Uuid::new_v4().to_string();
        let first = || ImportAgentsRequest {
            request_id: request_id.clone(),
            ..message(numbered(0..1))
        };
        let other = |change: fn(&mut ImportAgentsRequest)| {
            let mut message = ImportAgentsRequest {
                agents: numbered(1..2),
                ..Default::default()
            };
            change(&mut message);
            message
        };
        for (second, field) in [
            (other(|message| message.parent = "workspaces/globex".into()), "parent"),
            (other(|message| message.parent = ACME.into()), "parent"),
            (
                other(|message| message.request_id = Uuid::new_v4().to_string()),
                "request_id",
            ),
            (other(|message| message.validate_only = true), "validate_only"),
        ] {
            let refusal = world.import(vec![first(), second]).await.unwrap_err();
            let fields = refusal.get_details_bad_request().unwrap().field_violations;
            assert_eq!(fields.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [field]);
            assert_eq!(coded(refusal), refused(Code::InvalidArgument, "INVALID_FIELDS"));
        }
        assert_eq!(world.catalogue().await.len(), 0);
        let answer = world.import(vec![first(), other(|_| {}), other(|_| {})]).await.unwrap();
        assert_eq!(counts(&answer), [2, 0, 1, 0]);
        for nowhere in [Vec::new(), vec![ImportAgentsRequest::default()]] {
            let refusal = world.import(nowhere).await.unwrap_err();
            assert_eq!(coded(refusal), refused(Code::InvalidArgument, "INVALID_FIELDS"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_preview_counts_and_writes_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("anna").await;
        let mut rows = numbered(0..600);
        rows.extend([row("anna", titled("Other")), row("", titled("Bad"))]);
        let request_id = Uuid::new_v4().to_string();
        let (before, told) = (world.catalogue().await, world.imported().await.len());
        let preview = || {
            let mut messages = messages(&rows, 250, &request_id);
            messages[0].validate_only = true;
            messages
        };
        let answer = world.import(preview()).await.unwrap();
        assert_eq!(counts(&answer), [600, 1, 0, 1]);
        assert_eq!(bad(&answer), [(601, ErrorReason::InvalidFields, vec!["agent_id"])]);
        assert_eq!(world.catalogue().await, before);
        assert_eq!(world.imported().await.len(), told);
        // The id is not used by it, and a preview does not look at what it was used for.
        let done = world.import(messages(&rows, 250, &request_id)).await.unwrap();
        assert_eq!(counts(&done), [600, 1, 0, 1]);
        assert_eq!(counts(&world.import(preview()).await.unwrap()), [0, 0, 601, 1]);
    })
    .await;
}

#[test]
fn an_import_may_take_its_time() {
    assert_eq!(clientele_api::method(IMPORT).unwrap().deadline, None);
}

#[tokio::test]
async fn no_call_has_more_rows_than_it_may() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bad = vec![row("", titled("A")); 5_000];
        let mut all = vec![bad; 20].concat();
        all.extend(numbered(0..1));
        let refusal = world.import(messages(&all, 5_000, "")).await.unwrap_err();
        let fields = refusal.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "agents");
        assert_eq!(coded(refusal), refused(Code::InvalidArgument, "INVALID_FIELDS"));
        assert_eq!(world.catalogue().await.len(), 0);
    })
    .await;
}

/// Whole chunks are written of a stream of so many rows that ended without its end, and nothing of the last.
fn whole_chunks(rows: usize) -> usize {
    rows.saturating_sub(1) / 500 * 500
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_whole_chunks() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut first = 0;
        for sent in 0..6 {
            for (broken, code, why) in [
                (
                    Bytes::from_static(b"\xff\xff"),
                    Code::InvalidArgument,
                    "MALFORMED_MESSAGE",
                ),
                (
                    Bytes::from(vec![0; 5 << 20]),
                    Code::ResourceExhausted,
                    "MESSAGE_TOO_LARGE",
                ),
            ] {
                let rows = numbered(first..first + 1_200);
                first += 1_200;
                let messages = messages(&rows, 240, "").into_iter().take(sent);
                let messages = messages
                    .map(|message| Bytes::from(message.encode_to_vec()))
                    .chain([broken]);
                let messages = stream::iter(Vec::from_iter(messages));
                let before = world.catalogue().await.len();
                let refusal = world
                    .calls()
                    .raw_stream(IMPORT, &world.admin, messages)
                    .await
                    .unwrap_err();
                assert_eq!(coded(refusal), refused(code, why), "after {sent}");
                let written = world.catalogue().await.len() - before;
                assert_eq!(written, whole_chunks(sent * 240), "{why} after {sent}");
                // All of it again finishes what was begun.
                let written = i32::try_from(written).unwrap();
                assert_eq!(counts(&world.import_rows(rows).await), [1_200 - written, 0, written, 0]);
            }
        }
    })
    .await;
}

/// A stream that goes on for as long as the test sends.
fn open_stream() -> (
    mpsc::Sender<ImportAgentsRequest>,
    impl futures::Stream<Item = ImportAgentsRequest>,
) {
    let (send, receive) = mpsc::channel(16);
    let next = async |mut receive: mpsc::Receiver<_>| receive.recv().await.map(|message| (message, receive));
    (send, stream::unfold(receive, next))
}

async fn a_client_that_goes_away_leaves_whole_chunks(engine: Engine) {
    let world = World::start(engine).await;
    for sent in 0..6_usize {
        let rows = numbered(sent * 10_000..sent * 10_000 + 1_200);
        let before = world.catalogue().await.len();
        let (send, open) = open_stream();
        let mut agents = world.agents();
        let call = agents.import_agents(world.admin.request(open));
        let hang_up = async {
            for message in messages(&rows, 240, "").into_iter().take(sent) {
                send.send(message).await.unwrap();
            }
            let written = whole_chunks(sent * 240);
            until(PATIENCE, "whole chunks are written", async || {
                world.catalogue().await.len() == before + written
            })
            .await;
        };
        tokio::select! {
            answer = call => panic!("it was answered: {answer:?}"),
            () = hang_up => {}
        }
        let written = i32::try_from(whole_chunks(sent * 240)).unwrap();
        assert_eq!(counts(&world.import_rows(rows).await), [1_200 - written, 0, written, 0]);
        drop(send); // not before: the stream must not end well
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_whole_chunks_on_sqlite() {
    a_client_that_goes_away_leaves_whole_chunks(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_whole_chunks_on_postgres() {
    a_client_that_goes_away_leaves_whole_chunks(Engine::Postgres).await;
}

async fn a_server_that_ends_ends_its_imports(engine: Engine) {
    let world = World::start(engine).await;
    let rows = numbered(0..1_200);
    let (send, open) = open_stream();
    let (mut agents, request) = (world.agents(), world.admin.request(open));
    let call = tokio::spawn(async move { agents.import_agents(request).await });
    send.send(messages(&rows, 600, "").remove(0)).await.unwrap();
    until(PATIENCE, "a chunk is written", async || {
        world.catalogue().await.len() == 500
    })
    .await;
    let began = Instant::now();
    world.running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let refusal = call.await.unwrap().unwrap_err();
    assert!(refusal.get_details_retry_info().is_some());
    assert_eq!(coded(refusal), refused(Code::Unavailable, "DRAINING"));

    let running = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
    let world = World {
        channel: running.channel().await,
        running,
        ..world
    };
    world.hear().await;
    assert_eq!(counts(&world.import_rows(rows).await), [700, 0, 500, 0]);
}

#[tokio::test]
async fn a_server_that_ends_ends_its_imports_on_sqlite() {
    a_server_that_ends_ends_its_imports(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_server_that_ends_ends_its_imports_on_postgres() {
    a_server_that_ends_ends_its_imports(Engine::Postgres).await;
}

#[tokio::test]
async fn an_import_lasts_no_longer_than_its_token() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let caller = Caller::with(world.tokens.short_lived_operator());
        let (send, open) = open_stream();
        let mut agents = world.agents();
        let call = agents.import_agents(caller.request(open));
        send.send(message(numbered(0..501))).await.unwrap();
        let refusal = call.await.unwrap_err();
        assert!(refusal.get_details_retry_info().is_some());
        assert_eq!(coded(refusal), refused(Code::Unavailable, "STREAM_EXPIRED"));
        assert_eq!(world.catalogue().await.len(), 500);
    })
    .await;
}

#[tokio::test]
async fn imports_of_the_same_new_agents_at_the_same_moment_all_succeed() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for round in 0..4 {
            let rows = numbered(round * 10_000..round * 10_000 + 700);
            let mut orders = [rows.clone(), rows.clone(), rows.clone(), rows];
            orders[1].reverse();
            orders[2].rotate_left(350);
            let answers = join_all(orders.iter().map(|rows| world.import(messages(rows, 90, "")))).await;
            let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            assert!(answers.iter().all(|answer| answer.created + answer.unchanged == 700));
            assert_eq!(answers.iter().map(|answer| answer.created).sum::<i32>(), 700);
        }
        assert_eq!(world.catalogue().await.len(), 2_800);
    })
    .await;
}

#[tokio::test]
async fn of_what_others_change_meanwhile_nothing_is_lost() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let ids: Vec<String> = (0..8).map(|at| format!("agent-{at}")).collect();
        for id in &ids {
            world.create_agent(id).await;
        }
        let imports = (0..12).map(|round| {
            let rows = ids
                .iter()
                .map(|id| row(id, titled(&format!("Import {round}"))))
                .collect();
            let world = &world;
            async move { drop(world.import_rows(rows).await) }
        });
        let updates = (0..48).map(|round| {
            let agent = Agent {
                name: agent_name(&ids[round % ids.len()]),
                ..titled(&format!("Update {round}"))
            };
            let world = &world;
            async move { drop(world.update(agent, None).await.unwrap()) }
        });
        tokio::join!(join_all(imports), join_all(updates));
        // Every version was made of the one before it.
        let request = ListEntriesRequest {
            parent: ACME.into(),
            page_size: 500,
            ..Default::default()
        };
        let entries = world.journal().list_entries(world.member.request(request)).await;
        let mut versions = BTreeMap::<String, Vec<(i64, Vec<u8>, Vec<u8>)>>::new();
        for change in entries
            .unwrap()
            .into_inner()
            .entries
            .into_iter()
            .flat_map(|entry| entry.changes)
        {
            let of = |any: Option<prost_types::Any>| any.map(|any| any.value).unwrap_or_default();
            let told = versions.entry(change.resource.clone()).or_default();
            told.push((change.version, of(change.before), of(change.after)));
        }
        for (name, mut told) in versions {
            told.sort_by_key(|(version, ..)| *version);
            for (at, pair) in told.windows(2).enumerate() {
                assert_eq!((pair[0].0, pair[1].0), (at as i64 + 1, at as i64 + 2), "{name}");
                assert!(pair[0].2 == pair[1].1, "{name} {}", pair[1].0);
            }
            let last = told.last().unwrap();
            assert_eq!(world.agent(&name).await.unwrap().encode_to_vec(), last.2);
        }
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_agents_are_imported_in_one_call() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let agent = |at: usize, title: &str| Agent {
            description: Some(format!("Answers questions of department {at}, in two languages.")),
            platform: Some("voiceflow".into()),
            channels: texts(&["web", "whatsapp"]),
            tags: texts(&["support", "sales"]),
            state: Some(State::Deployed.into()),
            ..titled(&format!("{title} {at}"))
        };
        let all = |title: &str| Vec::from_iter((0..10_000).map(|at| row(&format!("agent-{at}"), agent(at, title))));
        for (what, rows, expected) in [
            ("created", all("Agent"), [10_000, 0, 0, 0]),
            ("updated", all("Renamed"), [0, 10_000, 0, 0]),
            ("unchanged", all("Renamed"), [0, 0, 10_000, 0]),
        ] {
            let began = Instant::now();
            let answer = world.import(messages(&rows, 1_000, "")).await.unwrap();
            println!("{engine:?}: 10,000 agents {what} in {:?}", began.elapsed());
            assert_eq!(counts(&answer), expected);
        }
        assert_eq!(world.catalogue().await.len(), 10_000);
    })
    .await;
}

async fn no_more_is_read_than_can_be_written(engine: Engine) {
    let world = World::start(engine).await;
    let options = Options {
        url: world.database.url.clone(),
        service: "assignment",
    };
    let other = connect_to_migrate(&options).await.unwrap();
    let lock = match engine {
        Engine::Postgres => "BEGIN; LOCK TABLE agents IN SHARE MODE",
        Engine::Sqlite => "BEGIN IMMEDIATE",
    };
    other.execute_unprepared(lock).await.unwrap();
    let large = |at: usize| Agent {
        description: Some("x".repeat(2_000)),
        ..titled(&at.to_string())
    };
    let rows = Vec::from_iter((0..10_000).map(|at| row(&format!("agent-{at}"), large(at))));
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let all = stream::iter(messages(&rows, 50, "")).map(move |message| {
        counted.fetch_add(1, Ordering::Relaxed);
        message
    });
    let (mut agents, request) = (world.agents(), world.admin.request(all));
    let call = tokio::spawn(async move { agents.import_agents(request).await });
    // Seen the same so often in a row.
    let (mut before, mut same) = (0, 0);
    until(PATIENCE, "no more is taken from the client", async || {
        let now = sent.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        now > 10 && same >= 20
    })
    .await;
    assert!(before < 60, "of 200 messages of 100 KiB {before} were taken");
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(counts(&answer), [10_000, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_read_than_can_be_written_on_sqlite() {
    no_more_is_read_than_can_be_written(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_read_than_can_be_written_on_postgres() {
    no_more_is_read_than_can_be_written(Engine::Postgres).await;
}

/// The database has planned for few rows, and does not know yet that there are many: as in a first import.
async fn a_workspace_that_was_just_filled_takes_more(engine: Engine) {
    let world = World::start(engine).await;
    // A plan that is made for all values is made after some.
    let answer = world.import(messages(&numbered(0..5_000), 1_000, "")).await.unwrap();
    assert_eq!(counts(&answer), [5_000, 0, 0, 0]);
    let options = Options {
        url: world.database.url.clone(),
        service: "assignment",
    };
    let (uuid, many) = match engine {
        // So many that comparing each with each of a chunk's ids takes longer than a unit may.
        Engine::Postgres => ("gen_random_uuid()", 400_000),
        Engine::Sqlite => ("randomblob(16)", 100_000),
    };
    let rest = "version, create_time, update_time, title, description, platform, channels, tags, state, archived";
    let fill = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {many})
         INSERT INTO agents (uid, workspace_uid, workspace_id, id, {rest})
         SELECT {uuid}, workspace_uid, workspace_id, 'filler-' || n, {rest} FROM agents, numbers
            WHERE id = 'agent-1'"
    );
    let session = connect_to_migrate(&options).await.unwrap();
    session.execute_unprepared(&fill).await.unwrap();
    let answer = world
        .import(messages(&numbered(4_000..8_000), 1_000, ""))
        .await
        .unwrap();
    assert_eq!(counts(&answer), [3_000, 0, 1_000, 0]);
}

#[tokio::test]
async fn a_workspace_that_was_just_filled_takes_more_on_sqlite() {
    a_workspace_that_was_just_filled_takes_more(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_workspace_that_was_just_filled_takes_more_on_postgres() {
    a_workspace_that_was_just_filled_takes_more(Engine::Postgres).await;
}

/// An agent as the model knows it.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    /// As a row says it; its state is there.
    agent: Agent,
    version: i64,
    archived: bool,
}

/// What the catalogue should be.
#[derive(Debug, Default)]
struct Model(BTreeMap<String, Known>);

impl Model {
    /// What an import makes of it, and answers.
    fn import(&mut self, rows: &[ImportedAgent]) -> ([i32; 4], Vec<i32>) {
        let (mut counts, mut bad) = ([0; 4], Vec::new());
        for (index, row) in rows.iter().enumerate() {
            let outcome = self.take(row);
            counts[outcome] += 1;
            if outcome == 3 {
                bad.push(i32::try_from(index).unwrap());
            }
        }
        (counts, bad)
    }

    fn take(&mut self, row: &ImportedAgent) -> usize {
        let agent = row.agent.clone().unwrap_or_default();
        let good = !row.agent_id.contains(' ')
            && !agent.title().is_empty()
            && agent.state() != State::Archived
            && agent.tags.iter().collect::<BTreeSet<_>>().len() == agent.tags.len();
        let known = self.0.get(&row.agent_id);
        if !good || known.is_some_and(|known| known.archived) {
            return 3;
        }
        let asked = Some(agent.state()).filter(|state| *state != State::Unspecified);
        let kept = known.map_or(State::Draft, |known| known.agent.state());
        let after = Agent {
            description: Some(agent.description().to_owned()),
            platform: Some(agent.platform().to_owned()),
            state: Some(asked.unwrap_or(kept).into()),
            ..agent
        };
        let (outcome, version) = match known {
            None => (0, 1),
            Some(known) if known.agent != after => (1, known.version + 1),
            Some(_) => return 2,
        };
        let after = Known {
            agent: after,
            version,
            archived: false,
        };
        self.0.insert(row.agent_id.clone(), after);
        outcome
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Known)) {
        let known = self.0.get_mut(id).unwrap();
        change(known);
        known.version += 1;
    }
}

fn random_row(random: &mut StdRng) -> ImportedAgent {
    let ids = ["a", "b", "c", "d", "e", "f", "g", "not an id"];
    let titles = ["One", "One", "Two", "Two", ""];
    let tags: [&[&str]; 4] = [&[], &["x"], &["x", "y"], &["x", "x"]];
    let states = [None, None, Some(0), Some(1), Some(2), Some(3), Some(4)];
    let agent = Agent {
        title: Some((*titles.choose(random).unwrap()).to_owned()),
        description: random.random_bool(0.3).then(|| "Helps.".to_owned()),
        platform: random.random_bool(0.2).then(|| "native".to_owned()),
        tags: texts(tags.choose(random).unwrap()),
        state: *states.choose(random).unwrap(),
        ..Default::default()
    };
    ImportedAgent {
        agent_id: (*ids.choose(random).unwrap()).to_owned(),
        agent: random.random_bool(0.97).then_some(agent),
    }
}

async fn an_import_does_what_the_model_does(engine: Engine) {
    let world = World::start(engine).await;
    let mut random = seed();
    let mut model = Model::default();
    let mut remembered: Vec<(Vec<ImportedAgent>, String, ImportAgentsResponse)> = Vec::new();
    for _ in 0..120 {
        let known: Vec<(String, bool)> = model.0.iter().map(|(id, known)| (id.clone(), known.archived)).collect();
        match (random.random_range(0..10), known.choose(&mut random)) {
            (0, Some((id, _))) => {
                world.delete_agent(id, "").await.unwrap();
                model.0.remove(id);
            }
            (1, Some((id, false))) => {
                world.archive(id, "").await.unwrap();
                model.change(id, |known| known.archived = true);
            }
            (2, Some((id, true))) => {
                world.unarchive(id, "").await.unwrap();
                model.change(id, |known| known.archived = false);
            }
            (3, _) if !remembered.is_empty() => {
                let (rows, request_id, first) = remembered.choose(&mut random).unwrap();
                let size = random.random_range(1..=rows.len());
                let again = world.import(messages(rows, size, request_id)).await.unwrap();
                assert_eq!(again, *first);
            }
            _ => {
                let rows = Vec::from_iter((0..random.random_range(1..20)).map(|_| random_row(&mut random)));
                let request_id = Uuid::new_v4().to_string();
                let size = random.random_range(1..=rows.len());
                let answer = world.import(messages(&rows, size, &request_id)).await.unwrap();
                let listed = answer.bad_rows.iter().map(|row| row.index).collect();
                assert_eq!((counts(&answer), listed), model.import(&rows));
                remembered.push((rows, request_id, answer));
            }
        }
        let expected = model.0.iter().map(|(id, known)| {
            let state = if known.archived {
                State::Archived
            } else {
                known.agent.state()
            };
            let agent = Agent {
                state: Some(state.into()),
                ..known.agent.clone()
            };
            (id.clone(), agent)
        });
        assert_eq!(world.catalogue().await, BTreeMap::from_iter(expected));
    }
    for (id, known) in &model.0 {
        assert_eq!(world.agent(&agent_name(id)).await.unwrap().version, known.version);
    }
}

#[tokio::test]
async fn an_import_does_what_the_model_does_on_sqlite() {
    an_import_does_what_the_model_does(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_import_does_what_the_model_does_on_postgres() {
    an_import_does_what_the_model_does(Engine::Postgres).await;
}

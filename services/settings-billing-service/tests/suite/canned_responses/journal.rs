//! What the journal tells of canned responses, and to whom.

use super::{canned, of_team, personal, with};
use crate::{BAKERY, World};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Change, ChangeKind, InitialState, ListEntriesRequest, WatchRequest};
use clientele_api::settings::CannedResponse;
use clientele_testkit::{Caller, on_both_engines};
use prost::Message as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// What is in everything that a person keeps for itself here.
const SECRET: &str = "tulip";

impl World {
    /// What somebody reads of the journal about canned responses, oldest first; nothing in it says what a person keeps for itself.
    async fn told(&self, caller: &Caller, parent: &str) -> Vec<Change> {
        let request = ListEntriesRequest {
            parent: parent.into(),
            page_size: 500,
            ..Default::default()
        };
        let answer = self
            .journal()
            .list_entries(caller.request(request))
            .await
            .unwrap()
            .into_inner();
        assert_silent(&answer.encode_to_vec());
        let changes = answer.entries.into_iter().rev().flat_map(|entry| entry.changes);
        changes.filter(is_of_response).collect()
    }

    /// What exists, and what happened since, as a stream tells it up to so many changes.
    async fn watched(&self, start: Start, changes: usize) -> Vec<Change> {
        let request = WatchRequest {
            start: Some(start),
            types: vec!["clientele.settings.v1.CannedResponse".into()],
            ..Default::default()
        };
        let service = Caller::with(self.tokens.service("dashboard"));
        let mut stream = self
            .journal()
            .watch(service.request(request))
            .await
            .unwrap()
            .into_inner();
        let mut told = Vec::new();
        while told.len() < changes {
            let message = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
            let message = message.expect("the feed must go on").unwrap().unwrap();
            assert_silent(&message.encode_to_vec());
            if let Some(Item::Entry(entry)) = message.item {
                told.extend(entry.changes);
            }
        }
        told
    }
}

fn is_of_response(change: &Change) -> bool {
    change.resource.contains("/cannedResponses/")
}

fn assert_silent(bytes: &[u8]) {
    let found = bytes
        .windows(SECRET.len())
        .any(|window| window.eq_ignore_ascii_case(SECRET.as_bytes()));
    assert!(!found, "{}", String::from_utf8_lossy(bytes));
}

fn message(any: Option<&prost_types::Any>) -> CannedResponse {
    CannedResponse::decode(any.unwrap().value.as_slice()).unwrap()
}

/// Whatever of it can be said is secret.
fn secret(code: &str) -> Value {
    let fields = json!({
        "title": "Tulip",
        "text": "tulip {{ tulip }} {{tulip.b}}",
        "tags": ["tulip"],
        "language": "de",
    });
    with(personal(&format!("tulip{code}")), fields)
}

#[tokio::test]
async fn what_changes_is_told_with_what_it_was_and_is() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_team("sales", &[]).await;
        let created = world.create_canned(&world.admin, of_team("a", "sales")).await.unwrap();
        let change = json!({ "name": created["name"], "title": "T", "text": "{{a}}", "tags": [] });
        let changed = world.update_canned(&world.admin, change).await.unwrap();
        world
            .update_canned(&world.admin, json!({ "name": created["name"], "title": "T" }))
            .await
            .unwrap();
        world.delete_canned(&world.admin, &created["name"]).await.unwrap();
        let told = world.told(&world.member, "workspaces/acme").await;
        let kinds: Vec<_> = told.iter().map(|change| (change.kind(), change.version)).collect();
        assert_eq!(
            kinds,
            [
                (ChangeKind::Created, 1),
                (ChangeKind::Updated, 2),
                (ChangeKind::Deleted, 3)
            ]
        );
        assert_eq!(told[1].changed_fields, ["title", "text"]);
        let (before, after) = (message(told[1].before.as_ref()), message(told[1].after.as_ref()));
        assert_eq!(before, message(told[0].after.as_ref()));
        assert_eq!(
            (before.text(), after.text(), after.variables.as_slice()),
            ("Hi.", "{{a}}", &["a".to_owned()][..])
        );
        assert_eq!(
            (after.etag.as_str(), after.team_uid.as_str()),
            (changed["etag"].as_str().unwrap(), created["teamUid"].as_str().unwrap())
        );
        assert_eq!(message(told[2].before.as_ref()), after);
        assert!(told[2].after.is_none());
    })
    .await;
}

#[tokio::test]
async fn nobody_reads_in_the_journal_what_a_person_keeps_for_itself() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (_, anns) = world.user(&["org-admin"]).await;
        let (_, bobs) = world.user(&["org-admin"]).await;
        let shared = world.create_canned(&world.admin, canned("a")).await.unwrap();
        let request_id = Uuid::new_v4().to_string();
        let create = json!({ "parent": BAKERY, "cannedResponse": secret("1"), "requestId": request_id });
        let own = world.canned(&anns, "CreateCannedResponse", create.clone()).await.unwrap();
        let change = json!({ "name": own["name"], "shortCode": "TULIP2", "title": "Tulips", "text": "tulip", "tags": [], "language": "" });
        let update = json!({ "cannedResponse": change, "requestId": Uuid::new_v4().to_string() });
        let changed = world.canned(&anns, "UpdateCannedResponse", update.clone()).await.unwrap();
        let rows = json!([secret("2"), secret("3")]);
        let batch = json!({ "parent": BAKERY, "cannedResponses": rows, "requestId": Uuid::new_v4().to_string() });
        let upserted = world.canned(&anns, "BatchUpsertCannedResponses", batch.clone()).await.unwrap();
        let delete = json!({ "name": upserted["upserted"][1]["name"], "requestId": Uuid::new_v4().to_string() });
        world.canned(&anns, "DeleteCannedResponse", delete.clone()).await.unwrap();

        let operator = Caller::with(world.tokens.operator());
        for caller in [&world.member, &world.admin, &operator] {
            let told = world.told(caller, "workspaces/acme").await;
            let kinds: Vec<_> = told.iter().map(Change::kind).collect();
            assert_eq!(kinds.len(), 6, "{kinds:?}");
            let own: Vec<&Change> = told.iter().filter(|change| change.resource == own["name"].as_str().unwrap()).collect();
            assert_eq!(own.len(), 2);
            for change in &told[1..] {
                assert!(change.changed_fields.is_empty());
                for any in change.before.iter().chain(&change.after) {
                    let left = message(Some(any));
                    assert_eq!((left.scope(), left.owner.is_empty()), (clientele_api::settings::canned_response::Scope::Personal, false));
                    assert!(!left.etag.is_empty() && left.update_time.is_some());
                }
            }
        }
        // Client users read of none.
        for caller in [&anns, &bobs] {
            assert!(world.told(caller, BAKERY).await.is_empty());
        }
        // Neither is it in what exists, nor in what happens.
        let told = world.watched(Start::InitialState(InitialState {}), 3).await;
        let names: Vec<&str> = told.iter().map(|change| change.resource.as_str()).collect();
        assert!(names.contains(&shared["name"].as_str().unwrap()) && names.contains(&own["name"].as_str().unwrap()));
        assert!(told.iter().all(|change| change.kind() == ChangeKind::Snapshot));
        // Who did it gets the whole answer again.
        for (method, request, first) in [
            ("CreateCannedResponse", create, &own),
            ("UpdateCannedResponse", update, &changed),
            ("BatchUpsertCannedResponses", batch, &upserted),
            ("DeleteCannedResponse", delete, &json!({})),
        ] {
            assert_eq!(world.canned(&anns, method, request.clone()).await.unwrap(), *first, "{method}");
            let status = world.canned(&bobs, method, request).await.unwrap_err();
            assert_eq!(clientele_testkit::reason(&status), "REQUEST_ID_REUSED", "{method}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_batch_is_told_in_entries_that_everybody_can_receive() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let of = |text: &str| -> Vec<Value> {
            (0..200)
                .map(|at| with(canned(&format!("c{at}")), json!({ "text": text })))
                .collect()
        };
        for text in ["\u{1f35e}".repeat(1_200), "\u{1f950}".repeat(1_200)] {
            let request = json!({ "parent": BAKERY, "cannedResponses": of(&text) });
            world
                .canned(&world.admin, "BatchUpsertCannedResponses", request)
                .await
                .unwrap();
        }
        let mut list = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            page_size: 500,
            ..Default::default()
        };
        let mut told = Vec::new();
        loop {
            let page = world
                .journal()
                .list_entries(world.member.request(list.clone()))
                .await
                .unwrap()
                .into_inner();
            told.extend(page.entries);
            if page.next_page_token.is_empty() {
                break;
            }
            list.page_token = page.next_page_token;
        }
        let mutations: BTreeSet<_> = told.iter().map(|entry| entry.mutation_id.clone()).collect();
        assert_eq!(mutations.len(), 2);
        assert_eq!(told.iter().map(|entry| entry.changes.len()).sum::<usize>(), 400);
        for entry in &told {
            assert!(entry.encoded_len() < 300 * 1024, "{}", entry.encoded_len());
        }
    })
    .await;
}

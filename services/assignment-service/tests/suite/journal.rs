//! The journal: what was done to agents and assignments, and the feed of it.

use crate::{ACME, BAKERY, World, agent_name};
use clientele_api::assignment::{Agent, Assignment};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{ChangeKind, Entry, InitialState, ListEntriesRequest, WatchRequest, WatchResponse};
use clientele_testkit::{Caller, on_both_engines};
use std::time::Duration;
use tonic::Streaming;

impl World {
    pub(crate) async fn entries(&self, parent: &str) -> Vec<Entry> {
        let request = ListEntriesRequest {
            parent: parent.into(),
            page_size: 500,
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await.unwrap();
        page.into_inner().entries
    }

    /// The entries of the workspace that a filter lets through, oldest first.
    pub(crate) async fn entries_that(&self, filter: &str) -> Vec<Entry> {
        let mut request = ListEntriesRequest {
            parent: ACME.into(),
            filter: filter.into(),
            page_size: 500,
            ..Default::default()
        };
        let mut entries = Vec::new();
        loop {
            let call = self.member.request(request.clone());
            let page = self.journal().list_entries(call).await.unwrap().into_inner();
            entries.extend(page.entries);
            if page.next_page_token.is_empty() {
                entries.reverse();
                return entries;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn watch(&self, start: Start) -> Feed {
        let request = WatchRequest {
            start: Some(start),
            ..Default::default()
        };
        let service = Caller::with(self.tokens.service("settings-billing-service"));
        Feed(
            self.journal()
                .watch(service.request(request))
                .await
                .unwrap()
                .into_inner(),
        )
    }
}

/// A stream of the journal.
struct Feed(Streaming<WatchResponse>);

impl Feed {
    async fn next(&mut self) -> Item {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.message()).await;
        message.expect("the feed must go on").unwrap().unwrap().item.unwrap()
    }

    /// What exists: the entries up to the first checkpoint.
    async fn snapshots(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            match self.next().await {
                Item::Entry(entry) => entries.push(entry),
                Item::Checkpoint(_) => return entries,
            }
        }
    }

    /// How the resource came to this version, and the cursor of the checkpoint behind that. What the snapshots held already may be
    /// told once more before it.
    async fn until_told(&mut self, resource: &str, version: i64) -> (ChangeKind, String) {
        let mut told = None;
        loop {
            match (self.next().await, told) {
                (Item::Entry(entry), _) => {
                    let mut changes = entry.changes.iter();
                    let wanted = changes.find(|change| change.resource == resource && change.version == version);
                    told = told.or(wanted.map(|change| change.kind()));
                }
                (Item::Checkpoint(checkpoint), Some(kind)) => return (kind, checkpoint.cursor),
                (Item::Checkpoint(_), None) => {}
            }
        }
    }
}

fn resources(entries: &[Entry]) -> Vec<(String, i64, ChangeKind)> {
    entries
        .iter()
        .flat_map(|entry| &entry.changes)
        .map(|change| (change.resource.clone(), change.version, change.kind()))
        .collect()
}

#[tokio::test]
async fn the_log_tells_what_became_of_an_assignment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let first = world.assign("anna").await.unwrap();
        world.assign("anna").await.unwrap(); // changes nothing and asks for nothing to be remembered: no entry
        world.unassign("anna", "").await.unwrap();
        let last = world.assign("anna").await.unwrap();
        let entries = world.entries(BAKERY).await;
        let name = format!("{BAKERY}/assignments/anna");
        let expected = [
            (3, ChangeKind::Undeleted),
            (2, ChangeKind::Deleted),
            (1, ChangeKind::Created),
        ];
        assert_eq!(
            resources(&entries),
            expected.map(|(version, kind)| (name.clone(), version, kind))
        );
        for entry in &entries {
            assert_eq!((entry.workspace.as_str(), entry.organization.as_str()), (ACME, BAKERY));
            assert_eq!(
                (entry.actor.as_str(), entry.changes[0].uid.as_str()),
                ("staff/sam", first.uid.as_str())
            );
        }
        let shown = |any: &Option<prost_types::Any>| any.as_ref().map(|any| any.to_msg::<Assignment>().unwrap());
        let [undeleted, deleted, created] = [0, 1, 2].map(|at| &entries[at].changes[0]);
        assert_eq!(
            (shown(&created.before), shown(&created.after)),
            (None, Some(first.clone()))
        );
        assert_eq!((shown(&deleted.before), shown(&deleted.after)), (Some(first), None));
        assert_eq!(shown(&undeleted.after), Some(last));
    })
    .await;
}

#[tokio::test]
async fn the_log_tells_what_became_of_an_agent() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_agent("anna").await;
        let renamed = Agent {
            title: Some("Anna".into()),
            tags: vec!["t".into()],
            ..Agent {
                name: agent_name("anna"),
                ..Default::default()
            }
        };
        world.update(renamed, None).await.unwrap();
        let archived = world.archive("anna", "").await.unwrap();
        let entries = world.entries(ACME).await;
        let fields: Vec<_> = entries
            .iter()
            .map(|entry| entry.changes[0].changed_fields.join(" "))
            .collect();
        assert_eq!(fields, ["state", "title tags", ""]);
        assert!(entries.iter().all(|entry| entry.organization.is_empty()));
        let after: Agent = entries[0].changes[0].after.as_ref().unwrap().to_msg().unwrap();
        let first: Agent = entries[2].changes[0].after.as_ref().unwrap().to_msg().unwrap();
        assert_eq!((after, first), (archived, created));
    })
    .await;
}

#[tokio::test]
async fn a_feed_begins_with_everything_and_goes_on_with_what_changes() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        for id in ["anna", "bert"] {
            world.create_agent(id).await;
            world.assign(id).await.unwrap();
        }
        world.archive("bert", "").await.unwrap();
        world.unassign("anna", "").await.unwrap();
        let mut feed = world.watch(Start::InitialState(InitialState {})).await;
        let entries = feed.snapshots().await;
        let snapshot = |name: String, version| (name, version, ChangeKind::Snapshot);
        let bert = format!("{BAKERY}/assignments/bert");
        let expected = [
            snapshot(agent_name("anna"), 1),
            snapshot(agent_name("bert"), 2),
            snapshot(bert.clone(), 1),
        ];
        assert_eq!(resources(&entries), expected);
        assert!(
            entries
                .iter()
                .all(|entry| entry.workspace_uid == world.acme.to_string())
        );
        assert_eq!(entries[2].organization, BAKERY);

        world.unassign("bert", "").await.unwrap();
        let (kind, cursor) = feed.until_told(&bert, 2).await;
        assert_eq!(kind, ChangeKind::Deleted);
        world.assign("anna").await.unwrap();
        // A new stream goes on behind the cursor, with nothing of before.
        let mut feed = world.watch(Start::Cursor(cursor)).await;
        let entry = loop {
            if let Item::Entry(entry) = feed.next().await {
                break entry;
            }
        };
        assert_eq!(
            resources(&[entry]),
            [(format!("{BAKERY}/assignments/anna"), 3, ChangeKind::Undeleted)]
        );
    })
    .await;
}

//! The journal: what was done, by whom, and the feed of it.

use crate::{World, named};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{ChangeKind, Entry, InitialState, ListEntriesRequest, WatchRequest};
use clientele_api::org::{DeleteOrganizationRequest, Organization, UpdateOrganizationRequest};
use clientele_testkit::{Caller, on_both_engines, reason};
use prost::Name;
use std::time::Duration;
use tonic::{Code, Streaming};

const BAKERY: &str = "workspaces/acme/organizations/bakery";

impl World {
    async fn entries(&self, parent: &str, filter: &str) -> Vec<Entry> {
        let mut request = ListEntriesRequest {
            parent: parent.into(),
            filter: filter.into(),
            page_size: 2,
            ..Default::default()
        };
        let mut entries = Vec::new();
        loop {
            let page = self
                .journal()
                .list_entries(self.member.request(request.clone()))
                .await
                .unwrap()
                .into_inner();
            entries.extend(page.entries);
            if page.next_page_token.is_empty() {
                return entries;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn watch(&self, caller: &Caller, request: WatchRequest) -> Feed {
        Feed(
            self.journal()
                .watch(caller.request(request))
                .await
                .unwrap()
                .into_inner(),
        )
    }

    async fn rename(&self, name: &str, display_name: &str) {
        let organization = Some(Organization {
            name: name.into(),
            ..named(display_name)
        });
        let request = UpdateOrganizationRequest {
            organization,
            ..Default::default()
        };
        self.organizations()
            .update_organization(self.admin.request(request))
            .await
            .unwrap();
    }
}

/// A stream of the journal.
struct Feed(Streaming<clientele_api::journal::WatchResponse>);

impl Feed {
    async fn next(&mut self) -> Item {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.message())
            .await
            .expect("the feed must go on");
        message.unwrap().unwrap().item.unwrap()
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

    /// The entry that brought a resource to this version, and the cursor of the checkpoint behind it. What the snapshots held already
    /// may be told once more before it.
    async fn until_told(&mut self, resource: &str, version: i64) -> (Entry, String) {
        let mut told = None;
        loop {
            match self.next().await {
                Item::Entry(entry) => {
                    let mut changes = entry.changes.iter();
                    if changes.any(|change| change.resource == resource && change.version == version) {
                        told = Some(entry);
                    }
                }
                Item::Checkpoint(checkpoint) => {
                    if let Some(entry) = told {
                        return (entry, checkpoint.cursor);
                    }
                }
            }
        }
    }

    /// The entries up to the next checkpoint that comes after at least `count` of them, and its cursor.
    async fn until_checkpoint(&mut self, count: usize) -> (Vec<Entry>, String) {
        let mut entries = Vec::new();
        loop {
            match self.next().await {
                Item::Entry(entry) => entries.push(entry),
                Item::Checkpoint(checkpoint) if entries.len() >= count => return (entries, checkpoint.cursor),
                Item::Checkpoint(_) => {}
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
async fn the_log_tells_who_did_what() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("butcher").await;
        world.rename(BAKERY, "New").await;
        let entries = world.entries("workspaces/acme", "").await;
        let methods: Vec<&str> = entries
            .iter()
            .map(|entry| entry.method.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(
            methods,
            ["UpdateOrganization", "CreateOrganization", "CreateOrganization"]
        );
        let update = &entries[0];
        assert_eq!(
            (
                update.workspace.as_str(),
                update.organization.as_str(),
                update.actor.as_str()
            ),
            ("workspaces/acme", BAKERY, "staff/sam")
        );
        assert!(update.traceparent.starts_with("00-"), "{}", update.traceparent);
        let change = &update.changes[0];
        assert_eq!(
            (change.kind(), change.version, change.changed_fields.as_slice()),
            (ChangeKind::Updated, 2, &["display_name".to_owned()][..])
        );
        let after: Organization = change.after.as_ref().unwrap().to_msg().unwrap();
        let before: Organization = change.before.as_ref().unwrap().to_msg().unwrap();
        assert_eq!(
            (before.display_name(), after.display_name()),
            ("The bakery client", "New")
        );
        assert_eq!(change.after.as_ref().unwrap().type_url, Organization::type_url());

        assert_eq!(world.entries(BAKERY, "").await.len(), 2);
        assert_eq!(
            world
                .entries(
                    "workspaces/acme",
                    &format!("resource = \"{BAKERY}\" AND actor = \"staff/sam\"")
                )
                .await
                .len(),
            2
        );
        assert_eq!(world.entries("workspaces/acme", "actor = \"staff/ann\"").await.len(), 0);
        assert_eq!(
            world
                .entries("workspaces/acme", "time < \"2020-01-01T00:00:00Z\"")
                .await
                .len(),
            0
        );
        let bad = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            filter: "cursor = 1".into(),
            ..Default::default()
        };
        assert_eq!(
            reason(
                &world
                    .journal()
                    .list_entries(world.member.request(bad))
                    .await
                    .unwrap_err()
            ),
            "INVALID_FIELDS"
        );
    })
    .await;
}

#[tokio::test]
async fn operators_list_what_was_done_above_workspaces() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = ListEntriesRequest::default();
        let all = world.journal().list_entries(world.operator.request(request)).await;
        let entries = all.unwrap().into_inner().entries;
        assert_eq!(
            resources(&entries),
            [("workspaces/acme".to_owned(), 1, ChangeKind::Created)]
        );
        assert_eq!(entries[0].workspace, "");
    })
    .await;
}

#[tokio::test]
async fn a_feed_begins_with_everything_and_goes_on_with_what_changes() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("butcher").await;
        let delete = DeleteOrganizationRequest {
            name: "workspaces/acme/organizations/butcher".into(),
            ..Default::default()
        };
        world
            .organizations()
            .delete_organization(world.owner.request(delete))
            .await
            .unwrap();

        let service = Caller::with(world.tokens.service("assignment-service"));
        let everything = WatchRequest {
            start: Some(Start::InitialState(InitialState {})),
            ..Default::default()
        };
        let mut feed = world.watch(&service, everything).await;
        let entries = feed.snapshots().await;
        let snapshot = |name: &str, version| (name.to_owned(), version, ChangeKind::Snapshot);
        let expected = [
            snapshot("workspaces/acme", 1),
            snapshot(BAKERY, 1),
            snapshot("workspaces/acme/organizations/butcher", 2),
        ];
        assert_eq!(resources(&entries), expected);
        assert!(entries.iter().all(|entry| !entry.workspace_uid.is_empty()));

        world.rename(BAKERY, "New").await;
        let (entry, cursor) = feed.until_told(BAKERY, 2).await;
        assert_eq!(
            resources(std::slice::from_ref(&entry)),
            [(BAKERY.to_owned(), 2, ChangeKind::Updated)]
        );
        // A new stream goes on from either cursor.
        world.rename(BAKERY, "Newer").await;
        for cursor in [entry.cursor, cursor] {
            let request = WatchRequest {
                start: Some(Start::Cursor(cursor)),
                ..Default::default()
            };
            let mut feed = world.watch(&world.operator, request).await;
            let (entries, _) = feed.until_checkpoint(1).await;
            assert_eq!(resources(&entries), [(BAKERY.to_owned(), 3, ChangeKind::Updated)]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bootstrap_is_resumed_in_its_middle() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["one", "two", "three"] {
            world.create_organization(id).await;
        }
        let start = |start| WatchRequest {
            start: Some(start),
            types: vec![Organization::full_name()],
            ..Default::default()
        };
        let mut feed = world
            .watch(&world.operator, start(Start::InitialState(InitialState {})))
            .await;
        let Item::Entry(first) = feed.next().await else {
            panic!("snapshots come before the checkpoint")
        };
        assert_eq!(first.changes[0].resource, "workspaces/acme/organizations/one");
        let mut feed = world.watch(&world.operator, start(Start::Cursor(first.cursor))).await;
        let rest = feed.snapshots().await;
        assert_eq!(
            rest.iter()
                .map(|entry| entry.changes[0].resource.as_str())
                .collect::<Vec<_>>(),
            [
                "workspaces/acme/organizations/two",
                "workspaces/acme/organizations/three"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn admins_watch_their_own_workspace() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_workspace("globex").await;
        let mut feed = world
            .watch(
                &world.admin,
                WatchRequest {
                    parent: "workspaces/acme".into(),
                    ..Default::default()
                },
            )
            .await;
        let Item::Checkpoint(_) = feed.next().await else {
            panic!("a feed without a start begins at the present end")
        };
        let foreign = clientele_api::org::CreateOrganizationRequest {
            parent: "workspaces/globex".into(),
            ..crate::create("foreign", named("F"))
        };
        world
            .organizations()
            .create_organization(world.operator.request(foreign))
            .await
            .unwrap();
        world.create_organization("own").await;
        let (entries, _) = feed.until_checkpoint(1).await;
        assert_eq!(
            resources(&entries),
            [("workspaces/acme/organizations/own".to_owned(), 1, ChangeKind::Created)]
        );
        let status = world
            .journal()
            .watch(world.admin.request(WatchRequest::default()))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "CALLER_NOT_ALLOWED")
        );
    })
    .await;
}

#[tokio::test]
async fn cursors_of_another_life_or_of_nothing_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (cursor, code, expected) in [
            ("2.0.1", Code::OutOfRange, "CURSOR_OUT_OF_RANGE"),
            ("0.0.1", Code::OutOfRange, "CURSOR_OUT_OF_RANGE"),
            ("1.9000000000000000000.1", Code::OutOfRange, "CURSOR_OUT_OF_RANGE"),
            ("yesterday", Code::InvalidArgument, "INVALID_FIELDS"),
        ] {
            let request = WatchRequest {
                start: Some(Start::Cursor(cursor.into())),
                ..Default::default()
            };
            let status = world
                .journal()
                .watch(world.operator.request(request))
                .await
                .unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{cursor}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_its_cursor_when_the_server_does() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut feed = world.watch(&world.operator, WatchRequest::default()).await;
        let Item::Checkpoint(last) = feed.next().await else {
            panic!("a quiet feed tells where it is")
        };
        let World { running, .. } = world;
        running.stop().await;
        let status = loop {
            match feed.0.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream must say why it ends"),
                Err(status) => break status,
            }
        };
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "DRAINING")
        );
        use tonic_types::StatusExt;
        let cursor = &status.get_details_error_info().unwrap().metadata["cursor"];
        assert!(!cursor.is_empty() && !last.cursor.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_does() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let caller = Caller::with(world.tokens.short_lived_operator());
        let mut feed = world.watch(&caller, WatchRequest::default()).await;
        let status = loop {
            match feed.0.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream must say why it ends"),
                Err(status) => break status,
            }
        };
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "STREAM_EXPIRED")
        );
    })
    .await;
}

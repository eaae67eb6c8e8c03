//! The journal: what was set, by whom, and the feed of it. It never tells what holds, since that changes without a change.

use crate::{ACME, BAKERY, World, handoff, language};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{ChangeKind, Entry, InitialState, ListEntriesRequest, WatchRequest, WatchResponse};
use clientele_api::settings::{Settings, WorkspaceSettings};
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

    async fn watch(&self, start: Start) -> Feed {
        let request = WatchRequest {
            start: Some(start),
            ..Default::default()
        };
        let service = Caller::with(self.tokens.service("dashboard"));
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
async fn the_log_tells_what_was_set_and_not_what_holds() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.set(language("de")).await.unwrap();
        world.set(language("de")).await.unwrap(); // changes nothing and asks for nothing to be remembered: no entry
        let second = world.set(handoff(Some(true), Some(true))).await.unwrap();
        world.set_defaults(language("fr")).await.unwrap();
        let entries = world.entries(BAKERY).await;
        let name = format!("{BAKERY}/settings");
        let expected = [(name.clone(), 2, ChangeKind::Updated), (name, 1, ChangeKind::Updated)];
        assert_eq!(resources(&entries), expected);
        let fields: Vec<&[String]> = entries
            .iter()
            .map(|entry| entry.changes[0].changed_fields.as_slice())
            .collect();
        let both = ["overrides.handoff.human_enabled", "overrides.handoff.smart_enabled"].map(str::to_owned);
        assert_eq!(fields, [&both[..], &["overrides.language".to_owned()]]);
        for entry in &entries {
            assert_eq!((entry.workspace.as_str(), entry.organization.as_str()), (ACME, BAKERY));
            assert_eq!(
                (entry.actor.as_str(), &entry.changes[0].uid),
                ("staff/sam", &world.bakery.uid)
            );
        }
        let shown = |any: &Option<prost_types::Any>| any.as_ref().unwrap().to_msg::<Settings>().unwrap();
        let stored = |answer: &Settings| Settings {
            effective: None,
            sources: Vec::new(),
            text_direction: None,
            ..answer.clone()
        };
        assert_eq!(shown(&entries[1].changes[0].before).version, 0);
        assert_eq!(shown(&entries[1].changes[0].after), stored(&first));
        assert_eq!(shown(&entries[0].changes[0].before), stored(&first));
        assert_eq!(shown(&entries[0].changes[0].after), stored(&second));

        let all = world.entries(ACME).await;
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].organization.as_str(), all[0].changes[0].changed_fields.join(" ")),
            ("", "defaults.language".into())
        );
        let defaults: WorkspaceSettings = all[0].changes[0].after.as_ref().unwrap().to_msg().unwrap();
        assert_eq!(defaults, world.get_defaults().await);
    })
    .await;
}

#[tokio::test]
async fn a_feed_begins_with_everything_and_goes_on_with_what_changes() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        world.set(language("fr")).await.unwrap();
        world.set_defaults(language("it")).await.unwrap();
        let mut feed = world.watch(Start::InitialState(InitialState {})).await;
        let entries = feed.snapshots().await;
        let (defaults, settings) = (format!("{ACME}/settings"), format!("{BAKERY}/settings"));
        let expected = [
            (defaults.clone(), 1, ChangeKind::Snapshot),
            (settings.clone(), 2, ChangeKind::Snapshot),
        ];
        assert_eq!(resources(&entries), expected);
        assert!(
            entries
                .iter()
                .all(|entry| entry.workspace_uid == world.acme.to_string())
        );
        let snapshot: Settings = entries[1].changes[0].after.as_ref().unwrap().to_msg().unwrap();
        assert_eq!((snapshot.effective, snapshot.sources.len()), (None, 0));

        world.clear(&["*"]).await.unwrap();
        let (kind, cursor) = feed.until_told(&settings, 3).await;
        assert_eq!(kind, ChangeKind::Updated);
        world.set_defaults(language("de")).await.unwrap();
        let (kind, _) = world.watch(Start::Cursor(cursor)).await.until_told(&defaults, 2).await;
        assert_eq!(kind, ChangeKind::Updated);
    })
    .await;
}

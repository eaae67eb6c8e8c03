//! A client that follows the journal as one should: when the stream ends, it goes on from its cursor.

use crate::World;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Entry, WatchRequest, WatchResponse};
use clientele_testkit::Caller;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

pub(crate) struct Feed {
    journal: JournalServiceClient<Channel>,
    caller: Caller,
    stream: Option<Streaming<WatchResponse>>,
    /// Behind what was told last.
    pub(crate) cursor: String,
}

impl Feed {
    /// Begins at the present end.
    pub(crate) async fn start(world: &World) -> Self {
        Self::start_at(world.journal(), &world.operator).await
    }

    pub(crate) async fn start_at(journal: JournalServiceClient<Channel>, caller: &Caller) -> Self {
        let mut feed = Self {
            journal,
            caller: caller.clone(),
            stream: None,
            cursor: String::new(),
        };
        // What was written just now may come before.
        while !matches!(feed.next().await, Item::Checkpoint(_)) {}
        feed
    }

    /// What is told next.
    pub(crate) async fn next(&mut self) -> Item {
        loop {
            match self.try_next().await {
                Ok(Some(item)) => {
                    self.cursor = match &item {
                        Item::Entry(entry) => entry.cursor.clone(),
                        Item::Checkpoint(checkpoint) => checkpoint.cursor.clone(),
                    };
                    return item;
                }
                Ok(None) => panic!("a stream must say why it ends"),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    self.stream = None;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<Item>, Status> {
        if self.stream.is_none() {
            let start = (!self.cursor.is_empty()).then(|| Start::Cursor(self.cursor.clone()));
            let request = WatchRequest {
                start,
                ..Default::default()
            };
            let answer = self.journal.watch(self.caller.request(request)).await?;
            self.stream = Some(answer.into_inner());
        }
        match &mut self.stream {
            Some(stream) => Ok(stream.message().await?.and_then(|message| message.item)),
            None => Ok(None),
        }
    }

    /// Everything that is told, up to a change of this resource.
    pub(crate) async fn until_told(&mut self, limit: Duration, resource: &str) -> Vec<Entry> {
        let told = async {
            let mut entries = Vec::new();
            loop {
                if let Item::Entry(entry) = self.next().await {
                    let last = entry.changes.iter().any(|change| change.resource == resource);
                    entries.push(entry);
                    if last {
                        return entries;
                    }
                }
            }
        };
        timeout(limit, told)
            .await
            .unwrap_or_else(|_| panic!("not told within {limit:?}: {resource}"))
    }
}

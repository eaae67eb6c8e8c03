//! The journal of an org-service that a test plays: what services that follow it are tested against.

use clientele_api::error::ErrorReason;
use clientele_api::journal::journal_service_server::{JournalService, JournalServiceServer};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{
    Change, ChangeKind, Checkpoint, Entry, ListEntriesRequest, ListEntriesResponse, WatchRequest, WatchResponse,
};
use clientele_api::org::organization::State;
use clientele_api::org::{Member, Organization, OrganizationLimits, Role, Session, Team, User, Workspace};
use clientele_api::request::Resource;
use clientele_api::{Error, Micros, Uid};
use futures::Stream;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The journal of an org-service, without the org-service.
#[derive(Debug, Clone)]
pub struct OrgFeed {
    address: SocketAddr,
    told: Arc<watch::Sender<Told>>,
    gate: Arc<watch::Sender<Gate>>,
}

/// What there is to tell.
#[derive(Debug, Clone, Default)]
struct Told {
    epoch: i64,
    entries: Vec<Entry>,
    /// The newest entry of each resource, in the order of their creation.
    newest: BTreeMap<String, Entry>,
    /// Streams of an older number end.
    streams: u64,
}

/// How much the streams may send.
#[derive(Debug, Default)]
struct Gate {
    /// Streams so far.
    opened: usize,
    /// Of each stream, in the order in which they were opened; None: everything.
    allowed: Option<BTreeMap<usize, usize>>,
}

impl OrgFeed {
    /// Serves an empty journal.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(watch::Sender::new(Told {
            epoch: 1,
            ..Told::default()
        }));
        let gate = Arc::new(watch::Sender::new(Gate::default()));
        let server = JournalServiceServer::new(Played {
            told: told.clone(),
            gate: gate.clone(),
        });
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        Self { address, told, gate }
    }

    /// `http://…`, where it is reached.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Tells that a workspace was created; answers its uid.
    pub fn create_workspace(&self, id: &str) -> Uid {
        let uid = Uid::new();
        let workspace = Workspace {
            name: format!("workspaces/{id}"),
            uid: uid.to_string(),
            version: 1,
            ..Default::default()
        };
        self.tell("", Change::created(&workspace)); // above workspaces, as org-service journals it
        uid
    }

    /// Tells that an organization was created.
    pub fn create_organization(&self, workspace: Uid, name: &str) -> Organization {
        let organization = Organization {
            name: name.to_owned(),
            uid: Uid::new().to_string(),
            version: 1,
            display_name: Some(name.to_owned()),
            limits: Some(OrganizationLimits::default()),
            client_access_enabled: Some(true),
            state: State::Active.into(),
            ..Default::default()
        };
        self.tell(&workspace.to_string(), Change::created(&organization));
        organization
    }

    /// Tells that an organization changed; answers it with its next version.
    pub fn update(
        &self,
        workspace: Uid,
        before: &Organization,
        change: impl FnOnce(&mut Organization),
    ) -> Organization {
        let mut after = before.clone();
        change(&mut after);
        after.version += 1;
        self.tell(&workspace.to_string(), Change::updated(before, &after, Vec::new()));
        after
    }

    /// Tells a change of something in a workspace, whatever it is.
    pub fn tell(&self, workspace_uid: &str, change: Change) {
        self.tell_all(workspace_uid, "", vec![change]);
    }

    /// Tells changes that one mutation made in a workspace, or in an organization unless that is empty.
    pub fn tell_all(&self, workspace_uid: &str, organization_uid: &str, changes: Vec<Change>) {
        self.told.send_modify(|told| {
            let cursor = format!("{}.0.{}", told.epoch, told.entries.len() + 1);
            let time = Some(Micros::now().into());
            let entry = Entry {
                cursor,
                workspace_uid: workspace_uid.to_owned(),
                organization_uid: organization_uid.to_owned(),
                time,
                changes,
                ..Default::default()
            };
            for change in &entry.changes {
                let alone = Entry {
                    changes: vec![change.clone()],
                    ..entry.clone()
                };
                told.newest.insert(change.uid.clone(), alone);
            }
            told.entries.push(entry);
        });
    }

    /// The revision of everything told so far, as `clientele-revision` would carry it.
    pub fn revision(&self) -> String {
        let told = self.told.borrow();
        format!("org={}.{}", told.epoch, told.entries.len())
    }

    /// Ends all streams; followers come back.
    pub fn cut(&self) {
        self.told.send_modify(|told| told.streams += 1);
    }

    /// From now on streams know what they would send when they are opened, and send only what they are allowed to.
    pub fn hold(&self) {
        self.gate.send_modify(|gate| gate.allowed = Some(BTreeMap::new()));
    }

    /// Lets a stream send so many items, counted from its beginning. Streams are numbered from 1.
    pub fn allow(&self, stream: usize, items: usize) {
        self.gate.send_modify(|gate| {
            gate.allowed.get_or_insert_default().insert(stream, items);
        });
    }

    /// Lets all streams send everything.
    pub fn release(&self) {
        self.gate.send_modify(|gate| gate.allowed = None);
    }

    /// How many streams have been opened.
    pub fn opened(&self) -> usize {
        self.gate.borrow().opened
    }

    /// Plays a restored database: a new epoch in which only these resources exist, at the versions they have here. Ends all streams.
    pub fn restore(&self, kept: impl Fn(&Entry) -> Option<Entry>) {
        self.told.send_modify(|told| {
            told.epoch += 1;
            told.streams += 1;
            told.entries.clear();
            told.newest = std::mem::take(&mut told.newest)
                .into_iter()
                .filter_map(|(uid, entry)| Some((uid, kept(&entry)?)))
                .collect();
        });
    }
}

/// A resource whose changes are counted.
pub trait Counted: Resource + Clone {
    /// The count.
    fn version_mut(&mut self) -> &mut i64;

    /// Changes it; answers the change as the journal tells it.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Change {
        let before = self.clone();
        change(self);
        *self.version_mut() += 1;
        Change::updated(&before, self, Vec::new())
    }
}

impl Counted for Organization {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl Counted for User {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl Counted for Member {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl Counted for Role {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl Counted for Team {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl Counted for Session {
    fn version_mut(&mut self) -> &mut i64 {
        &mut self.version
    }
}

#[derive(Debug)]
struct Played {
    told: Arc<watch::Sender<Told>>,
    gate: Arc<watch::Sender<Gate>>,
}

#[tonic::async_trait]
impl JournalService for Played {
    async fn list_entries(&self, _: Request<ListEntriesRequest>) -> Result<Response<ListEntriesResponse>, Status> {
        Err(Status::unimplemented("followers watch"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut told = self.told.subscribe();
        let (epoch, number) = (told.borrow().epoch, told.borrow().streams);
        let (send, receive) = mpsc::channel(16);
        let place = match request.into_inner().start {
            Some(Start::Cursor(cursor)) => {
                let (cursor, snapshots) = cursor.split_once('~').map_or((&*cursor, None), |(cursor, last)| {
                    (cursor, last.rsplit('~').next().map(str::to_owned))
                });
                let mut parts = cursor.split('.').map(|part| part.parse::<i64>().unwrap());
                let (of, _, seq) = (parts.next().unwrap(), parts.next(), parts.next().unwrap());
                if of != epoch {
                    return Err(Error::new(ErrorReason::CursorOutOfRange, "another life").into());
                }
                Place {
                    at: Some(usize::try_from(seq).unwrap()),
                    snapshots,
                }
            }
            _ => Place {
                at: None,
                snapshots: Some(String::new()),
            },
        };
        let out = Out {
            send,
            stream: self.open(),
            sent: 0,
            gate: self.gate.subscribe(),
        };
        let first = told.borrow_and_update().clone();
        tokio::spawn(play(told, first, out, place, number));
        let stream = futures::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|item| (Ok(item), receive))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Played {
    /// The number of a new stream.
    fn open(&self) -> usize {
        self.gate.send_modify(|gate| gate.opened += 1);
        self.gate.borrow().opened
    }
}

/// The way out of a stream.
struct Out {
    send: mpsc::Sender<WatchResponse>,
    stream: usize,
    sent: usize,
    gate: watch::Receiver<Gate>,
}

impl Out {
    /// Sends an item as soon as it is allowed; false: the follower is gone.
    async fn send(&mut self, item: Item) -> bool {
        let (stream, sent) = (self.stream, self.sent);
        let may = |gate: &Gate| {
            let allowed = gate.allowed.as_ref();
            allowed.is_none_or(|allowed| allowed.get(&stream).is_some_and(|items| *items > sent))
        };
        if self.gate.wait_for(may).await.is_err() {
            return false;
        }
        self.sent += 1;
        self.send.send(WatchResponse { item: Some(item) }).await.is_ok()
    }
}

/// Where a stream begins.
struct Place {
    /// The entries before it; None: all that there are.
    at: Option<usize>,
    /// The uid behind which snapshots come first.
    snapshots: Option<String>,
}

/// Sends what exists, and then what is told, until the streams are cut.
async fn play(mut told: watch::Receiver<Told>, first: Told, mut out: Out, place: Place, number: u64) {
    let mut at = place.at.unwrap_or(first.entries.len());
    if let Some(after) = place.snapshots {
        let exists = |entry: &Entry| entry.changes[0].kind() != ChangeKind::Purged;
        let rest = first
            .newest
            .into_iter()
            .filter(|(uid, entry)| *uid > after && exists(entry));
        for (uid, mut entry) in rest {
            entry.cursor = format!("{}.0.{at}~0~{uid}", first.epoch);
            entry.changes[0].kind = ChangeKind::Snapshot.into();
            if !out.send(Item::Entry(entry)).await {
                return;
            }
        }
    }
    loop {
        let now = told.borrow_and_update().clone();
        if now.streams != number {
            return;
        }
        let news = now
            .entries
            .get(at..)
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Item::Entry);
        let checkpoint = Item::Checkpoint(Checkpoint {
            cursor: format!("{}.0.{}", now.epoch, now.entries.len()),
        });
        for item in news.chain([checkpoint]) {
            if !out.send(item).await {
                return;
            }
        }
        at = now.entries.len();
        if told.changed().await.is_err() {
            return;
        }
    }
}

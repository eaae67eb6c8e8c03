//! `clientele.journal.v1` over a service's journal: the same in every service.

use crate::admission::Admission;
use crate::caller::ProofExpiry;
use crate::filter::{self, Operator, Term};
use crate::scope::{Reach, Scope};
use crate::status::status;
use clientele_api::error::ErrorReason;
use clientele_api::journal::journal_service_server::{JournalService, JournalServiceServer};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{
    Change, Checkpoint, Entry, ListEntriesRequest, ListEntriesResponse, WatchRequest, WatchResponse,
};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::request::Page;
use clientele_api::{Error, Result, Uid};
use clientele_store::connect::db_error;
use clientele_store::cursor::{Cursor, WatchCursor};
use clientele_store::journal::{Filter, Row};
use clientele_store::{Answer, Db, Journal, PageRequest, page};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use sea_orm_migration::sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// A page of the log looks at this many rows at most.
pub const SCAN: u64 = 10_000;
/// How many rows or resources a stream reads at a time.
const STRETCH: u64 = 200;
/// A quiet stream says this often that nothing happened.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The longest life of a stream, if its token lives as long; up to a tenth less, so that streams don't end together.
const LIFE: Duration = Duration::from_secs(3600);

/// Reads a page of all resources of one type, deleted ones that can come back included, by uid: for `initial_state`. It is
/// [`snapshots`] of their entity.
pub type SnapshotPage = fn(Db, Filter, Option<Uid>, u64) -> BoxFuture<'static, Result<Vec<Snapshot>>>;

/// An entity whose rows are resources.
pub trait Resources: EntityTrait {
    /// Holds the uid of the resource.
    const UID: Self::Column;
    /// Holds the uid of its workspace.
    const WORKSPACE: Self::Column;
    /// Holds the uid of its organization; none: it belongs to the workspace as a whole.
    const ORGANIZATION: Option<Self::Column>;

    /// The rows that are resources: all, unless some only keep what was taken away.
    fn present() -> Select<Self> {
        Self::find()
    }

    /// The resource of a row.
    fn describe(row: Self::Model) -> Result<Snapshot>;
}

/// A resource as it is, and where it belongs.
#[derive(Debug)]
pub struct Snapshot {
    /// Its uid: pages go on after it.
    pub uid: Uid,
    /// Its workspace, unless it stands above.
    pub workspace: Option<WorkspaceRef>,
    /// Its organization, if it is or has one.
    pub organization: Option<OrganizationRef>,
    /// The resource.
    pub change: Change,
}

impl Snapshot {
    /// Of a resource that an organization holds.
    pub fn in_organization(uid: Uid, organization: OrganizationRef, change: Change) -> Self {
        Self {
            uid,
            workspace: Some(organization.workspace.clone()),
            organization: Some(organization),
            change,
        }
    }
}

/// A page of the resources of an entity: at most so many after a uid.
pub fn snapshots<E: Resources>(
    db: Db,
    filter: Filter,
    after: Option<Uid>,
    limit: u64,
) -> BoxFuture<'static, Result<Vec<Snapshot>>> {
    async move {
        let mut select = E::present().order_by_asc(E::UID).limit(limit);
        if let Some(after) = after {
            select = select.filter(E::UID.gt(after.0));
        }
        select = match (filter, E::ORGANIZATION) {
            (Filter::All, _) => select,
            (Filter::Workspace(uid), _) => select.filter(E::WORKSPACE.eq(uid.0)),
            (Filter::Organization(uid), Some(organization)) => select.filter(organization.eq(uid.0)),
            (Filter::Organization(_), None) => return Ok(Vec::new()),
        };
        let rows = select.all(db.read()).await.map_err(db_error)?;
        rows.into_iter().map(E::describe).collect()
    }
    .boxed()
}

/// The service.
#[derive(Clone)]
pub struct JournalRpc {
    admission: Admission,
    journal: Journal,
    snapshots: &'static [SnapshotPage],
    drain: CancellationToken,
}

impl JournalRpc {
    /// Serves this journal; `snapshots` are the service's types in the order in which they depend on each other. Streams end at `drain`.
    pub fn server(
        admission: Admission,
        journal: Journal,
        snapshots: &'static [SnapshotPage],
        drain: CancellationToken,
    ) -> JournalServiceServer<Self> {
        JournalServiceServer::new(Self {
            admission,
            journal,
            snapshots,
            drain,
        })
    }
}

#[tonic::async_trait]
impl JournalService for JournalRpc {
    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                let client = scope.client().is_some();
                list(&self.journal, scope.filter(), client, &request).await
            })
            .await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (scope, expiry, request) = self.admission.stream(request).await?;
        let watcher = Watcher::start(self, scope, expiry, request).await.map_err(status)?;
        Ok(Response::new(Box::pin(futures::stream::try_unfold(
            watcher,
            async |mut watcher| {
                let item = watcher.next().await.map_err(status)?;
                Ok(Some((item, watcher)))
            },
        ))))
    }
}

async fn list(
    journal: &Journal,
    filter: Filter,
    client: bool,
    request: &ListEntriesRequest,
) -> Result<Answer<ListEntriesResponse>> {
    let terms = filter::parse(&request.filter)?;
    let wanted = terms.iter().map(Wanted::read).collect::<Result<Vec<_>>>()?;
    let wanted = |row: &Row| wanted.iter().all(|wanted| wanted.holds(row, client)) && (!client || is_for_clients(row));
    let (rows, next_page_token) = log_page(journal, filter, request, wanted).await?;
    let mut entries = rows.into_iter().map(Row::entry).collect::<Result<Vec<_>>>()?;
    if client {
        entries.iter_mut().for_each(|entry| entry.changes.retain(client_reads));
    }
    Ok(Answer {
        value: ListEntriesResponse {
            entries,
            next_page_token,
        },
        revision: journal.revision().await?,
    })
}

/// A page of the log, newest first: the rows that are wanted, and the token of the next page. Since it looks at [`SCAN`] rows at most,
/// it may be short, or empty, and still not be the last.
pub async fn log_page<Q: Page>(
    journal: &Journal,
    filter: Filter,
    request: &Q,
    wanted: impl Fn(&Row) -> bool,
) -> Result<(Vec<Row>, String)> {
    let scope = match filter {
        Filter::All => Uid::NIL,
        Filter::Workspace(uid) | Filter::Organization(uid) => uid,
    };
    let page = PageRequest::read(request, scope)?;
    let below = page.after.as_deref().map(|key| {
        let cursor = std::str::from_utf8(key).ok().and_then(Cursor::parse);
        cursor.ok_or_else(page::invalid)
    });
    let size = usize::try_from(page.size).unwrap_or(usize::MAX);
    let listing = journal.before(filter, below.transpose()?, size, SCAN, wanted).await?;
    let token = listing.next.map(|next| page.token(next.to_string().as_bytes()));
    Ok((listing.rows, token.unwrap_or_default()))
}

/// What client users can read who may list entries, which needs `members.manage`; by the full names of the messages. Of everything else
/// they do not learn that it changed.
const FOR_CLIENTS: &[&str] = &[
    "clientele.assignment.v1.MemberScope",
    "clientele.org.v1.Invitation",
    "clientele.org.v1.Member",
    "clientele.org.v1.Organization",
    "clientele.org.v1.Role",
    "clientele.org.v1.Team",
    "clientele.settings.v1.Settings",
];

fn is_for_clients(row: &Row) -> bool {
    row.changes().is_ok_and(|changes| changes.iter().any(client_reads))
}

fn client_reads(change: &Change) -> bool {
    FOR_CLIENTS.contains(&message_type(change))
}

/// The full name of the message that a change tells of.
fn message_type(change: &Change) -> &str {
    let any = change.after.as_ref().or(change.before.as_ref());
    any.and_then(|any| any.type_url.rsplit('/').next()).unwrap_or_default()
}

/// A term of the log's filter.
enum Wanted {
    Actor(String),
    ActingFor(String),
    Method(String),
    Resource(String),
    Since(i64),
    Before(i64),
}

impl Wanted {
    fn read(term: &Term) -> Result<Self> {
        let value = || term.value.clone();
        Ok(match (term.field.as_str(), term.operator) {
            ("actor", Operator::Equal) => Self::Actor(value()),
            ("acting_for", Operator::Equal) => Self::ActingFor(value()),
            ("method", Operator::Equal) => Self::Method(value()),
            ("resource", Operator::Equal) => Self::Resource(value()),
            ("time", Operator::GreaterOrEqual) => Self::Since(micros(&term.value)?),
            ("time", Operator::Less) => Self::Before(micros(&term.value)?),
            _ => return Err(filter::unknown(term)),
        })
    }

    /// Whether a row has it; to a client user what it can't read is not there.
    fn holds(&self, row: &Row, client: bool) -> bool {
        match self {
            Self::Actor(actor) => row.actor == *actor,
            Self::ActingFor(user) => row.acting_for.as_ref() == Some(user),
            Self::Method(method) => row.method == *method,
            Self::Resource(name) => row.changes().is_ok_and(|changes| {
                let mut seen = changes.iter().filter(|change| !client || client_reads(change));
                seen.any(|change| change.resource == *name)
            }),
            Self::Since(time) => row.time >= *time,
            Self::Before(time) => row.time < *time,
        }
    }
}

fn micros(text: &str) -> Result<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| filter::malformed("times must be of RFC 3339, as in 2026-01-31T00:00:00Z"))?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000).map_err(|_| filter::malformed("the time is out of range"))
}

/// One stream: where it stands, and what it has read but not sent.
struct Watcher {
    journal: Journal,
    snapshots: &'static [SnapshotPage],
    drain: CancellationToken,
    filter: Filter,
    /// Holds the stream's place.
    _scope: Scope<Reach>,
    types: Vec<String>,
    at: WatchCursor,
    horizon: watch::Receiver<Cursor>,
    ready: VecDeque<WatchResponse>,
    end_of_life: Instant,
    /// Whether the present position has been told.
    told: bool,
}

impl Watcher {
    async fn start(rpc: &JournalRpc, scope: Scope<Reach>, expiry: ProofExpiry, request: WatchRequest) -> Result<Self> {
        let mut horizon = rpc.journal.horizon();
        let end = *horizon.borrow_and_update();
        let at = match request.start {
            None => WatchCursor::at(end),
            Some(Start::InitialState(_)) => WatchCursor {
                cursor: end,
                snapshot: Some((0, Uid::NIL)),
            },
            Some(Start::Cursor(text)) => {
                let at = WatchCursor::parse(&text)
                    .ok_or_else(|| Error::field("cursor", "must be a cursor that this service gave"))?;
                rpc.journal.check_cursor(at.cursor).await?;
                at
            }
        };
        Ok(Self {
            journal: rpc.journal.clone(),
            snapshots: rpc.snapshots,
            drain: rpc.drain.clone(),
            filter: scope.filter(),
            _scope: scope,
            types: request.types,
            at,
            horizon,
            ready: VecDeque::new(),
            end_of_life: Instant::now() + expiry.remaining().min(LIFE.mul_f64(rand::random_range(0.9..1.0))),
            told: false,
        })
    }

    async fn next(&mut self) -> Result<WatchResponse> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            match self.at.snapshot {
                Some((index, after)) => self.read_snapshots(index, after).await?,
                None => self.read_changes().await?,
            }
        }
    }

    /// The next stretch of what exists; behind the last type, the checkpoint.
    async fn read_snapshots(&mut self, index: usize, after: Uid) -> Result<()> {
        self.check_end()?; // before anything is read: the cursor of the error must not be ahead of what was sent
        let Some(page) = self.snapshots.get(index) else {
            self.at.snapshot = None;
            self.tell_position();
            return Ok(());
        };
        let after = (after != Uid::NIL).then_some(after);
        let rows = page(self.journal.db().clone(), self.filter, after, STRETCH).await?;
        let more = rows.len() as u64 == STRETCH;
        let last = rows.last().map(|row| row.uid);
        for row in rows {
            self.at.snapshot = Some((index, row.uid));
            if self.wants(&row.change) {
                let cursor = self.at.to_string();
                self.ready.push_back(WatchResponse {
                    item: Some(Item::Entry(snapshot_entry(row, cursor))),
                });
            }
        }
        self.at.snapshot = Some(match last {
            Some(last) if more => (index, last),
            _ => (index + 1, Uid::NIL),
        });
        Ok(())
    }

    /// The next stretch of the changes; at the horizon, a checkpoint, and then waiting for it to move.
    async fn read_changes(&mut self) -> Result<()> {
        self.check_end()?;
        let horizon = *self.horizon.borrow_and_update();
        if self.at.cursor < horizon {
            let rows = self
                .journal
                .after(self.filter, self.at.cursor, horizon, STRETCH)
                .await?;
            let more = rows.len() as u64 == STRETCH;
            for row in rows {
                self.at.cursor = row.cursor();
                let mut entry = row.entry()?;
                entry.changes.retain(|change| self.wants(change));
                if !entry.changes.is_empty() || self.types.is_empty() {
                    self.ready.push_back(WatchResponse {
                        item: Some(Item::Entry(entry)),
                    });
                }
            }
            if !more {
                self.at.cursor = horizon;
                self.tell_position();
            }
            return Ok(());
        }
        if !self.told {
            self.tell_position();
            return Ok(());
        }
        tokio::select! {
            news = self.horizon.changed() => news.map_err(Error::internal)?, // nobody watches the end any more
            () = self.drain.cancelled() => {}
            () = tokio::time::sleep_until(self.end_of_life) => {}
            () = tokio::time::sleep(HEARTBEAT) => self.tell_position(),
        }
        Ok(())
    }

    fn tell_position(&mut self) {
        self.told = true;
        let checkpoint = Checkpoint {
            cursor: self.at.to_string(),
        };
        self.ready.push_back(WatchResponse {
            item: Some(Item::Checkpoint(checkpoint)),
        });
    }

    fn wants(&self, change: &Change) -> bool {
        let name = message_type(change);
        name.is_empty() || self.types.is_empty() || self.types.iter().any(|wanted| wanted == name)
    }

    fn check_end(&self) -> Result<()> {
        let (reason, message) = if self.drain.is_cancelled() {
            (
                ErrorReason::Draining,
                "the server is shutting down: go on from the cursor at another one",
            )
        } else if Instant::now() >= self.end_of_life {
            (
                ErrorReason::StreamExpired,
                "the stream reached its longest life: go on from the cursor",
            )
        } else {
            return Ok(());
        };
        Err(Error::new(reason, message)
            .with("cursor", self.at)
            .retry_after(Duration::from_millis(100)))
    }
}

fn snapshot_entry(row: Snapshot, cursor: String) -> Entry {
    Entry {
        cursor,
        workspace: row.workspace.as_ref().map(WorkspaceRef::name).unwrap_or_default(),
        workspace_uid: row
            .workspace
            .map(|workspace| workspace.uid.to_string())
            .unwrap_or_default(),
        organization: row.organization.as_ref().map(OrganizationRef::name).unwrap_or_default(),
        organization_uid: row
            .organization
            .map(|organization| organization.uid.to_string())
            .unwrap_or_default(),
        changes: vec![row.change],
        ..Entry::default()
    }
}

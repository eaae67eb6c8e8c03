//! The follower: watches, applies, and starts again whenever the stream ends.

use super::projection::{self, Batch};
use super::{Followed, metrics::Metrics, parked, state};
use crate::connect::Db;
use crate::cursor::{Cursor, WatchCursor};
use crate::fail::{self, Point};
use crate::tasks;
use crate::tx::{self, Mode, Tx, TxFn};
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Checkpoint, Entry, InitialState, WatchRequest, WatchResponse};
use clientele_api::{Error, Result, Uid, error::ErrorReason};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use sea_orm::DbBackend;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// At most this many entries in one transaction.
const BATCH: usize = 200;
/// With so many changes a transaction is full, however few entries they are.
const FULL: usize = 1_000;
/// A stream that is silent this long is dead: checkpoints come every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// A message holds a whole mutation; what the peer could write, this must be able to read.
const LARGEST: usize = 64 * 1024 * 1024;
/// While nothing happens, the cursor is stored this often: the horizon of a busy cluster moves all the time.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// How long to wait before starting again, growing between these.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(5);

/// The service that is followed: where it is, and how to prove who asks.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its key in revisions.
    pub service: &'static str,
    /// A connection to it, made again when it was lost.
    pub channel: Channel,
    /// The file with the bearer token; read anew for every stream, since it is rotated.
    pub token_file: PathBuf,
}

/// Follows one service.
#[derive(Debug)]
pub struct Follower {
    peer: Peer,
    db: Db,
    applied: Arc<watch::Sender<Option<Cursor>>>,
    metrics: Metrics,
}

/// Why a stream ended.
enum End {
    /// Go on from the stored cursor.
    Resume(String),
    /// The cursor in this state is of another life of the peer: read everything anew.
    StartAnew(state::Model),
}

impl Follower {
    /// Begins to follow, until `stop`; answers how far the peer is known here.
    pub async fn start(db: &Db, peer: Peer, stop: CancellationToken) -> Result<Followed> {
        let applied = Arc::new(watch::Sender::new(super::stored_cursor(db, peer.service).await?));
        let followed = Followed::new(peer.service, db, applied.clone());
        let follower = Self {
            db: db.clone(),
            applied,
            metrics: Metrics::new(peer.service),
            peer,
        };
        if db.backend() == DbBackend::Postgres {
            tasks::spawn(stop.clone(), followed.clone().notice());
        }
        tasks::spawn(stop, follower.run());
        Ok(followed)
    }

    async fn run(self) {
        let service = self.peer.service;
        let mut pause = *PAUSE.start();
        loop {
            let known = *self.applied.borrow();
            let end = self
                .follow()
                .await
                .unwrap_or_else(|error| End::Resume(format!("{error:?}")));
            if *self.applied.borrow() != known {
                pause = *PAUSE.start();
            }
            match end {
                End::Resume(why) => tracing::info!(service, why, "following begins again"),
                End::StartAnew(refused) => {
                    tracing::warn!(service, "the journal was restored or cut: everything is read anew");
                    if let Err(error) = self.start_anew(refused).await {
                        tracing::warn!(service, %error, cause = error.cause(), "can't start anew yet");
                    }
                }
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(*PAUSE.end());
        }
    }

    /// Watches from the stored cursor until the stream ends.
    async fn follow(&self) -> Result<End> {
        let mut at = state::read(self.db.read(), self.peer.service).await?;
        self.db.note_unknown_changes(); // another replica may have been faster, with whatever it heard
        let mut stored = Instant::now();
        let mut stream = match timeout(SILENCE, self.watch(&at)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Ok(end(&status, at)),
            Err(_) => return Ok(End::Resume("the peer does not answer".into())),
        };
        if at.cursor.is_none() {
            at = self.begin_anew(at).await?;
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut changes = 0;
        loop {
            let item = match timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(response))) => response.item,
                Ok(Ok(None)) => return Ok(End::Resume("the stream ended".into())),
                Ok(Err(status)) => return Ok(end(&status, at)),
                Err(_) => return Ok(End::Resume("the stream is silent".into())),
            };
            self.metrics.hear();
            match item {
                Some(Item::Entry(entry)) => {
                    changes += entry.changes.len();
                    entries.push(entry);
                    if entries.len() == BATCH || changes >= FULL {
                        at = self.apply_entries(at, std::mem::take(&mut entries)).await?;
                        changes = 0;
                        stored = Instant::now();
                    }
                }
                Some(Item::Checkpoint(Checkpoint { cursor })) => {
                    let Some(cursor) = Cursor::parse(&cursor) else {
                        return Ok(End::Resume(format!("{cursor:?} is no cursor")));
                    };
                    if entries.is_empty() && at.is_settled() && stored.elapsed() < STORE_EVERY {
                        // Nothing but time has passed: not worth a commit.
                        self.tell(Some(cursor));
                        continue;
                    }
                    at = self.apply_checkpoint(at, std::mem::take(&mut entries), cursor).await?;
                    changes = 0;
                    stored = Instant::now();
                }
                None => {} // of a newer version of the API
            }
        }
    }

    async fn watch(&self, at: &state::Model) -> Result<Response<Streaming<WatchResponse>>, Status> {
        let token = tokio::fs::read_to_string(&self.peer.token_file)
            .await
            .map_err(|error| {
                let file = self.peer.token_file.display();
                Status::unavailable(format!("the token file {file} can't be read: {error}"))
            })?;
        let bearer = format!("Bearer {}", token.trim()).parse();
        let bearer = bearer.map_err(|_| Status::unavailable("the token file holds no token"))?;
        let start = match at.watch_cursor() {
            Some(cursor) => Start::Cursor(cursor.to_string()),
            None => Start::InitialState(InitialState {}),
        };
        let mut request = Request::new(WatchRequest {
            start: Some(start),
            types: projection::types(),
            parent: String::new(),
        });
        request.metadata_mut().insert("authorization", bearer);
        let mut client = JournalServiceClient::new(self.peer.channel.clone()).max_decoding_message_size(LARGEST);
        client.watch(request).await
    }

    /// Writes what the entries say, up to the cursor of the last one.
    async fn apply_entries(&self, from: state::Model, entries: Vec<Entry>) -> Result<state::Model> {
        let Some(last) = entries.last() else { return Ok(from) };
        let to = WatchCursor::parse(&last.cursor)
            .ok_or_else(|| Error::internal(format!("{:?} is no cursor", last.cursor)))?;
        self.apply(from, entries, to).await
    }

    /// Writes what the entries say, up to a checkpoint. At the first checkpoint after everything was read anew, what that did not name
    /// is swept out.
    async fn apply_checkpoint(&self, from: state::Model, entries: Vec<Entry>, to: Cursor) -> Result<state::Model> {
        if from.is_settled() {
            return self.apply(from, entries, WatchCursor::at(to)).await;
        }
        let from = self.apply_entries(from, entries).await?;
        projection::sweep(&self.db, from.bootstrap).await?;
        self.db.note_unknown_changes();
        self.apply(from, Vec::new(), WatchCursor::at(to)).await
    }

    /// Writes what the entries say, and the cursor. Where another replica follows too and was faster, goes on from what it wrote:
    /// versions make the overlap harmless. What is known already is passed over, until our stream comes to where the other's was:
    /// the cursor never goes back.
    async fn apply(&self, mut from: state::Model, entries: Vec<Entry>, to: WatchCursor) -> Result<state::Model> {
        let batch = Arc::new(Batch::read(&entries, from.bootstrap));
        self.tell_poisoned(&batch);
        let span = span(self.peer.service, &entries);
        loop {
            if from.knows(&to) {
                self.forget_changed(&entries);
                self.tell(to.checkpoint()); // not more: what the other has heard beyond it, memory has not
                return Ok(from);
            }
            let next = state::Model {
                cursor: Some(to.to_string()),
                ..from.clone()
            };
            let unit = unit(from.clone(), next.clone(), batch.clone(), self.peer.service);
            let Some(theirs) = tx::run(&self.db, Mode::Commit, unit)
                .instrument(span.clone())
                .await?
                .value
            else {
                if batch.frees_names() {
                    self.db.note_rename();
                }
                self.forget_changed(&entries);
                self.metrics.applied(&entries);
                self.applied.send_replace(next.checkpoint());
                return Ok(next);
            };
            if theirs.bootstrap != from.bootstrap {
                return Err(read_by_another());
            }
            if from.is_settled() {
                self.db.note_rename();
            } else {
                self.db.note_unknown_changes(); // it may have swept
            }
            from = theirs;
        }
    }

    /// What our stream tells is forgotten once it is in the database, whoever wrote it there, and before it is told.
    fn forget_changed(&self, entries: &[Entry]) {
        let epochs = self.db.epochs();
        for entry in entries {
            let changed = entry.changes.iter().map(|change| &change.uid);
            for uid in changed
                .chain([&entry.organization_uid])
                .filter_map(|uid| Uid::parse(uid))
            {
                epochs.bump(uid);
            }
        }
    }

    /// Tells that everything up to there is known. What was told before stays true.
    fn tell(&self, known: Option<Cursor>) {
        self.applied.send_if_modified(|told| {
            let more = known > *told;
            if more {
                *told = known;
            }
            more
        });
    }

    fn tell_poisoned(&self, batch: &Batch) {
        let service = self.peer.service;
        for change in &batch.poisoned {
            let (resource, version) = (&change.resource, change.version);
            tracing::error!(
                service,
                resource,
                version,
                "a change can't be understood and is parked; a later one of its resource supersedes it"
            );
        }
        self.metrics.poisoned(batch.poisoned.len());
    }

    /// Takes a number of its own for the stream that tells everything. Two of them begin at different points of the journal: if they
    /// shared a number, what the earlier one has told and the later one has not, because it is gone, would never be swept out.
    async fn begin_anew(&self, from: state::Model) -> Result<state::Model> {
        let next = state::Model {
            bootstrap: from.bootstrap + 1,
            ..from.clone()
        };
        let unit = unit(from, next.clone(), Arc::default(), self.peer.service);
        match tx::run(&self.db, Mode::Commit, unit).await?.value {
            None => Ok(next),
            Some(_) => Err(read_by_another()),
        }
    }

    /// Forgets the cursor that was refused: the next stream begins with everything that exists, under a new number. Another replica may
    /// have done that already.
    async fn start_anew(&self, refused: state::Model) -> Result<()> {
        let next = state::Model {
            cursor: None,
            bootstrap: refused.bootstrap + 1,
            ..refused.clone()
        };
        let service = self.peer.service.to_owned();
        let unit = async move |tx: &Tx| {
            if state::read(tx, &service).await? == refused {
                move_cursor(tx, &refused, &next);
            }
            Ok(())
        };
        tx::run(&self.db, Mode::Commit, unit).await?;
        self.applied.send_replace(None);
        Ok(())
    }
}

fn read_by_another() -> Error {
    Error::new(ErrorReason::Contention, "another replica reads everything anew")
}

/// Cursor and projections in one transaction, if the cursor is still what it was; else what it is now.
fn unit(
    from: state::Model,
    next: state::Model,
    batch: Arc<Batch>,
    service: &'static str,
) -> impl AsyncFnOnce(&Tx) -> Result<Option<state::Model>> + for<'t> TxFn<'t, Option<state::Model>> + Clone + 'static {
    async move |tx: &Tx| {
        let now = state::read(tx, service).await?;
        if now != from {
            return Ok(Some(now));
        }
        move_cursor(tx, &from, &next);
        for write in batch.writes().into_iter().chain(parked::park(service, &batch.poisoned)) {
            tx.write(write, &[]);
        }
        fail::point(Point::FollowerRead);
        Ok(None)
    }
}

/// The span of applying these entries, linked to the traces that caused them; none unless one of them is recorded.
fn span(service: &'static str, entries: &[Entry]) -> Span {
    let causes: Vec<SpanContext> = entries
        .iter()
        .filter_map(|entry| span_context(&entry.traceparent))
        .collect();
    if causes.is_empty() {
        return Span::none();
    }
    let span = tracing::info_span!(target: "clientele::root", "follow", service, entries = entries.len());
    for cause in causes {
        span.add_link(cause);
    }
    span
}

fn end(status: &Status, at: state::Model) -> End {
    let reason = status.get_details_error_info().map(|info| info.reason);
    if status.code() == Code::OutOfRange && reason.as_deref() == Some(ErrorReason::CursorOutOfRange.short_name()) {
        return End::StartAnew(at);
    }
    End::Resume(format!("{:?}: {}", status.code(), status.message()))
}

/// Compare and set: the row must still be what it was.
fn move_cursor(tx: &Tx, from: &state::Model, to: &state::Model) {
    let unchanged = match &from.cursor {
        Some(cursor) => Expr::col((state::Entity, state::Column::Cursor)).eq(cursor.as_str()),
        None => Expr::col((state::Entity, state::Column::Cursor)).is_null(),
    };
    let insert = Query::insert()
        .into_table(state::Entity)
        .columns([state::Column::Service, state::Column::Cursor, state::Column::Bootstrap])
        .values_panic([
            to.service.as_str().into(),
            to.cursor.clone().into(),
            to.bootstrap.into(),
        ])
        .on_conflict(
            OnConflict::column(state::Column::Service)
                .update_columns([state::Column::Cursor, state::Column::Bootstrap])
                .action_and_where(
                    unchanged.and(Expr::col((state::Entity, state::Column::Bootstrap)).eq(from.bootstrap)),
                )
                .to_owned(),
        )
        .to_owned();
    tx.guard(insert, &[]);
}

/// The span that a `traceparent` names, if it was sampled.
fn span_context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::NONE,
    );
    (context.is_valid() && context.is_sampled()).then_some(context)
}

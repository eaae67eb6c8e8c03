//! The follower: watches, applies, and starts again whenever the stream ends.

use super::projection::{self, Batch};
use super::{Followed, metrics::Metrics, parked, state};
use crate::connect::Db;
use crate::cursor::{Cursor, WatchCursor};
use crate::tx::{self, Mode, Tx};
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Entry, InitialState, WatchRequest};
use clientele_api::{Error, Result, error::ErrorReason};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// At most this many entries in one transaction.
const BATCH: usize = 200;
/// A stream that is silent this long is dead: checkpoints come every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// How long to wait before starting again, growing between these.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(5);

/// The service that is followed: where it is, and how to prove who asks.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its key in revisions.
    pub service: &'static str,
    /// Its address.
    pub endpoint: Endpoint,
    /// The file with the bearer token; read anew for every stream, since it is rotated.
    pub token_file: PathBuf,
}

/// Follows one service.
#[derive(Debug)]
pub struct Follower {
    peer: Peer,
    db: Db,
    channel: Channel,
    applied: watch::Sender<Option<Cursor>>,
    metrics: Metrics,
}

/// Why a stream ended.
enum End {
    /// Go on from the stored cursor.
    Resume(String),
    /// The cursor is of another life of the peer: read everything anew.
    StartAnew,
}

impl Follower {
    /// Begins to follow, until `stop`; answers how far the peer is known here.
    pub async fn start(db: &Db, peer: Peer, stop: CancellationToken) -> Result<Followed> {
        let (applied, known) = watch::channel(super::stored_cursor(db, peer.service).await?);
        let followed = Followed {
            service: peer.service,
            db: db.clone(),
            applied: known,
        };
        let follower = Self {
            channel: peer.endpoint.connect_lazy(),
            db: db.clone(),
            applied,
            metrics: Metrics::new(peer.service),
            peer,
        };
        tokio::spawn(stop.run_until_cancelled_owned(follower.run()));
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
            self.db.note_rename(); // another replica may have been faster, with whatever it heard
            if *self.applied.borrow() != known {
                pause = *PAUSE.start();
            }
            match end {
                End::Resume(why) => tracing::info!(service, why, "following begins again"),
                End::StartAnew => {
                    tracing::warn!(service, "the journal was restored or cut: everything is read anew");
                    if let Err(error) = self.start_anew().await {
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
        let start = match at.watch_cursor() {
            Some(cursor) => Start::Cursor(cursor.to_string()),
            None => Start::InitialState(InitialState {}),
        };
        let mut stream = match self.watch(start).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(end(&status)),
        };
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let item = match tokio::time::timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.metrics.hear();
                    response.item
                }
                Ok(Ok(None)) => return Ok(End::Resume("the stream ended".into())),
                Ok(Err(status)) => return Ok(end(&status)),
                Err(_) => return Ok(End::Resume("the stream is silent".into())),
            };
            let cursor = match item {
                Some(Item::Entry(entry)) => {
                    let cursor = entry.cursor.clone();
                    entries.push(entry);
                    if entries.len() < BATCH {
                        continue;
                    }
                    cursor
                }
                Some(Item::Checkpoint(checkpoint)) => checkpoint.cursor,
                None => continue, // of a newer version of the API
            };
            let Some(cursor) = WatchCursor::parse(&cursor) else {
                return Ok(End::Resume(format!("{cursor:?} is no cursor")));
            };
            at = self.apply(at, std::mem::take(&mut entries), cursor).await?;
        }
    }

    async fn watch(
        &self,
        start: Start,
    ) -> Result<tonic::Response<tonic::Streaming<clientele_api::journal::WatchResponse>>, Status> {
        let token = tokio::fs::read_to_string(&self.peer.token_file)
            .await
            .map_err(|error| {
                Status::unavailable(format!(
                    "the token file {} can't be read: {error}",
                    self.peer.token_file.display()
                ))
            })?;
        let types = projection::TYPES.iter().map(|&name| name.to_owned()).collect();
        let mut request = Request::new(WatchRequest {
            start: Some(start),
            types,
            parent: String::new(),
        });
        let bearer = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| Status::unavailable("the token file holds no token"))?;
        request.metadata_mut().insert("authorization", bearer);
        JournalServiceClient::new(self.channel.clone()).watch(request).await
    }

    /// Writes what the entries say, and the cursor, if it is still the one that they were read from.
    async fn apply(&self, from: state::Model, entries: Vec<Entry>, to: WatchCursor) -> Result<state::Model> {
        let span = tracing::info_span!("follow", service = self.peer.service, entries = entries.len());
        for context in entries.iter().filter_map(|entry| span_context(&entry.traceparent)) {
            span.add_link(context);
        }
        let finished = from.watch_cursor().is_none_or(|cursor| cursor.snapshot.is_some()) && to.snapshot.is_none();
        let batch = Batch::read(&entries, from.bootstrap);
        for change in &batch.poisoned {
            let (service, resource, version) = (self.peer.service, &change.resource, change.version);
            tracing::error!(
                service,
                resource,
                version,
                "a change can't be understood and is parked; a later one of its resource supersedes it"
            );
        }
        let poisoned = batch.poisoned.len();
        let renames = finished || batch.frees_names();
        let parked = parked::park(self.peer.service, &batch.poisoned);
        let next = state::Model {
            cursor: Some(to.to_string()),
            ..from.clone()
        };
        let stored = next.clone();
        let unit = async move |tx: &Tx| {
            if state::read(tx, &from.service).await? != from {
                return Err(Error::new(ErrorReason::Contention, "another replica follows too"));
            }
            move_cursor(tx, &from, &stored);
            for write in batch
                .writes(finished.then_some(from.bootstrap))
                .into_iter()
                .chain(parked)
            {
                tx.write(write, &[]);
            }
            Ok(())
        };
        tx::run(&self.db, Mode::Commit, unit).instrument(span).await?;
        if renames {
            self.db.note_rename();
        }
        self.metrics.applied(&entries);
        self.metrics.poisoned(poisoned);
        self.applied.send_replace(to.snapshot.is_none().then_some(to.cursor));
        Ok(next)
    }

    /// Forgets the cursor: the next stream begins with everything that exists, under a new number.
    async fn start_anew(&self) -> Result<()> {
        let from = state::read(self.db.read(), self.peer.service).await?;
        let next = state::Model {
            cursor: None,
            bootstrap: from.bootstrap + 1,
            ..from.clone()
        };
        let unit = async move |tx: &Tx| {
            move_cursor(tx, &from, &next);
            Ok(())
        };
        tx::run(&self.db, Mode::Commit, unit).await?;
        self.applied.send_replace(None);
        Ok(())
    }
}

fn end(status: &Status) -> End {
    match status.code() {
        Code::OutOfRange => End::StartAnew,
        code => End::Resume(format!("{code:?}: {}", status.message())),
    }
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

//! The end of the journal: how far readers may see, and who wakes them.
//!
//! On SQLite one writer numbers the rows, so the newest committed row is the end. On PostgreSQL a row becomes visible when its
//! transaction commits, which may be after rows with higher numbers. So readers stop at the horizon: the oldest transaction of the
//! journal's own writers that still runs. A NOTIFY inside every transaction would serialize all commits of the cluster; instead one
//! task of each process tells the other replicas after the commit, in bursts.

use super::state;
use super::touched::{self, Touched};
use crate::connect::{Db, Reads, db_error};
use crate::cursor::Cursor;
use crate::memory::{Coherence, Look};
use crate::tasks;
use crate::tx::Position;
use clientele_api::{Error, Result};
use opentelemetry::KeyValue;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Readers look this often even if nobody wakes them: a NOTIFY may be lost.
const POLL: Duration = Duration::from_millis(250);
/// The end is looked for at most this often, however many commits there are; and this soon again while a writer holds it back.
const REST: Duration = Duration::from_millis(5);
/// At most one NOTIFY in this time.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);
/// How long the database may take to answer where the end is.
const PATIENCE: Duration = Duration::from_secs(2);
/// After so much silence the connection that listens is tried: nothing else would tell that it is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// The channel of the database on which replicas wake each other.
const CHANNEL: &str = "clientele_journal";

/// How the end is found out.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    db: Db,
    /// Connections of its own: the end must be found also while all others are busy reading.
    own: Reads,
    coherence: Arc<Coherence>,
}

/// Where the end is.
struct End {
    epoch: i64,
    position: Position,
    /// Whether a writer holds it back.
    held: bool,
}

impl Tail {
    pub(super) fn new(db: &Db, coherence: Arc<Coherence>) -> Self {
        let own = db.read().apart(2); // one notifies, one reads
        Self {
            db: db.clone(),
            own,
            coherence,
        }
    }

    /// Watches the end from `epoch` on, until `stop`; answers where it is and news of it.
    pub(super) async fn start(self, epoch: i64, stop: CancellationToken) -> Result<watch::Receiver<Cursor>> {
        let first = self.read().await?;
        let (horizon, news) = watch::channel(Cursor {
            epoch,
            position: first.position,
        });
        let wake = Arc::new(Notify::new());
        match self.own.postgres() {
            Some(options) => {
                let listen = listen(options.clone(), wake.clone(), self.coherence.clone());
                tasks::spawn(stop.clone(), listen);
                tasks::spawn(stop.clone(), notify(self.clone()));
            }
            None => {
                self.coherence.wake_up_began(1); // within this process, for ever
                wake.notify_one();
            }
        }
        tasks::spawn(stop, self.follow(horizon, wake));
        Ok(news)
    }

    /// Where the end is now.
    pub(super) async fn position(&self) -> Result<Position> {
        Ok(self.read().await?.position)
    }

    async fn read(&self) -> Result<End> {
        let read = async {
            match self.own.get_database_backend() {
                DbBackend::Postgres => self.read_postgres().await,
                _ => self.read_sqlite().await,
            }
        };
        let late = |_| Error::internal(format!("the end of the journal was not told within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, read).await.map_err(late)?
    }

    async fn read_sqlite(&self) -> Result<End> {
        let newest = "SELECT (SELECT epoch FROM journal_state) AS epoch, (SELECT max(seq) FROM journal) AS seq";
        let newest = Statement::from_string(DbBackend::Sqlite, newest);
        let row = self.own.query_one_raw(newest).await.map_err(db_error)?;
        let row = row.ok_or_else(|| Error::internal("the journal has no state"))?;
        let seq: Option<i64> = row.try_get("", "seq").map_err(db_error)?;
        Ok(End {
            epoch: row.try_get("", "epoch").map_err(db_error)?,
            position: Position {
                xid: 0,
                seq: seq.unwrap_or(0),
            },
            held: false,
        })
    }

    async fn read_postgres(&self) -> Result<End> {
        let statement = Statement::from_string(DbBackend::Postgres, horizon_statement(self.db.service()));
        let row = self.own.query_one_raw(statement).await.map_err(db_error)?;
        let row = row.ok_or_else(|| Error::internal("no horizon"))?;
        let next: i64 = row.try_get("", "next").map_err(db_error)?;
        let oldest: Option<i64> = row.try_get("", "oldest").map_err(db_error)?;
        let horizon = oldest.map_or(next, |oldest| oldest.min(next));
        Ok(End {
            epoch: row.try_get("", "epoch").map_err(db_error)?,
            position: Position {
                xid: horizon - 1,
                seq: i64::MAX,
            },
            held: horizon < next,
        })
    }

    /// Ends when another life of the database began: this process remembers the old one, so it has to be started anew.
    async fn follow(self, horizon: watch::Sender<Cursor>, wake: Arc<Notify>) {
        let age = opentelemetry::global::meter("clientele")
            .f64_gauge("clientele.journal.horizon.age")
            .with_unit("s")
            .with_description("How long the oldest writer has kept readers from the end of the journal.")
            .build();
        let service = KeyValue::new("clientele.service", self.db.service());
        let epoch = horizon.borrow().epoch;
        let mut committed = self.db.committed();
        let mut pause = POLL;
        let mut held_since = None;
        let mut rested = Instant::now();
        loop {
            tokio::select! {
                _ = committed.changed() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            sleep_until(rested).await; // the commits of this time are seen together
            committed.borrow_and_update(); // before the read: what commits during it wakes us again
            let look = self.coherence.look();
            let read = self.read().await;
            rested = Instant::now() + REST;
            match read {
                Ok(end) if end.epoch != epoch => {
                    tracing::error!(
                        epoch,
                        now = end.epoch,
                        "the database is in another life: this process ends"
                    );
                    return;
                }
                Ok(end) => {
                    let known = *horizon.borrow();
                    self.forget_changed(look, known, end.position).await;
                    show(&horizon, end.position);
                    pause = if end.held { REST } else { POLL };
                    held_since = end.held.then(|| held_since.unwrap_or_else(Instant::now));
                    let held = held_since.map_or(0.0, |since: Instant| since.elapsed().as_secs_f64());
                    age.record(held, std::slice::from_ref(&service));
                }
                Err(error) => {
                    self.coherence.doubt();
                    tracing::warn!(cause = error.cause(), "the end of the journal can't be read");
                    pause = POLL;
                    // The database may have been away and come back as another one.
                    if let Ok(Ok(now)) = tokio::time::timeout(PATIENCE, state::enter(&self.db)).await
                        && now != epoch
                    {
                        tracing::error!(epoch, now, "the database is in another life: this process ends");
                        return;
                    }
                }
            }
        }
    }
}

impl Tail {
    /// Forgets what has changed up to the end that was found, before it is shown. Where it can't be told what that is, everything.
    async fn forget_changed(&self, look: Look, known: Cursor, end: Position) {
        let end = Cursor {
            position: end.max(known.position),
            ..known
        };
        let epochs = self.db.epochs();
        let touched = match self.coherence.goes_on(look) {
            true if end == known => Some(Touched::default()),
            true => self.touched(known.position, end).await,
            false => None,
        };
        match touched {
            Some(Touched { uids, frees_names }) => {
                uids.into_iter().for_each(|uid| epochs.bump(uid));
                if frees_names {
                    self.db.note_rename();
                }
            }
            None => self.db.note_unknown_changes(),
        }
        self.coherence.prove(look, end.position.revision());
    }

    async fn touched(&self, from: Position, to: Cursor) -> Option<Touched> {
        match tokio::time::timeout(POLL, touched::between(&self.own, from, to)).await {
            Ok(Ok(touched)) => touched,
            Ok(Err(error)) => {
                tracing::warn!(
                    cause = error.cause(),
                    "what has changed can't be read: memory begins anew"
                );
                None
            }
            Err(_) => None,
        }
    }
}

/// The horizon only moves on: a transaction that another database of the cluster began does not take back what was shown.
fn show(horizon: &watch::Sender<Cursor>, end: Position) {
    horizon.send_if_modified(|known| {
        let moved = end > known.position;
        if moved {
            known.position = end;
        }
        moved
    });
}

/// The oldest transaction of the journal's writers that still runs, else the next one to begin.
///
/// `backend_xid` has 32 bits: the distance to the next transaction id is taken modulo 2^32. A writer whose id is below the next one
/// shows it in shared memory before this looks, so either it is seen here, or it has ended and the read after this sees its rows.
/// Runs in autocommit: inside a transaction pg_stat_activity stands still. Writers under another role hide what they do (their state
/// is NULL); then the oldest transaction of the whole cluster has to do.
fn horizon_statement(service: &str) -> String {
    format!(
        "WITH s AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 m), \
         w AS MATERIALIZED (SELECT backend_xid::text::int8 x, state FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'clientele-{service}-writer'), \
         d AS (SELECT m, (m - x) & 4294967295 d FROM w, s WHERE x IS NOT NULL) \
         SELECT (SELECT epoch FROM journal_state) AS epoch, (SELECT m FROM s) AS next, \
             CASE WHEN EXISTS (SELECT 1 FROM w WHERE state IS NULL) \
                 THEN pg_snapshot_xmin(pg_current_snapshot())::text::int8 \
                 ELSE (SELECT min(m - CASE WHEN d > 2147483648 THEN d - 4294967296 ELSE d END) FROM d) END AS oldest"
    )
}

/// Wakes our readers when another replica has committed. Memory stands aside meanwhile.
async fn listen(options: PgConnectOptions, wake: Arc<Notify>, coherence: Arc<Coherence>) {
    for connection in 1.. {
        let listened = listen_once(&options, &wake, || coherence.wake_up_began(connection)).await;
        coherence.wake_up_ended();
        if let Err(error) = listened {
            tracing::warn!(%error, "wake-ups from other replicas are lost until the database answers again; polling goes on");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Listens until the connection is lost.
async fn listen_once(options: &PgConnectOptions, wake: &Notify, began: impl FnOnce()) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false); // a connection that is made again has missed something
    listener.listen(CHANNEL).await?;
    began();
    wake.notify_one();
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.notify_one(),
            Ok(lost) => return lost.map(drop),
            Err(_) => {
                let answer = tokio::time::timeout(PATIENCE, listener.execute("SELECT 1")).await;
                answer.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

/// Wakes the readers of the other replicas when this one has committed.
async fn notify(tail: Tail) {
    let mut committed = tail.db.committed();
    while committed.changed().await.is_ok() {
        let statement = Statement::from_string(DbBackend::Postgres, format!("SELECT pg_notify('{CHANNEL}', '')"));
        if let Err(error) = tail.own.execute_raw(statement).await {
            tracing::debug!(%error, "the other replicas were not woken; they poll");
        }
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

//! The end of the journal: how far readers may see, and who wakes them.
//!
//! On SQLite one writer numbers the rows, so the newest committed row is the end. On PostgreSQL a row becomes visible when its
//! transaction commits, which may be after rows with higher numbers. So readers stop at the horizon: the oldest transaction of the
//! journal's own writers that still runs. A NOTIFY inside every transaction would serialize all commits of the cluster; instead one
//! task of each process tells the other replicas after the commit, in bursts.

use crate::connect::{Db, db_error};
use crate::cursor::Cursor;
use crate::tx::Position;
use clientele_api::Result;
use opentelemetry::KeyValue;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use sqlx::postgres::{PgListener, PgPool};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Readers look this often even if nobody wakes them: a NOTIFY may be lost.
const POLL: Duration = Duration::from_millis(250);
/// How soon to look again while a writer holds the horizon back.
const HELD: Duration = Duration::from_millis(5);
/// At most one NOTIFY in this time.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);
/// The channel of the database on which replicas wake each other.
const CHANNEL: &str = "clientele_journal";

/// Watches the end of the journal until `stop`; answers where it is and news of it.
pub(super) async fn start(db: Db, epoch: i64, stop: CancellationToken) -> Result<watch::Receiver<Cursor>> {
    let first = read(&db).await?;
    let (horizon, news) = watch::channel(Cursor {
        epoch,
        position: first.position,
    });
    let wake = tokio::sync::Notify::new();
    let wake = std::sync::Arc::new(wake);
    if let Some(pool) = postgres(db.read()) {
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(listen(pool.clone(), wake.clone())),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(notify(db.clone())));
    }
    tokio::spawn(stop.run_until_cancelled_owned(follow_end(db, horizon, wake)));
    Ok(news)
}

fn postgres(read: &DatabaseConnection) -> Option<&PgPool> {
    (read.get_database_backend() == DbBackend::Postgres).then(|| read.get_postgres_connection_pool())
}

/// Where the end is, and whether a writer holds it back.
struct End {
    position: Position,
    held: bool,
}

async fn read(db: &Db) -> Result<End> {
    match db.backend() {
        DbBackend::Postgres => read_postgres(db).await,
        _ => read_sqlite(db).await,
    }
}

async fn read_sqlite(db: &Db) -> Result<End> {
    let newest = Statement::from_string(DbBackend::Sqlite, "SELECT max(seq) AS seq FROM journal");
    let row = db.read().query_one_raw(newest).await.map_err(db_error)?;
    let seq = row
        .map(|row| row.try_get::<Option<i64>>("", "seq"))
        .transpose()
        .map_err(db_error)?
        .flatten();
    Ok(End {
        position: Position {
            xid: 0,
            seq: seq.unwrap_or(0),
        },
        held: false,
    })
}

/// The oldest transaction of the journal's writers that still runs, else the next one to begin.
///
/// `backend_xid` has 32 bits: the distance to the next transaction id is taken modulo 2^32. A writer whose id is below the next one
/// shows it in shared memory before this looks, so either it is seen here, or it has ended and the read after this sees its rows.
/// Runs in autocommit: inside a transaction pg_stat_activity stands still.
fn horizon_statement(service: &str) -> String {
    format!(
        "WITH s AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 m), \
         a AS MATERIALIZED (SELECT backend_xid::text::int8 x FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
             AND datname = current_database() AND application_name = 'clientele-{service}-writer'), \
         d AS (SELECT m, (m - x) & 4294967295 d FROM a, s) \
         SELECT (SELECT m FROM s) AS next, \
             (SELECT min(m - CASE WHEN d > 2147483648 THEN d - 4294967296 ELSE d END) FROM d) AS oldest"
    )
}

async fn read_postgres(db: &Db) -> Result<End> {
    let statement = Statement::from_string(DbBackend::Postgres, horizon_statement(db.service()));
    let row = db.read().query_one_raw(statement).await.map_err(db_error)?;
    let row = row.ok_or_else(|| clientele_api::Error::internal("no horizon"))?;
    let next: i64 = row.try_get("", "next").map_err(db_error)?;
    let oldest: Option<i64> = row.try_get("", "oldest").map_err(db_error)?;
    let horizon = oldest.map_or(next, |oldest| oldest.min(next));
    Ok(End {
        position: Position {
            xid: horizon - 1,
            seq: i64::MAX,
        },
        held: horizon < next,
    })
}

async fn follow_end(db: Db, horizon: watch::Sender<Cursor>, wake: std::sync::Arc<tokio::sync::Notify>) {
    let mut committed = db.committed();
    let mut pause = POLL;
    let mut held_since = None;
    let age = opentelemetry::global::meter("clientele")
        .f64_gauge("clientele.journal.horizon.age")
        .with_unit("s")
        .with_description("How long the oldest writer has kept readers from the end of the journal.")
        .build();
    loop {
        tokio::select! {
            _ = committed.changed() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        committed.borrow_and_update(); // before the read: what commits during it wakes us again
        match read(&db).await {
            Ok(end) => {
                // The horizon only moves on: a transaction that another database of the cluster began does not take back what was shown.
                horizon.send_if_modified(|known| {
                    let moved = end.position > known.position;
                    if moved {
                        known.position = end.position;
                    }
                    moved
                });
                pause = if end.held { HELD } else { POLL };
                held_since = end.held.then(|| held_since.unwrap_or_else(Instant::now));
                age.record(
                    held_since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
                    &[KeyValue::new("service.name", db.service())],
                );
            }
            Err(error) => {
                tracing::warn!(cause = error.cause(), "the end of the journal can't be read");
                pause = POLL;
            }
        }
    }
}

/// Wakes our readers when another replica has committed.
async fn listen(pool: PgPool, wake: std::sync::Arc<tokio::sync::Notify>) {
    loop {
        if let Err(error) = listen_once(&pool, &wake).await {
            tracing::warn!(%error, "wake-ups from other replicas are lost until the database answers again; polling goes on");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn listen_once(pool: &PgPool, wake: &tokio::sync::Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        listener.recv().await?;
        wake.notify_one();
    }
}

/// Wakes the readers of the other replicas when this one has committed.
async fn notify(db: Db) {
    let mut committed = db.committed();
    while committed.changed().await.is_ok() {
        let statement = Statement::from_string(DbBackend::Postgres, format!("SELECT pg_notify('{CHANNEL}', '')"));
        if let Err(error) = db.read().execute_raw(statement).await {
            tracing::debug!(%error, "the other replicas were not woken; they poll");
        }
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

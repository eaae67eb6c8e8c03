//! Connections to PostgreSQL. sqlx's pool pings each one that is given back: a round trip more for every use, and one without end when the
//! server has silently gone, so that its places would be taken for as long as TCP believes in it. These are bounded in all they wait for.

use crate::tx::Reply;
use futures::TryStreamExt;
use sea_orm::{ConnAcquireErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, PgConnection};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long to wait for a place, and for a connection to open.
const ACQUIRE: Duration = Duration::from_secs(2);
/// A connection that rested so long is tried before it is used: the server may have closed it.
const RESTED: Duration = Duration::from_secs(1);
/// How long that may take: less than a health check waits, so that a check gets rid of a connection that is dead.
const TRIAL: Duration = Duration::from_millis(400);
/// Connections end at this age, so that a changed address or role of the server is noticed.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A statement with more values is prepared anew each time. Those are of many sizes, each a text of its own, and what the server keeps of
/// them takes megabytes.
const KEPT: usize = 1_000;
/// A SELECT with more values is, too: with a plan for all values the server compares each row with each of them, one by one, where it
/// believes that there are few rows, as of a table that has just been filled.
const KEPT_SELECT: usize = 100;

/// So many connections, with so much patience for each answer.
pub(crate) struct Connections {
    options: PgConnectOptions,
    size: u32,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

/// One of them. It is closed when it is dropped, as it is by whoever stops to wait for an answer.
pub(crate) struct Connection {
    connection: PgConnection,
    patience: Duration,
    opened: Instant,
    used: Instant,
    /// It was used before: the server may have closed it since.
    pub(crate) kept: bool,
}

impl Connections {
    pub(crate) fn new(options: PgConnectOptions, size: u32, patience: Duration) -> Self {
        Self {
            options,
            size,
            patience,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(size as usize)),
        }
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A place, to be held for as long as a connection is used.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, ConnAcquireErr> {
        match timeout(ACQUIRE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_closed)) => Err(ConnAcquireErr::ConnectionClosed),
            Err(_elapsed) => Err(ConnAcquireErr::Timeout),
        }
    }

    /// A connection for whoever has a place.
    pub(crate) async fn take(&self) -> Result<Connection, sqlx::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut idle) = idle else {
            return self.connect().await;
        };
        if idle.used.elapsed() < RESTED || within(TRIAL, idle.connection.ping()).await.is_ok() {
            return Ok(idle);
        }
        self.forget();
        self.connect().await
    }

    pub(crate) async fn connect(&self) -> Result<Connection, sqlx::Error> {
        let connection = within(ACQUIRE, PgConnection::connect_with(&self.options)).await?;
        let now = Instant::now();
        Ok(Connection {
            connection,
            patience: self.patience,
            opened: now,
            used: now,
            kept: false,
        })
    }

    /// Keeps a connection, about which nothing is in doubt, for its next use.
    pub(crate) fn put_back(&self, mut connection: Connection) {
        if connection.opened.elapsed() < LIFETIME {
            connection.used = Instant::now();
            connection.kept = true;
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }

    /// Lets go of those that rest: one was lost, and so most likely are they.
    pub(crate) fn forget(&self) {
        drop(self.take_idle());
    }

    /// Lets nobody in any more, waits for those who are, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = self.places.acquire_many(self.size).await;
        self.places.close();
        drop(all);
        for idle in self.take_idle() {
            // The process ends: a connection that will not say goodbye is dropped.
            let _ = timeout(ACQUIRE, idle.connection.close()).await;
        }
    }

    fn take_idle(&self) -> Vec<Connection> {
        std::mem::take(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    /// Reads the answer to its very end: an error may follow the rows, and the commit of a single statement follows
    /// them.
    pub(crate) async fn send(&mut self, statement: Statement) -> Result<Reply, sqlx::Error> {
        let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
        let select = statement.sql.starts_with("SELECT");
        let kept = values.0.len() <= if select { KEPT_SELECT } else { KEPT };
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)).persistent(kept);
        within(self.patience, async {
            let mut rows = Vec::new();
            let mut done = PgQueryResult::default();
            let mut answer = self.connection.fetch_many(query);
            while let Some(part) = answer.try_next().await? {
                match part {
                    Either::Left(result) => done.extend([result]),
                    Either::Right(row) => rows.push(row.into()),
                }
            }
            Ok(Reply {
                rows,
                done: done.into(),
            })
        })
        .await
    }

    /// Runs a command that has neither values nor rows.
    pub(crate) async fn command(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        within(self.patience, self.connection.execute(sql)).await.map(drop)
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
    }
}

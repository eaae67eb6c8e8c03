//! Writing on PostgreSQL: connections of our own, since a pool's ping on every release would be a round trip per unit.

use super::fault::{draining, unavailable};
use super::session::{Engine, Reply, Session, Stop};
use super::{Done, Mode, TxFn, run_on};
use clientele_api::{Error, Result};
use futures::TryStreamExt;
use sea_orm::Statement;
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, PgConnection};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

/// Connections of a service: more are slower on few cores.
const CONNECTIONS: u32 = 8;
/// How long a unit waits for a connection, and a connection to open.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a statement may take as the server counts.
const STATEMENT_TIMEOUT: &str = "1s";
/// The same as we count: later, so that it only strikes where the server is out of reach.
const ANSWER: Duration = Duration::from_secs(2);
/// A connection that rested so long is tried before it is used: the server may have closed it.
const RESTED: Duration = Duration::from_secs(1);
/// Connections end at this age, so that a changed address or role of the server is noticed.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The writing connections of a service.
pub(crate) struct Writers {
    options: PgConnectOptions,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    commits: watch::Sender<u64>,
}

/// A connection, and where its transaction is.
pub(super) struct Connection {
    connection: PgConnection,
    opened: Instant,
    used: Instant,
    /// Another unit has used it: the server may have closed it since.
    kept: bool,
    begun: bool,
}

/// Runs a unit in a task of its own, so that a caller who goes away never leaves a transaction half way.
pub(super) async fn run<T, F>(writers: &Arc<Writers>, mode: Mode, unit: F) -> Result<Done<T>>
where
    T: Send + 'static,
    F: for<'t> TxFn<'t, T> + Clone + 'static,
{
    let permit = writers.permit().await?;
    let writers = Arc::clone(writers);
    let task = async move {
        let result = writers.run(mode, unit).await;
        drop(permit);
        result
    };
    match tokio::spawn(task.in_current_span()).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(error)),
    }
}

impl Writers {
    pub(crate) fn new(options: PgConnectOptions, commits: watch::Sender<u64>) -> Self {
        Self {
            options: options.options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", STATEMENT_TIMEOUT),
                ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
            ]),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            commits,
        }
    }

    /// Refuses further units, waits for those that have begun, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(CONNECTIONS).await;
        self.permits.close();
        drop(all);
        for idle in self.take_idle() {
            // The process ends: a connection that will not say goodbye is dropped.
            let _ = timeout(ANSWER, idle.connection.close()).await;
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(draining()),
            Err(_elapsed) => Err(unavailable("no writing connection came free")),
        }
    }

    async fn run<T, F>(&self, mode: Mode, unit: F) -> Result<Done<T>>
    where
        T: Send + 'static,
        F: for<'t> TxFn<'t, T> + Clone + 'static,
    {
        let mut connection = self.take().await?;
        loop {
            let kept = connection.kept;
            let session = Session::new(Engine::Postgres(connection));
            let (session, outcome) = run_on(session, mode, unit.clone()).await;
            let wrote = session.wrote;
            self.put_back(session);
            match outcome {
                Ok(done) => {
                    if wrote && mode == Mode::Commit {
                        self.commits.send_modify(|commits| *commits += 1);
                    }
                    return Ok(done);
                }
                // The server had closed it since its last use, and most likely the others too.
                Err(Stop::Lost(_)) if kept => {
                    self.take_idle();
                    connection = self.connect().await?;
                }
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Lost(cause) | Stop::Again(cause)) => return Err(unavailable(cause)),
            }
        }
    }

    async fn take(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut idle) = idle else {
            return self.connect().await;
        };
        if idle.used.elapsed() < RESTED || answered(idle.connection.ping()).await.is_ok() {
            return Ok(idle);
        }
        self.take_idle();
        self.connect().await
    }

    async fn connect(&self) -> Result<Connection> {
        let opened = timeout(ACQUIRE, PgConnection::connect_with(&self.options)).await;
        let connection = opened.map_err(unavailable)?.map_err(unavailable)?;
        let now = Instant::now();
        Ok(Connection {
            connection,
            opened: now,
            used: now,
            kept: false,
            begun: false,
        })
    }

    fn put_back(&self, session: Session) {
        if !session.sound() {
            return;
        }
        if let Engine::Postgres(mut connection) = session.engine
            && connection.opened.elapsed() < LIFETIME
        {
            connection.used = Instant::now();
            connection.kept = true;
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }

    fn take_idle(&self) -> Vec<Connection> {
        std::mem::take(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        if !self.begun {
            self.begun = true;
            answered(self.connection.execute("BEGIN")).await?;
        }
        Ok(())
    }

    /// Reads the answer to its very end: an error may follow the rows, and the commit of a single statement follows
    /// them.
    pub(super) async fn send(&mut self, statement: Statement) -> Result<Reply, sqlx::Error> {
        let values = SqlxValues(statement.values.unwrap_or(sea_orm::Values(Vec::new())));
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
        answered(async {
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

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        answered(self.connection.execute("COMMIT")).await?;
        self.begun = false;
        Ok(())
    }

    /// If that fails, it stays begun, so it is dropped.
    pub(super) async fn roll_back(&mut self) {
        if self.begun && answered(self.connection.execute("ROLLBACK")).await.is_ok() {
            self.begun = false;
        }
    }
}

async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
    }
}

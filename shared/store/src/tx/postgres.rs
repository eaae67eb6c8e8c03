//! Writing on PostgreSQL.

use super::fault::{draining, unavailable};
use super::group::Group;
use super::session::{Engine, Reply, Session, Stop};
use super::{Done, Mode, TxFn, run_on};
use crate::fail::{self, Point};
use crate::postgres::{self, Connections};
use clientele_api::{Error, Result};
use sea_orm::{ConnAcquireErr, Statement};
use sqlx::postgres::PgConnectOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::Instrument;

/// Connections of a service: more are slower on few cores.
const CONNECTIONS: u32 = 8;
/// How long a statement may take as the server counts.
const STATEMENT_TIMEOUT: &str = "1s";
/// The same as we count: later, so that it only strikes where the server is out of reach.
const ANSWER: Duration = Duration::from_secs(2);

/// The writing connections of a service.
pub(crate) struct Writers {
    connections: Arc<Connections>,
    commits: watch::Sender<u64>,
    /// For units that only insert.
    pub(super) group: Group,
}

/// A connection, and where its transaction is.
pub(super) struct Connection {
    connection: postgres::Connection,
    begun: bool,
}

/// Runs a unit in a task of its own, so that a caller who goes away never leaves a transaction half way.
pub(super) async fn run<T, F>(writers: &Arc<Writers>, mode: Mode, unit: F, attempt: u32) -> Result<Done<T>>
where
    T: Send + 'static,
    F: for<'t> TxFn<'t, T> + Clone + 'static,
{
    let permit = writers.permit().await?;
    let writers = Arc::clone(writers);
    let task = async move {
        let result = writers.run(mode, unit, attempt).await;
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
        let options = options.options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ]);
        let connections = Arc::new(Connections::new(options, CONNECTIONS, ANSWER));
        Self {
            group: Group::start(&connections, &commits),
            connections,
            commits,
        }
    }

    /// Refuses further units, waits for those that have begun, and closes the connections.
    pub(crate) async fn close(&self) {
        self.group.close().await;
        self.connections.close().await;
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        self.connections.place().await.map_err(|error| match error {
            ConnAcquireErr::ConnectionClosed => draining(),
            ConnAcquireErr::Timeout => unavailable("no writing connection came free"),
        })
    }

    async fn run<T, F>(&self, mode: Mode, unit: F, attempt: u32) -> Result<Done<T>>
    where
        T: Send + 'static,
        F: for<'t> TxFn<'t, T> + Clone + 'static,
    {
        let mut connection = self.connections.take().await.map_err(unavailable)?;
        loop {
            let kept = connection.kept;
            let session = Session::new(Engine::Postgres(Connection {
                connection,
                begun: false,
            }));
            let (session, outcome) = run_on(session, mode, unit.clone(), attempt).await;
            let wrote = session.wrote;
            self.put_back(session);
            match outcome {
                Ok(done) => {
                    if wrote && mode == Mode::Commit {
                        fail::point(Point::after_commit(done.position.is_some()));
                        self.commits.send_modify(|commits| *commits += 1);
                    }
                    return Ok(done);
                }
                // The server had closed it since its last use, and most likely the others too.
                Err(Stop::Lost(_)) if kept => {
                    self.connections.forget();
                    connection = self.connections.connect().await.map_err(unavailable)?;
                }
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Lost(cause) | Stop::Again(cause)) => return Err(unavailable(cause)),
            }
        }
    }

    fn put_back(&self, session: Session) {
        let (sound, lost) = (session.sound(), session.lost());
        match session.engine {
            Engine::Postgres(connection) if sound => self.connections.put_back(connection.connection),
            _ if lost => self.connections.forget(),
            _ => {}
        }
    }
}

impl Connection {
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        if !self.begun {
            self.begun = true;
            self.connection.command("BEGIN").await?;
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, statement: Statement) -> Result<Reply, sqlx::Error> {
        self.connection.send(statement).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.connection.command("COMMIT").await?;
        self.begun = false;
        Ok(())
    }

    /// If that fails, it stays begun, so it is dropped.
    pub(super) async fn roll_back(&mut self) {
        if self.begun && self.connection.command("ROLLBACK").await.is_ok() {
            self.begun = false;
        }
    }
}

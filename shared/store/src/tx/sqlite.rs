//! Writing on SQLite: one task owns the one writing connection. Units that wait at the same time share a transaction
//! and its fsync, each in a savepoint; the statements that open and end savepoints ride on the units' own, because each
//! call costs two thread switches.

use super::fault::{draining, outcome_unknown, sqlite_code, unavailable};
use super::session::{Engine, Reply, Session, Stop};
use super::{Done, Mode, TxFn, run_on};
use crate::fail::{self, Point};
use clientele_api::{Error, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use sea_orm::Statement;
use sea_query_sqlx::SqlxValues;
use sqlx::sqlite::{SqliteConnectOptions, SqliteQueryResult};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, SqliteConnection};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Units in one transaction, at most.
const BATCH: usize = 64;
/// Units that wait, at most.
const QUEUE: usize = 1_024;
/// How long a unit waits for its place in a full queue.
const ENTER: Duration = Duration::from_secs(2);

/// A unit in the queue. Takes the connection, and gives it back with how to answer the caller.
type Job = Box<dyn FnOnce(Connection) -> BoxFuture<'static, (Option<Connection>, Option<Answer>)> + Send>;
/// Answers the caller once it is known whether the batch was committed.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// The way to the writing task. The task ends with the last of them, or when it is closed.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    closing: CancellationToken,
    ended: CancellationToken,
}

/// The writing connection, and where its transaction is.
pub(super) struct Connection {
    connection: SqliteConnection,
    savepoint: Savepoint,
    /// A unit of this transaction changed something and is kept.
    changed: bool,
    /// Why the transaction may be gone or is in doubt: none of its units can be committed.
    lost: Option<String>,
}

/// What the next statement has to do first.
#[derive(Clone, Copy)]
enum Savepoint {
    /// Begin the transaction.
    NotBegun,
    /// Nothing: it is one of the unit that opened the savepoint.
    Open,
    /// Keep the unit before.
    Kept,
    /// Undo the unit before.
    Undone,
}

/// Queues a unit and waits until its batch is committed.
pub(super) async fn run<T, F>(writer: &Writer, mode: Mode, unit: F) -> Result<Done<T>>
where
    T: Send + 'static,
    F: for<'t> TxFn<'t, T> + Clone + 'static,
{
    let (answer, answered) = oneshot::channel();
    let span = tracing::Span::current();
    let job: Job = Box::new(move |connection| {
        let job = async move {
            if answer.is_closed() {
                return (Some(connection), None); // the caller has gone
            }
            let session = Session::new(Engine::Sqlite(connection));
            let (session, outcome) = run_on(session, mode, unit, 0).await;
            let wrote = session.wrote;
            let answer: Answer = Box::new(move |committed| {
                let outcome = committed.and_then(|()| outcome.map_err(refused));
                if let (Ok(done), true, Mode::Commit) = (&outcome, wrote, mode) {
                    fail::point(Point::after_commit(done.position.is_some()));
                }
                let _ = answer.send(outcome); // the caller may have gone meanwhile
            });
            let Engine::Sqlite(connection) = session.engine else {
                return (None, Some(answer));
            };
            (Some(connection), Some(answer))
        };
        job.instrument(span).boxed()
    });
    match writer.jobs.send_timeout(job, ENTER).await {
        Ok(()) => answered
            .await
            .unwrap_or_else(|_| Err(unavailable("the writer dropped the unit"))),
        Err(SendTimeoutError::Timeout(_)) => Err(unavailable("the writer's queue is full")),
        Err(SendTimeoutError::Closed(_)) => Err(draining()),
    }
}

fn refused(stop: Stop) -> Error {
    match stop {
        Stop::Refused(error) => error,
        Stop::Again(cause) | Stop::Lost(cause) => unavailable(cause),
    }
}

impl Writer {
    pub(crate) async fn open(options: SqliteConnectOptions, commits: watch::Sender<u64>) -> Result<Self, sqlx::Error> {
        let connection = Connection::open(&options).await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let task = write(connection, options, queue, closing.clone(), commits);
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            task.await;
            drop(end);
        });
        Ok(Self { jobs, closing, ended })
    }

    /// Refuses further units and waits for the end of those that are queued.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.ended.cancelled().await;
    }
}

async fn write(
    connection: Connection,
    options: SqliteConnectOptions,
    mut queue: mpsc::Receiver<Job>,
    closing: CancellationToken,
    commits: watch::Sender<u64>,
) {
    let mut connection = Some(connection);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = closing.cancelled(), if !queue.is_closed() => queue.close(),
            taken = queue.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    break;
                }
                connection = match connection.take() {
                    Some(connection) => run_batch(connection, batch.drain(..), &commits).await,
                    None => match Connection::open(&options).await {
                        Ok(connection) => run_batch(connection, batch.drain(..), &commits).await,
                        Err(error) => {
                            tracing::error!(%error, "cannot open the database for writing");
                            batch.clear(); // answers UNAVAILABLE
                            None
                        }
                    },
                };
            }
        }
    }
    if let Some(connection) = connection {
        connection.close().await;
    }
}

/// Runs the units in one transaction, commits it, and answers them all. Gives the connection back if nothing about it
/// is in doubt.
async fn run_batch(
    connection: Connection,
    jobs: impl Iterator<Item = Job>,
    commits: &watch::Sender<u64>,
) -> Option<Connection> {
    let mut connection = Some(connection);
    let mut answers = Vec::new();
    for job in jobs {
        // Without a connection the job is dropped, which answers UNAVAILABLE.
        let Some(lent) = connection.take() else { continue };
        match AssertUnwindSafe(job(lent)).catch_unwind().await {
            Ok((back, answer)) => {
                connection = back;
                answers.extend(answer);
            }
            Err(_panic) => tracing::error!("the writer panicked outside a unit"),
        }
    }
    let committed = match &mut connection {
        Some(connection) => connection.commit().await,
        None => Err(unavailable("the writer lost its connection")),
    };
    if let Err(error) = &committed {
        tracing::error!(units = answers.len(), ?error, "a batch of writes was rolled back");
        if let Some(connection) = connection.take() {
            connection.close().await;
        }
    }
    if connection
        .as_mut()
        .is_some_and(|connection| std::mem::take(&mut connection.changed))
    {
        commits.send_modify(|commits| *commits += 1);
    }
    for answer in answers {
        answer(committed.clone());
    }
    connection
}

impl Connection {
    async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: SqliteConnection::connect_with(options).await?,
            savepoint: Savepoint::NotBegun,
            changed: false,
            lost: None,
        })
    }

    /// Waits until the connection has given up its locks; what it had not committed is rolled back.
    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the writing connection did not close well");
        }
    }

    pub(super) fn lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) async fn send(&mut self, statement: Statement) -> Result<Reply, sqlx::Error> {
        if let Some(cause) = &self.lost {
            return Err(sqlx::Error::Io(std::io::Error::other(cause.clone())));
        }
        let first = self.savepoint.first();
        let first_ones = first.matches(';').count();
        let values = SqlxValues(statement.values.unwrap_or(sea_orm::Values(Vec::new())));
        let query = sqlx::query_with(AssertSqlSafe(format!("{first}{}", statement.sql)), values);
        let mut rows = Vec::new();
        let mut done = SqliteQueryResult::default();
        let mut ended = 0;
        let mut answer = self.connection.fetch_many(query);
        let failed = loop {
            match answer.try_next().await {
                Ok(Some(Either::Right(row))) => rows.push(row.into()),
                Ok(Some(Either::Left(result))) => {
                    ended += 1;
                    if ended > first_ones {
                        done.extend([result]);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(answer);
        self.savepoint = Savepoint::Open;
        let Some(error) = failed else {
            return Ok(Reply {
                rows,
                done: done.into(),
            });
        };
        if ended < first_ones || may_have_lost_the_transaction(&error) {
            self.lost = Some(error.to_string());
        }
        Err(error)
    }

    pub(super) fn keep(&mut self, wrote: bool) {
        if let Savepoint::Open = self.savepoint {
            self.savepoint = Savepoint::Kept;
            self.changed |= wrote;
        }
    }

    pub(super) fn undo(&mut self, half_way: bool) {
        if half_way {
            self.lost = Some("a statement was dropped half way".to_owned());
        }
        if let Savepoint::Open = self.savepoint {
            self.savepoint = Savepoint::Undone;
        }
    }

    async fn commit(&mut self) -> Result<()> {
        if let Some(cause) = &self.lost {
            return Err(unavailable(cause));
        }
        let sql = match std::mem::replace(&mut self.savepoint, Savepoint::NotBegun) {
            Savepoint::NotBegun => return Ok(()),
            Savepoint::Open | Savepoint::Kept => "COMMIT",
            Savepoint::Undone => "ROLLBACK TO s; COMMIT",
        };
        match self.connection.execute(sqlx::query(sql)).await {
            Ok(_) => Ok(()),
            Err(error) if commit_in_doubt(&error) => Err(outcome_unknown(error)),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Savepoint {
    /// The statements that go first.
    fn first(self) -> &'static str {
        match self {
            Self::NotBegun => "BEGIN IMMEDIATE; SAVEPOINT s; ",
            Self::Open => "",
            Self::Kept => "RELEASE s; SAVEPOINT s; ",
            Self::Undone => "ROLLBACK TO s; ",
        }
    }
}

/// Disk full, I/O errors and the like may roll back everything, so that the next statements would run in autocommit.
fn may_have_lost_the_transaction(error: &sqlx::Error) -> bool {
    match error {
        // ERROR, TOOBIG, CONSTRAINT, MISMATCH only undo their statement.
        sqlx::Error::Database(error) => !matches!(sqlite_code(error.as_ref()) & 0xff, 1 | 18 | 19 | 20),
        _ => true,
    }
}

/// The pages may have reached the disk although the answer says they did not.
fn commit_in_doubt(error: &sqlx::Error) -> bool {
    const IOERR: i32 = 10;
    match error {
        sqlx::Error::Database(error) => sqlite_code(error.as_ref()) & 0xff == IOERR,
        _ => true,
    }
}

//! Writing on SQLite: one task owns the one writing connection. Units that wait at the same time share a transaction
//! and its fsync, each in a savepoint; the statements that open and end savepoints ride on the units' own, because each
//! call costs two thread switches. For the same reason units that only insert share a call and a savepoint; if one of
//! them can't be, each is run by itself.

use super::fault::{draining, outcome_unknown, refusal, sqlite_code, unavailable};
use super::session::{Engine, Reply, Session, Stop};
use super::write::Inserts;
use super::{Done, Mode, Position, TxFn, run_on};
use crate::fail::{self, Point};
use clientele_api::{Error, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use sea_orm::{DbBackend, DbErr, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::sqlite::{SqliteConnectOptions, SqliteQueryResult};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, SqliteConnection};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Units in one transaction, at most.
const BATCH: usize = 64;
/// Units in one call, at most: each number of them is a prepared statement of its own.
const GROUP: usize = 32;
/// Units that wait, at most.
const QUEUE: usize = 1_024;
/// How long a unit waits for its place in a full queue.
const ENTER: Duration = Duration::from_secs(2);

/// What is in the queue.
enum Job {
    Unit(Unit),
    Inserts(Inserts, Told),
}

/// Who waits for its place in the journal.
type Told = oneshot::Sender<Result<Position, Stop>>;
/// A unit. Takes the connection, and gives it back with how to answer the caller.
type Unit = Box<dyn FnOnce(Connection) -> BoxFuture<'static, (Option<Connection>, Option<Answer>)> + Send>;
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
pub(super) async fn run<T, F>(writer: &Writer, mode: Mode, unit: F, attempt: u32) -> Result<Done<T>>
where
    T: Send + 'static,
    F: for<'t> TxFn<'t, T> + Clone + 'static,
{
    let (answer, answered) = oneshot::channel();
    let span = tracing::Span::current();
    let job: Unit = Box::new(move |connection| {
        let job = async move {
            if answer.is_closed() {
                return (Some(connection), None); // the caller has gone
            }
            let session = Session::new(Engine::Sqlite(connection));
            let (session, outcome) = run_on(session, mode, unit, attempt).await;
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
    writer.enter(Job::Unit(job)).await?;
    answered.await.unwrap_or_else(|_| Err(dropped()))
}

fn dropped() -> Error {
    unavailable("the writer dropped the unit")
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

    /// Writes the rows of a unit that only inserts; answers where that of the journal stands. [`Stop::Again`]: run it by itself.
    pub(super) async fn insert(&self, inserts: Inserts) -> Result<Position, Stop> {
        let (answer, answered) = oneshot::channel();
        self.enter(Job::Inserts(inserts, answer)).await.map_err(Stop::Refused)?;
        answered.await.unwrap_or_else(|_| Err(Stop::Refused(dropped())))
    }

    async fn enter(&self, job: Job) -> Result<()> {
        self.jobs.send_timeout(job, ENTER).await.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => unavailable("the writer's queue is full"),
            SendTimeoutError::Closed(_) => draining(),
        })
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
    let (mut units, mut inserts) = (Vec::new(), Vec::new());
    for job in jobs {
        match job {
            Job::Unit(unit) => units.push(unit),
            // One whose caller has gone is skipped.
            Job::Inserts(unit, answer) if !answer.is_closed() => inserts.push((unit, answer)),
            Job::Inserts(..) => {}
        }
    }
    while let (Some(connection), Some((first, _))) = (&mut connection, inserts.first()) {
        let parts = Arc::clone(&first.parts);
        let alike = |(unit, _): &mut (Inserts, Told)| unit.parts == parts;
        let group = inserts.extract_if(.., alike).take(GROUP).collect();
        answers.extend(insert_group(connection, group).await);
    }
    for unit in units {
        // Without a connection the unit is dropped, which answers UNAVAILABLE.
        let Some(lent) = connection.take() else { continue };
        match AssertUnwindSafe(unit(lent)).catch_unwind().await {
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

/// Writes the rows of several units of one kind in one call. If that fails, nothing of it is left, and they are told so at once.
async fn insert_group(connection: &mut Connection, group: Vec<(Inserts, Told)>) -> Option<Answer> {
    let (mut calls, mut values, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let mut constraints = Vec::new();
    for (unit, tell) in group {
        calls.push(unit.parts.join("; "));
        values.extend(unit.values);
        constraints = unit.constraints; // those of one kind have the same
        told.push(tell);
    }
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, calls.join("; "), values);
    let refused = match connection.send(statement).await {
        Ok(reply) => {
            let positions: Vec<Position> = reply.rows.iter().map_while(|row| Position::read(row).ok()).collect();
            if positions.len() == told.len() {
                told.iter().for_each(|_| fail::point(Point::BeforeCommit));
                connection.keep(true);
                return Some(tell_each(told, positions));
            }
            Error::internal("the journal did not answer each unit")
        }
        Err(error) => {
            let error = DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)));
            refusal(error, constraints.into_iter().flatten())
        }
    };
    connection.undo(false);
    // Whose fault it was is known if there is only one, and does not matter if all are lost.
    let known = told.len() == 1 || connection.lost();
    for tell in told {
        let stop = match known {
            true => Stop::Refused(refused.clone()),
            false => Stop::Again("its group failed".to_owned()),
        };
        let _ = tell.send(Err(stop)); // the caller may have gone meanwhile
    }
    None
}

fn tell_each(told: Vec<Told>, positions: Vec<Position>) -> Answer {
    Box::new(move |committed| {
        for (tell, position) in told.into_iter().zip(positions) {
            if committed.is_ok() {
                fail::point(Point::AfterCommit);
            }
            let outcome = committed.clone().map(|()| position);
            let _ = tell.send(outcome.map_err(Stop::Refused)); // the caller may have gone meanwhile
        }
    })
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

//! The one way to write.
//!
//! A unit is an async closure over a [`Tx`]. It reads and, rarely, writes through it as SeaORM's `ConnectionTrait`;
//! writes that need no answer it *collects* ([`Tx::write`], [`Tx::guard`], [`Tx::append`]). They are sent together once
//! the unit has returned `Ok`, on PostgreSQL as one statement that is its own transaction if nothing was written
//! before. Units that only insert and wait at the same time are sent together.
//!
//! A unit awaits nothing but its database, takes less than a second, and may run several times: when it does, it starts
//! from nothing.

mod fault;
mod group;
pub(crate) mod postgres;
mod session;
pub(crate) mod sqlite;
mod write;

pub(crate) use fault::Fault;
pub use fault::{db_error, refusal};
pub(crate) use session::Reply;
pub use write::{Append, Write};

use crate::fail::{self, Point};
use crate::{Constraint, Db};
use clientele_api::{Error, Result};
use fault::{contention, unavailable};
use futures::FutureExt;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use session::{Engine, Session, Stop};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use write::{Collected, Expect, Inserts};

/// How long the closure of a unit may take.
const UNIT: Duration = Duration::from_secs(1);
/// How often a unit is run while others are faster.
const ATTEMPTS: u32 = 8;

/// What can be run as a unit: `async move |tx| {..}`. Names the future, so that it can be proven to be `Send`.
pub trait TxFn<'t, T>: FnOnce(&'t Tx) -> <Self as TxFn<'t, T>>::Fut + Send {
    /// The future that the closure returns.
    type Fut: Future<Output = Result<T>> + Send + 't;
}

impl<'t, T, F, Fut> TxFn<'t, T> for F
where
    F: FnOnce(&'t Tx) -> Fut + Send,
    Fut: Future<Output = Result<T>> + Send + 't,
{
    type Fut = Fut;
}

/// What becomes of a unit that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is committed.
    Commit,
    /// It is rolled back, after its collected writes were sent too: says what would have been refused.
    Validate,
}

/// The outcome of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// What the unit returned.
    pub value: T,
    /// Where its journal row is, the last one if there are several. None without one and after [`Mode::Validate`].
    pub position: Option<Position>,
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The transaction; 0 on SQLite.
    pub xid: i64,
    /// The row.
    pub seq: i64,
}

/// How a database is written to.
pub(crate) enum Writing {
    Postgres(Arc<postgres::Writers>),
    Sqlite(sqlite::Writer),
}

/// Runs a unit as one transaction. It goes on to its end when the caller stops waiting for it. It is run without a connection
/// first: one that only inserts needs none, and shares the statement of those that wait with it.
///
/// Refusals of the unit come back as they are. UNAVAILABLE `DATABASE_UNAVAILABLE` and ABORTED `CONTENTION`: nothing was
/// changed. UNAVAILABLE `OUTCOME_UNKNOWN`: the answer to the commit was lost.
pub async fn run<T, F>(db: &Db, mode: Mode, unit: F) -> Result<Done<T>>
where
    T: Send + 'static,
    F: AsyncFnOnce(&Tx) -> Result<T> + for<'t> TxFn<'t, T> + Clone + 'static,
{
    let mut attempt = 0;
    if mode == Mode::Commit
        && let Some((value, inserts)) = Tx::run_apart(db.backend(), unit.clone()).await?
    {
        let written = match db.writing() {
            Writing::Postgres(writers) => writers.group.insert(inserts).await,
            Writing::Sqlite(writer) => writer.insert(inserts).await,
        };
        match written {
            Ok(position) => {
                let position = Some(position);
                return Ok(Done { value, position });
            }
            Err(Stop::Refused(error)) => return Err(error),
            Err(Stop::Again(_) | Stop::Lost(_)) => attempt = 1,
        }
    }
    match db.writing() {
        Writing::Postgres(writers) => postgres::run(writers, mode, unit, attempt).await,
        Writing::Sqlite(writer) => sqlite::run(writer, mode, unit, attempt).await,
    }
}

/// The transaction of a unit.
///
/// A SELECT that locks nothing runs as it is. Every other statement that is executed through `ConnectionTrait` begins
/// the transaction first. A statement that failed fails its unit, even if the unit goes on.
pub struct Tx {
    backend: DbBackend,
    attempt: u32,
    session: tokio::sync::Mutex<Session>,
    collected: Mutex<Collected>,
}

impl Tx {
    /// Collects a write that needs no answer.
    ///
    /// In a unit that writes to the journal, collected writes must not depend on each other nor touch a row twice:
    /// PostgreSQL runs them side by side, in no order, and none sees the rows of another. Inserts of a unit that asks the
    /// database nothing run so beside those of other units too.
    pub fn write(&self, statement: impl Into<Write>, constraints: &'static [Constraint]) {
        let mut collected = self.collected();
        collected.writes.push(statement.into());
        collected.constraints.push(constraints);
    }

    /// Collects the write that must change one row, such as `UPDATE .. WHERE uid = .. AND version = ..`. If it changes
    /// none, somebody was faster: nothing of the unit happens, and it is run again. Its condition has to name a unique
    /// key. At most one per unit.
    pub fn guard(&self, statement: impl Into<Write>, constraints: &'static [Constraint]) {
        let mut collected = self.collected();
        collected.guards.push(statement.into());
        collected.constraints.push(constraints);
    }

    /// Collects the unit's rows of the journal. At most once per unit.
    pub fn append(&self, rows: Append) {
        let mut collected = self.collected();
        collected.constraints.push(rows.constraints);
        collected.appends.push(rows);
    }

    /// Begins the transaction now: for what only holds within one, such as an advisory lock.
    pub async fn begin(&self) -> Result<()> {
        self.session.lock().await.begin().await.map_err(db_error)
    }

    /// How often the unit was run before. A unit that started from remembered rows reads them when it is run again.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    fn new(session: Session, attempt: u32) -> Self {
        let backend = match &session.engine {
            Engine::Postgres(_) => DbBackend::Postgres,
            Engine::Sqlite(_) => DbBackend::Sqlite,
            Engine::None(backend) => *backend,
        };
        Self {
            backend,
            attempt,
            session: tokio::sync::Mutex::new(session),
            collected: Mutex::default(),
        }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, statement: Statement) -> Result<Reply, DbErr> {
        let mut session = self.session.lock().await;
        let select = Select::of(&statement.sql);
        if select != Select::Plain {
            session.begin().await?;
        }
        session.wrote |= select == Select::No;
        session.send(statement).await
    }

    /// Runs the unit without a connection. None: it asks for one, or does more than to insert.
    async fn run_apart<T, F>(backend: DbBackend, unit: F) -> Result<Option<(T, Inserts)>>
    where
        F: for<'t> TxFn<'t, T>,
    {
        let tx = Self::new(Session::new(Engine::None(backend)), 0);
        let ended = contained(unit(&tx)).await;
        let Self { session, collected, .. } = tx;
        if session.into_inner().asked() {
            return Ok(None);
        }
        let value = ended?;
        let collected = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(collected.inserts(backend)?.map(|inserts| (value, inserts)))
    }

    /// Runs the unit once, to its end.
    async fn run<T, F>(&self, mode: Mode, unit: F) -> Result<Done<T>, Stop>
    where
        F: for<'t> TxFn<'t, T>,
    {
        let outcome = self.run_and_flush(mode, unit).await;
        let mut session = self.session.lock().await;
        match (outcome, mode) {
            (Ok(done), Mode::Commit) => {
                if session.wrote && !session.deciding {
                    fail::point(Point::before_commit(done.position.is_some()));
                }
                session.keep().await?;
                Ok(done)
            }
            (Ok(done), Mode::Validate) => {
                session.undo().await;
                Ok(Done { position: None, ..done })
            }
            (Err(stop), _) => {
                session.undo().await;
                Err(stop)
            }
        }
    }

    async fn run_and_flush<T, F>(&self, mode: Mode, unit: F) -> Result<Done<T>, Stop>
    where
        F: for<'t> TxFn<'t, T>,
    {
        let ended = contained(unit(self)).await;
        let mut session = self.session.lock().await;
        let value = session.verdict(ended)?;
        let position = self.flush(&mut session, mode).await?;
        Ok(Done { value, position })
    }

    /// Sends what was collected.
    async fn flush(&self, session: &mut Session, mode: Mode) -> Result<Option<Position>, Stop> {
        let collected = std::mem::take(&mut *self.collected());
        let constraints = collected.constraints.clone();
        let steps = collected.steps(self.backend).map_err(Stop::Refused)?;
        if mode == Mode::Validate || steps.len() > 1 {
            session.begin().await.map_err(|error| session.stop(error, &[]))?;
        }
        session.decide_unless_begun();
        let mut position = None;
        for step in steps {
            session.wrote = true;
            if session.deciding {
                fail::point(Point::before_commit(step.expect.is_journal()));
            }
            let reply = session.send(step.statement).await;
            let reply = reply.map_err(|error| session.stop(error, &constraints))?;
            position = step.expect.check(&reply)?;
        }
        Ok(position)
    }
}

/// Runs the unit until it has an outcome; it was run so often before.
async fn run_on<T, F>(mut session: Session, mode: Mode, unit: F, mut attempt: u32) -> (Session, Result<Done<T>, Stop>)
where
    F: for<'t> TxFn<'t, T> + Clone,
{
    loop {
        let tx = Tx::new(session, attempt);
        let outcome = tx.run(mode, unit.clone()).await;
        session = tx.session.into_inner();
        attempt += 1;
        match outcome {
            Err(Stop::Again(cause)) if !session.sound() => return (session, Err(Stop::Lost(cause))),
            Err(Stop::Again(cause)) if attempt == ATTEMPTS => return (session, Err(Stop::Refused(contention(cause)))),
            Err(Stop::Again(_)) => {
                session.renew();
                if let Engine::Postgres(_) = &session.engine {
                    // Of different length, so that those who met do not meet again.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=2 << attempt))).await;
                }
            }
            outcome => return (session, outcome),
        }
    }
}

/// Bounds the unit's time, and turns a panic into an error.
async fn contained<T>(unit: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(UNIT, AssertUnwindSafe(unit).catch_unwind()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Error::internal(format!(
                "a unit panicked: {}",
                text.unwrap_or("without a text")
            )))
        }
        Err(elapsed) => Err(unavailable(format!("a unit took too long: {elapsed}"))),
    }
}

impl Expect {
    fn is_journal(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    fn check(&self, reply: &Reply) -> Result<Option<Position>, Stop> {
        let (changed, expected) = match self {
            Self::Nothing => return Ok(None),
            Self::OneChange => (reply.done.rows_affected(), 1),
            Self::Rows(rows) => (reply.rows.len() as u64, *rows as u64),
        };
        if changed == 0 {
            return Err(Stop::Again("the guard changed no row".to_owned()));
        }
        if changed != expected {
            return Err(Stop::Refused(Error::internal("the guard changed more than one row")));
        }
        let last = reply.rows.last().map(Position::read).transpose();
        last.map_err(|error| Stop::Refused(db_error(error)))
    }
}

impl Position {
    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            xid: row.try_get_by_index(0)?,
            seq: row.try_get_by_index(1)?,
        })
    }
}

/// Whether a statement is a SELECT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Select {
    /// One that leaves nothing behind.
    Plain,
    /// One that may lock rows, which lasts as long as the transaction.
    Locking,
    No,
}

impl Select {
    fn of(sql: &str) -> Self {
        let mut words = sql.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("select")) {
            Self::No
        } else if words.any(|word| word.eq_ignore_ascii_case("for")) {
            Self::Locking
        } else {
            Self::Plain
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        Ok(self.send(statement).await?.done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.send(statement).await?.rows.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(self.send(statement).await?.rows)
    }
}

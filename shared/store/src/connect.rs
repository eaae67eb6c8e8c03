//! The database of a service: a pool for reads, and the way to write.

use crate::memory::Epochs;
use crate::postgres::Connections;
use crate::tx::{self, Fault, Reply, Writing, postgres::Writers, sqlite::Writer};
use clientele_api::{Error, Result};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

pub use crate::tx::{db_error, refusal};

/// Reading connections. More do not make PostgreSQL faster on few cores.
const READERS: u32 = 8;
/// How long a reading statement may take as PostgreSQL counts.
const STATEMENT_TIMEOUT: &str = "5s";
/// The same as we count: later, so that it only strikes where the server is out of reach.
const ANSWER: Duration = Duration::from_secs(6);
/// How long a read on SQLite waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Where a service keeps its data.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:///absolute/path.db` or `postgres://..`.
    pub url: String,
    /// `org`, `assignment` or `settings`: names the connections on the server.
    pub service: &'static str,
}

/// The database of a service.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    service: &'static str,
    read: Reads,
    writing: Writing,
    commits: watch::Sender<u64>,
    renames: AtomicU64,
    epochs: Epochs,
}

enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Db {
    /// Connects. A SQLite file is created if it is missing, its folder is not.
    pub async fn connect(options: &Options) -> Result<Self> {
        let commits = watch::Sender::new(0);
        let (read, writing) = match options.target()? {
            Target::Sqlite(target) => {
                // The writer first: it creates the file.
                let writer = Writer::open(target.clone(), commits.clone())
                    .await
                    .map_err(cannot_connect)?;
                (
                    Reads(Readers::Sqlite(sqlite_readers(target).await?)),
                    Writing::Sqlite(writer),
                )
            }
            Target::Postgres(target) => {
                let named = target
                    .clone()
                    .application_name(&format!("clientele-{}-writer", options.service));
                let writers = Writers::new(named, commits.clone());
                (Reads::of_postgres(target), Writing::Postgres(Arc::new(writers)))
            }
        };
        let db = Self(Arc::new(Inner {
            service: options.service,
            read,
            writing,
            commits,
            renames: AtomicU64::new(0),
            epochs: Epochs::new(),
        }));
        db.ping().await?;
        Ok(db)
    }

    /// The connections for reads. They refuse to write.
    pub fn read(&self) -> &Reads {
        &self.0.read
    }

    /// SQLite or PostgreSQL.
    pub fn backend(&self) -> DbBackend {
        self.0.read.get_database_backend()
    }

    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Asks the database for an answer. The caller bounds the time.
    pub async fn ping(&self) -> Result<()> {
        self.read().execute_unprepared("SELECT 1").await.map_err(db_error)?;
        Ok(())
    }

    /// Refuses further units, waits for those that have begun, and closes all connections.
    pub async fn close(&self) {
        match &self.0.writing {
            Writing::Sqlite(writer) => writer.close().await,
            Writing::Postgres(writers) => writers.close().await,
        }
        match &self.0.read.0 {
            Readers::Sqlite(pool) => {
                if let Err(error) = pool.close_by_ref().await {
                    tracing::warn!(%error, "the pool for reads did not close well");
                }
            }
            Readers::Postgres(connections) => connections.close().await,
        }
    }

    /// Counts the commits of this process that changed something.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Counts how often names may have come to mean something else, or nothing: what was remembered of them before is out of date.
    pub(crate) fn renames(&self) -> u64 {
        self.0.renames.load(Ordering::Acquire)
    }

    /// Names may mean something else from here on.
    pub(crate) fn note_rename(&self) {
        self.0.renames.fetch_add(1, Ordering::Release);
    }

    /// What has changed, as far as this process has noticed.
    pub(crate) fn epochs(&self) -> &Epochs {
        &self.0.epochs
    }

    /// Another replica has changed what only it knows: anything may be out of date, and names may mean something else.
    pub(crate) fn note_unknown_changes(&self) {
        self.note_rename();
        self.epochs().bump_all();
    }

    pub(crate) fn writing(&self) -> &Writing {
        &self.0.writing
    }
}

/// One connection for migrations: it may write, and take its time.
pub async fn connect_to_migrate(options: &Options) -> Result<DatabaseConnection> {
    match options.target()? {
        Target::Sqlite(target) => {
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None);
            Ok(pool.connect_with(target).await.map_err(cannot_connect)?.into())
        }
        Target::Postgres(target) => {
            let target = target.application_name(&format!("clientele-{}-migrate", options.service));
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None);
            Ok(pool.connect_with(target).await.map_err(cannot_connect)?.into())
        }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("service", &self.service())
            .field("backend", &self.backend())
            .finish_non_exhaustive()
    }
}

impl Options {
    fn target(&self) -> Result<Target> {
        if self.url.starts_with("sqlite:") {
            let options: SqliteConnectOptions = self.url.parse().map_err(cannot_connect)?;
            let options = options
                .create_if_missing(true)
                .auto_vacuum(SqliteAutoVacuum::Incremental)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
                .pragma("cache_size", "-16000")
                .pragma("mmap_size", "268435456")
                .pragma("temp_store", "memory")
                // 16 MiB: a page that many batches change is brought to the database once.
                .pragma("wal_autocheckpoint", "4096")
                // Each statement of the writer exists with and without what rides on it.
                .statement_cache_capacity(512)
                .disable_statement_logging();
            Ok(Target::Sqlite(options))
        } else if self.url.starts_with("postgres:") || self.url.starts_with("postgresql:") {
            let options: PgConnectOptions = self.url.parse().map_err(cannot_connect)?;
            let options = options
                .application_name(&format!("clientele-{}", self.service))
                .statement_cache_capacity(256)
                .disable_statement_logging();
            Ok(Target::Postgres(options))
        } else {
            Err(Error::internal(
                "the database's URL must begin with sqlite: or postgres:",
            ))
        }
    }
}

async fn sqlite_readers(target: SqliteConnectOptions) -> Result<DatabaseConnection> {
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    let pool = pool.connect_with(target.pragma("query_only", "on")).await;
    Ok(pool.map_err(cannot_connect)?.into())
}

fn cannot_connect(error: sqlx::Error) -> Error {
    tx::db_error(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
}

/// The reading connections of a database. A read whose caller stops to wait costs its connection.
#[derive(Clone)]
pub struct Reads(Readers);

#[derive(Clone)]
enum Readers {
    Sqlite(DatabaseConnection),
    Postgres(Arc<Connections>),
}

impl Reads {
    fn of_postgres(target: PgConnectOptions) -> Self {
        let target = target.options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ]);
        Self(Readers::Postgres(Arc::new(Connections::new(target, READERS, ANSWER))))
    }

    /// Connections apart from these, so many, for reads that must not wait for others. SQLite has no such wait: the same ones.
    pub(crate) fn apart(&self, size: u32) -> Self {
        match &self.0 {
            Readers::Sqlite(_) => self.clone(),
            Readers::Postgres(connections) => {
                let options = connections.options().clone();
                Self(Readers::Postgres(Arc::new(Connections::new(options, size, ANSWER))))
            }
        }
    }

    /// How they are opened on PostgreSQL.
    pub(crate) fn postgres(&self) -> Option<&PgConnectOptions> {
        match &self.0 {
            Readers::Sqlite(_) => None,
            Readers::Postgres(connections) => Some(connections.options()),
        }
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reads").field(&self.get_database_backend()).finish()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Reads {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Readers::Sqlite(_) => DbBackend::Sqlite,
            Readers::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Readers::Sqlite(pool) => pool.execute_raw(statement).await,
            Readers::Postgres(connections) => Ok(ask(connections, statement).await?.done),
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.get_database_backend(), sql))
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Readers::Sqlite(pool) => pool.query_one_raw(statement).await,
            Readers::Postgres(connections) => Ok(ask(connections, statement).await?.rows.into_iter().next()),
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Readers::Sqlite(pool) => pool.query_all_raw(statement).await,
            Readers::Postgres(connections) => Ok(ask(connections, statement).await?.rows),
        }
    }
}

async fn ask(connections: &Connections, statement: Statement) -> Result<Reply, DbErr> {
    let _place = connections.place().await.map_err(DbErr::ConnectionAcquire)?;
    let connection = connections.take().await;
    let mut connection = connection.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?;
    let reply = connection.send(statement).await;
    let reply = reply.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
    match &reply {
        Err(error) if Fault::of(error) == Fault::Lost => connections.forget(),
        _ => connections.put_back(connection),
    }
    reply
}

//! The database of a service: a pool for reads, and the way to write.

use crate::tx::{self, Writing, postgres::Writers, sqlite::Writer};
use clientele_api::{Error, Result};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

pub use crate::tx::{db_error, refusal};

/// Reading connections. More do not make PostgreSQL faster on few cores.
const READERS: u32 = 8;
/// How long a read waits for one of them.
const ACQUIRE: Duration = Duration::from_secs(3);
/// A pooled connection that rested so long is tried before it is used: the server may have closed it.
const RESTED: Duration = Duration::from_secs(1);

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
    read: DatabaseConnection,
    writing: Writing,
    commits: watch::Sender<u64>,
    renames: AtomicU64,
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
                (sqlite_readers(target).await?, Writing::Sqlite(writer))
            }
            Target::Postgres(target) => {
                let named = target
                    .clone()
                    .application_name(&format!("clientele-{}-writer", options.service));
                let writers = Writers::new(named, commits.clone());
                (postgres_readers(target).await?, Writing::Postgres(Arc::new(writers)))
            }
        };
        Ok(Self(Arc::new(Inner {
            service: options.service,
            read,
            writing,
            commits,
            renames: AtomicU64::new(0),
        })))
    }

    /// The pool for reads. Its connections refuse to write.
    pub fn read(&self) -> &DatabaseConnection {
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
        if let Err(error) = self.0.read.close_by_ref().await {
            tracing::warn!(%error, "the pool for reads did not close well");
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

async fn postgres_readers(target: PgConnectOptions) -> Result<DatabaseConnection> {
    let target = target.options([
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, pooled| {
            Box::pin(async move {
                if pooled.idle_for >= RESTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    Ok(pool.connect_with(target).await.map_err(cannot_connect)?.into())
}

fn cannot_connect(error: sqlx::Error) -> Error {
    tx::db_error(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
}

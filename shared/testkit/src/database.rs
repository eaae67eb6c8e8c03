//! Throw-away databases on both engines.

use sqlx::{Connection, Executor, PgConnection};
use std::future::Future;
use tempfile::TempDir;
use uuid::Uuid;

/// Where the administrator of a PostgreSQL for tests is reached, as in `postgres://postgres@127.0.0.1:5432/postgres`.
const POSTGRES: &str = "CLIENTELE_TEST_POSTGRES";

/// The engines that every suite runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded default.
    Sqlite,
    /// Production.
    Postgres,
}

/// Runs a test on SQLite and on PostgreSQL, at the same time.
pub async fn on_both_engines<Test: Future<Output = ()> + Send + 'static>(test: impl Fn(Engine) -> Test) {
    let runs = [Engine::Sqlite, Engine::Postgres].map(|engine| (engine, tokio::spawn(test(engine))));
    for (engine, run) in runs {
        run.await
            .unwrap_or_else(|_| panic!("failed on {engine:?}; the panic is above"));
    }
}

/// A database of its own, empty and not migrated. On SQLite it goes when this is dropped, on
/// PostgreSQL with the throw-away cluster of the test run.
#[derive(Debug)]
pub struct Database {
    /// How services connect to it.
    pub url: String,
    _folder: Option<TempDir>,
}

impl Database {
    /// A new one.
    pub async fn create(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", folder.path().join("test.db").display());
                Self {
                    url,
                    _folder: Some(folder),
                }
            }
            Engine::Postgres => {
                let admin = std::env::var(POSTGRES).unwrap_or_else(|_| panic!("{POSTGRES} is not set: run tests/run"));
                let name = format!("t{}", Uuid::new_v4().simple());
                let mut connection = PgConnection::connect(&admin)
                    .await
                    .expect("the PostgreSQL for tests must answer");
                connection
                    .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .await
                    .unwrap();
                let (server, _) = admin
                    .rsplit_once('/')
                    .expect("the URL of the PostgreSQL for tests must end with a database");
                Self {
                    url: format!("{server}/{name}"),
                    _folder: None,
                }
            }
        }
    }
}

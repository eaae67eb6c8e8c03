//! A database for one test.

use clientele_store::connect::{Db, Options, connect_to_migrate};
use clientele_store::jobs::CreateJobs;
use clientele_store::journal::CreateJournal;
use clientele_store::migrate;
use clientele_testkit::{Database, Engine, until};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use std::time::Duration;

/// How long anything may take to come about.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Place {
    pub(crate) db: Db,
    pub(crate) options: Options,
    _database: Database,
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateJournal), Box::new(CreateJobs)]
    }
}

impl Place {
    pub(crate) async fn create(engine: Engine) -> Self {
        let database = Database::create(engine).await;
        let options = Options {
            url: database.url.clone(),
            service: "org",
        };
        migrate::up::<Migrator>(&options).await.unwrap();
        let place = Self {
            db: Db::connect(&options).await.unwrap(),
            options,
            _database: database,
        };
        place
            .change("CREATE TABLE runs (job text NOT NULL, at bigint NOT NULL)")
            .await;
        place
    }

    /// Another replica's connections.
    pub(crate) async fn another(&self) -> Db {
        Db::connect(&self.options).await.unwrap()
    }

    /// Runs a statement behind everybody's back.
    pub(crate) async fn change(&self, sql: &str) {
        let connection = connect_to_migrate(&self.options).await.unwrap();
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The numbers in the first column of a query.
    pub(crate) async fn numbers(&self, sql: &str) -> Vec<i64> {
        let statement = Statement::from_string(self.db.backend(), sql);
        let rows = self.db.read().query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    /// The number that a query answers.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.numbers(sql).await[0]
    }

    /// Waits until a job was done for the first time.
    pub(crate) async fn until_done(&self, job: &str) {
        let done = format!("SELECT count(*) FROM jobs WHERE name = '{job}' AND last_run > 0");
        until(SOON, job, async || self.number(&done).await == 1).await;
    }
}

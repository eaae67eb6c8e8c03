//! A service with one table, and processes that remember its rows.

use clientele_api::journal::{Change, ChangeKind};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Result, Uid};
use clientele_store::connect::{Db, Options, connect_to_migrate};
use clientele_store::follow::{CreatePeopleProjections, CreateProjections, CreateTeamProjections};
use clientele_store::journal::CreateJournal;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Author, Journal, Memory, Reader, Recorded, Revision, migrate};
use clientele_testkit::{Database, Engine, until};
use sea_orm::ConnectionTrait;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long anything may take to come about.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) mod things {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "things")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) uid: Uuid,
        pub(crate) value: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) struct Place {
    pub(crate) options: Options,
    _database: Database,
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(CreateJournal),
            Box::new(CreateProjections),
            Box::new(CreatePeopleProjections),
            Box::new(CreateTeamProjections),
        ]
    }
}

impl Place {
    pub(crate) async fn create(engine: Engine) -> Self {
        let database = Database::create(engine).await;
        let options = Options {
            url: database.url.clone(),
            service: "assignment",
        };
        migrate::up::<Migrator>(&options).await.unwrap();
        let place = Self {
            options,
            _database: database,
        };
        let uuid = match engine {
            Engine::Sqlite => "blob",
            Engine::Postgres => "uuid",
        };
        place
            .change(&format!(
                "CREATE TABLE things (uid {uuid} PRIMARY KEY, value bigint NOT NULL)"
            ))
            .await;
        place
    }

    /// Runs a statement behind everybody's back.
    pub(crate) async fn change(&self, sql: &str) {
        let connection = connect_to_migrate(&self.options).await.unwrap();
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    pub(crate) async fn process(&self) -> Process {
        Process::open(&self.options, &self.options).await
    }
}

/// A process of the service.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) db: Db,
    pub(crate) journal: Journal,
    /// Things by their uid, which they depend on.
    pub(crate) memory: Memory<Uid, i64>,
    reader: Reader,
    loads: Arc<AtomicU64>,
}

impl Process {
    /// One that follows its journal by these options and reads things by those.
    pub(crate) async fn open(follows: &Options, reads: &Options) -> Self {
        let db = Db::connect(follows).await.unwrap();
        let journal = Journal::open(&db, CancellationToken::new()).await.unwrap();
        let direct = Db::connect(reads).await.unwrap();
        let direct = Journal::open(&direct, CancellationToken::new()).await.unwrap();
        Self {
            memory: Memory::new(journal.clone(), "things", 1_000),
            reader: Reader::new(direct, Vec::new()),
            db,
            journal,
            loads: Arc::default(),
        }
    }

    pub(crate) async fn load(&self, uid: Uid) -> Result<Answer<Option<i64>>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let found = self.reader.one(things::Entity::find_by_id(uid.0)).await?;
        Ok(found.map(|thing| thing.map(|thing| thing.value)))
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// The value of a thing.
    pub(crate) async fn get(&self, uid: Uid) -> Option<i64> {
        self.get_since(uid, &Revision::new()).await
    }

    /// The value of a thing for somebody who has seen this revision.
    pub(crate) async fn get_since(&self, uid: Uid, min: &Revision) -> Option<i64> {
        let load = async || self.load(uid).await;
        self.memory.get(uid, &[uid], min, load).await.unwrap().value
    }

    /// How often it is read while it is asked for so often.
    pub(crate) async fn reads_of(&self, times: u64, uid: Uid, min: &Revision) -> u64 {
        let before = self.loads();
        for _ in 0..times {
            self.get_since(uid, min).await;
        }
        self.loads() - before
    }

    /// Waits until a thing is answered from memory, and nothing that was written before this will still be noticed.
    pub(crate) async fn until_remembered(&self, uid: Uid) {
        let now = self.reader.revision_now().await.unwrap();
        until(SOON, "it is remembered", async || {
            self.reads_of(1, uid, &now).await == 0
        })
        .await;
    }

    /// Waits until a thing is read whenever it is asked for.
    pub(crate) async fn until_aside(&self, uid: Uid) {
        until(SOON, "memory stands aside", async || {
            self.reads_of(10, uid, &Revision::new()).await == 10
        })
        .await;
    }

    /// Gives a thing a value.
    pub(crate) async fn set(&self, uid: Uid, value: i64) -> Revision {
        self.write(author(), uid, value, None).await.unwrap()
    }

    pub(crate) async fn write(
        &self,
        author: Author,
        uid: Uid,
        value: i64,
        organization: Option<OrganizationRef>,
    ) -> Result<Revision> {
        let unit = async move |tx: &Tx| {
            let upsert = Query::insert()
                .into_table(things::Entity)
                .columns([things::Column::Uid, things::Column::Value])
                .values_panic([uid.0.into(), value.into()])
                .on_conflict(
                    OnConflict::column(things::Column::Uid)
                        .update_column(things::Column::Value)
                        .to_owned(),
                )
                .to_owned();
            tx.write(upsert, &[]);
            let change = Change {
                kind: ChangeKind::Updated.into(),
                uid: uid.to_string(),
                ..Change::default()
            };
            Ok(Recorded {
                organization,
                ..Recorded::change((), change)
            })
        };
        Ok(self.journal.write(author, unit).await?.revision)
    }
}

pub(crate) fn author() -> Author {
    Author {
        workspace: None,
        organization: None,
        actor: "operators/ann".to_owned(),
        acting_for: None,
        method: "/clientele.assignment.v1.AgentService/UpdateAgent",
        request: None,
        validate_only: false,
        traceparent: None,
    }
}

pub(crate) fn organization(uid: Uid) -> OrganizationRef {
    OrganizationRef {
        workspace: WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        },
        uid,
        id: "bakery".to_owned(),
    }
}

//! What assignment-service promises while its replicas are killed.

#![cfg(test)]

mod access;
mod crash;
mod frozen;
mod import;
mod replicas;

use assignment_service::AssignmentService;
use clientele_api::org::Organization;
use clientele_service::assembly::Service as _;
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Database, Engine, OrgFeed, Process, Tokens};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TryGetable};
use std::collections::BTreeSet;
use std::time::Duration;

/// A journal of org-service, and a database into which it is followed.
struct World {
    feed: OrgFeed,
    service: AssignmentService,
    operator: Caller,
    /// A session of the test's own.
    session: DatabaseConnection,
    engine: Engine,
    database: Database,
    _tokens: Tokens,
}

impl World {
    async fn start(engine: Engine) -> Self {
        let tokens = Tokens::create();
        let database = Database::create(engine).await;
        AssignmentService::migrate(&database.url).await.unwrap();
        let options = Options {
            url: database.url.clone(),
            service: "assignment",
        };
        let feed = OrgFeed::start().await;
        let mut config = Config::new(database.url.clone(), tokens.issuers());
        config.drain_delay = Duration::ZERO;
        let org = OrgPeer::new(feed.endpoint(), tokens.service_file("assignment-service"));
        Self {
            feed,
            service: AssignmentService { config, org },
            operator: Caller::with(tokens.operator()),
            session: connect_to_migrate(&options).await.unwrap(),
            engine,
            database,
            _tokens: tokens,
        }
    }

    /// A replica in a process of its own, with these fail points.
    fn serve(&self, fail_points: &str) -> Process {
        let AssignmentService { config, org } = &self.service;
        let settings = [
            ("--database", self.database.url.as_str()),
            ("--issuers", config.issuers.to_str().unwrap()),
            ("--org-endpoint", &org.org_endpoint),
            ("--peer-token-file", org.peer_token_file.to_str().unwrap()),
        ];
        Process::serve(env!("CARGO_BIN_EXE_assignment-service"), &settings, fail_points)
    }

    async fn ask<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let statement = Statement::from_string(self.session.get_database_backend(), sql);
        let rows = self.session.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get("", "answer").unwrap()).collect()
    }

    /// Whether exactly these organizations are known, as they are, and nothing was parked.
    async fn knows(&self, told: impl IntoIterator<Item = Organization>) {
        let told = told.into_iter().map(|organization| {
            let uid = organization.uid.replace('-', "");
            let id = organization.name.rsplit('/').next().unwrap();
            format!("{uid} {id} {} {}", organization.version, organization.state)
        });
        let uid = match self.engine {
            Engine::Postgres => "replace(uid::text, '-', '')",
            Engine::Sqlite => "lower(hex(uid))",
        };
        let known = format!(
            "SELECT {uid} || ' ' || id || ' ' || version || ' ' || state AS answer FROM projection_organizations
             WHERE id IS NOT NULL"
        );
        let told: BTreeSet<String> = told.collect();
        let known: BTreeSet<String> = BTreeSet::from_iter(self.ask(&known).await);
        let missed: Vec<&String> = told.difference(&known).collect();
        let wrong: Vec<&String> = known.difference(&told).collect();
        assert!(
            missed.is_empty() && wrong.is_empty(),
            "told: {missed:?}; known instead: {wrong:?}"
        );
        let parked = "SELECT count(*) AS answer FROM follow_parked";
        assert_eq!(self.ask::<i64>(parked).await, [0]);
    }

    /// Whether everything told so far has been heard, up to the cursor.
    async fn heard(&self) -> bool {
        let revision = self.feed.revision();
        let (epoch, n) = revision.trim_start_matches("org=").split_once('.').unwrap();
        self.cursor().await == Some(format!("{epoch}.0.{n}"))
    }

    async fn cursor(&self) -> Option<String> {
        let stored = self.ask("SELECT cursor AS answer FROM follow_cursors").await;
        stored.into_iter().next().flatten()
    }
}

//! The process dies before a commit, or between commit and answer.

use clientele_service::assembly::Service as _;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Database, Engine, Process, Step, Tokens, repeat_what_died};
use futures::future::join_all;
use org_service::OrgService;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tempfile::TempDir;
use uuid::Uuid;

const CREATE: &str = "/clientele.org.v1.OrganizationService/CreateOrganization";
const UPDATE: &str = "/clientele.org.v1.OrganizationService/UpdateOrganization";

/// A database in which the workspace `acme` exists, and whatever a service needs besides.
pub(crate) struct World {
    database: Database,
    pub(crate) session: DatabaseConnection,
    tokens: Tokens,
    pub(crate) operator: Caller,
    logos: TempDir,
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        let database = Database::create(engine).await;
        OrgService::migrate(&database.url).await.unwrap();
        let options = Options {
            url: database.url.clone(),
            service: "org",
        };
        let tokens = Tokens::create();
        let world = Self {
            session: connect_to_migrate(&options).await.unwrap(),
            database,
            operator: Caller::with(tokens.operator()),
            tokens,
            logos: tempfile::tempdir().unwrap(),
        };
        let server = world.serve("");
        let acme = json!({ "workspaceId": "acme", "workspace": { "displayName": "Acme" } });
        let path = "/clientele.org.v1.WorkspaceService/CreateWorkspace";
        server.calls().await.call(path, &world.operator, acme).await.unwrap();
        server.kill();
        world
    }

    pub(crate) fn serve(&self, fail_points: &str) -> Process {
        let (issuers, secret_key) = (self.tokens.issuers(), self.tokens.secret_key());
        let session_keys = self.tokens.session_keys();
        let settings = [
            ("--database", self.database.url.as_str()),
            ("--issuers", issuers.to_str().unwrap()),
            ("--logos", self.logos.path().to_str().unwrap()),
            ("--secret-key-file", secret_key.to_str().unwrap()),
            ("--session-keys", session_keys.to_str().unwrap()),
        ];
        Process::serve(env!("CARGO_BIN_EXE_org-service"), &settings, fail_points)
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let statement = Statement::from_string(self.session.get_database_backend(), sql);
        let row = self.session.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    }
}

async fn a_call_whose_server_dies_happens_once(engine: Engine) {
    let world = World::start(engine).await;
    let serve = |fail_points: &str| world.serve(fail_points);
    let remembered = async || world.count("SELECT count(request_id) FROM journal").await;
    // Its id is derived: where that is taken, by itself, it would get another one.
    let create = |death: &str| Step {
        method: CREATE,
        request: json!({ "parent": "workspaces/acme", "organization": { "displayName": death } }),
    };
    let rename = |title: &'static str| {
        move |death: &str| {
            let name = format!("workspaces/acme/organizations/{death}");
            Step {
                method: UPDATE,
                request: json!({ "organization": { "name": name, "displayName": title } }),
            }
        }
    };
    repeat_what_died(serve, remembered, &world.operator, create, rename("Bakery")).await;
    assert_eq!(world.count("SELECT count(*) FROM organizations").await, 2);
    repeat_what_died(serve, remembered, &world.operator, rename("Butcher"), rename("Grocer")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_sqlite() {
    a_call_whose_server_dies_happens_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_postgres() {
    a_call_whose_server_dies_happens_once(Engine::Postgres).await;
}

/// Many calls at once, whose server dies when it answers the fifth.
async fn many_calls_whose_server_dies_happen_once(engine: Engine) {
    const CALLS: usize = 40;
    let world = World::start(engine).await;
    let requests = |_| {
        json!({
            "parent": "workspaces/acme",
            "organization": { "displayName": "Bakery" },
            "requestId": Uuid::new_v4().to_string(),
        })
    };
    let requests: Vec<Value> = (0..CALLS).map(requests).collect();
    let mut dying = world.serve("after-commit=5:kill");
    let calls = dying.calls().await;
    let sent = requests
        .iter()
        .map(|request| calls.call(CREATE, &world.operator, request.clone()));
    let first = join_all(sent).await;
    dying.until_killed().await;
    let answered = first.iter().filter(|answer| answer.is_ok()).count();
    assert!(answered < CALLS, "{answered} were answered");

    let server = world.serve("");
    let calls = server.calls().await;
    let mut uids = BTreeSet::new();
    for (request, first) in requests.into_iter().zip(first) {
        let (answer, _) = calls.call(CREATE, &world.operator, request).await.unwrap();
        if let Ok((first, _)) = first {
            assert_eq!(answer, first);
        }
        uids.insert(answer["uid"].to_string());
    }
    assert_eq!(uids.len(), CALLS);
    for once in [
        "SELECT count(*) FROM organizations",
        "SELECT count(request_id) FROM journal",
    ] {
        assert_eq!(world.count(once).await, CALLS as i64, "{once}");
    }
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_whose_server_dies_happen_once_on_sqlite() {
    many_calls_whose_server_dies_happen_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_whose_server_dies_happen_once_on_postgres() {
    many_calls_whose_server_dies_happen_once(Engine::Postgres).await;
}

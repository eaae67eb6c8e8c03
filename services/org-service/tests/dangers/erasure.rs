//! The process dies in the midst of a purge, wherever that is; another one goes on with it.

use crate::crash::World;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{InitialState, WatchRequest};
use clientele_testkit::{Calls, Engine, Process, reason, until};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const BAKERY: &str = "workspaces/acme/organizations/bakery";
/// What must be empty afterwards.
const TABLES: [&str; 10] = [
    "organizations",
    "users",
    "members",
    "roles",
    "invitations",
    "teams",
    "team_keys",
    "team_members",
    "erasures",
    "erased_users",
];

impl World {
    async fn done(&self, calls: &Calls, method: &str, request: Value) -> Value {
        let path = format!("/clientele.org.v1.{method}");
        let answered = calls.call(&path, &self.operator, request).await;
        answered.unwrap_or_else(|status| panic!("{method}: {status:?}")).0
    }

    /// An organization that has something of everything.
    async fn fill(&self, calls: &Calls) -> Value {
        let bakery = json!({
            "parent": "workspaces/acme", "organizationId": "bakery",
            "organization": { "displayName": "Bakery", "externalId": "7" },
        });
        self.done(calls, "OrganizationService/CreateOrganization", bakery).await;
        let role = json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "Sales" } });
        self.done(calls, "RoleService/CreateRole", role).await;
        let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com", "displayName": "Ann" } });
        let ann = self.done(calls, "MemberService/CreateMember", new).await;
        let id = ann["user"].as_str().unwrap().rsplit('/').next().unwrap();
        let team = json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "Sales", "members": [id] } });
        self.done(calls, "TeamService/CreateTeam", team).await;
        let invitation = json!({ "parent": BAKERY, "invitation": { "email": "dora@example.com" } });
        self.done(calls, "InvitationService/CreateInvitation", invitation).await;
        ann["user"].clone()
    }

    /// Has the job done, which the dead process may have begun.
    async fn until_erased(&self) {
        let due = "UPDATE jobs SET last_run = 0, until = 0 WHERE name = 'purge'";
        self.session.execute_unprepared(due).await.unwrap();
        let server = self.serve("");
        until(PATIENCE, "the job ends what was begun", async || {
            self.count("SELECT count(*) FROM erasures").await == 0
        })
        .await;
        server.kill();
    }

    /// The rows of the journal that hold the text within their bytes.
    async fn entries_with(&self, engine: Engine, text: &str) -> i64 {
        let place = match engine {
            Engine::Sqlite => format!("instr(changes, CAST('{text}' AS blob)) > 0"),
            Engine::Postgres => format!("position('{text}'::bytea IN changes) > 0"),
        };
        self.count(&format!("SELECT count(*) FROM journal WHERE {place}")).await
    }
}

/// Erases with `begin` on servers that die at their first commit of this kind, at the second, and so on, until one survives. After
/// each death another server ends what was begun; if nothing was begun, the call is repeated.
async fn whoever_dies_in_an_erasure_is_followed(
    engine: Engine,
    point: &str,
    begin: impl AsyncFn(&World, &Calls) -> Step,
) {
    let world = World::start(engine).await;
    let mut deaths = 0;
    for nth in 1.. {
        let server = world.serve("");
        let calls = server.calls().await;
        let step = begin(&world, &calls).await;
        server.kill();
        let mut dying: Process = world.serve(&format!("{point}={nth}:kill"));
        let mut request = step.request;
        request["requestId"] = Uuid::new_v4().to_string().into();
        // It may die before it serves: by what the job notes.
        until(PATIENCE, "it serves or dies", async || {
            dying.serves() || dying.was_killed()
        })
        .await;
        if dying.was_killed() {
            deaths += 1;
        } else {
            let path = format!("/clientele.org.v1.{}", step.method);
            let answered = dying.calls().await.call(&path, &world.operator, request.clone()).await;
            if answered.is_err() {
                dying.until_killed().await;
                deaths += 1;
            }
        }
        let survived = !dying.was_killed();
        dying.kill();
        world.until_erased().await;
        // The repetition is answered as the first time, or is the first time.
        let server = world.serve("");
        let calls = server.calls().await;
        world.done(&calls, step.method, request).await;
        if let Some(cleared) = step.then {
            world.done(&calls, cleared.0, cleared.1.clone()).await;
            world.done(&calls, cleared.2, cleared.3).await;
        }
        server.kill();
        for table in TABLES {
            assert_eq!(
                world.count(&format!("SELECT count(*) FROM {table}")).await,
                0,
                "{table}, {point} {nth}"
            );
        }
        for text in ["ann@example.com", "dora@example.com", "Bakery", "Sales"] {
            assert_eq!(world.entries_with(engine, text).await, 0, "{text}, {point} {nth}");
        }
        if survived {
            break;
        }
    }
    let least = if point.contains("quiet") { 5 } else { 2 };
    assert!(deaths >= least, "{deaths} died");
}

/// What is done, and what clears the rest away.
struct Step {
    method: &'static str,
    request: Value,
    then: Option<(&'static str, Value, &'static str, Value)>,
}

async fn purge(world: &World, calls: &Calls) -> Step {
    world.fill(calls).await;
    let bakery = json!({ "name": BAKERY });
    world
        .done(calls, "OrganizationService/DeleteOrganization", bakery)
        .await;
    Step {
        method: "OrganizationService/PurgeOrganization",
        request: json!({ "name": BAKERY, "force": true }),
        then: None,
    }
}

async fn erase(world: &World, calls: &Calls) -> Step {
    let user = world.fill(calls).await;
    Step {
        method: "UserService/DeleteUser",
        request: json!({ "name": user }),
        then: Some((
            "OrganizationService/DeleteOrganization",
            json!({ "name": BAKERY }),
            "OrganizationService/PurgeOrganization",
            json!({ "name": BAKERY, "force": true }),
        )),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_survives_its_process_on_sqlite() {
    whoever_dies_in_an_erasure_is_followed(Engine::Sqlite, "before-quiet-commit", purge).await;
    whoever_dies_in_an_erasure_is_followed(Engine::Sqlite, "after-commit", purge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_survives_its_process_on_postgres() {
    whoever_dies_in_an_erasure_is_followed(Engine::Postgres, "after-quiet-commit", purge).await;
    whoever_dies_in_an_erasure_is_followed(Engine::Postgres, "before-commit", purge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_erasure_of_a_person_survives_its_process_on_sqlite() {
    whoever_dies_in_an_erasure_is_followed(Engine::Sqlite, "after-quiet-commit", erase).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_erasure_of_a_person_survives_its_process_on_postgres() {
    whoever_dies_in_an_erasure_is_followed(Engine::Postgres, "before-quiet-commit", erase).await;
}

/// Between the moment at which Ann is erased and that at which nothing is left of her, somebody else gets her email.
async fn who_has_the_email_next_is_left_alone(engine: Engine) {
    let world = World::start(engine).await;
    let server = world.serve("");
    let calls = server.calls().await;
    let user = world.fill(&calls).await;
    let butcher = json!({
        "parent": "workspaces/acme", "organizationId": "butcher", "organization": { "displayName": "Butcher" },
    });
    world
        .done(&calls, "OrganizationService/CreateOrganization", butcher)
        .await;
    server.kill();
    let mut dying = world.serve("after-commit=1:kill");
    let path = "/clientele.org.v1.UserService/DeleteUser";
    let erase = dying
        .calls()
        .await
        .call(path, &world.operator, json!({ "name": user }))
        .await;
    assert!(erase.is_err());
    dying.until_killed().await;
    assert_eq!(world.count("SELECT count(*) FROM erasures").await, 1);

    let server = world.serve("");
    let calls = server.calls().await;
    let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com", "displayName": "Other Ann" } });
    world.done(&calls, "MemberService/CreateMember", new).await;
    let parent = "workspaces/acme/organizations/butcher";
    let invitation = json!({ "parent": parent, "invitation": { "email": "ann@example.com" } });
    world
        .done(&calls, "InvitationService/CreateInvitation", invitation)
        .await;
    let list = || world.done(&calls, "MemberService/ListMembers", json!({ "parent": BAKERY }));
    let before = list().await;
    assert_eq!(before["members"].as_array().unwrap().len(), 1, "{before}");
    world.until_erased().await;
    assert_eq!(list().await, before);
    let invitations = world
        .done(&calls, "InvitationService/ListInvitations", json!({ "parent": parent }))
        .await;
    assert_eq!(invitations["invitations"].as_array().unwrap().len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
    // The user and the invitation.
    assert_eq!(world.entries_with(engine, "ann@example.com").await, 2);
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_email_next_is_left_alone_on_sqlite() {
    who_has_the_email_next_is_left_alone(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_email_next_is_left_alone_on_postgres() {
    who_has_the_email_next_is_left_alone(Engine::Postgres).await;
}

/// Of an organization that was purged by a process that died right then, nobody sees anything, although all of it is still there.
async fn a_half_purged_organization_is_not_there(engine: Engine) {
    let world = World::start(engine).await;
    let server = world.serve("");
    let calls = server.calls().await;
    purge(&world, &calls).await;
    server.kill();
    let mut dying = world.serve("after-commit=1:kill");
    let path = "/clientele.org.v1.OrganizationService/PurgeOrganization";
    let force = json!({ "name": BAKERY, "force": true });
    let purged = dying.calls().await.call(path, &world.operator, force).await;
    assert!(purged.is_err());
    dying.until_killed().await;

    let server = world.serve("");
    let calls = server.calls().await;
    assert_eq!(world.count("SELECT count(*) FROM members").await, 1);
    let refused = async |method: &str, request: Value, why: &str| {
        let path = format!("/clientele.org.v1.{method}");
        let status = calls.call(&path, &world.operator, request).await.unwrap_err();
        assert_eq!(reason(&status), why, "{method}");
    };
    let bakery = || json!({ "name": BAKERY });
    for method in ["GetOrganization", "UndeleteOrganization", "PurgeOrganization"] {
        refused(&format!("OrganizationService/{method}"), bakery(), "RESOURCE_NOT_FOUND").await;
    }
    refused(
        "MemberService/ListMembers",
        json!({ "parent": BAKERY }),
        "RESOURCE_NOT_FOUND",
    )
    .await;
    let list = json!({ "parent": "workspaces/acme", "showDeleted": true });
    let listed = world
        .done(&calls, "OrganizationService/ListOrganizations", list.clone())
        .await;
    assert_eq!(listed["organizations"], json!([]));
    let everything = WatchRequest {
        start: Some(Start::InitialState(InitialState {})),
        ..Default::default()
    };
    let mut journal = JournalServiceClient::new(server.channel().await);
    let mut feed = journal
        .watch(world.operator.request(everything))
        .await
        .unwrap()
        .into_inner();
    let mut exists = Vec::new();
    while let Some(Item::Entry(entry)) = feed.message().await.unwrap().unwrap().item {
        exists.push(entry.changes[0].resource.clone());
    }
    exists.retain(|name| name.contains("/organizations/"));
    assert_eq!(exists, Vec::<String>::new());

    // Its id and its external id are free already, and who has them now sees nothing.
    let again = json!({
        "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "B", "externalId": "7" },
    });
    world
        .done(&calls, "OrganizationService/CreateOrganization", again)
        .await;
    for method in ["TeamService/GetTeam", "RoleService/GetRole"] {
        let collection = if method.starts_with("Team") { "teams" } else { "roles" };
        refused(
            method,
            json!({ "name": format!("{BAKERY}/{collection}/sales") }),
            "RESOURCE_NOT_FOUND",
        )
        .await;
    }
    let new = json!({ "parent": BAKERY, "newUser": { "email": "other@example.com" } });
    let user = world.done(&calls, "MemberService/CreateMember", new).await["user"].clone();
    let listed = world.done(&calls, "OrganizationService/ListOrganizations", list).await;
    assert_eq!(listed["organizations"].as_array().unwrap().len(), 1);
    let members = world
        .done(&calls, "MemberService/ListMembers", json!({ "parent": BAKERY }))
        .await;
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    assert_eq!(members["members"][0]["user"], user);
    refused(
        "WorkspaceService/DeleteWorkspace",
        json!({ "name": "workspaces/acme" }),
        "WORKSPACE_NOT_EMPTY",
    )
    .await;
    world.until_erased().await;
    let left = world
        .done(&calls, "MemberService/ListMembers", json!({ "parent": BAKERY }))
        .await;
    assert_eq!(left, members);
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_purged_organization_is_not_there_on_sqlite() {
    a_half_purged_organization_is_not_there(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_purged_organization_is_not_there_on_postgres() {
    a_half_purged_organization_is_not_there(Engine::Postgres).await;
}

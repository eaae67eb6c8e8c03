//! What purged organizations and deleted agents leave does not stay.

use crate::member_scopes::all;
use crate::{ACME, BAKERY, World, ids, service};
use clientele_api::assignment::{AssignAgentRequest, Assignment};
use clientele_api::journal::{Change, ChangeKind, Entry};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{ClientUser, Engine, Running, reason, until};
use prost::Message;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many jobs there are.
const JOBS: i64 = 2;

impl World {
    async fn session(&self) -> DatabaseConnection {
        let options = Options {
            url: self.database.url.clone(),
            service: "assignment",
        };
        connect_to_migrate(&options).await.unwrap()
    }

    /// Has every job done once more.
    async fn do_jobs(&self) {
        let session = self.session().await;
        let all_done = async || {
            let done = count(&session, "SELECT count(*) AS answer FROM jobs WHERE last_run > 0").await;
            done == JOBS
        };
        until(PATIENCE, "all jobs", &all_done).await;
        session
            .execute_unprepared("UPDATE jobs SET last_run = 0")
            .await
            .unwrap();
        let replica = Running::start(&service(&self.database, &self.feed, &self.tokens)).await;
        until(PATIENCE, "all jobs once more", &all_done).await;
        replica.stop().await;
    }
}

async fn count(session: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(session.get_database_backend(), sql);
    let row = session.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get("", "answer").unwrap()
}

/// Whether this text stands anywhere in what the journal keeps.
async fn is_kept(session: &DatabaseConnection, text: &str) -> bool {
    let rows = Statement::from_string(session.get_database_backend(), "SELECT changes, answer FROM journal");
    let rows = session.query_all_raw(rows).await.unwrap();
    rows.iter().any(|row| {
        let changes: Vec<u8> = row.try_get("", "changes").unwrap();
        let answer: Option<Vec<u8>> = row.try_get("", "answer").unwrap();
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        holds(&changes) || answer.is_some_and(|answer| holds(&answer))
    })
}

fn named(alias: &str) -> Assignment {
    Assignment {
        alias: Some(alias.into()),
        note: Some("Fell out with the owner.".into()),
        ..Default::default()
    }
}

async fn nothing_is_left_of_a_purged_organization(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    let bakery = world.create_organization("bakery").await;
    world.create_organization("butcher").await;
    for id in ["anna", "bert", "carl"] {
        world.create_agent(id).await;
        world.assign_with(id, named("Alias of the bakery")).await.unwrap();
    }
    let butcher = AssignAgentRequest {
        parent: format!("{ACME}/organizations/butcher"),
        agent: crate::agent_name("anna"),
        assignment: Some(named("Alias of the butcher")),
        ..Default::default()
    };
    world
        .assignments()
        .assign_agent(world.admin.request(butcher))
        .await
        .unwrap();
    let ann = ClientUser::create(&world.feed, world.acme, &bakery);
    world.hear().await;
    world.set_scope(&world.admin, all(&ann)).await.unwrap();
    // One that was taken away, and a call that only remembers what there is.
    world.unassign("carl", "").await.unwrap();
    let again = AssignAgentRequest {
        request_id: Uuid::new_v4().to_string(),
        ..crate::assign("anna")
    };
    let mut assignments = world.assignments();
    assignments
        .assign_agent(world.admin.request(again.clone()))
        .await
        .unwrap();
    world.do_jobs().await;
    assert!(is_kept(&session, "Alias of the bakery").await, "it is not purged yet");
    let before = world.entries_that("").await;

    world.purge(&bakery);
    world.hear().await;
    world.do_jobs().await;
    assert_eq!(count(&session, "SELECT count(*) AS answer FROM assignments").await, 1);
    assert_eq!(count(&session, "SELECT count(*) AS answer FROM member_scopes").await, 0);
    assert!(!is_kept(&session, "Alias of the bakery").await);
    assert!(is_kept(&session, "Alias of the butcher").await);
    let entries = world.entries_that("").await;
    let (told, purged) = entries.split_at(before.len());
    let shape = |entries: &[Entry]| {
        let entries = entries.iter().map(|entry| {
            let changes = entry.changes.iter();
            let changes = changes.map(|change| (change.resource.clone(), change.version, change.kind()));
            (entry.cursor.clone(), entry.actor.clone(), Vec::from_iter(changes))
        });
        Vec::from_iter(entries)
    };
    assert_eq!(shape(told), shape(&before), "who did what stays");
    let [entry] = purged else {
        panic!("{purged:?}");
    };
    assert_eq!(
        (entry.actor.as_str(), entry.organization_uid.as_str()),
        ("system/leftovers", bakery.uid.as_str())
    );
    let mut gone: Vec<_> = entry
        .changes
        .iter()
        .map(|change| (change.resource.as_str(), change.version, change.kind()))
        .collect();
    gone.sort_unstable();
    let assignment = |id: &str| format!("{BAKERY}/assignments/{id}");
    let (anna, bert) = (assignment("anna"), assignment("bert"));
    let scope = format!("{BAKERY}/memberScopes/{}", ann.user.uid);
    let purged = |name| (name, 2, ChangeKind::Purged);
    assert_eq!(gone, [&*anna, &*bert, &*scope].map(purged));
    let remains = Assignment::decode(entry.changes[0].before.as_ref().unwrap().value.as_slice()).unwrap();
    assert_eq!((remains.alias(), remains.note(), remains.agent.as_str()), ("", "", ""));

    // Once more: there is nothing to do. The name has a new owner, who begins with nothing, and is left alone.
    world.create_organization("bakery").await;
    world
        .assign_with("bert", named("Alias of another bakery"))
        .await
        .unwrap();
    let status = assignments.assign_agent(world.admin.request(again)).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    let before = world.entries_that("").await;
    world.do_jobs().await;
    assert_eq!(world.entries_that("").await, before);
    assert_eq!(ids(&world.assigned().await.unwrap()), ["bert"]);
    assert!(is_kept(&session, "Alias of another bakery").await);
}

#[tokio::test]
async fn nothing_is_left_of_a_purged_organization_on_sqlite() {
    nothing_is_left_of_a_purged_organization(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_purged_organization_on_postgres() {
    nothing_is_left_of_a_purged_organization(Engine::Postgres).await;
}

async fn nothing_is_left_of_a_deleted_agent(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    world.create_organization("bakery").await;
    for id in ["anna", "bert"] {
        world.create_agent(id).await;
        world.assign(id).await.unwrap();
        world.unassign(id, "").await.unwrap();
    }
    world.delete_agent("anna", "").await.unwrap();
    // The same id, and another agent.
    world.create_agent("anna").await;
    world.assign("anna").await.unwrap();
    world.unassign("anna", "").await.unwrap();
    let left = "SELECT count(*) AS answer FROM assignments";
    assert_eq!(count(&session, left).await, 3);
    let before = world.entries_that("").await;
    world.do_jobs().await;
    assert_eq!(count(&session, left).await, 2);
    assert_eq!(
        count(&session, "SELECT count(*) AS answer FROM deleted_agents").await,
        0
    );
    assert_eq!(
        world.entries_that("").await,
        before,
        "that they were taken away is told"
    );
    assert_eq!(world.assign("bert").await.unwrap().version, 3);
    assert_eq!(world.assign("anna").await.unwrap().version, 3);
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_agent_on_sqlite() {
    nothing_is_left_of_a_deleted_agent(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_agent_on_postgres() {
    nothing_is_left_of_a_deleted_agent(Engine::Postgres).await;
}

/// More than one unit may touch, with as many rows of the journal.
async fn an_organization_of_any_size_is_left_behind(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    let bakery = world.create_organization("bakery").await;
    world.create_agent("anna").await;
    let assigned = world.assign_with("anna", named("Alias of the bakery")).await.unwrap();
    for _ in 0..60 {
        world.unassign("anna", "").await.unwrap();
        world.assign("anna").await.unwrap();
    }
    let uuid = match engine {
        Engine::Postgres => "gen_random_uuid()",
        Engine::Sqlite => "randomblob(16)",
    };
    let more = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1100)
         INSERT INTO assignments (uid, workspace_uid, workspace_id, organization_uid, organization_id, agent_uid, agent_id, version,
            create_time, update_time, position, alias, note, removed)
         SELECT {uuid}, workspace_uid, workspace_id, organization_uid, organization_id, {uuid},
            'agent-' || n, 1, create_time, update_time, position + n, alias, note, n % 2 = 0 FROM assignments, numbers"
    );
    session.execute_unprepared(&more).await.unwrap();
    world.purge(&bakery);
    world.hear().await;
    let told = world.entries_that("").await.len();
    world.do_jobs().await;
    assert_eq!(count(&session, "SELECT count(*) AS answer FROM assignments").await, 0);
    assert!(!is_kept(&session, assigned.alias()).await);
    let purged = world.entries_that("").await.split_off(told);
    assert!(purged.iter().all(|entry| entry.changes.len() <= 500));
    assert_eq!(purged.iter().map(|entry| entry.changes.len()).sum::<usize>(), 551);
    assert_eq!(
        count(
            &session,
            "SELECT count(*) AS answer FROM projection_organizations WHERE erased = bootstrap"
        )
        .await,
        1
    );
}

#[tokio::test]
async fn an_organization_of_any_size_is_left_behind_on_sqlite() {
    an_organization_of_any_size_is_left_behind(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_organization_of_any_size_is_left_behind_on_postgres() {
    an_organization_of_any_size_is_left_behind(Engine::Postgres).await;
}

async fn who_is_purged_again_after_a_restore_leaves_nothing(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    let bakery = world.create_organization("bakery").await;
    world.create_agent("anna").await;
    world.assign_with("anna", named("Alias of the bakery")).await.unwrap();
    world.purge(&bakery);
    world.hear().await;
    world.do_jobs().await;
    assert!(!is_kept(&session, "Alias of the bakery").await);
    // The backup is older than the purge: the same organization is there again, and has the same version.
    let before = bakery.clone();
    world.feed.restore(|entry| {
        let mut entry = entry.clone();
        if entry.changes[0].uid == before.uid {
            entry.changes = vec![Change::created(&before)];
        }
        Some(entry)
    });
    world.hear().await;
    world
        .assign_with("anna", named("Alias after the restore"))
        .await
        .unwrap();
    world.do_jobs().await;
    assert!(is_kept(&session, "Alias after the restore").await);
    world.purge(&bakery);
    world.hear().await;
    world.do_jobs().await;
    assert_eq!(count(&session, "SELECT count(*) AS answer FROM assignments").await, 0);
    assert!(!is_kept(&session, "Alias after the restore").await);
}

#[tokio::test]
async fn who_is_purged_again_after_a_restore_leaves_nothing_on_sqlite() {
    who_is_purged_again_after_a_restore_leaves_nothing(Engine::Sqlite).await;
}

#[tokio::test]
async fn who_is_purged_again_after_a_restore_leaves_nothing_on_postgres() {
    who_is_purged_again_after_a_restore_leaves_nothing(Engine::Postgres).await;
}

//! What purged organizations and erased users leave does not stay.

use crate::canned_responses::{canned, of_team, personal, with};
use crate::{BAKERY, World, service, tabs, update};
use clientele_api::journal::{Change, ChangeKind, Entry};
use clientele_api::org::Member;
use clientele_api::{Uid, settings as api};
use clientele_testkit::{Caller, ClientUser, Engine, Running, reason, until};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
/// How many jobs there are.
const JOBS: i64 = 2;
const CAFE: &str = "workspaces/acme/organizations/cafe";
/// What is left to be done.
const UNFINISHED: &str = "SELECT (SELECT count(*) FROM projection_organizations WHERE id IS NULL AND erased IS NULL)
    + (SELECT count(*) FROM projection_users WHERE id IS NULL AND erased IS NULL) AS answer";

impl World {
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

    /// Creates a canned response of `bakery` whose text is this one; answers the request, to be repeated, and the answer.
    async fn write(&self, caller: &Caller, response: Value, text: &str) -> (Value, Value) {
        let request = json!({
            "parent": BAKERY,
            "cannedResponse": with(response, json!({ "text": text, "title": text, "tags": [text] })),
            "requestId": Uuid::new_v4(),
        });
        let answer = self.canned(caller, "CreateCannedResponse", request.clone()).await;
        (request, answer.unwrap())
    }
}

async fn count(session: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(session.get_database_backend(), sql);
    let row = session.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get("", "answer").unwrap()
}

async fn count_of(session: &DatabaseConnection, table: &str) -> i64 {
    count(session, &format!("SELECT count(*) AS answer FROM {table}")).await
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

/// What is told of each change.
fn shape(entries: &[Entry]) -> Vec<(String, String, String, i64, ChangeKind)> {
    let changes = entries.iter().flat_map(|entry| {
        let change = |change: &Change| {
            let (cursor, actor) = (entry.cursor.clone(), entry.actor.clone());
            (cursor, actor, change.resource.clone(), change.version, change.kind())
        };
        entry.changes.iter().map(change)
    });
    changes.collect()
}

async fn nothing_is_left_of_a_purged_organization(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    world.feed.create_organization(world.acme, CAFE);
    let (ann, as_ann) = world.user(&["member"]).await;
    world.create_team("sales", &[&ann]).await;
    world.offer_canned(true).await;
    let mut set = update(tabs(&["shop", "docs"]));
    set.request_id = Uuid::new_v4().to_string();
    world.update(set.clone()).await.unwrap();
    let text = "Text of the bakery";
    for (caller, response) in [
        (&world.admin, canned("hours")),
        (&world.admin, of_team("hours", "sales")),
        (&as_ann, personal("hours")),
    ] {
        world.write(caller, response, text).await;
    }
    let mut elsewhere = update(tabs(&["cafe-tab"]));
    elsewhere.settings.as_mut().unwrap().name = format!("{CAFE}/settings");
    world.update(elsewhere).await.unwrap();
    let of_cafe =
        json!({ "parent": CAFE, "cannedResponse": with(canned("hours"), json!({ "text": "Text of the cafe" })) });
    world
        .canned(&world.admin, "CreateCannedResponse", of_cafe)
        .await
        .unwrap();
    world.do_jobs().await;
    assert!(
        is_kept(&session, text).await && is_kept(&session, "docs").await,
        "it is not purged yet"
    );
    let before = world.entries(crate::ACME).await;

    world.purge_bakery();
    world.hear().await;
    world.do_jobs().await;
    for table in ["settings_organizations", "settings_tabs", "settings_canned_responses"] {
        assert_eq!(count_of(&session, table).await, 1, "{table} has what the cafe has");
    }
    for gone in [text, "docs", "shop"] {
        assert!(!is_kept(&session, gone).await, "{gone}");
    }
    assert!(is_kept(&session, "Text of the cafe").await && is_kept(&session, "cafe-tab").await);
    let entries = world.entries(crate::ACME).await;
    let (purged, told) = entries.split_at(entries.len() - before.len());
    assert_eq!(shape(told), shape(&before), "who did what stays");
    let [entry] = purged else {
        panic!("{purged:?}");
    };
    assert_eq!(
        (
            entry.actor.as_str(),
            entry.method.as_str(),
            entry.organization_uid.as_str()
        ),
        (
            "system/leftovers",
            "/clientele.org.v1.OrganizationService/PurgeOrganization",
            world.bakery.uid.as_str()
        )
    );
    let mut gone: Vec<_> = entry
        .changes
        .iter()
        .map(|change| (change.version, change.kind(), change.after.is_some()))
        .collect();
    gone.sort_unstable();
    let purged = |version| (version, ChangeKind::Purged, false);
    assert_eq!(gone, [purged(2), purged(2), purged(2), purged(3)]);
    let settings = entry.changes.iter().find(|change| change.uid == world.bakery.uid);
    let settings = settings.unwrap();
    assert_eq!(settings.resource, format!("{BAKERY}/settings"));
    let remains: api::Settings = settings.before.as_ref().unwrap().to_msg().unwrap();
    assert_eq!((remains.overrides, remains.version), (None, 2));

    // Once more: there is nothing to do. The name has a new owner, who begins with nothing, and is left alone.
    let second = world.feed.create_organization(world.acme, BAKERY);
    world.hear().await;
    assert_eq!(world.get().await.unwrap().version, 0);
    assert_eq!(world.entries(BAKERY).await, []);
    assert_eq!(world.listed(&world.admin, "").await, [""; 0]);
    let status = world.update(set).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    world.set(tabs(&["shop"])).await.unwrap();
    world
        .write(&world.admin, canned("hours"), "Text of another bakery")
        .await;
    let before = world.entries(crate::ACME).await;
    world.do_jobs().await;
    assert_eq!(world.entries(crate::ACME).await, before);
    assert_eq!(world.get().await.unwrap().uid, second.uid);
    assert_eq!(world.listed(&world.admin, "").await, ["hours"]);
    assert!(is_kept(&session, "Text of another bakery").await);
}

#[tokio::test]
async fn nothing_is_left_of_a_purged_organization_on_sqlite() {
    nothing_is_left_of_a_purged_organization(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_purged_organization_on_postgres() {
    nothing_is_left_of_a_purged_organization(Engine::Postgres).await;
}

/// What makes many rows of one.
fn numbers(many: usize) -> String {
    format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {many})")
}

/// As many more of a canned response, and of the row of the journal that remembers it.
async fn multiply(session: &DatabaseConnection, responses: usize, entries: usize) {
    let uuid = match session.get_database_backend() {
        DbBackend::Postgres => "gen_random_uuid()",
        _ => "randomblob(16)",
    };
    let more = [
        format!(
            "{} INSERT INTO settings_canned_responses (uid, workspace_uid, workspace_id, organization_uid, organization_id, version,
                create_time, update_time, scope, holder_uid, team_key, owner_uid, short_code, code_folded, title, text, language, tags,
                code_searched, searched)
            SELECT {uuid}, workspace_uid, workspace_id, organization_uid, organization_id, 1, create_time, update_time, scope, holder_uid,
                team_key, owner_uid, short_code, code_folded || n, title, text, language, tags, code_searched, searched
            FROM settings_canned_responses, numbers",
            numbers(responses)
        ),
        format!(
            "{} INSERT INTO journal (epoch, mutation_id, workspace_uid, workspace_id, organization_uid, organization_id, actor, acting_for,
                method, request_id, request_hash, answer, time, changes)
            SELECT epoch, mutation_id, workspace_uid, workspace_id, organization_uid, organization_id, actor, acting_for, method, {uuid},
                request_hash, answer, time, changes
            FROM journal, numbers WHERE answer IS NOT NULL",
            numbers(entries)
        ),
    ];
    for sql in more {
        session.execute_unprepared(&sql).await.unwrap();
    }
}

/// More than one unit may touch, with as many rows of the journal.
async fn an_organization_of_any_size_is_left_behind(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    let (_, as_ann) = world.user(&["member"]).await;
    world.offer_canned(true).await;
    world.set(tabs(&["shop"])).await.unwrap();
    world.write(&as_ann, personal("hours"), "Text of the bakery").await;
    multiply(&session, 249, 100).await;
    let tabs = format!(
        "{} INSERT INTO settings_tabs (owner_uid, tab_id, workspace_uid)
        SELECT owner_uid, 'tab-' || n, workspace_uid FROM settings_tabs, numbers",
        numbers(1_100)
    );
    session.execute_unprepared(&tabs).await.unwrap();
    let told = world.entries(crate::ACME).await.len();
    world.purge_bakery();
    world.hear().await;
    world.do_jobs().await;
    for table in [
        "settings_organizations",
        "settings_tabs",
        "settings_canned_responses",
        "follow_erasures",
    ] {
        assert_eq!(count_of(&session, table).await, 0, "{table}");
    }
    assert!(!is_kept(&session, "Text of the bakery").await);
    assert_eq!(count(&session, UNFINISHED).await, 0);
    let entries = world.entries(crate::ACME).await;
    let purged = &entries[..entries.len() - told];
    assert!(purged.iter().all(|entry| entry.changes.len() <= 100));
    assert_eq!(purged.iter().map(|entry| entry.changes.len()).sum::<usize>(), 251);
}

#[tokio::test]
async fn an_organization_of_any_size_is_left_behind_on_sqlite() {
    an_organization_of_any_size_is_left_behind(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_organization_of_any_size_is_left_behind_on_postgres() {
    an_organization_of_any_size_is_left_behind(Engine::Postgres).await;
}

/// The same person in another organization.
fn joins(world: &World, person: &ClientUser, organization: &str) -> ClientUser {
    let organization = world.feed.create_organization(world.acme, organization);
    let uid = &person.user.uid;
    let mut there = person.clone();
    there.member = Member {
        name: format!("{}/members/{uid}", organization.name),
        uid: Uid::new().to_string(),
        ..person.member.clone()
    };
    there.organization = organization;
    there.tell(vec![Change::created(&there.member)]);
    there
}

async fn nothing_is_left_of_what_an_erased_user_kept_for_itself(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    world.offer_canned(true).await;
    let (ann, as_ann) = world.user(&["org-admin"]).await;
    let (_, as_bob) = world.user(&["member"]).await;
    let ann_there = joins(&world, &ann, CAFE);
    world.hear().await;
    let mut offer = update(api::SettingsValues {
        canned_responses_enabled: Some(true),
        ..Default::default()
    });
    offer.settings.as_mut().unwrap().name = format!("{CAFE}/settings");
    world.update(offer).await.unwrap();

    let text = "Text of ann";
    let (_, present) = world.write(&as_ann, personal("hours"), text).await;
    let (again, _) = world.write(&as_ann, personal("gone"), text).await;
    let delete = async |code: &str| {
        let page = json!({ "parent": BAKERY, "query": code });
        let found = world.canned(&as_ann, "SearchCannedResponses", page).await.unwrap();
        let name = json!({ "name": found["cannedResponses"][0]["name"], "requestId": Uuid::new_v4() });
        world.canned(&as_ann, "DeleteCannedResponse", name).await.unwrap();
    };
    delete("gone").await;
    // What changes nothing is remembered too, and so is what was done for her by somebody else.
    for title in ["Another title of ann", "Another title of ann"] {
        let request = json!({
            "cannedResponse": { "name": present["name"], "title": title }, "requestId": Uuid::new_v4(),
        });
        world.canned(&as_ann, "UpdateCannedResponse", request).await.unwrap();
    }
    world.write(&as_ann, personal("staff"), text).await;
    let for_her =
        "UPDATE journal SET acting_for = actor, actor = 'staff/bert' WHERE seq = (SELECT max(seq) FROM journal)";
    session.execute_unprepared(for_her).await.unwrap();
    let there = json!({
        "parent": CAFE, "cannedResponse": with(personal("cafe"), json!({ "text": text })), "requestId": Uuid::new_v4(),
    });
    let caller = ann_there.caller(&world.tokens);
    world.canned(&caller, "CreateCannedResponse", there).await.unwrap();
    // What is not hers alone stays, and what others keep.
    let (_, shared) = world.write(&as_ann, canned("shared"), "Text of all").await;
    let (of_bob, answer) = world.write(&as_bob, personal("hours"), "Text of bob").await;
    world.do_jobs().await;
    assert_eq!(count_of(&session, "settings_canned_responses").await, 5);
    assert!(
        is_kept(&session, text).await && is_kept(&session, "Another title of ann").await,
        "nobody is erased yet"
    );
    let before = world.entries(crate::ACME).await;

    ann.purge_user();
    world.hear().await;
    world.do_jobs().await;
    assert_eq!(count_of(&session, "settings_canned_responses").await, 2);
    assert_eq!(count_of(&session, "follow_erasures").await, 0);
    assert!(!is_kept(&session, text).await && !is_kept(&session, "Another title of ann").await);
    assert!(is_kept(&session, "Text of all").await);
    assert_eq!(world.listed(&as_bob, "").await, ["shared", "hours"]);
    let repeated = world.canned(&as_bob, "CreateCannedResponse", of_bob).await.unwrap();
    assert_eq!(repeated, answer, "others are answered as before");
    let got = json!({ "name": shared["name"] });
    assert_eq!(
        world.canned(&world.admin, "GetCannedResponse", got).await.unwrap(),
        shared
    );
    let status = world.canned(&as_ann, "CreateCannedResponse", again).await.unwrap_err();
    assert_eq!(reason(&status), "ACCESS_DENIED");
    let entries = world.entries(crate::ACME).await;
    let (purged, told) = entries.split_at(entries.len() - before.len());
    assert_eq!(told, before, "who did what stays");
    let mut organizations: Vec<_> = purged.iter().map(|entry| entry.organization.as_str()).collect();
    organizations.sort_unstable();
    assert_eq!(organizations, [BAKERY, CAFE]);
    for entry in purged {
        let who = (entry.actor.as_str(), entry.method.as_str());
        assert_eq!(who, ("system/leftovers", "/clientele.org.v1.UserService/DeleteUser"));
        let purged = |change: &Change| change.kind() == ChangeKind::Purged && change.after.is_none();
        assert!(entry.changes.iter().all(purged), "{entry:?}");
    }
    assert_eq!(purged.iter().map(|entry| entry.changes.len()).sum::<usize>(), 3);
    // Once more: there is nothing to do.
    world.do_jobs().await;
    assert_eq!(world.entries(crate::ACME).await, entries);
}

#[tokio::test]
async fn nothing_is_left_of_what_an_erased_user_kept_for_itself_on_sqlite() {
    nothing_is_left_of_what_an_erased_user_kept_for_itself(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_left_of_what_an_erased_user_kept_for_itself_on_postgres() {
    nothing_is_left_of_what_an_erased_user_kept_for_itself(Engine::Postgres).await;
}

/// More than one unit may touch: hers first, and then many of others between which one of hers stands.
async fn whatever_was_done_since_a_user_is_forgotten(engine: Engine) {
    let world = World::start(engine).await;
    let session = world.session().await;
    world.offer_canned(true).await;
    let (ann, as_ann) = world.user(&["member"]).await;
    world.write(&as_ann, personal("hours"), "Text of ann").await;
    multiply(&session, 249, 50).await;
    let others = format!(
        "{} INSERT INTO journal (epoch, mutation_id, workspace_uid, workspace_id, organization_uid, organization_id, actor, method, time,
            changes)
        SELECT epoch, mutation_id, workspace_uid, workspace_id, organization_uid, organization_id, 'staff/bert', method, time, changes
        FROM journal, numbers WHERE seq = 1",
        numbers(2_500)
    );
    session.execute_unprepared(&others).await.unwrap();
    world.write(&as_ann, personal("late"), "Text of ann").await;
    ann.purge_user();
    world.hear().await;
    world.do_jobs().await;
    for table in ["settings_canned_responses", "follow_erasures"] {
        assert_eq!(count_of(&session, table).await, 0, "{table}");
    }
    assert!(!is_kept(&session, "Text of ann").await);
    assert_eq!(count(&session, UNFINISHED).await, 0);
    let left = "SELECT count(*) AS answer FROM journal WHERE request_hash IS NOT NULL AND answer IS NOT NULL";
    assert_eq!(count(&session, left).await, 0);
}

#[tokio::test]
async fn whatever_was_done_since_a_user_is_forgotten_on_sqlite() {
    whatever_was_done_since_a_user_is_forgotten(Engine::Sqlite).await;
}

#[tokio::test]
async fn whatever_was_done_since_a_user_is_forgotten_on_postgres() {
    whatever_was_done_since_a_user_is_forgotten(Engine::Postgres).await;
}

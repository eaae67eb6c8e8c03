//! Taking away for good: organizations, by call and when their time has come, and persons.

use crate::jobs::make_older;
use crate::{Person, World};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Change, ChangeKind, Entry, InitialState, ListEntriesRequest, WatchRequest};
use clientele_api::org::{Member, Organization, Session, Team, User};
use clientele_testkit::{Caller, Calls, Engine, Running, on_both_engines, reason, until};
use futures::future::join_all;
use prost::{Message as _, Name as _};
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::{Code, Status};
use uuid::Uuid;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";
const PURGE: &str = "OrganizationService/PurgeOrganization";
const DELETE_USER: &str = "UserService/DeleteUser";
/// In everything that must not be known any more afterwards.
const SECRET: &str = "Zebra";
/// Where that is kept.
const KEPT_IN: [&str; 6] = ["organizations", "users", "roles", "teams", "invitations", "journal"];

fn named(name: impl Into<Value>) -> Value {
    json!({ "name": name.into() })
}

fn forced(name: &str) -> Value {
    json!({ "name": name, "force": true })
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    async fn sql_rows(&self, sql: &str) -> Vec<String> {
        let database = self.database().await;
        let statement = Statement::from_string(database.get_database_backend(), sql);
        let rows = database.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    /// All rows of a table, each as a text: bytes in hexadecimal.
    async fn rows_of(&self, engine: Engine, table: &str) -> Vec<String> {
        let row = match engine {
            Engine::Postgres => "row_to_json(t)::text".to_owned(),
            Engine::Sqlite => {
                let columns = format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')");
                self.sql_rows(&columns).await.join(" || ")
            }
        };
        self.sql_rows(&format!("SELECT {row} FROM {table} t")).await
    }

    /// The tables that hold the text, whatever its case, also within bytes.
    async fn tables_with(&self, engine: Engine, text: &str) -> BTreeSet<String> {
        let tables = match engine {
            Engine::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
            Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        };
        let lower = text.to_lowercase();
        let shapes = [lower.clone(), hex(&lower), hex(text)];
        let mut found = BTreeSet::new();
        for table in self.sql_rows(tables).await {
            let rows = self.rows_of(engine, &table).await;
            let holds = |row: &String| shapes.iter().any(|shape| row.to_lowercase().contains(shape));
            if rows.iter().any(holds) {
                found.insert(table);
            }
        }
        found
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let database = self.database().await;
        let statement = Statement::from_string(database.get_database_backend(), sql);
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    }

    /// Calls as the owner of `acme`, which must be answered.
    async fn own(&self, method: &str, request: Value) -> Value {
        let answered = self.call(&self.owner, method, request).await;
        answered.unwrap_or_else(|status| panic!("{method}: {status:?}"))
    }

    async fn delete(&self, name: &str) {
        self.own("OrganizationService/DeleteOrganization", named(name)).await;
    }

    async fn entries_in(&self, parent: &str) -> Vec<Entry> {
        let request = ListEntriesRequest {
            parent: parent.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        let listed = self.journal().list_entries(self.member.request(request)).await;
        listed.unwrap().into_inner().entries
    }

    /// What a feed tells from there on, up to the present end, and the cursor of that.
    async fn told(&self, start: Start) -> (Vec<Entry>, String) {
        let request = WatchRequest {
            start: Some(start),
            ..Default::default()
        };
        let caller = &self.operator;
        let mut feed = self
            .journal()
            .watch(caller.request(request))
            .await
            .unwrap()
            .into_inner();
        let mut entries = Vec::new();
        loop {
            match feed.message().await.unwrap().unwrap().item.unwrap() {
                Item::Entry(entry) => entries.push(entry),
                Item::Checkpoint(checkpoint) => return (entries, checkpoint.cursor),
            }
        }
    }

    /// A bakery that has something of everything, all of it a secret, and a butcher who shares some people with it: Ben is a member of
    /// both, Carl was one of the butcher.
    async fn with_a_secret_bakery(engine: Engine) -> (Self, [Person; 3]) {
        let world = Self::start(engine).await;
        let id = || Uuid::new_v4().to_string();
        let bakery = json!({
            "parent": "workspaces/acme", "organizationId": "bakery", "requestId": id(),
            "organization": {
                "displayName": "Zebra Bakery", "externalId": "zebra-7", "contactEmail": "zebra@bakery.example",
                "annotations": { "note": "Zebra" },
            },
        });
        world.done("OrganizationService/CreateOrganization", bakery).await;
        world.create_organization("butcher").await;
        let role = json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "Zebra", "permissions": ["home.view"] }, "requestId": id() });
        world.done("RoleService/CreateRole", role).await;
        let new = |name: &str| {
            json!({
                "parent": BAKERY, "requestId": id(), "member": { "roles": ["sales", "org-admin"] },
                "newUser": { "email": format!("{name}@example.com"), "displayName": name, "photoUri": format!("https://x.de/{name}") },
            })
        };
        let mut people = Vec::new();
        for name in ["AnnZebra", "Ben", "CarlZebra"] {
            let member = world.done("MemberService/CreateMember", new(name)).await;
            people.push(world.person(member).await);
        }
        let [ann, ben, carl] = <[Person; 3]>::try_from(people).ok().unwrap();
        for person in [&ben, &carl] {
            let user = format!("workspaces/acme/users/{}", person.user);
            world
                .done("MemberService/CreateMember", json!({ "parent": BUTCHER, "user": user }))
                .await;
        }
        world
            .done(
                "MemberService/RemoveMember",
                named(format!("{BUTCHER}/members/{}", carl.user)),
            )
            .await;
        let team = json!({
            "parent": BAKERY, "teamId": "shop", "requestId": id(),
            "team": { "label": "Zebra", "description": "Zebras", "members": [ann.user, ben.user] },
        });
        world.done("TeamService/CreateTeam", team).await;
        let renamed = json!({ "team": { "name": format!("{BAKERY}/teams/shop"), "key": "sales" }, "requestId": id() });
        world.done("TeamService/UpdateTeam", renamed).await;
        world.invite_to(BAKERY, "dora.zebra@example.com").await;
        // What changes nothing is remembered with all that it answers.
        let present = json!({ "name": ann.member, "presence": "PRESENCE_ONLINE", "requestId": id() });
        world
            .call(&ann.caller, "MemberService/SetPresence", present)
            .await
            .unwrap();
        let same = json!({ "member": { "name": ann.member, "roles": ["sales", "org-admin"] }, "requestId": id() });
        world.done("MemberService/UpdateMember", same).await;
        let same = json!({ "user": { "name": format!("workspaces/acme/users/{}", ann.user), "displayName": "AnnZebra" }, "requestId": id() });
        world.done("UserService/UpdateUser", same).await;
        let suspend = json!({ "name": BAKERY, "reason": "Zebra", "requestId": id() });
        world.done("OrganizationService/SuspendOrganization", suspend).await;
        (world, [ann, ben, carl])
    }

    /// Waits until so many wait for a lock of this database.
    pub(crate) async fn until_waiting(&self, count: i64) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until(Duration::from_secs(20), "they wait", async || {
            self.count(waiting).await == count
        })
        .await;
    }

    /// From here on nothing can be deleted from the table.
    async fn keep_all_of(&self, engine: Engine, table: &str) {
        let keep = match engine {
            Engine::Postgres => format!(
                "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$kept$$; END'; \
                CREATE TRIGGER kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION kept()"
            ),
            Engine::Sqlite => {
                format!("CREATE TRIGGER kept BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'kept'); END")
            }
        };
        self.database().await.execute_unprepared(&keep).await.unwrap();
    }

    /// Now it can.
    async fn keep_nothing(&self, engine: Engine, table: &str) {
        let let_go = match engine {
            Engine::Postgres => format!("DROP TRIGGER kept ON {table}"),
            Engine::Sqlite => "DROP TRIGGER kept".to_owned(),
        };
        self.database().await.execute_unprepared(&let_go).await.unwrap();
    }

    /// The ids of what a search of organizations finds, deleted ones too.
    async fn found_by(&self, typed: &str) -> Vec<Value> {
        let search = json!({ "parent": "workspaces/acme", "query": typed, "showDeleted": true });
        let found = self.done("OrganizationService/SearchOrganizations", search).await;
        let found = found["organizations"].as_array().unwrap();
        found.iter().map(|one| one["name"].clone()).collect()
    }

    async fn nothing_is_left_unfinished(&self) {
        for none in [
            "SELECT count(*) FROM erasures",
            "SELECT count(*) FROM erased_users",
            "SELECT count(*) FROM users WHERE email = ''",
            "SELECT count(*) FROM organizations WHERE id LIKE '~%'",
        ] {
            assert_eq!(self.count(none).await, 0, "{none}");
        }
    }
}

async fn nothing_is_left_of_a_purged_organization(engine: Engine) {
    let (world, [ann, ben, carl]) = World::with_a_secret_bakery(engine).await;
    let uid = world.done("OrganizationService/GetOrganization", named(BAKERY)).await["uid"].clone();
    let known = world.tables_with(engine, SECRET).await;
    assert_eq!(known, KEPT_IN.map(str::to_owned).into());

    // It must be deleted, and the owner must want it.
    let not_deleted = (Code::FailedPrecondition, "ORGANIZATION_NOT_DELETED");
    for request in [named(BAKERY), forced(BAKERY)] {
        world
            .refused(&world.owner, PURGE, request, not_deleted.0, not_deleted.1)
            .await;
    }
    world.delete(BAKERY).await;
    world
        .refused(
            &world.admin,
            PURGE,
            forced(BAKERY),
            Code::PermissionDenied,
            "CALLER_NOT_ALLOWED",
        )
        .await;
    let stale = json!({ "name": BAKERY, "force": true, "etag": "stale" });
    world
        .refused(&world.owner, PURGE, stale, Code::Aborted, "ETAG_MISMATCH")
        .await;
    let entries = world.entries_in(BAKERY).await.len().to_string();
    let counts = |purged: bool| {
        json!({
            "members": "3", "users": "2", "roles": "1", "teams": "1", "invitations": "1", "journalEntries": entries, "purged": purged,
        })
    };
    assert_eq!(world.own(PURGE, named(BAKERY)).await, counts(false));
    let preview = json!({ "name": BAKERY, "force": true, "validateOnly": true });
    assert_eq!(world.own(PURGE, preview).await, counts(true));
    assert_eq!(world.tables_with(engine, SECRET).await, known);

    let remembered = json!({ "name": BAKERY, "force": true, "requestId": Uuid::new_v4().to_string() });
    assert_eq!(world.own(PURGE, remembered.clone()).await, counts(true));
    world.nothing_is_left_unfinished().await;
    assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
    for gone in [named(BAKERY), forced(BAKERY)] {
        world
            .refused(&world.owner, PURGE, gone, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
    }
    let undelete = "OrganizationService/UndeleteOrganization";
    world
        .refused(
            &world.owner,
            undelete,
            named(BAKERY),
            Code::NotFound,
            "RESOURCE_NOT_FOUND",
        )
        .await;
    assert_eq!(
        world.own(PURGE, remembered.clone()).await,
        counts(true),
        "the repetition"
    );

    // Ann and Carl are gone, also where Carl was; Ben is still there.
    let user = |person: &Person| named(format!("workspaces/acme/users/{}", person.user));
    for gone in [&ann, &carl] {
        world
            .refused(
                &world.admin,
                "UserService/GetUser",
                user(gone),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
    }
    assert_eq!(
        world.done("UserService/GetUser", user(&ben)).await["displayName"],
        "Ben"
    );
    let members = world
        .done(
            "MemberService/ListMembers",
            json!({ "parent": BUTCHER, "showRemoved": true }),
        )
        .await;
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "{members}");
    let told = world.entries_in(BUTCHER).await;
    assert_eq!(
        (told[0].changes[0].kind(), &told[0].changes[0].resource),
        (ChangeKind::Purged, &format!("{BUTCHER}/members/{}", carl.user))
    );
    for denied in [&ann, &ben, &carl] {
        let call = world
            .call(&denied.caller, "OrganizationService/GetOrganization", named(BAKERY))
            .await;
        assert_eq!(call.unwrap_err().code(), Code::NotFound);
    }

    // Emails, the id and the external id are free, and the namesake sees nothing.
    let bakery = json!({
        "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "Bakery", "externalId": "zebra-7" },
    });
    let again = world.done("OrganizationService/CreateOrganization", bakery).await;
    assert_ne!(again["uid"], uid);
    assert_eq!(again["version"], "1");
    world.add("bakery", "annzebra@example.com", &[]).await;
    let alone = world
        .done(
            "MemberService/ListMembers",
            json!({ "parent": BAKERY, "showRemoved": true }),
        )
        .await;
    assert_eq!(alone["members"].as_array().unwrap().len(), 1);
    for key in ["shop", "sales"] {
        let team = named(format!("{BAKERY}/teams/{key}"));
        world
            .refused(
                &world.admin,
                "TeamService/GetTeam",
                team,
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
    }
    let role = named(format!("{BAKERY}/roles/sales"));
    world
        .refused(
            &world.admin,
            "RoleService/GetRole",
            role,
            Code::NotFound,
            "RESOURCE_NOT_FOUND",
        )
        .await;
    let invitations = world
        .done("InvitationService/ListInvitations", json!({ "parent": BAKERY }))
        .await;
    assert_eq!(invitations["invitations"], json!([]));
    let methods: Vec<String> = world
        .entries_in(BAKERY)
        .await
        .into_iter()
        .map(|entry| entry.method)
        .collect();
    assert_eq!(methods.len(), 2, "{methods:?}");
    for former in [&ann, &ben] {
        let call = world
            .call(&former.caller, "OrganizationService/GetOrganization", named(BAKERY))
            .await;
        assert_eq!(call.unwrap_err().code(), Code::NotFound);
    }
    // The former one's purge does not touch it.
    assert_eq!(world.own(PURGE, remembered).await, counts(true), "the repetition");
    assert_eq!(
        world.done("OrganizationService/GetOrganization", named(BAKERY)).await["uid"],
        again["uid"]
    );
}

#[tokio::test]
async fn nothing_is_left_of_a_purged_organization_on_both_engines() {
    on_both_engines(nothing_is_left_of_a_purged_organization).await;
}

#[tokio::test]
async fn the_journal_of_a_purged_organization_tells_who_did_what_and_can_be_watched_from_its_beginning() {
    on_both_engines(async |engine| {
        let beginning = "1.0.0".to_owned();
        let (world, [ann, ..]) = World::with_a_secret_bakery(engine).await;
        let (before, _) = world.told(Start::Cursor(beginning.clone())).await;
        world.delete(BAKERY).await;
        world.own(PURGE, forced(BAKERY)).await;
        let (after, _) = world.told(Start::Cursor(beginning)).await;
        assert!(before.len() > 10 && after.len() > before.len());
        for (before, after) in before.iter().zip(&after) {
            let bare = |entry: &Entry| Entry {
                changes: Vec::new(),
                ..entry.clone()
            };
            assert_eq!(bare(before), bare(after));
            for (was, is) in before.changes.iter().zip(&after.changes) {
                assert_eq!(
                    (&was.resource, &was.uid, was.version, was.kind, &was.changed_fields),
                    (&is.resource, &is.uid, is.version, is.kind, &is.changed_fields)
                );
            }
        }
        for change in after.iter().flat_map(|entry| &entry.changes) {
            for any in change.before.iter().chain(&change.after) {
                let name = match any.type_url.rsplit('.').next().unwrap() {
                    "Organization" => Organization::decode(any.value.as_slice()).unwrap().name,
                    "User" => User::decode(any.value.as_slice()).unwrap().name,
                    "Member" => Member::decode(any.value.as_slice()).unwrap().name,
                    "Team" => Team::decode(any.value.as_slice()).unwrap().name,
                    _ => continue,
                };
                assert!(!name.is_empty());
            }
        }
        let purged = |name: &str| {
            let name = name.to_owned();
            let changes = after.iter().flat_map(|entry| &entry.changes);
            changes
                .filter(|change| change.kind() == ChangeKind::Purged && change.resource == name)
                .count()
        };
        assert_eq!(purged(BAKERY), 1);
        assert_eq!(purged(&format!("workspaces/acme/users/{}", ann.user)), 1);
        // What exists now does not hold it.
        let (exists, _) = world.told(Start::InitialState(InitialState {})).await;
        let names: Vec<&str> = exists.iter().map(|entry| entry.changes[0].resource.as_str()).collect();
        assert!(
            names.contains(&BUTCHER) && !names.iter().any(|name| name.starts_with(BAKERY)),
            "{names:?}"
        );
    })
    .await;
}

/// What is kept by its step is a team first, then a user.
async fn what_is_half_purged_is_not_told(engine: Engine) {
    for kept in ["teams", "users"] {
        let (world, [_, ben, _]) = World::with_a_secret_bakery(engine).await;
        let keys = "SELECT CAST(search_keys AS text) FROM organizations WHERE id";
        let [known] = <[String; 1]>::try_from(world.sql_rows(&format!("{keys} = 'bakery'")).await).unwrap();
        world.keep_all_of(engine, kept).await;
        world.delete(BAKERY).await;
        assert_eq!(world.found_by("zebra").await, [BAKERY]);
        world.own(PURGE, forced(BAKERY)).await;

        let remains = world.sql_rows("SELECT id FROM organizations WHERE id LIKE '~%'").await;
        assert_eq!(remains.len(), 1, "{kept}");
        for table in ["teams", "invitations", "roles", "members"] {
            let left = world.count(&format!("SELECT count(*) FROM {table}")).await;
            assert!(left > 0 || kept == "users", "{table}");
        }
        let (exists, _) = world.told(Start::InitialState(InitialState {})).await;
        let names = exists.iter().map(|entry| entry.changes[0].resource.as_str());
        let organizations = names.clone().filter(|name| name.contains("/organizations/"));
        let foreign: Vec<&str> = organizations.filter(|name| !name.starts_with(BUTCHER)).collect();
        assert_eq!(foreign, [""; 0], "{kept}");
        if kept == "users" {
            let users: Vec<&str> = names.filter(|name| name.contains("/users/")).collect();
            assert_eq!(users, [format!("workspaces/acme/users/{}", ben.user)]);
        }
        for typed in ["zebra", "zebra-7", "bakery", remains[0].trim_start_matches('~')] {
            assert_eq!(world.found_by(typed).await, [""; 0], "{kept}: {typed}");
        }
        assert!(!world.sql_rows(&format!("{keys} LIKE '%'")).await.contains(&known));

        world.keep_nothing(engine, kept).await;
        world.do_jobs().await;
        world.nothing_is_left_unfinished().await;
        assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
        assert_eq!(world.found_by("butcher").await, [BUTCHER]);
        if engine == Engine::Sqlite {
            assert_eq!(world.count("SELECT count(*) FROM organizations_search_ids").await, 1);
        }
    }
}

#[tokio::test]
async fn what_is_half_purged_is_not_told_on_sqlite() {
    what_is_half_purged_is_not_told(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_is_half_purged_is_not_told_on_postgres() {
    what_is_half_purged_is_not_told(Engine::Postgres).await;
}

async fn nothing_is_left_of_an_erased_person(engine: Engine) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher", "cobbler"] {
        world.create_organization(id).await;
    }
    let id = || Uuid::new_v4().to_string();
    let both = json!({
        "parent": BAKERY, "requestId": id(),
        "requests": [
            { "newUser": { "email": "ann.zebra@example.com", "displayName": "Zebra", "photoUri": "https://x.de/zebra" }, "member": { "roles": ["org-admin"] } },
            { "newUser": { "email": "ben@example.com", "displayName": "Ben" } },
        ],
    });
    let created = world.done("MemberService/BatchCreateMembers", both.clone()).await;
    let ann = world.person(created["members"][0].clone()).await;
    let ben = world.person(created["members"][1].clone()).await;
    let user = format!("workspaces/acme/users/{}", ann.user);
    world
        .done(
            "MemberService/CreateMember",
            json!({ "parent": BUTCHER, "user": user, "requestId": id() }),
        )
        .await;
    let team =
        json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "Sales", "members": [ann.user, ben.user] } });
    world.done("TeamService/CreateTeam", team).await;
    let cobbler = "workspaces/acme/organizations/cobbler";
    world.invite_to(cobbler, "Ann.Zebra@example.com").await;
    let (accepted, token) = world
        .invite_to("workspaces/acme/organizations/cobbler", "ben@example.com")
        .await;
    let accepting = json!({ "name": accepted, "token": token });
    world
        .call(&Caller::default(), "InvitationService/AcceptInvitation", accepting)
        .await
        .unwrap();
    let update = json!({ "user": { "name": user, "email": "new.zebra@example.com" }, "requestId": id() });
    world.done("UserService/UpdateUser", update.clone()).await;
    let present = json!({ "name": ann.member, "presence": "PRESENCE_ONLINE", "requestId": id() });
    world
        .call(&ann.caller, "MemberService/SetPresence", present)
        .await
        .unwrap();
    // This invitation is for the address that Ann has had since.
    world.invite_to(cobbler, "new.zebra@example.com").await;
    let known: BTreeSet<String> = ["former_emails", "users", "invitations", "journal"]
        .map(str::to_owned)
        .into();
    assert_eq!(world.tables_with(engine, SECRET).await, known);

    world.give_password(&ann).await;
    world.try_sign_in("new.zebra@example.com", BAKERY).await.unwrap();
    world.reset_token(&ann).await;
    let signed_in = "SELECT count(*) FROM sessions";
    let proven = "SELECT count(*) FROM users WHERE password_hash IS NOT NULL OR reset_hash IS NOT NULL";
    assert_eq!((world.count(signed_in).await, world.count(proven).await), (1, 1));

    let stale = json!({ "name": user, "etag": "stale" });
    world
        .refused(&world.admin, DELETE_USER, stale, Code::Aborted, "ETAG_MISMATCH")
        .await;
    world
        .refused(
            &world.member,
            DELETE_USER,
            named(user.as_str()),
            Code::PermissionDenied,
            "CALLER_NOT_ALLOWED",
        )
        .await;
    world
        .done(DELETE_USER, json!({ "name": user, "validateOnly": true }))
        .await;
    assert_eq!(world.tables_with(engine, SECRET).await, known);
    let remembered = json!({ "name": user, "requestId": id() });
    world.keep_all_of(engine, "users").await;
    world.done(DELETE_USER, remembered.clone()).await;
    // Who can't be taken away yet is nobody all the same.
    assert_eq!(world.count("SELECT count(*) FROM users WHERE email = ''").await, 1);
    assert_eq!(world.count(proven).await, 0);
    world.keep_nothing(engine, "users").await;
    world.do_jobs().await;
    world.nothing_is_left_unfinished().await;
    assert_eq!(world.count(signed_in).await, 0);
    assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
    world.done(DELETE_USER, remembered).await;
    for (method, name) in [
        ("UserService/GetUser", user.clone()),
        ("MemberService/GetMember", ann.member.clone()),
        (DELETE_USER, user.clone()),
    ] {
        world
            .refused(&world.admin, method, named(name), Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
    }
    let denied = world
        .call(&ann.caller, "OrganizationService/GetOrganization", named(BAKERY))
        .await;
    assert_eq!(reason(&denied.unwrap_err()), "ACCESS_DENIED");

    // What others have stays: the row that told of both tells of Ben.
    let team = world
        .done("TeamService/GetTeam", named(format!("{BAKERY}/teams/sales")))
        .await;
    assert_eq!(team["members"], json!([ben.user]));
    let entries = world.entries_in(BAKERY).await;
    let batch = entries
        .iter()
        .find(|entry| entry.method.ends_with("BatchCreateMembers"))
        .unwrap();
    let emails: Vec<String> = batch
        .changes
        .iter()
        .filter_map(|change| {
            let any = change.after.as_ref().filter(|any| any.type_url == User::type_url())?;
            Some(User::decode(any.value.as_slice()).unwrap().email().to_owned())
        })
        .collect();
    assert_eq!(emails, ["", "ben@example.com"]);
    // Each organization was told.
    for parent in [BAKERY, BUTCHER] {
        let told = &world.entries_in(parent).await[0];
        assert!(told.method.ends_with("DeleteUser"), "{told:?}");
        assert_eq!(
            (told.changes[0].kind(), told.organization.as_str()),
            (ChangeKind::Purged, parent)
        );
    }
    // Who repeats what was emptied is not answered.
    world
        .refused(
            &world.admin,
            "MemberService/BatchCreateMembers",
            both,
            Code::InvalidArgument,
            "REQUEST_ID_REUSED",
        )
        .await;
    let again = world.call(&world.admin, "UserService/UpdateUser", update).await;
    assert_eq!(reason(&again.unwrap_err()), "REQUEST_ID_REUSED");

    // The email is free; the next who has it is left alone.
    let next = world.add("bakery", "new.zebra@example.com", &[]).await;
    assert_ne!(next.user, ann.user);
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_person_on_sqlite() {
    nothing_is_left_of_an_erased_person(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_person_on_postgres() {
    nothing_is_left_of_an_erased_person(Engine::Postgres).await;
}

/// Ann is a member of more organizations than are left in one unit, and the journal has more rows than are looked at in one.
#[tokio::test]
async fn a_person_leaves_any_number_of_organizations() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann.zebra@example.com", &[]).await;
        let user = format!("workspaces/acme/users/{}", ann.user);
        for at in 0..43 {
            let id = format!("client-{at}");
            world.create_organization(&id).await;
            let parent = format!("workspaces/acme/organizations/{id}");
            world
                .done("MemberService/CreateMember", json!({ "parent": parent, "user": user }))
                .await;
            let team = json!({ "parent": parent, "teamId": "all", "team": { "label": "All", "members": [ann.user] } });
            world.done("TeamService/CreateTeam", team).await;
        }
        for at in 0..150 {
            let update = json!({ "user": { "name": user, "displayName": format!("Zebra {at}") } });
            world.done("UserService/UpdateUser", update).await;
        }
        world.done(DELETE_USER, named(user)).await;
        world.nothing_is_left_unfinished().await;
        assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
        assert_eq!(world.count("SELECT count(*) FROM members").await, 0);
        assert_eq!(world.count("SELECT count(*) FROM team_members").await, 0);
        let last = &world.entries_in("workspaces/acme/organizations/client-42").await[0];
        assert_eq!(last.changes.len(), 2, "the member and the team");
    })
    .await;
}

/// More of everything than goes in one unit.
#[tokio::test]
async fn an_organization_of_any_size_is_purged() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let mut users = Vec::new();
        for batch in 0..3 {
            let one = |at: usize| json!({ "newUser": { "email": format!("zebra-{batch}-{at}@example.com") } });
            let requests: Vec<Value> = (0..100).map(one).collect();
            let created = world.done("MemberService/BatchCreateMembers", json!({ "parent": BAKERY, "requests": requests })).await;
            let members = created["members"].as_array().unwrap();
            users.extend(members.iter().map(|member| member["user"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()));
            let one = |at: usize| json!({ "invitation": { "email": format!("zebra-guest-{batch}-{at}@example.com") } });
            let requests: Vec<Value> = (0..100).map(one).collect();
            world.done("InvitationService/BatchCreateInvitations", json!({ "parent": BAKERY, "requests": requests })).await;
        }
        for at in 0..130 {
            let members = if at < 6 { users.as_slice() } else { &[] };
            let team = json!({ "parent": BAKERY, "teamId": format!("team_{at}"), "team": { "label": "Zebra", "members": members } });
            world.done("TeamService/CreateTeam", team).await;
        }
        for at in 0..140 {
            let update = json!({ "organization": { "name": BAKERY, "displayName": format!("Zebra {at}") } });
            world.done("OrganizationService/UpdateOrganization", update).await;
        }
        world.delete(BAKERY).await;
        let counts = world.own(PURGE, forced(BAKERY)).await;
        let told = ["members", "users", "teams", "invitations"].map(|key| counts[key].clone());
        assert_eq!(told, ["300", "300", "130", "300"]);
        world.nothing_is_left_unfinished().await;
        assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
        for table in ["users", "members", "teams", "team_keys", "team_members", "invitations", "organizations"] {
            assert_eq!(world.count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
    })
    .await;
}

async fn what_was_deleted_30_days_ago_is_purged(engine: Engine) {
    let (world, _) = World::with_a_secret_bakery(engine).await;
    world.create_organization("cobbler").await;
    world.give_logo("butcher", 1).await;
    for name in [BAKERY, BUTCHER, "workspaces/acme/organizations/cobbler"] {
        world.delete(name).await;
    }
    let month = 30_i64 * 24 * 3600 * 1_000_000;
    let age = format!("UPDATE organizations SET purge_time = purge_time - {month} WHERE id <> 'cobbler'");
    world.database().await.execute_unprepared(&age).await.unwrap();
    for file in world.logo_files() {
        make_older(&world.logos.path().join(file), Duration::from_secs(25 * 3600));
    }
    world.do_jobs().await;
    world.nothing_is_left_unfinished().await;
    assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
    assert_eq!(world.count("SELECT count(*) FROM organizations").await, 1);
    // Ben was a member of both, and of nothing else.
    assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
    let entries = world.entries_in("workspaces/acme").await;
    let purged = |entry: &&Entry| entry.changes.iter().any(|change| change.kind() == ChangeKind::Purged);
    let purged: Vec<&Entry> = entries.iter().filter(purged).collect();
    assert!(purged.len() >= 4, "{purged:?}");
    assert!(purged.iter().all(|entry| entry.actor == "system/purge"), "{purged:?}");
    let list = json!({ "parent": "workspaces/acme", "showDeleted": true });
    let left = world.done("OrganizationService/ListOrganizations", list).await;
    assert_eq!(left["organizations"].as_array().unwrap().len(), 1);
    assert_eq!(left["organizations"][0]["state"], "STATE_DELETED");
    // Once more, for the logos of what is gone by now.
    world.do_jobs().await;
    assert_eq!(world.logo_files(), BTreeSet::new());
}

#[tokio::test]
async fn what_was_deleted_30_days_ago_is_purged_on_sqlite() {
    what_was_deleted_30_days_ago_is_purged(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_was_deleted_30_days_ago_is_purged_on_postgres() {
    what_was_deleted_30_days_ago_is_purged(Engine::Postgres).await;
}

/// Calls on another replica, with what was answered by the first one.
struct Elsewhere {
    calls: Calls,
    _running: Running,
}

impl Elsewhere {
    async fn call(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, Status> {
        let path = format!("/clientele.org.v1.{method}");
        self.calls.call(&path, caller, request).await.map(|(answer, _)| answer)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_sees_the_namesake_at_once() {
    let mut world = World::start(Engine::Postgres).await;
    // Whoever connects from here on finds a pg_notify that does nothing: replicas look every 250 ms, and know nothing before.
    let deaf = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''; \
        DO $$ BEGIN \
            EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); \
        END $$";
    world.database().await.execute_unprepared(deaf).await.unwrap();
    let first = Running::start(&world.service).await;
    world.channel = first.channel().await;
    std::mem::replace(&mut world.running, first).stop().await;
    let running = Running::start(&world.service).await;
    let other = Elsewhere {
        calls: Calls::new(running.channel().await),
        _running: running,
    };
    let bakery =
        json!({ "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "B" } });
    let members = json!({ "parent": BAKERY });
    let sales = named(format!("{BAKERY}/teams/sales"));
    let team = json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "Sales" } });
    // An admin who has seen the answer of this call.
    let having = async |method: &str, request: &Value| {
        let path = format!("/clientele.org.v1.{method}");
        let (_, headers) = world.calls().call(&path, &world.admin, request.clone()).await.unwrap();
        let revision = headers.get("clientele-revision").unwrap();
        Caller {
            min_revision: Some(revision.to_str().unwrap().to_owned()),
            ..world.admin.clone()
        }
    };
    for round in 0..10 {
        having("OrganizationService/CreateOrganization", &bakery).await;
        let ann = world.add("bakery", "ann@example.com", &["org-admin"]).await;
        let admin = having("TeamService/CreateTeam", &team).await;
        // The other replica remembers the name.
        let listed = other
            .call(&admin, "MemberService/ListMembers", members.clone())
            .await
            .unwrap();
        assert_eq!(listed["members"].as_array().unwrap().len(), 1, "{round}");
        other
            .call(&ann.caller, "TeamService/GetTeam", sales.clone())
            .await
            .unwrap();
        world.delete(BAKERY).await;
        world.own(PURGE, forced(BAKERY)).await;
        let admin = having("OrganizationService/CreateOrganization", &bakery).await;
        if round % 2 == 0 {
            let listed = other
                .call(&admin, "MemberService/ListMembers", members.clone())
                .await
                .unwrap();
            assert_eq!(listed["members"], json!([]), "{round}");
        }
        // Nobody tells it of the new one but that the old one has not what is asked for.
        having("TeamService/CreateTeam", &team).await;
        let (invitation, token) = world.invite_to(BAKERY, "ann@example.com").await;
        let accept = json!({ "name": invitation, "token": token });
        other
            .call(&Caller::default(), "InvitationService/AcceptInvitation", accept)
            .await
            .unwrap();
        let found = other
            .call(&world.admin, "TeamService/GetTeam", sales.clone())
            .await
            .unwrap();
        assert_eq!(found["version"], "1");
        let refused = other
            .call(&ann.caller, "TeamService/GetTeam", sales.clone())
            .await
            .unwrap_err();
        assert!(
            [Code::NotFound, Code::PermissionDenied].contains(&refused.code()),
            "{refused:?}"
        );
        let ann = named(
            world
                .done(
                    "UserService/CheckEmail",
                    json!({ "parent": "workspaces/acme", "email": "ann@example.com" }),
                )
                .await["user"]
                .clone(),
        );
        world.done(DELETE_USER, ann).await;
        world.delete(BAKERY).await;
        world.own(PURGE, forced(BAKERY)).await;
    }
}

/// Whoever remembers what a name means forgets it when the name is freed: the replica that frees it at once, another one with what it
/// reads at the end of the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_remembered_means_the_namesake() {
    let world = World::start(Engine::Postgres).await;
    let running = Running::start(&world.service).await;
    let other = Calls::new(running.channel().await);
    let made_in = async |calls: &Calls| {
        let list = "/clientele.journal.v1.JournalService/ListEntries";
        let (listed, _) = calls
            .call(list, &world.member, json!({ "parent": BAKERY }))
            .await
            .unwrap();
        let first = listed["entries"].as_array().unwrap().last();
        first.map(|first| first["changes"][0]["uid"].clone())
    };
    let former = json!(world.create_organization("bakery").await.uid);
    for calls in [&world.calls(), &other] {
        until(Duration::from_secs(20), "the former one is known", async || {
            made_in(calls).await.as_ref() == Some(&former)
        })
        .await;
    }
    // A writer that has not ended: what comes after it has no replica noticed at the end of the journal.
    let session = world.database().await;
    let writer = "SET application_name = 'clientele-org-writer'";
    session.execute_unprepared(writer).await.unwrap();
    let writing = session.begin().await.unwrap();
    writing.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    world.delete(BAKERY).await;
    world.own(PURGE, forced(BAKERY)).await;
    let namesake = json!(world.create_organization("bakery").await.uid);
    assert_ne!(made_in(&world.calls()).await, Some(former));
    writing.commit().await.unwrap();
    until(Duration::from_secs(20), "the namesake is known", async || {
        made_in(&other).await.as_ref() == Some(&namesake)
    })
    .await;
}

/// Two calls and the job purge the same organizations, which have their people in common, at the same moment.
async fn many_purge_at_once(engine: Engine) {
    let world = World::start(engine).await;
    let ids: Vec<String> = (0..4).map(|at| format!("client-{at}")).collect();
    let mut users = Vec::<String>::new();
    for id in &ids {
        world.create_organization(id).await;
        let parent = format!("workspaces/acme/organizations/{id}");
        let new = |at: usize| json!({ "newUser": { "email": format!("zebra-{id}-{at}@example.com") } });
        let known = users.iter().map(|user| json!({ "user": user }));
        let requests: Vec<Value> = (0..15).map(new).chain(known).collect();
        let created = world
            .done(
                "MemberService/BatchCreateMembers",
                json!({ "parent": parent, "requests": requests }),
            )
            .await;
        let members = created["members"].as_array().unwrap();
        users = members
            .iter()
            .map(|member| member["user"].as_str().unwrap().to_owned())
            .collect();
        world.delete(&parent).await;
    }
    let age = "UPDATE organizations SET purge_time = 1";
    world.database().await.execute_unprepared(age).await.unwrap();
    let purges = ids.iter().chain(&ids).map(|id| {
        let request = forced(&format!("workspaces/acme/organizations/{id}"));
        world.call_patiently(&world.owner, PURGE, request)
    });
    let (answers, ()) = tokio::join!(join_all(purges), world.do_jobs());
    for answer in answers {
        if let Err(status) = answer {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::NotFound, "RESOURCE_NOT_FOUND")
            );
        }
    }
    world.do_jobs().await;
    world.nothing_is_left_unfinished().await;
    for table in ["users", "members", "organizations"] {
        assert_eq!(
            world.count(&format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_purge_at_once_on_sqlite() {
    many_purge_at_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_purge_at_once_on_postgres() {
    many_purge_at_once(Engine::Postgres).await;
}

/// Ann comes online when she has been erased already: the call was admitted before, and has read who she was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_online_too_late_leaves_nothing() {
    let world = World::start(Engine::Postgres).await;
    world.create_organization("bakery").await;
    let ann = world.add("bakery", "ann.zebra@example.com", &[]).await;
    let session = world.database().await;
    let blocking = session.begin().await.unwrap();
    blocking
        .execute_unprepared("SELECT 1 FROM members FOR UPDATE")
        .await
        .unwrap();
    let user = named(format!("workspaces/acme/users/{}", ann.user));
    let erase = world.call(&world.admin, DELETE_USER, user);
    let online = async {
        world.until_waiting(1).await;
        let present =
            json!({ "name": ann.member, "presence": "PRESENCE_ONLINE", "requestId": Uuid::new_v4().to_string() });
        world.call(&ann.caller, "MemberService/SetPresence", present).await
    };
    let unblock = async {
        world.until_waiting(2).await;
        blocking.commit().await.unwrap();
    };
    let (erased, online, ()) = tokio::join!(erase, online, unblock);
    erased.unwrap();
    assert!([Code::NotFound, Code::PermissionDenied].contains(&online.unwrap_err().code()));
    world.nothing_is_left_unfinished().await;
    assert_eq!(world.tables_with(Engine::Postgres, SECRET).await, BTreeSet::new());
}

/// Ann is erased while she becomes a member of one organization, accepts an invitation to another, and is changed.
async fn a_person_is_erased_who_is_given_something(engine: Engine) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher", "cobbler"] {
        world.create_organization(id).await;
    }
    for round in 0..12 {
        let email = format!("zebra-{round}@example.com");
        let ann = world.add("bakery", &email, &["org-admin"]).await;
        let user = format!("workspaces/acme/users/{}", ann.user);
        let (invitation, token) = world.invite_to(BUTCHER, &email).await;
        let add = json!({ "parent": "workspaces/acme/organizations/cobbler", "user": user });
        let accept = json!({ "name": invitation, "token": token });
        let present = json!({ "name": ann.member, "presence": "PRESENCE_ONLINE" });
        let update = json!({ "member": { "name": ann.member, "roles": ["viewer"] }, "force": true });
        let rename = json!({ "user": { "name": user, "displayName": "Zebra" } });
        let nobody = Caller::default();
        let (added, accepted, online, updated, renamed, erased) = tokio::join!(
            world.call_patiently(&world.admin, "MemberService/CreateMember", add),
            world.call_patiently(&nobody, "InvitationService/AcceptInvitation", accept),
            world.call_patiently(&ann.caller, "MemberService/SetPresence", present),
            world.call_patiently(&world.admin, "MemberService/UpdateMember", update),
            world.call_patiently(&world.admin, "UserService/UpdateUser", rename),
            world.call_patiently(&world.admin, DELETE_USER, named(user.as_str())),
        );
        erased.unwrap();
        for answer in [added, accepted, online, updated, renamed] {
            if let Err(status) = answer {
                assert!(
                    [Code::NotFound, Code::PermissionDenied].contains(&status.code()),
                    "{status:?}"
                );
            }
        }
        let erased = world.call(&world.admin, "UserService/GetUser", named(user)).await;
        assert_eq!(erased.unwrap_err().code(), Code::NotFound);
        // Whoever accepted after that is somebody else, who has the email now.
        let check = json!({ "parent": "workspaces/acme", "email": email });
        let found = world.done("UserService/CheckEmail", check).await;
        if found["available"] == false {
            world.done(DELETE_USER, named(found["user"].clone())).await;
        }
    }
    world.do_jobs().await;
    world.nothing_is_left_unfinished().await;
    for table in ["users", "members", "invitations"] {
        assert_eq!(
            world.count(&format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_who_is_given_something_on_sqlite() {
    a_person_is_erased_who_is_given_something(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_who_is_given_something_on_postgres() {
    a_person_is_erased_who_is_given_something(Engine::Postgres).await;
}

/// Somebody makes Ann a member of the butcher's, while the bakery is purged, of which alone she was one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_becomes_a_member_elsewhere_meanwhile_stays() {
    let world = World::start(Engine::Postgres).await;
    for id in ["bakery", "butcher"] {
        world.create_organization(id).await;
    }
    let ann = world.add("bakery", "ann@example.com", &[]).await;
    world.delete(BAKERY).await;
    let session = world.database().await;
    let adding = session.begin().await.unwrap();
    let add = "CREATE TEMP TABLE new ON COMMIT DROP AS SELECT * FROM members; \
        UPDATE new SET uid = gen_random_uuid(), organization_id = 'butcher', \
            organization_uid = (SELECT uid FROM organizations WHERE id = 'butcher'); \
        INSERT INTO members SELECT * FROM new";
    adding.execute_unprepared(add).await.unwrap();
    let add = async {
        world.until_waiting(1).await;
        adding.commit().await.unwrap();
    };
    let (_, ()) = tokio::join!(world.own(PURGE, forced(BAKERY)), add);
    let user = named(format!("workspaces/acme/users/{}", ann.user));
    assert_eq!(
        world.done("UserService/GetUser", user).await["email"],
        "ann@example.com"
    );
    world
        .done(
            "MemberService/GetMember",
            named(format!("{BUTCHER}/members/{}", ann.user)),
        )
        .await;
}

/// Calls that have to do with Ann, while another one is erasing her: they find nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_erased_meanwhile_is_given_nothing() {
    let world = World::start(Engine::Postgres).await;
    for id in ["bakery", "butcher"] {
        world.create_organization(id).await;
    }
    let session = world.database().await;
    for (at, method) in [
        "MemberService/CreateMember",
        "InvitationService/AcceptInvitation",
        DELETE_USER,
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("ann-{at}@example.com");
        let ann = world.add("bakery", &email, &[]).await;
        let user = format!("workspaces/acme/users/{}", ann.user);
        let (invitation, token) = world.invite_to(BUTCHER, &email).await;
        let request = match method {
            DELETE_USER => named(user.as_str()),
            "MemberService/CreateMember" => json!({ "parent": BUTCHER, "user": user }),
            _ => json!({ "name": invitation, "token": token }),
        };
        let erasing = session.begin().await.unwrap();
        let lock = format!("SELECT 1 FROM users WHERE uid = '{}' FOR UPDATE", ann.user);
        erasing.execute_unprepared(&lock).await.unwrap();
        let erase = async {
            world.until_waiting(1).await;
            let withdraw = format!(
                "UPDATE users SET email = '', email_key = '~' || uid::text WHERE uid = '{}'",
                ann.user
            );
            erasing.execute_unprepared(&withdraw).await.unwrap();
            erasing.commit().await.unwrap();
        };
        let caller = match method {
            "InvitationService/AcceptInvitation" => &Caller::default(),
            _ => &world.admin,
        };
        let (answered, ()) = tokio::join!(world.call(caller, method, request), erase);
        match method {
            // Somebody new has the email then.
            "InvitationService/AcceptInvitation" => drop(answered.unwrap()),
            _ => assert_eq!(answered.unwrap_err().code(), Code::NotFound, "{method}"),
        }
        let member = format!("SELECT count(*) FROM members WHERE user_uid = '{}'", ann.user);
        assert_eq!(world.count(&member).await, 1, "{method}: the bakery's, as before");
    }
}

/// The organization comes back while the call that purges it has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_undeleted_meanwhile_is_not_purged() {
    let world = World::start(Engine::Postgres).await;
    world.create_organization("bakery").await;
    world.delete(BAKERY).await;
    let session = world.database().await;
    let undeleting = session.begin().await.unwrap();
    let undelete = "UPDATE organizations SET delete_time = NULL, purge_time = NULL, version = version + 1";
    undeleting.execute_unprepared(undelete).await.unwrap();
    let undelete = async {
        world.until_waiting(1).await;
        undeleting.commit().await.unwrap();
    };
    let (purged, ()) = tokio::join!(world.call(&world.owner, PURGE, forced(BAKERY)), undelete);
    assert_eq!(reason(&purged.unwrap_err()), "ORGANIZATION_NOT_DELETED");
    world.done("OrganizationService/GetOrganization", named(BAKERY)).await;
}

/// Two work on one erasure: who has waited for the other finds it ended, and takes nothing away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_erasure_goes_on_where_it_stands_then() {
    let world = World::start(Engine::Postgres).await;
    world.create_organization("bakery").await;
    let team = json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "Sales" } });
    world.done("TeamService/CreateTeam", team).await;
    world.keep_all_of(Engine::Postgres, "teams").await;
    world.delete(BAKERY).await;
    world.own(PURGE, forced(BAKERY)).await;
    world.keep_nothing(Engine::Postgres, "teams").await;
    let session = world.database().await;
    let ending = session.begin().await.unwrap();
    assert_eq!(
        ending
            .execute_unprepared("DELETE FROM erasures")
            .await
            .unwrap()
            .rows_affected(),
        1
    );
    let end = async {
        world.until_waiting(1).await;
        ending.commit().await.unwrap();
    };
    tokio::join!(world.do_jobs(), end);
    assert_eq!(world.count("SELECT count(*) FROM teams").await, 1);
}

/// Ben came to be in an organization that is purged, and signed in to it; he stays, in another one.
#[tokio::test]
async fn the_journal_of_a_purged_organization_still_tells_of_who_stays() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("butcher").await;
        let both = json!({
            "parent": BAKERY,
            "requests": [
                { "newUser": { "email": "ben@example.com", "displayName": "Ben" } },
                { "newUser": { "email": "ann.zebra@example.com", "displayName": "Zebra" } },
            ],
        });
        let created = world.done("MemberService/BatchCreateMembers", both).await;
        let ben = world.person(created["members"][0].clone()).await;
        let ann = world.person(created["members"][1].clone()).await;
        for person in [&ben, &ann] {
            world.give_password(person).await;
        }
        world.sign_in("ben@example.com").await;
        world.sign_in("ann.zebra@example.com").await;
        let user = |person: &Person| format!("workspaces/acme/users/{}", person.user);
        let butcher = json!({ "parent": BUTCHER, "user": user(&ben) });
        world.done("MemberService/CreateMember", butcher).await;
        let beginning = Start::Cursor("1.0.0".to_owned());
        let told_of = async |person: &Person| {
            let (entries, _) = world.told(beginning.clone()).await;
            let changes = entries.into_iter().flat_map(|entry| entry.changes);
            let users = |change: &Change| change.resource == user(person);
            let sessions = |change: &Change| {
                let session = change.after.as_ref().filter(|any| any.type_url == Session::type_url());
                let session = session.map(|any| Session::decode(any.value.as_slice()).unwrap());
                session.is_some_and(|session| session.user == user(person))
            };
            changes
                .filter(|change| users(change) || sessions(change))
                .collect::<Vec<Change>>()
        };
        let of_ben = told_of(&ben).await;
        assert!(
            of_ben.iter().any(|change| change.resource.contains("/sessions/")),
            "{of_ben:?}"
        );
        assert!(of_ben.iter().any(|change| change.resource == user(&ben)), "{of_ben:?}");
        assert_eq!(told_of(&ann).await.len(), of_ben.len());
        world.delete(BAKERY).await;
        world.own(PURGE, forced(BAKERY)).await;
        assert_eq!(told_of(&ben).await, of_ben);
        let of_ann = told_of(&ann).await;
        assert!(
            of_ann.iter().all(|change| !change.resource.contains("/sessions/")),
            "{of_ann:?}"
        );
        assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
    })
    .await;
}

impl World {
    /// Notes from here on, after each unit of an erasure, what this expression tells then.
    async fn note_after_units(&self, engine: Engine, told: &str) {
        let database = self.database().await;
        let note = format!("INSERT INTO noted (told) SELECT {told};");
        let noting = match engine {
            Engine::Postgres => format!(
                "CREATE TABLE noted (id bigserial PRIMARY KEY, told bigint NOT NULL);
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note} RETURN NULL; END $$;
                CREATE TRIGGER noting AFTER UPDATE ON erasures FOR EACH ROW EXECUTE FUNCTION note();"
            ),
            Engine::Sqlite => format!(
                "CREATE TABLE noted (id integer PRIMARY KEY, told bigint NOT NULL);
                CREATE TRIGGER noting AFTER UPDATE ON erasures BEGIN {note} END;"
            ),
        };
        database.execute_unprepared(&noting).await.unwrap();
    }

    /// What was noted: how much it became less from one unit to the next at most, and how much is left.
    async fn noted(&self) -> (i64, i64) {
        let most = "SELECT max(before - told) FROM (SELECT told, lag(told) OVER (ORDER BY id) AS before FROM noted) n";
        let left = "SELECT told FROM noted ORDER BY id DESC LIMIT 1";
        (self.count(most).await, self.count(left).await)
    }
}

/// Somebody has signed in every second for an hour.
#[tokio::test]
async fn a_person_who_has_any_number_of_sessions_is_erased() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.with_password("ann.zebra@example.com", &[]).await;
        world.sign_in("ann.zebra@example.com").await;
        let (numbers, uid) = match engine {
            Engine::Postgres => ("generate_series(1, 3600)", "gen_random_uuid()"),
            Engine::Sqlite => (
                "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3600) SELECT i FROM n)",
                "randomblob(16)",
            ),
        };
        let columns = "workspace_uid, workspace_id, version, create_time, update_time, user_uid, organization_uid, \
            organization_id, generation, token_hash, last_use_time, expire_time, revoked";
        let sessions = format!(
            "INSERT INTO sessions (uid, {columns}) SELECT {uid}, {columns} FROM (SELECT {columns} FROM sessions) s, {numbers} n"
        );
        world.database().await.execute_unprepared(&sessions).await.unwrap();
        let count = "(SELECT count(*) FROM sessions)";
        assert_eq!(world.count(&format!("SELECT {count}")).await, 3_601);
        world.note_after_units(engine, count).await;
        world.done(DELETE_USER, named(format!("workspaces/acme/users/{}", ann.user))).await;
        world.nothing_is_left_unfinished().await;
        assert_eq!(world.noted().await, (1_000, 0));
    })
    .await;
}

/// Ann is in more teams than are left in one unit, and stays a member until she has left them.
#[tokio::test]
async fn a_person_leaves_any_number_of_teams() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann.zebra@example.com", &[]).await;
        for at in 0..170 {
            let team = json!({ "parent": BAKERY, "teamId": format!("team_{at}"), "team": { "label": "Team", "members": [ann.user] } });
            world.done("TeamService/CreateTeam", team).await;
        }
        // Were she no member any more, it would be less by a thousand.
        let count = "(SELECT count(*) FROM team_members) + CASE WHEN EXISTS (SELECT 1 FROM team_members) \
            AND NOT EXISTS (SELECT 1 FROM members) THEN -1000 ELSE 0 END";
        world.note_after_units(engine, count).await;
        world.done(DELETE_USER, named(format!("workspaces/acme/users/{}", ann.user))).await;
        world.nothing_is_left_unfinished().await;
        let first = world.count("SELECT told FROM noted ORDER BY id LIMIT 1").await;
        assert_eq!((first, world.noted().await), (70, (50, 0)));
        assert_eq!(world.count("SELECT count(*) FROM members").await, 0);
        assert_eq!(world.tables_with(engine, SECRET).await, BTreeSet::new());
    })
    .await;
}

async fn every_email_of_a_person_is_erased(engine: Engine) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher", "cobbler"] {
        world.create_organization(id).await;
    }
    let (invitation, token) = world.invite_to(BAKERY, "old.zebra@example.com").await;
    let accept = json!({ "name": invitation, "token": token });
    let nobody = Caller::default();
    let accept = world.call(&nobody, "InvitationService/AcceptInvitation", accept);
    let member = accept.await.unwrap()["member"].as_str().unwrap().to_owned();
    let user = format!("workspaces/acme/users/{}", member.rsplit('/').next().unwrap());
    // One that nobody accepts, and one for the time between.
    world.invite_to(BUTCHER, "Old.Zebra@example.com").await;
    for email in ["mid.zebra@example.com", "new.zebra@example.com"] {
        let update = json!({ "user": { "name": user, "email": email } });
        world.done("UserService/UpdateUser", update).await;
        world.invite_to("workspaces/acme/organizations/cobbler", email).await;
    }
    // Another person's by now: what is for that one stays.
    let next = world.invite_to(BAKERY, "mid.zebra@example.com").await.0;
    world.done(DELETE_USER, named(user.as_str())).await;
    world.nothing_is_left_unfinished().await;
    for gone in ["old.zebra", "new.zebra"] {
        assert_eq!(world.tables_with(engine, gone).await, BTreeSet::new(), "{gone}");
    }
    let stays = world.done("InvitationService/GetInvitation", named(next)).await;
    assert_eq!(stays["email"], "mid.zebra@example.com");
    let left = ["SELECT count(*) FROM invitations", "SELECT count(*) FROM former_emails"];
    assert_eq!((world.count(left[0]).await, world.count(left[1]).await), (1, 0));
}

#[tokio::test]
async fn every_email_of_a_person_is_erased_on_sqlite() {
    every_email_of_a_person_is_erased(Engine::Sqlite).await;
}

#[tokio::test]
async fn every_email_of_a_person_is_erased_on_postgres() {
    every_email_of_a_person_is_erased(Engine::Postgres).await;
}

/// What another erasure takes out of an entry while this one has read it, and not yet written it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_erasure_took_out_of_an_entry_does_not_come_back() {
    let world = World::start(Engine::Postgres).await;
    world.create_organization("bakery").await;
    let both = json!({ "parent": BAKERY, "requests": [
        { "newUser": { "email": "ann@example.com" } },
        { "newUser": { "email": "zebra@example.com" } },
    ] });
    let created = world.done("MemberService/BatchCreateMembers", both).await;
    let ann = world.person(created["members"][0].clone()).await;
    let session = world.database().await;
    let taking = session.begin().await.unwrap();
    let take = "UPDATE journal SET changes = '' WHERE method LIKE '%BatchCreateMembers'";
    taking.execute_unprepared(take).await.unwrap();
    let take = async {
        world.until_waiting(1).await;
        taking.commit().await.unwrap();
    };
    let user = named(format!("workspaces/acme/users/{}", ann.user));
    let (_, ()) = tokio::join!(world.done(DELETE_USER, user), take);
    world.nothing_is_left_unfinished().await;
    let journaled = "SELECT count(*) FROM journal WHERE position('zebra' IN encode(changes, 'escape')) > 0";
    assert_eq!(world.count(journaled).await, 0);
}

//! The search: what is found by what, in which order, and from which index.

use crate::{World, create, named};
use clientele_api::Uid;
use clientele_api::org::Organization;
use clientele_store::search::{Fit, Keys, MOST, Query, Text};
use clientele_testkit::{Database, Engine, mistyped, on_both_engines, reason, seed};
use org_service::migrations::Migrator;
use org_service::store::organization::{SEARCH, searched};
use rand::Rng;
use rand::rngs::StdRng;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::MigratorTrait;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::{Code, Status};

impl World {
    /// The ids of what a search finds, page by page, in its order.
    async fn search(&self, request: Value) -> Vec<String> {
        self.try_search(request.clone())
            .await
            .unwrap_or_else(|status| panic!("{request}: {status:?}"))
    }

    async fn try_search(&self, mut request: Value) -> Result<Vec<String>, Status> {
        request["parent"] = json!("workspaces/acme");
        let mut ids = Vec::new();
        loop {
            let method = "OrganizationService/SearchOrganizations";
            let page = self.call(&self.member, method, request.clone()).await?;
            let organizations = page["organizations"].as_array().unwrap();
            let names = organizations.iter().map(|one| one["name"].as_str().unwrap());
            ids.extend(names.map(|name| name.rsplit('/').next().unwrap().to_owned()));
            request["pageToken"] = page["nextPageToken"].clone();
            if request["pageToken"] == "" {
                return Ok(ids);
            }
        }
    }

    async fn finds(&self, query: &str) -> Vec<String> {
        self.search(json!({ "query": query })).await
    }

    async fn create_known(&self, id: &str, title: &str, external_id: &str, email: &str) {
        let organization = Organization {
            external_id: Some(external_id.to_owned()),
            contact_email: Some(email.to_owned()),
            ..named(title)
        };
        self.organizations()
            .create_organization(self.admin.request(create(id, organization)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn organizations_are_found_by_each_field_in_every_way() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world
            .create_known(
                "bakery-north",
                "Bäckerei Groß & Söhne",
                "K-4711",
                "kontakt@brot.example",
            )
            .await;
        world.create_known("mill", "The old Mühle", "", "").await;
        for query in [
            // The display name: whole, its beginning, words, their beginnings and middles, in any order.
            "Bäckerei Groß & Söhne",
            "backerei gross sohne",
            "BÄCKEREI",
            "bäck",
            "söhne",
            "groß",
            "gross",
            "kerei",
            "oss erei",
            "söhne bäck",
            "b",
            "ba",
            "g",
            "gr b",
            // The id, the external id, the email.
            "bakery-north",
            "north",
            "akery",
            "k-4711",
            "4711",
            "K 47",
            "711",
            "kontakt@brot.example",
            "@brot",
            "ontak",
            // Of several fields at once.
            "gross 4711 brot north",
            // A wrong, a missing, an extra letter, and two that changed places.
            "bäckerai",
            "bäckeri",
            "bäckereii",
            "bäckeire",
            "abckerei",
            "gros s",
            "sohme",
            "sohn",
            "shne",
            "soohne",
            "oshne",
            "nroth",
            "kontkat",
            "gross bäckrei",
            "baeckerei",
            // Two in a long word.
            "backreii",
        ] {
            assert_eq!(world.finds(query).await, ["bakery-north"], "{query}");
        }
        for query in [
            // Short words only at the beginning of words.
            "ac",
            "r",
            "ss",
            // Too far off, or one word that is nowhere.
            "sxhxe",
            "bäckerei west",
            "4712",
            "k-4811",
            "nxrth sxhne",
        ] {
            assert_eq!(world.finds(query).await, [""; 0], "{query}");
        }
        assert_eq!(world.finds("MUHLE").await, ["mill"]);
        assert_eq!(world.finds("e").await, ["bakery-north"]);
    })
    .await;
}

#[tokio::test]
async fn the_best_come_first_the_same_on_both_engines() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (id, title, external_id, email) in [
            ("h-typo", "Nrth", "", ""),
            ("g-inside", "Farnorthern", "", ""),
            ("f-word", "Old Northern", "", ""),
            ("e-prefix", "Northern", "", ""),
            ("d-title", "North", "", ""),
            ("c-title", "NORTH", "", ""),
            ("b-external", "Zebra", "north", ""),
            ("north", "Yak", "", ""),
            ("i-none", "South", "", "nobody@example.com"),
        ] {
            world.create_known(id, title, external_id, email).await;
        }
        let best = [
            "north",
            "b-external",
            "c-title",
            "d-title",
            "e-prefix",
            "f-word",
            "g-inside",
            "h-typo",
        ];
        assert_eq!(world.finds("north").await, best);
        assert_eq!(world.finds("nobody@example.com").await, ["i-none"]);
        // Page by page, each once.
        for size in 1..=8 {
            let request = json!({ "query": "north", "pageSize": size });
            assert_eq!(world.search(request).await, best, "{size}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_what_is_there_now_in_this_workspace_is_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_workspace("globex").await;
        let elsewhere = json!({ "parent": "workspaces/globex", "organizationId": "bakery", "organization": { "displayName": "Bakery" } });
        let method = "OrganizationService/CreateOrganization";
        world.call(&world.operator, method, elsewhere).await.unwrap();
        let all = async |query: &str| world.search(json!({ "query": query, "showDeleted": true })).await;
        for query in ["bakery", "bak", "ba", "b", "bakrey"] {
            assert_eq!(all(query).await, [""; 0], "{query}");
        }
        world.create_known("mine", "Bakery", "K-1", "a@b.example").await;
        let update = async |organization: Value| {
            let name = json!({ "name": "workspaces/acme/organizations/mine" });
            let mut request = json!({ "organization": organization, "updateMask": "displayName,externalId,contactEmail" });
            request["organization"]["name"] = name["name"].clone();
            world.done("OrganizationService/UpdateOrganization", request).await
        };
        assert_eq!(world.finds("bakery").await, ["mine"]);
        update(json!({ "displayName": "Butcher", "externalId": "K-2" })).await;
        for gone in ["bakery", "k-1", "a@b.example", "bakrey", "ba"] {
            assert_eq!(all(gone).await, [""; 0], "{gone}");
        }
        for now in ["butcher", "k-2", "bucther", "bu"] {
            assert_eq!(world.finds(now).await, ["mine"], "{now}");
        }
        let name = json!({ "name": "workspaces/acme/organizations/mine" });
        let call = async |verb: &str| {
            let method = format!("OrganizationService/{verb}Organization");
            world.call(&world.owner, &method, name.clone()).await.unwrap()
        };
        call("Delete").await;
        assert_eq!(world.finds("butcher").await, [""; 0]);
        assert_eq!(all("butcher").await, ["mine"]);
        call("Undelete").await;
        assert_eq!(world.finds("butcher").await, ["mine"]);
    })
    .await;
}

/// Keys are numbers that depend on the workspace; here they are alike.
#[tokio::test]
async fn what_has_the_same_keys_in_another_workspace_is_not_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_workspace("globex").await;
        world.create_known("mine", "Bakery", "K-1", "a@b.example").await;
        let theirs = json!({ "parent": "workspaces/globex", "organizationId": "theirs", "organization": { "displayName": "Bakery" } });
        let method = "OrganizationService/CreateOrganization";
        world.call(&world.operator, method, theirs).await.unwrap();
        let alike = "UPDATE organizations SET search_keys = (SELECT search_keys FROM organizations WHERE id = 'mine')";
        world.database().await.execute_unprepared(alike).await.unwrap();
        for query in ["bakery", "bak", "b", "bakrey"] {
            let found = world.search(json!({ "query": query, "showDeleted": true })).await;
            assert_eq!(found, ["mine"], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_that_is_typed_means_anything_special() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_known("plain", "Plain", "", "").await;
        world
            .create_known("strange", "100%_\"Quoted\" 'AND' {1,2} x*", "", "")
            .await;
        let long = "ab ".repeat(66) + "ab";
        let words = "bakery ".repeat(28);
        for nothing in [
            "%",
            "_",
            "*",
            "\"",
            "'",
            "AND",
            "OR",
            "NOT",
            "NEAR(plain)",
            "plain*strange",
            "plain OR strange",
            "plain%strange",
            "$3",
            "?",
            "{}",
            "{3}",
            ":",
            "\\",
            "';--",
            "(",
            "plain AND strange",
            "search_keys:plain",
            "- +",
            "🍞",
            "ñ̈̈̈",
            &"x".repeat(200),
            &"plain".repeat(40),
            &long,
            &words,
            &"%".repeat(200),
            &"東".repeat(200),
            "plain\u{200b}strange",
        ] {
            let found = world.finds(nothing).await;
            let strange = nothing.trim() == "AND";
            assert_eq!(found, if strange { vec!["strange"] } else { vec![] }, "{nothing:?}");
        }
        for query in [
            "%plain%",
            "\"plain\"",
            "*plain*",
            "plain'",
            "(plain)",
            "PLAIN)",
            " plain\u{3000}",
        ] {
            assert_eq!(world.finds(query).await, ["plain"], "{query:?}");
        }
        for query in ["100%", "_\"quoted", "'and'", "{1,2}", "x*"] {
            assert_eq!(world.finds(query).await, ["strange"], "{query:?}");
        }
        let tokens = ["x", "%", &"A".repeat(4000)];
        for (request, field) in [
            (json!({ "query": "" }), Some("query")),
            (json!({ "query": " \t " }), Some("query")),
            (json!({ "query": "a\u{0}b" }), Some("query")),
            (json!({ "query": "a\nb" }), Some("query")),
            (json!({ "query": "x".repeat(201) }), Some("query")),
            (json!({ "query": "x", "pageSize": -1 }), Some("page_size")),
            (json!({ "query": "x", "pageToken": tokens[0] }), None),
            (json!({ "query": "x", "pageToken": tokens[1] }), None),
            (json!({ "query": "x", "pageToken": tokens[2] }), None),
        ] {
            let status = world.try_search(request.clone()).await.unwrap_err();
            let why = if field.is_some() {
                "INVALID_FIELDS"
            } else {
                "PAGE_TOKEN_INVALID"
            };
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, why),
                "{request}"
            );
            if let Some(field) = field {
                let violations = tonic_types::StatusExt::get_details_bad_request(&status)
                    .unwrap()
                    .field_violations;
                assert_eq!(violations[0].field, field, "{request}");
            }
        }
    })
    .await;
}

const SYLLABLES: [&str; 12] = ["ba", "ke", "ry", "no", "rth", "mil", "ä", "so", "ost", "e", "kk", "ur"];

/// Letters that make words which often resemble each other.
fn word(random: &mut StdRng) -> String {
    let syllables = random.random_range(1..=4);
    (0..syllables)
        .map(|_| SYLLABLES[random.random_range(0..SYLLABLES.len())])
        .collect()
}

#[tokio::test]
async fn both_engines_find_what_fits_and_nothing_else_in_the_same_order() {
    let random = &mut seed();
    let (sqlite, postgres) = tokio::join!(World::start(Engine::Sqlite), World::start(Engine::Postgres));
    let mut all = Vec::new();
    for at in 0..45 {
        let words: Vec<String> = (0..random.random_range(1..=3)).map(|_| word(random)).collect();
        // Different titles: where they are equal, the uid decides.
        let (id, title) = (format!("id-{at}"), format!("{} {at}", words.join(" ")));
        let (external_id, email) = (
            format!("x-{}-{at}", word(random)),
            format!("{}@{}.example", word(random), word(random)),
        );
        for world in [&sqlite, &postgres] {
            world.create_known(&id, &title, &external_id, &email).await;
        }
        all.push((id, title, external_id, email));
    }
    for _ in 0..200 {
        let (_, title, external_id, email) = &all[random.random_range(0..all.len())];
        let meant = [title, title, title, external_id, email][random.random_range(0..5)];
        let typed = mistyped(random, &meant.replace(['@', '.', '-'], " "));
        let Some(query) = Query::new(Uid::NIL, &typed) else {
            continue;
        };
        let mut fit: Vec<(Fit, &str, &str)> = Vec::new();
        for (id, title, external_id, email) in &all {
            let text = Text {
                uid: Uid::NIL,
                title,
                ids: vec![id, external_id, email],
                others: Vec::new(),
                prose: None,
            };
            fit.extend(query.fit(&text).map(|fit| (fit, title.as_str(), id.as_str())));
        }
        fit.sort();
        let on_sqlite = sqlite.finds(&typed).await;
        assert_eq!(on_sqlite, postgres.finds(&typed).await, "{typed:?}");
        let expected: Vec<&str> = fit.iter().map(|(.., id)| *id).collect();
        assert_eq!(on_sqlite, expected, "{typed:?}");
    }
}

/// What makes a uid.
fn new_uid(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "gen_random_uuid()",
        _ => "randomblob(16)",
    }
}

#[tokio::test]
async fn organizations_that_were_there_before_the_search_are_found_after_the_migration() {
    on_both_engines(async |engine| {
        let database = Database::create(engine).await;
        let connection = sea_orm::Database::connect(format!("{}{}", database.url, creating(engine))).await.unwrap();
        let steps = Migrator::migrations();
        let before = steps.iter().position(|step| step.name().contains("search_organizations")).unwrap();
        Migrator::up(&connection, Some(before.try_into().unwrap())).await.unwrap();
        let uid = new_uid(connection.get_database_backend());
        // More than are filled at a time.
        let sql = format!(
            "INSERT INTO workspaces VALUES ({uid}, 'old', 1, 0, 0, 'Old');
            INSERT INTO organizations (uid, workspace_uid, workspace_id, id, version, create_time, update_time, display_name, external_id,
                contact_email, annotations, client_access_enabled, self_edit_enabled)
            WITH RECURSIVE turns (turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn < 1203)
            SELECT {uid}, uid, 'old', 'old-' || turn, 1, 0, 0, 'Kunde Nr. ' || turn, 'X' || turn, turn || '@old.example', '{{}}', true, false
            FROM workspaces, turns;"
        );
        connection.execute_unprepared(&sql).await.unwrap();
        let world = World::start_on(database).await;
        let found = async |query: &str| {
            let request = json!({ "parent": "workspaces/old", "query": query });
            let page = world.call(&world.operator, "OrganizationService/SearchOrganizations", request).await.unwrap();
            let organizations = page["organizations"].as_array().unwrap();
            organizations.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for query in ["kunde 1", "kudne nr 500", "old-501", "X1203", "1001@old.example"] {
            let number: String = query.chars().filter(char::is_ascii_digit).collect();
            let name = format!("workspaces/old/organizations/old-{number}");
            assert!(found(query).await.contains(&name), "{query}");
        }
        assert_eq!(found("x1203").await.len(), 1);
        let renamed = json!({ "organization": { "name": "workspaces/old/organizations/old-7", "displayName": "Siebener" } });
        world.call(&world.operator, "OrganizationService/UpdateOrganization", renamed).await.unwrap();
        assert_eq!(found("siebener").await, ["workspaces/old/organizations/old-7"]);
        assert_eq!(found("nr 7").await.iter().filter(|name| name.ends_with("/old-7")).count(), 0);
    })
    .await;
}

/// SQLite's files are made by who opens them first.
fn creating(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "?mode=rwc",
        Engine::Postgres => "",
    }
}

#[tokio::test]
async fn what_deletes_a_row_need_not_know_of_the_index() {
    let world = World::start(Engine::Sqlite).await;
    let connection = world.database().await;
    let count = async || {
        let sql = "SELECT (SELECT count(*) FROM organizations_search_ids), (SELECT count(*) FROM organizations_search)";
        let row = connection
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, sql))
            .await
            .unwrap()
            .unwrap();
        (
            row.try_get_by_index::<i64>(0).unwrap(),
            row.try_get_by_index::<i64>(1).unwrap(),
        )
    };
    for id in ["one", "two", "three"] {
        world.create_known(id, "Bakery", "", "").await;
    }
    assert_eq!(count().await, (3, 3));
    connection
        .execute_unprepared("DELETE FROM organizations WHERE id <> 'three'; VACUUM;")
        .await
        .unwrap();
    assert_eq!(count().await, (1, 1));
    assert_eq!(world.finds("bakery").await, ["three"]);
    world.create_known("one", "Bakery", "", "").await;
    assert_eq!(world.finds("bakery one").await, ["one"]);
    assert_eq!(world.finds("bakery").await.len(), 2);
}

/// Names of two words of three hundred; every second has `common` between them.
fn name(at: usize) -> String {
    const STARTS: [&str; 15] = [
        "al", "bre", "cor", "da", "el", "fri", "gan", "ho", "in", "ju", "kel", "lo", "mar", "no", "ost",
    ];
    const ENDS: [&str; 20] = [
        "ba", "cker", "dan", "erly", "fors", "gard", "hem", "iston", "jani", "kow", "lund", "mann", "nik", "olt",
        "pest", "quist", "rup", "sen", "tal", "vik",
    ];
    let word = |at: usize| format!("{}{}", STARTS[at % 15], ENDS[at / 15 % 20]);
    let common = ["", " Common"][at % 2];
    format!("{}{common} {}", word(at), word(at / 300 + 7 * at))
}

/// Writes many organizations into the workspace, beside what is there.
async fn crowd(connection: &DatabaseConnection, workspace: Uid, size: usize) {
    const KINDS: usize = 1000;
    let backend = connection.get_database_backend();
    let kinds = (0..KINDS).map(|at| {
        let title = name(at);
        let text = Text {
            uid: Uid::NIL,
            title: &title,
            ids: Vec::new(),
            others: Vec::new(),
            prose: None,
        };
        format!("('{title}', '{}')", Keys::of(workspace, &text))
    });
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let (keys, drop, make, analyze) = match backend {
        DbBackend::Postgres => (
            "CAST(column2 AS bigint[])",
            "DROP INDEX organizations_search;",
            SEARCH.add_index(backend),
            "ANALYZE organizations;",
        ),
        _ => ("column2", "", String::new(), "ANALYZE;"),
    };
    let sql = format!(
        "{drop}
        INSERT INTO organizations (uid, workspace_uid, workspace_id, id, version, create_time, update_time, display_name, annotations,
            client_access_enabled, self_edit_enabled, search_keys)
        WITH RECURSIVE turns (turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn < {})
        SELECT {}, uid, id, 'crowd-' || row_number() OVER (), 1, 0, 0, column1, '{{}}', true, false, {keys}
        FROM workspaces, turns, (VALUES {kinds}) AS kinds WHERE id = 'acme';
        {make}
        {analyze}",
        size / KINDS,
        new_uid(backend),
    );
    connection.execute_unprepared(&sql).await.unwrap();
}

async fn acme(connection: &DatabaseConnection) -> Uid {
    let sql = "SELECT uid FROM workspaces WHERE id = 'acme'";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    Uid(row.try_get("", "uid").unwrap())
}

/// What the search asks the database, all of it.
fn lookups(backend: DbBackend, query: &Query) -> Vec<Statement> {
    let mut lookups = vec![vec![query.exact()], query.mistyped()];
    lookups.extend(query.best().into_iter().map(|keys| vec![keys]));
    lookups.retain(|alternatives| !alternatives.is_empty());
    let statement = |alternatives: Vec<Keys>| {
        backend.build(&SEARCH.select(backend, query, &searched(false), &alternatives, MOST + 1))
    };
    lookups.into_iter().map(statement).collect()
}

/// A word of many, its beginning, two letters, one; a word of few; one of one; typos in each of these; several words; nothing.
const TYPED: [&str; 16] = [
    "common",
    "comm",
    "co",
    "c",
    "marsen",
    "zyxwvutsr",
    "zy",
    "comomn",
    "mrasen",
    "zyxwvtusr",
    "common marsen",
    "comomn marsen",
    "needel",
    "common needle",
    "zz@needle.example",
    "qqqq",
];

#[tokio::test]
async fn many_organizations_are_searched_by_the_index_and_the_best_of_them_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let connection = world.database().await;
        let size = if engine == Engine::Postgres { 100_000 } else { 10_000 };
        crowd(&connection, acme(&connection).await, size).await;
        world
            .create_known("needle", "Zyxwvutsr", "N-1", "zz@needle.example")
            .await;
        world.create_known("title", "Common", "", "").await;
        world.create_known("external", "Zzz", "COMMON", "").await;
        world.create_known("prefix", "Common ground", "", "").await;
        for typed in ["zyxwvutsr", "zy", "zyxwvtusr", "needel", "zz@needle.example"] {
            assert_eq!(world.finds(typed).await, ["needle"], "{typed}");
        }
        // Half of all fit: the best are among those that are looked at.
        let all = world.search(json!({ "query": "common", "pageSize": 300 })).await;
        assert_eq!(all[..3], ["external", "title", "prefix"]);
        let once: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), once.len()), (MOST, MOST));
        assert_eq!(world.finds("common ground").await, ["prefix"]);
    })
    .await;
}

/// All nodes of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

#[tokio::test]
async fn postgres_reads_nothing_but_the_index_and_what_it_found() {
    let world = World::start(Engine::Postgres).await;
    let connection = world.database().await;
    let workspace = acme(&connection).await;
    crowd(&connection, workspace, 100_000).await;
    world
        .create_known("needle", "Zyxwvutsr", "N-1", "zz@needle.example")
        .await;
    // The plan must be the same for a table that PostgreSQL knows nothing of yet.
    for statistics in [
        "DELETE FROM pg_statistic WHERE starelid = 'organizations'::regclass",
        "ANALYZE organizations",
    ] {
        connection.execute_unprepared(statistics).await.unwrap();
        for (typed, mode) in TYPED.iter().flat_map(|typed| [(typed, "custom"), (typed, "generic")]) {
            let query = Query::new(workspace, typed).unwrap();
            let set = format!("SET plan_cache_mode = force_{mode}_plan");
            connection.execute_unprepared(&set).await.unwrap();
            for mut statement in lookups(DbBackend::Postgres, &query) {
                statement.sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", statement.sql);
                let explained = connection.query_one_raw(statement).await.unwrap().unwrap();
                assert_reads_the_index_only(typed, &explained.try_get_by_index(0).unwrap());
            }
        }
    }
}

fn assert_reads_the_index_only(typed: &str, explained: &Value) {
    let nodes = nodes(&explained[0]["Plan"]);
    for node in &nodes {
        let of_index = node["Index Name"] == "organizations_search";
        match node["Node Type"].as_str().unwrap() {
            "Bitmap Index Scan" if of_index => {}
            "Bitmap Heap Scan" | "BitmapOr" | "Limit" => {}
            other => panic!("{typed} has a {other}: {explained:#}"),
        }
    }
    let heap = nodes
        .iter()
        .find(|node| node["Node Type"] == "Bitmap Heap Scan")
        .unwrap();
    let counted = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
    let read: f64 = counted.iter().filter_map(|count| heap[*count].as_f64()).sum();
    assert!(read <= (MOST + 1) as f64, "{typed} reads {read} rows: {explained:#}");
}

#[tokio::test]
async fn sqlite_reads_nothing_but_the_index_and_what_it_found() {
    let world = World::start(Engine::Sqlite).await;
    let connection = world.database().await;
    let workspace = acme(&connection).await;
    crowd(&connection, workspace, 1000).await;
    for typed in TYPED {
        for mut statement in lookups(DbBackend::Sqlite, &Query::new(workspace, typed).unwrap()) {
            statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let rows = connection.query_all_raw(statement).await.unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            let expected = [
                "SCAN organizations_search VIRTUAL TABLE INDEX",
                "SEARCH organizations_search_ids USING INTEGER PRIMARY KEY",
                "SEARCH organizations USING INDEX organizations_by_uid (workspace_uid=? AND uid=?)",
            ];
            assert_eq!(steps.len(), expected.len(), "{typed}: {steps:?}");
            assert!(
                steps
                    .iter()
                    .zip(expected)
                    .all(|(step, expected)| step.starts_with(expected)),
                "{typed}: {steps:?}"
            );
        }
    }
}

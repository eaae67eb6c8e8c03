//! What the databases read for each list and search, and what of very many is found.

use crate::{World, titled};
use assignment_service::store::agent::{Query as Asked, SEARCH, TITLE, listed, searched};
use clientele_api::Uid;
use clientele_api::assignment::SearchAgentsRequest;
use clientele_api::assignment::agent::State;
use clientele_store::search::{Keys, MOST, Query, Text};
use clientele_testkit::{Engine, on_both_engines};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryTrait, Statement};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is told of an agent, one of a thousand: two words of three hundred, every second with `common` between them.
fn told(at: usize) -> [String; 3] {
    const STARTS: [&str; 15] = [
        "al", "bre", "cor", "da", "el", "fri", "gan", "ho", "in", "ju", "kel", "lo", "mar", "no", "ost",
    ];
    const ENDS: [&str; 20] = [
        "ba", "cker", "dan", "erly", "fors", "gard", "hem", "iston", "jani", "kow", "lund", "mann", "nik", "olt",
        "pest", "quist", "rup", "sen", "tal", "vik",
    ];
    let word = |at: usize| format!("{}{}", STARTS[at % 15], ENDS[at / 15 % 20]);
    let common = ["", " Common"][at % 2];
    [
        format!("{}{common} {}", word(at), word(at / 300 + 7 * at)),
        format!("Speaks of {} and {}", word(at + 31), word(at * 3)),
        format!("tag-{}", at % 40),
    ]
}

/// An organization that a tenth of all agents are assigned to.
const ORGANIZATION: Uid = Uid(uuid::Uuid::from_u128(7));

/// Writes many agents into `acme`, four times as many elsewhere, and assigns them; two of ten nowhere.
async fn crowd(world: &World, connection: &DatabaseConnection, size: usize) {
    const KINDS: usize = 1000;
    let backend = connection.get_database_backend();
    let (new, json, keys) = match backend {
        DbBackend::Postgres => ("gen_random_uuid()", "jsonb", "CAST(column4 AS bigint[])"),
        _ => ("randomblob(16)", "text", "column4"),
    };
    let uid = |uid: Uid| match backend {
        DbBackend::Postgres => format!("CAST('{uid}' AS uuid)"),
        _ => format!("x'{}'", uid.0.simple()),
    };
    if backend == DbBackend::Postgres {
        connection.execute_unprepared("DROP INDEX agents_search").await.unwrap();
    }
    for (workspace, id, size) in [(world.acme, "acme", size), (Uid::new(), "globex", 4 * size)] {
        let kinds = (0..KINDS).map(|at| {
            let [title, description, tag] = told(at);
            let text = Text {
                uid: Uid::NIL,
                title: &title,
                ids: Vec::new(),
                others: vec![&tag],
                prose: Some(&description),
            };
            format!(
                "('{title}', '{description}', '[\"{tag}\"]', '{}')",
                Keys::of(workspace, &text)
            )
        });
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO agents (uid, workspace_uid, workspace_id, id, version, create_time, update_time, title, description, platform,
                channels, tags, state, archived, search_keys)
            WITH RECURSIVE turns (turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn < {})
            SELECT {new}, {}, '{id}', 'crowd-' || row_number() OVER (), 1, 0, 0, column1, column2, 'p' || turn % 7, CAST('[]' AS {json}),
                CAST(column3 AS {json}), 1 + turn % 3, false, {keys}
            FROM turns, (VALUES {kinds}) AS kinds;",
            size / KINDS,
            uid(workspace),
        );
        connection.execute_unprepared(&sql).await.unwrap();
    }
    let assign = |organization: &str, tenths: &str| {
        format!(
            "INSERT INTO assignments (uid, workspace_uid, workspace_id, organization_uid, organization_id, agent_uid, agent_id, version,
                create_time, update_time, position, alias, note, removed)
            SELECT {new}, workspace_uid, workspace_id, {organization}, 'x', uid, id, 1, 0, 0, 1, '', '', false
            FROM (SELECT *, row_number() OVER () AS number FROM agents) AS numbered WHERE number % 10 IN ({tenths});"
        )
    };
    let (own, others) = (assign(&uid(ORGANIZATION), "0"), assign(new, "1, 2, 3, 4, 5, 6, 7"));
    connection.execute_unprepared(&(own + &others)).await.unwrap();
    if backend == DbBackend::Postgres {
        connection.execute_unprepared(&SEARCH.add_index(backend)).await.unwrap();
    }
}

#[tokio::test]
async fn of_very_many_that_fit_the_best_are_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let connection = world.connection().await;
        crowd(&world, &connection, 5000).await;
        for (id, title) in [
            ("word", "Zebra speaks"),
            ("prefix", "Speaks"),
            ("of", "Tells of zebras"),
            ("speaks", "Z"),
        ] {
            world.create(id, titled(title)).await.unwrap();
        }
        // Every description has these words.
        let page = world.search(super::typed("speaks")).await.unwrap();
        assert_eq!(super::ids(&page.agents)[..3], ["speaks", "prefix", "word"]);
        assert!(page.truncated);
        assert_eq!(
            super::ids(&world.search(super::typed("of")).await.unwrap().agents)[0],
            "of"
        );
        let all = world.finds("speaks").await;
        let once: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), once.len()), (MOST, MOST));
        // Filters are met by all that are looked at.
        let request = SearchAgentsRequest {
            filter: r#"tag = "tag-17""#.into(),
            assigned_nowhere: true,
            page_size: 500,
            ..super::typed("speaks")
        };
        let page = world.search(request).await.unwrap();
        assert!(!page.truncated && !page.agents.is_empty());
        assert!(page.agents.iter().all(|agent| agent.tags == ["tag-17"]));
        let met = page.agents.len() as i64;
        let sql = "SELECT count(*) FROM agents WHERE workspace_id = 'acme' AND CAST(tags AS text) LIKE '%\"tag-17\"%'
            AND uid NOT IN (SELECT agent_uid FROM assignments)";
        let counted = Statement::from_string(connection.get_database_backend(), sql);
        let counted = connection.query_one_raw(counted).await.unwrap().unwrap();
        assert_eq!(counted.try_get_by_index::<i64>(0).unwrap(), met);
    })
    .await;
}

/// Each filter alone, all together, and none.
fn asked() -> Vec<Asked> {
    let none = Asked::default;
    vec![
        none(),
        Asked {
            states: vec![State::Draft],
            ..none()
        },
        Asked {
            states: vec![State::Archived],
            ..none()
        },
        Asked {
            platforms: vec!["p3".to_owned()],
            ..none()
        },
        Asked {
            tags: vec!["tag-17".to_owned()],
            ..none()
        },
        Asked {
            not_assigned_to: Some(ORGANIZATION),
            ..none()
        },
        Asked {
            assigned_nowhere: true,
            ..none()
        },
        Asked {
            states: vec![State::Deployed],
            platforms: vec!["p1".to_owned()],
            tags: vec!["tag-3".to_owned()],
            not_assigned_to: Some(ORGANIZATION),
            assigned_nowhere: true,
        },
    ]
}

/// A word of many, two letters, words of few, a word of descriptions, typos, several words, nothing.
const TYPED: [&str; 9] = [
    "common",
    "co",
    "c",
    "marsen",
    "speaks",
    "comomn",
    "mrasen",
    "common marsen",
    "qqqq",
];

/// What a search asks the database, all of it.
fn lookups(backend: DbBackend, workspace: Uid, typed: &str, asked: &Asked) -> Vec<Statement> {
    let query = Query::new(workspace, typed).unwrap();
    let mut lookups = vec![vec![query.exact()], query.mistyped()];
    lookups.extend(query.best().into_iter().map(|keys| vec![keys]));
    lookups.retain(|alternatives| !alternatives.is_empty());
    let select = searched(backend, asked);
    let statement =
        |alternatives: Vec<Keys>| backend.build(&SEARCH.select(backend, &query, &select, &alternatives, MOST + 1));
    lookups.into_iter().map(statement).collect()
}

/// What a search without a query asks.
fn browse(backend: DbBackend, workspace: Uid, asked: &Asked) -> Statement {
    backend.build(&SEARCH.first(workspace, &searched(backend, asked), TITLE))
}

/// What a list asks: the first page and another one. Lists have no filter by assignments.
fn pages(backend: DbBackend, workspace: Uid, asked: &Asked) -> [Statement; 2] {
    let asked = Asked {
        not_assigned_to: None,
        assigned_nowhere: false,
        ..asked.clone()
    };
    let page = |after| listed(backend, workspace, &asked, after, 51).build(backend);
    [page(None), page(Some(Uid(uuid::Uuid::from_u128(u128::MAX / 3))))]
}

/// All nodes of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

/// What tells where an agent is assigned, and to whom.
const BY_AGENT: &[&str] = &[
    "assignments_agent",
    "assignments_by_agent",
    "projection_organizations_pkey",
];

/// Explains a statement: its nodes must be `Limit`, look-ups of assignments by agent, or these of one of these indexes.
async fn explain(connection: &DatabaseConnection, mut statement: Statement, kinds: &[&str], indexes: &[&str]) -> Value {
    statement.sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", statement.sql);
    let explained = connection.query_one_raw(statement).await.unwrap().unwrap();
    let explained: Value = explained.try_get_by_index(0).unwrap();
    for node in nodes(&explained[0]["Plan"]) {
        let kind = node["Node Type"].as_str().unwrap();
        let used = node["Index Name"].as_str();
        let by_agent =
            ["Index Scan", "Index Only Scan"].contains(&kind) && used.is_some_and(|used| BY_AGENT.contains(&used));
        let allowed = kinds.contains(&kind) && used.is_none_or(|used| indexes.contains(&used));
        assert!(kind == "Limit" || by_agent || allowed, "has a {kind}: {explained:#}");
    }
    explained
}

#[tokio::test]
async fn postgres_reads_by_indexes_only() {
    let world = World::start(Engine::Postgres).await;
    let connection = world.connection().await;
    crowd(&world, &connection, 15_000).await;
    let (backend, acme) = (DbBackend::Postgres, world.acme);
    // Searches must be the same for tables that PostgreSQL knows nothing of yet.
    for (statistics, known) in [
        (
            "DELETE FROM pg_statistic WHERE starelid IN ('agents'::regclass, 'assignments'::regclass)",
            false,
        ),
        ("ANALYZE agents, assignments", true),
    ] {
        connection.execute_unprepared(statistics).await.unwrap();
        for (asked, mode) in asked().iter().flat_map(|asked| [(asked, "custom"), (asked, "generic")]) {
            let set = format!("SET plan_cache_mode = force_{mode}_plan");
            connection.execute_unprepared(&set).await.unwrap();
            for statement in TYPED.iter().flat_map(|typed| lookups(backend, acme, typed, asked)) {
                let bitmaps = ["Bitmap Index Scan", "Bitmap Heap Scan", "BitmapOr"];
                let explained = explain(&connection, statement, &bitmaps, &["agents_search"]).await;
                let nodes = nodes(&explained[0]["Plan"]);
                let heap = nodes
                    .iter()
                    .find(|node| node["Node Type"] == "Bitmap Heap Scan")
                    .unwrap();
                let rows = |count: &str| heap[count].as_f64().unwrap_or_default();
                assert!(rows("Rows Removed by Index Recheck") == 0.0 && rows("Actual Rows") <= (MOST + 1) as f64);
            }
            if !known {
                continue;
            }
            let browse = [browse(backend, acme, asked)].map(|statement| (statement, "agents_by_title"));
            let pages = pages(backend, acme, asked).map(|statement| (statement, "agents_by_uid"));
            for (statement, index) in browse.into_iter().chain(pages) {
                if *asked == Asked::default() {
                    explain(&connection, statement, &["Index Scan"], &[index]).await;
                } else {
                    // Where it thinks that few of a workspace meet a filter, PostgreSQL may look for all of them, and order them.
                    let kinds = ["Index Scan", "Bitmap Index Scan", "Bitmap Heap Scan", "Sort"];
                    explain(
                        &connection,
                        statement,
                        &kinds,
                        &["agents_by_title", "agents_by_uid", "agents_name"],
                    )
                    .await;
                }
            }
        }
    }
}

#[tokio::test]
async fn sqlite_reads_by_indexes_only() {
    let world = World::start(Engine::Sqlite).await;
    let connection = world.connection().await;
    crowd(&world, &connection, 1000).await;
    let (backend, acme) = (DbBackend::Sqlite, world.acme);
    for statistics in ["SELECT 1", "ANALYZE"] {
        connection.execute_unprepared(statistics).await.unwrap();
        for asked in asked() {
            for statement in TYPED.iter().flat_map(|typed| lookups(backend, acme, typed, &asked)) {
                let expected = [
                    "SCAN agents_search VIRTUAL TABLE INDEX",
                    "SEARCH agents_search_ids USING INTEGER PRIMARY KEY",
                    "SEARCH agents USING INDEX agents_by_uid (workspace_uid=? AND uid=?)",
                ];
                assert_steps(&connection, statement, &expected).await;
            }
            let expected = ["SEARCH agents USING INDEX agents_by_title (workspace_uid=?)"];
            assert_steps(&connection, browse(backend, acme, &asked), &expected).await;
            for statement in pages(backend, acme, &asked) {
                let expected = ["SEARCH agents USING INDEX agents_by_uid (workspace_uid=?"];
                assert_steps(&connection, statement, &expected).await;
            }
        }
    }
}

/// A statement's steps must be these, and look-ups of assignments by agent or walks through the tags of a row.
async fn assert_steps(connection: &DatabaseConnection, mut statement: Statement, expected: &[&str]) {
    statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    let besides = [
        "CORRELATED SCALAR SUBQUERY",
        "SCAN json_each ",
        "SEARCH assignments USING INDEX assignments_agent (organization_uid=? AND agent_uid=?)",
        "SEARCH assignments USING INDEX assignments_by_agent (agent_uid=?)",
        "SEARCH projection_organizations USING INDEX sqlite_autoindex_projection_organizations_1 (uid=?)",
    ];
    let is_besides = |step: &&String| besides.iter().any(|known| step.starts_with(known));
    let own: Vec<&String> = steps.iter().filter(|step| !is_besides(step)).collect();
    assert_eq!(own.len(), expected.len(), "{steps:#?}");
    let as_expected = own
        .iter()
        .zip(expected)
        .all(|(step, expected)| step.starts_with(expected));
    assert!(as_expected, "{steps:#?}");
}

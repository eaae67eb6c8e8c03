//! What the databases read for each list, search and unit: by indexes, and nothing of what others have or keep for themselves.

use crate::World;
use clientele_api::Uid;
use clientele_testkit::Engine;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryTrait, Statement};
use serde_json::Value;
use settings_billing_service::domain::canned_response::Key;
use settings_billing_service::store::canned_response::{
    Place, Query, Seen, Typed, counted, listed, readable, searched, with_keys,
};
use uuid::Uuid;

/// That have canned responses.
const ORGANIZATIONS: u128 = 150;
/// Of each organization, for all its users.
const SHARED: u128 = 200;
/// Of each organization; each has as many canned responses.
const TEAMS: u128 = 10;
/// Of each organization.
const USERS: u128 = 60;
/// Of each user.
const PERSONAL: u128 = 10;

/// The organization that is looked at.
const NUMBER: u128 = 101;

/// The kinds of uids.
const ORGANIZATION: u128 = 1;
const TEAM: u128 = 2;
const USER: u128 = 3;
const SHARED_RESPONSE: u128 = 4;
const TEAM_RESPONSE: u128 = 5;
const PERSONAL_RESPONSE: u128 = 6;

fn uid(kind: u128, number: u128) -> Uid {
    Uid(Uuid::from_u128(kind << 124 | number))
}

/// The same of an expression.
fn uid_of(backend: DbBackend, kind: u128, number: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("CAST('{kind}' || lpad(to_hex({number}), 31, '0') AS uuid)"),
        _ => format!("unhex('{kind}' || printf('%031x', {number}))"),
    }
}

/// Fills the tables: of each organization what all, some and one of its users may read.
async fn crowd(world: &World, connection: &DatabaseConnection) {
    let backend = connection.get_database_backend();
    let (acme, json) = match backend {
        DbBackend::Postgres => (format!("CAST('{}' AS uuid)", world.acme), "jsonb"),
        _ => (format!("x'{}'", world.acme.0.simple()), "text"),
    };
    let numbers = |name: &str, count: u128| {
        format!("{name} ({name}) AS (SELECT 1 UNION ALL SELECT {name} + 1 FROM {name} WHERE {name} < {count})")
    };
    let of = |kind, number: &str| uid_of(backend, kind, number);
    let organization = of(ORGANIZATION, "o");
    let (team, user) = (of(TEAM, "o * 1000 + t"), of(USER, "o * 1000 + m"));
    let many = |lists: &[(&str, u128)]| {
        let lists: Vec<String> = lists.iter().map(|(name, count)| numbers(name, *count)).collect();
        format!("WITH RECURSIVE {}, {}", numbers("o", ORGANIZATIONS), lists.join(", "))
    };
    let responses = |lists: &[(&str, u128)],
                     uid: &str,
                     scope: u8,
                     holder: &str,
                     team_key: &str,
                     owner: &str,
                     from: &str| {
        format!(
            "INSERT INTO settings_canned_responses (uid, workspace_uid, workspace_id, organization_uid, organization_id, version,
                create_time, update_time, scope, holder_uid, team_key, owner_uid, short_code, code_folded, title, text, language,
                tags, code_searched, searched)
            {} SELECT {uid}, {acme}, 'acme', {organization}, 'o' || o, 1, 0, 0, {scope}, {holder}, {team_key}, {owner}, 'c' || n,
                'c' || n, '', 'T', '', CAST('[]' AS {json}), 'c' || n, 'c' || n || ' t' FROM {from}",
            many(lists)
        )
    };
    let statements = [
        format!(
            "INSERT INTO projection_teams (uid, workspace_uid, organization_uid, id, version, bootstrap, aliases, members)
            {} SELECT {team}, {acme}, {organization}, 't' || t, 1, 1, '', '' FROM o, t",
            many(&[("t", TEAMS)])
        ),
        responses(&[("n", SHARED)], &of(SHARED_RESPONSE, "o * 1000 + n"), 1, &organization, "NULL", "NULL", "o, n"),
        responses(
            &[("t", TEAMS), ("n", TEAMS)],
            &of(TEAM_RESPONSE, "(o * 1000 + t) * 1000 + n"),
            2,
            &team,
            "'t'",
            "NULL",
            "o, t, n",
        ),
        responses(
            &[("m", USERS), ("n", PERSONAL)],
            &of(PERSONAL_RESPONSE, "(o * 1000 + m) * 1000 + n"),
            3,
            &user,
            "NULL",
            &user,
            "o, m, n",
        ),
    ];
    for sql in statements {
        connection.execute_unprepared(&sql).await.unwrap();
    }
    let member = format!(
        "UPDATE projection_teams SET members = '{}' WHERE uid = {}",
        member(),
        of(TEAM, &team_number())
    );
    connection.execute_unprepared(&member).await.unwrap();
}

/// A user of the organization that is looked at, and one of its teams, which it is in.
fn member() -> Uid {
    uid(USER, NUMBER * 1000 + 2)
}

fn team_number() -> String {
    (NUMBER * 1000 + 3).to_string()
}

/// A statement, the indexes that it may use besides those of primary keys, and how many rows it may read.
struct Case {
    what: String,
    statement: Statement,
    indexes: &'static [&'static str],
    rows: usize,
}

fn cases(backend: DbBackend) -> Vec<Case> {
    let (organization, user) = (uid(ORGANIZATION, NUMBER), member());
    let shared = uid(SHARED_RESPONSE, NUMBER * 1000 + 100);
    let mut cases = Vec::new();
    let mut case = |what: String, statement, indexes, rows: u128| {
        cases.push(Case {
            what,
            statement,
            indexes,
            rows: rows as usize,
        });
    };
    // Of those, and of the teams that are looked through and the three that holders are read from.
    let user_reads = SHARED + PERSONAL + TEAMS + 3;
    let shared_index: &[&str] = &["settings_canned_responses_shared"];
    let by_holder: &[&str] = &["settings_canned_responses_code", "projection_teams_id"];
    let readers = [
        (Seen::Shared, shared_index, SHARED + TEAMS * TEAMS),
        (Seen::By { user, manages: false }, by_holder, user_reads + TEAMS),
        (Seen::By { user, manages: true }, by_holder, user_reads + TEAMS * TEAMS),
    ];
    let typed = ["", "c", "c15", "t c"].map(Typed::new);
    for (seen, read, all) in readers {
        let query = Query::default();
        for after in [None, Some(shared)] {
            let statement = listed(backend, organization, seen, &query, after, 51).build(backend);
            let rows = if seen == Seen::Shared { 51 } else { all };
            case(format!("ListCannedResponses {seen:?} {after:?}"), statement, read, rows);
        }
        let place = Place {
            rank: 0,
            code: "c15".to_owned(),
            uid: shared,
        };
        for typed in &typed {
            for after in [None, Some(&place)] {
                let statement = searched(backend, organization, seen, typed, &query, after, 51);
                let statement = backend.build(&statement);
                case(
                    format!("SearchCannedResponses {seen:?} {typed:?} {after:?}"),
                    statement,
                    read,
                    all,
                );
            }
        }
        let statement = readable(organization, seen, shared).build(backend);
        case(format!("GetCannedResponse {seen:?}"), statement, read, 2 + TEAMS);
    }
    let by_code: &[&str] = &["settings_canned_responses_code"];
    case(
        "the limit".to_owned(),
        counted(organization, organization).build(backend),
        by_code,
        SHARED,
    );
    for many in [1, 500] {
        let key = |at: u128| Key {
            holder: organization,
            code: format!("c{at}"),
            language: "",
        };
        let keys: Vec<Key> = (1..=many).map(key).collect();
        let found = with_keys(organization, &keys).build(backend);
        case(format!("{many} keys"), found, by_code, 2 * many.min(SHARED));
    }
    cases
}

/// All nodes of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

#[tokio::test]
async fn postgres_reads_by_indexes_and_little() {
    let world = World::start(Engine::Postgres).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    crowd(&world, &connection).await;
    // By indexes also where PostgreSQL knows nothing of the tables yet, if not by the best.
    let unknown = "DELETE FROM pg_statistic WHERE starelid IN ('settings_canned_responses'::regclass, 'projection_teams'::regclass)";
    for (statistics, known) in [(unknown, false), ("ANALYZE", true)] {
        connection.execute_unprepared(statistics).await.unwrap();
        for mode in ["custom", "generic"] {
            let set = format!("SET plan_cache_mode = force_{mode}_plan");
            connection.execute_unprepared(&set).await.unwrap();
            for mut case in cases(DbBackend::Postgres) {
                case.statement.sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", case.statement.sql);
                let explained = connection.query_one_raw(case.statement).await.unwrap().unwrap();
                let explained: Value = explained.try_get_by_index(0).unwrap();
                let mut read = 0.0;
                for node in nodes(&explained[0]["Plan"]) {
                    let kind = node["Node Type"].as_str().unwrap();
                    assert_ne!(kind, "Seq Scan", "{} ({mode}): {explained:#}", case.what);
                    let used = node["Index Name"].as_str();
                    let may = used.is_none_or(|used| used.ends_with("_pkey") || case.indexes.contains(&used));
                    assert!(may || !known, "{} ({mode}) uses {used:?}: {explained:#}", case.what);
                    if kind.ends_with("Scan") && !["Bitmap Index Scan", "Values Scan", "Subquery Scan"].contains(&kind)
                    {
                        let counts = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
                        let rows: f64 = counts.iter().filter_map(|count| node[*count].as_f64()).sum();
                        read += rows * node["Actual Loops"].as_f64().unwrap();
                    }
                }
                let little = !known || read <= case.rows as f64;
                assert!(little, "{} ({mode}) reads {read} rows: {explained:#}", case.what);
            }
        }
    }
}

#[tokio::test]
async fn sqlite_reads_by_indexes() {
    let world = World::start(Engine::Sqlite).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    for (statistics, filled) in [("SELECT 1", false), ("ANALYZE", true)] {
        if filled {
            crowd(&world, &connection).await;
        }
        connection.execute_unprepared(statistics).await.unwrap();
        for mut case in cases(DbBackend::Sqlite) {
            case.statement.sql = format!("EXPLAIN QUERY PLAN {}", case.statement.sql);
            let rows = connection.query_all_raw(case.statement).await.unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            for step in &steps {
                // The values that are given, and not tables.
                let given = step.contains("CONSTANT ROW") || step.contains("VALUES CLAUSE") || step == "SCAN keys";
                assert!(given || !step.starts_with("SCAN "), "{}: {steps:#?}", case.what);
                let used = step
                    .split_once(" INDEX ")
                    .map(|(_, index)| index.split(' ').next().unwrap());
                let may = used.is_none_or(|used| used.starts_with("sqlite_autoindex_") || case.indexes.contains(&used));
                assert!(may, "{}: {steps:#?}", case.what);
            }
        }
    }
}

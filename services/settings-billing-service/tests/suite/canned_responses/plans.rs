//! What the databases read for each list, search and unit: by indexes, and nothing of what others have or keep for themselves.

use crate::World;
use clientele_api::Uid;
use clientele_testkit::{
    Engine, Plan, check_plans_on_postgres, check_plans_on_sqlite, numbered_uid as uid, numbered_uid_of as uid_of,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QuerySelect, QueryTrait};
use settings_billing_service::domain::canned_response::Key;
use settings_billing_service::store::canned_response::{
    Place, Query, Seen, Typed, counted, listed, readable, searched, with_keys,
};
use settings_billing_service::store::leftovers;

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

fn cases(backend: DbBackend) -> Vec<Plan> {
    let (organization, user) = (uid(ORGANIZATION, NUMBER), member());
    let shared = uid(SHARED_RESPONSE, NUMBER * 1000 + 100);
    let mut cases = Vec::new();
    let mut case = |what: String, statement, indexes, rows: u128| {
        cases.push(Plan {
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
    let typed = ["", "c", "c15", "t c"].map(|text| Typed::new(text).unwrap());
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
    let of_organization = leftovers::responses_of(organization).limit(100);
    case(
        "what a purged organization leaves".to_owned(),
        of_organization.build(backend),
        by_code,
        100,
    );
    let by_owner: &[&str] = &["settings_canned_responses_of_owner"];
    let by_user = leftovers::responses_by(user).limit(100);
    case(
        "what an erased user leaves".to_owned(),
        by_user.build(backend),
        by_owner,
        PERSONAL,
    );
    cases
}

#[tokio::test]
async fn postgres_reads_by_indexes_and_little() {
    let world = World::start(Engine::Postgres).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    crowd(&world, &connection).await;
    let tables = ["settings_canned_responses", "projection_teams"];
    check_plans_on_postgres(&connection, &tables, || cases(DbBackend::Postgres)).await;
}

#[tokio::test]
async fn sqlite_reads_by_indexes() {
    let world = World::start(Engine::Sqlite).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    let fill = async || crowd(&world, &connection).await;
    check_plans_on_sqlite(&connection, fill, || cases(DbBackend::Sqlite)).await;
}

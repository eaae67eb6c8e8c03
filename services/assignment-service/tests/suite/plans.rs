//! What the databases read for each list, check and unit: by indexes, and no more of what others have.

use crate::World;
use assignment_service::domain::member_scope::{Agents, Listed, MemberScope};
use assignment_service::store::{access, assignment, member_scope};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Micros, Uid};
use clientele_store::follow::erasures;
use clientele_testkit::{
    Engine, Plan, check_plans_on_postgres, check_plans_on_sqlite, numbered_uid as uid, numbered_uid_of as uid_of,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryTrait};

/// That have agents.
const ORGANIZATIONS: u128 = 220;
/// That have none.
const OTHERS: u128 = 20_000;
/// Of those that have none.
const PURGED: u128 = 10_000;
/// Of those that are purged.
const UNFINISHED: u128 = 150;
/// Most of them are assigned nowhere.
const AGENTS: u128 = 60_000;
/// Of each organization; every tenth was taken away.
const ASSIGNED: u128 = 500;
/// Of each organization; every second has a scope.
const MEMBERS: u128 = 50;

/// The kinds of uids.
const ORGANIZATION: u128 = 1;
const AGENT: u128 = 2;
const USER: u128 = 3;
const MEMBER: u128 = 4;
const ASSIGNMENT: u128 = 5;

/// Fills the tables, `acme` with all of it.
async fn crowd(world: &World, connection: &DatabaseConnection) {
    let backend = connection.get_database_backend();
    let (acme, json) = match backend {
        DbBackend::Postgres => (format!("CAST('{}' AS uuid)", world.acme), "jsonb"),
        _ => (format!("x'{}'", world.acme.0.simple()), "text"),
    };
    let numbers = |name: &str, count: u128| {
        format!("{name} ({name}) AS (SELECT 1 UNION ALL SELECT {name} + 1 FROM {name} WHERE {name} < {count})")
    };
    let many = format!(
        "WITH RECURSIVE {}, {}, {}, {}",
        numbers("o", ORGANIZATIONS),
        numbers("a", AGENTS),
        numbers("n", ASSIGNED),
        numbers("m", MEMBERS)
    );
    let of = |kind, number: &str| uid_of(backend, kind, number);
    let (organization, user) = (of(ORGANIZATION, "o"), of(USER, "o * 1000 + m"));
    // Of the organization `o` the `n`th agent, and the same agents again for the next but one.
    let nth = format!("(o % 2 * {ASSIGNED} + n)");
    let statements = [
        format!(
            "INSERT INTO projection_organizations (uid, workspace_uid, id, version, bootstrap, state, client_access_enabled)
            WITH RECURSIVE {} SELECT {organization}, {acme}, 'o' || o, 1, 1, 1, true FROM o",
            numbers("o", ORGANIZATIONS + OTHERS)
        ),
        format!(
            "INSERT INTO agents (uid, workspace_uid, workspace_id, id, version, create_time, update_time, title, description,
                platform, channels, tags, state, archived)
            {many} SELECT {}, {acme}, 'acme', 'a' || a, 1, 0, 0, 'A', '', '', CAST('[]' AS {json}), CAST('[]' AS {json}), 1, false
            FROM a",
            of(AGENT, "a")
        ),
        format!(
            "INSERT INTO assignments (uid, workspace_uid, workspace_id, organization_uid, organization_id, agent_uid, agent_id,
                version, create_time, update_time, position, alias, note, removed, assign_time)
            {many} SELECT {}, {acme}, 'acme', {organization}, 'o' || o, {}, 'a' || {nth}, 1, 0, 0, n, '', '', n % 10 = 0, 0
            FROM o, n",
            of(ASSIGNMENT, "o * 1000 + n"),
            of(AGENT, &nth)
        ),
        format!("INSERT INTO projection_users (uid, id, version, bootstrap, disabled) {many} SELECT {user}, 'u', 1, 1, false FROM o, m"),
        format!(
            "INSERT INTO projection_members (uid, id, version, bootstrap, organization_uid, user_uid, state, roles, permissions)
            {many} SELECT {}, 'u', 1, 1, {organization}, {user}, 1, '', '' FROM o, m",
            of(MEMBER, "o * 1000 + m")
        ),
        format!(
            "INSERT INTO member_scopes (uid, workspace_uid, workspace_id, organization_uid, organization_id, user_uid, version,
                create_time, update_time, all_agents, agents)
            {many} SELECT {}, {acme}, 'acme', {organization}, 'o' || o, {user}, 1, 0, 0, true, CAST('[]' AS {json})
            FROM o, m WHERE m % 2 = 0",
            of(MEMBER, "o * 1000 + m")
        ),
    ];
    let last = |count: u128| of(ORGANIZATION, &(ORGANIZATIONS + OTHERS - count).to_string());
    let purged = [
        format!(
            "UPDATE projection_organizations SET id = NULL WHERE uid > {}",
            last(PURGED)
        ),
        format!(
            "UPDATE projection_organizations SET erased = bootstrap WHERE id IS NULL AND uid <= {}",
            last(UNFINISHED)
        ),
    ];
    for sql in statements.into_iter().chain(purged) {
        connection.execute_unprepared(&sql).await.unwrap();
    }
}

fn cases(world: &World, backend: DbBackend) -> Vec<Plan> {
    const NUMBER: u128 = 101;
    let organization = &OrganizationRef {
        workspace: WorkspaceRef {
            uid: world.acme,
            id: "acme".to_owned(),
        },
        uid: uid(ORGANIZATION, NUMBER),
        id: format!("o{NUMBER}"),
    };
    let (user, agent) = (uid(USER, NUMBER * 1000 + 2), uid(AGENT, ASSIGNED + 1));
    let ids: Vec<String> = (1..=ASSIGNED).map(|at| format!("a{}", ASSIGNED + at)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let listing = |many: u128| {
        let listed = |at| Listed {
            uid: uid(AGENT, ASSIGNED + at),
            id: format!("a{}", ASSIGNED + at),
        };
        let unset = MemberScope::unset(uid(MEMBER, NUMBER * 1000 + 2), organization.clone(), user);
        unset.set(Agents::Listed((1..=many).map(listed).collect()), Micros::now())
    };
    let after = assignment::After {
        position: 250,
        uid: uid(ASSIGNMENT, NUMBER * 1000 + 250),
    };
    let uids: Vec<Uid> = (1..=ASSIGNED).map(|at| uid(ASSIGNMENT, NUMBER * 1000 + at)).collect();
    let all = ASSIGNED as usize;
    let mut cases = Vec::new();
    let mut case = |what: &str, statement, indexes, rows| {
        cases.push(Plan {
            what: what.to_owned(),
            statement,
            indexes,
            rows,
        });
    };

    // A page of 50, one more, and those among them that were taken away.
    let by_position: &[&str] = &["assignments_by_position"];
    let (few, many) = (listing(10), listing(ASSIGNED));
    for after in [None, Some(&after)] {
        let listed = |held| assignment::listed(organization.uid, held, after, 51).build(backend);
        case("ListAssignments", listed(None), by_position, 60);
        let either: &[&str] = &["assignments_by_position", "assignments_agent"];
        case("ListAssignments of few", listed(Some(&few.agents)), either, all);
        case("ListAssignments of many", listed(Some(&many.agents)), either, all);
    }
    let by_agent: &[&str] = &["assignments_by_agent"];
    for after in [None, Some(uid(ASSIGNMENT, 100_000))] {
        let listed = assignment::listed_of_agent(agent, after, 51).build(backend);
        case("ListAgentOrganizations", listed, by_agent, 2 * 51);
    }
    let of_agent = assignment::of_agent(agent).build(backend);
    case("DeleteAgent", of_agent, by_agent, 2 * ORGANIZATIONS as usize);
    let checked: &[&str] = &[
        "agents_by_uid",
        "assignments_agent",
        "projection_members_user",
        "projection_members_of_user",
    ];
    for member in [None, Some(user)] {
        let select = access::select(organization, agent, member);
        case("CheckAccess", backend.build(&select), checked, 6);
    }
    let found: &[&str] = &["agents_name", "assignments_agent"];
    for many in [1, 100] {
        let statement = assignment::found(organization, &ids[..many]).build(backend);
        case("AssignAgent", statement, found, 2 * many);
        // Whichever reads no more than the organization has.
        let of_organization: &[&str] = &["assignments_agent", "assignments_by_position"];
        let statement = assignment::of_agents(organization.uid, &ids[..many]).build(backend);
        case("ReorderAssignments", statement, of_organization, all);
    }
    let counted: &[&str] = &["assignments_agent", "assignments_by_position", "member_scopes_by_time"];
    for others in [&uids[..0], &uids[..]] {
        let statement = assignment::counted(organization.uid, others).build(backend);
        case("places", statement, counted, all + MEMBERS as usize / 2);
    }
    let member: &[&str] = &["projection_members_user", "projection_members_of_user"];
    case(
        "GetMemberScope",
        backend.build(&member_scope::select(organization, user)),
        member,
        2,
    );
    for many in [1, ASSIGNED] {
        let held = member_scope::held(&member_scope::Model::from(&listing(many)));
        case(
            "GetMemberScope of a list",
            backend.build(&held),
            &["assignments_agent", "assignments_by_position"],
            all,
        );
    }
    // The job finds the organizations that are purged, and of which something is left.
    let purged: &[&str] = &["projection_organizations_unfinished"];
    case(
        "leftovers",
        erasures::select_purged(100).build(backend),
        purged,
        UNFINISHED as usize,
    );
    cases
}

#[tokio::test]
async fn postgres_reads_by_indexes_and_little() {
    let world = World::start(Engine::Postgres).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    crowd(&world, &connection).await;
    let tables = ["agents", "assignments", "member_scopes"];
    check_plans_on_postgres(&connection, &tables, || cases(&world, DbBackend::Postgres)).await;
}

#[tokio::test]
async fn sqlite_reads_by_indexes() {
    let world = World::start(Engine::Sqlite).await;
    let connection = sea_orm::Database::connect(&world.database.url).await.unwrap();
    let fill = async || crowd(&world, &connection).await;
    check_plans_on_sqlite(&connection, fill, || cases(&world, DbBackend::Sqlite)).await;
}

//! Following the teams of org-service: who is in which, and by which keys each is found.

use crate::{ACME, World, service};
use clientele_api::Uid;
use clientele_api::journal::Change;
use clientele_api::org::{Organization, Team};
use clientele_store::follow::teams;
use clientele_testkit::{Engine, OrgTeam, Running, on_both_engines};
use sea_orm::sea_query::Query;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryTrait, Statement};
use std::collections::BTreeSet;

impl World {
    fn team(&self, key: &str, members: &[&str]) -> OrgTeam {
        OrgTeam::create(&self.feed, self.acme, &self.bakery, key, members)
    }

    /// Which team of an organization this key means, for who has heard everything.
    async fn team_of(&self, organization: &Organization, key: &str) -> Option<String> {
        self.hear().await;
        let session = self.session().await;
        let select = teams::with_key(uid(&organization.uid), key);
        let found = select.one(&session).await.unwrap();
        session.close().await.unwrap();
        found.map(|team| team.uid.to_string())
    }

    /// Which team of `bakery` each of these keys means.
    async fn expect_keys(&self, expected: &[(&str, Option<&OrgTeam>)]) {
        for (key, team) in expected {
            let found = self.team_of(&self.bakery, key).await;
            assert_eq!(found, team.map(|team| team.team.uid.clone()), "{key}");
        }
    }

    /// In which teams of an organization a user is, for who has heard everything.
    async fn teams_with(&self, organization: &Organization, user: &str) -> BTreeSet<String> {
        self.hear().await;
        let session = self.session().await;
        let select = teams::with_member(uid(&organization.uid), uid(user));
        let rows = session.query_all(&select).await.unwrap();
        session.close().await.unwrap();
        let uids = rows.iter().map(|row| row.try_get::<uuid::Uuid>("", "uid").unwrap());
        uids.map(|uid| uid.to_string()).collect()
    }

    async fn expect_teams(&self, user: &str, expected: &[&OrgTeam]) {
        let expected = expected.iter().map(|team| team.team.uid.clone());
        assert_eq!(self.teams_with(&self.bakery, user).await, expected.collect());
    }
}

fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

/// Ids of users.
fn users<const N: usize>() -> [String; N] {
    std::array::from_fn(|_| Uid::new().to_string())
}

#[tokio::test]
async fn who_is_in_a_team_is_known_as_soon_as_it_is_heard_of() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let [ann, bob] = users();
        let butcher = format!("{ACME}/organizations/butcher");
        let butcher = world.feed.create_organization(world.acme, &butcher);
        let mut sales = world.team("sales", &[&ann]);
        let mut night = world.team("night", &[&ann, &bob]);
        let elsewhere = OrgTeam::create(&world.feed, world.acme, &butcher, "sales", &[&ann]);
        world.expect_teams(&ann, &[&sales, &night]).await;
        world.expect_teams(&bob, &[&night]).await;
        let of_butcher = BTreeSet::from([elsewhere.team.uid.clone()]);
        assert_eq!(world.teams_with(&butcher, &ann).await, of_butcher);
        sales.set_members(&[&bob]);
        night.set_members(&[]);
        world.expect_teams(&ann, &[]).await;
        world.expect_teams(&bob, &[&sales]).await;
        // What is told late brings nobody back.
        let late = Team {
            version: 1,
            members: vec![ann.clone()],
            ..sales.team.clone()
        };
        sales.tell(Change::created(&late));
        world.expect_teams(&ann, &[]).await;
        sales.delete();
        world.expect_teams(&bob, &[]).await;
        assert_eq!(world.teams_with(&butcher, &ann).await, of_butcher);
    })
    .await;
}

#[tokio::test]
async fn a_team_is_found_by_its_key_and_by_those_that_it_had() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let butcher = format!("{ACME}/organizations/butcher");
        let butcher = world.feed.create_organization(world.acme, &butcher);
        let mut sales = world.team("first_line", &[]);
        let night = world.team("night", &[]);
        world
            .expect_keys(&[("first_line", Some(&sales)), ("night", Some(&night))])
            .await;
        assert_eq!(world.team_of(&butcher, "first_line").await, None);
        sales.rename("second_line");
        sales.rename("sales");
        let all = ["first_line", "second_line", "sales"];
        world.expect_keys(&all.map(|key| (key, Some(&sales)))).await;
        // Whole keys only, as they are, and nothing that a database takes for a pattern.
        let none = [
            "first",
            "line",
            "first_line second_line",
            "first-line",
            "sec_nd_line",
            "FIRST_LINE",
            "SALES",
            "%",
            "_",
            "",
        ];
        world.expect_keys(&none.map(|key| (key, None))).await;
        // A key that it had before becomes its key again.
        sales.rename("first_line");
        world.expect_keys(&all.map(|key| (key, Some(&sales)))).await;
        // The key of another team wins over an alias, whichever of the two is newer: of the deletion that freed it nothing is known yet.
        let newer = world.team("sales", &[]);
        world
            .expect_keys(&[("sales", Some(&newer)), ("second_line", Some(&sales))])
            .await;
        let mut newer = newer;
        newer.rename("night");
        newer.rename("late");
        world
            .expect_keys(&[("night", Some(&night)), ("sales", Some(&newer))])
            .await;
        // Whose team is gone means no team, or the newest.
        sales.delete();
        world.expect_keys(&[("first_line", None), ("second_line", None)]).await;
        let again = world.team("first_line", &[]);
        world.expect_keys(&[("first_line", Some(&again))]).await;
        assert_eq!(world.team_of(&butcher, "night").await, None);
    })
    .await;
}

#[tokio::test]
async fn after_a_restore_only_the_teams_that_are_still_there_are_known() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let [ann] = users();
        let mut sales = world.team("sales", &[]);
        let night = world.team("night", &[&ann]);
        let before = sales.team.clone();
        sales.set_members(&[&ann]);
        sales.rename("first_line");
        world.expect_teams(&ann, &[&sales, &night]).await;
        // The backup is older than the night team and the changes: lower versions are true again.
        world.feed.restore(|entry| {
            let uid = &entry.changes[0].uid;
            let mut entry = entry.clone();
            if *uid == before.uid {
                entry.changes = vec![Change::created(&before)];
            }
            (*uid != night.team.uid).then_some(entry)
        });
        world.expect_teams(&ann, &[]).await;
        world
            .expect_keys(&[("sales", Some(&sales)), ("first_line", None), ("night", None)])
            .await;
        // It goes on in the new life.
        sales.team = before;
        sales.set_members(&[&ann]);
        world.expect_teams(&ann, &[&sales]).await;
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_understood_of_a_team_is_left_out() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let [ann] = users();
        let mut sales = world.team("sales", &[&ann]);
        let changed = |team: Team| Change::updated(&sales.team, &team, Vec::new());
        let wrong = |members: &str, alias: &str| {
            changed(Team {
                version: 2,
                members: vec![members.into()],
                aliases: vec![alias.into()],
                ..sales.team.clone()
            })
        };
        let mut garbled = wrong(&ann, "all");
        garbled.after.as_mut().unwrap().value = vec![0xff; 7];
        for change in [garbled, wrong("nobody", "all"), wrong(&ann, "all\0"), wrong(&ann, "")] {
            sales.tell(change);
        }
        world.expect_teams(&ann, &[&sales]).await;
        world.expect_keys(&[("sales", Some(&sales)), ("all", None)]).await;
        // Reading everything anew sweeps nothing out that can't be understood.
        world.feed.restore(|entry| Some(entry.clone()));
        world.expect_teams(&ann, &[&sales]).await;
        // The next version supersedes what was left out.
        sales.team.version = 2;
        sales.set_members(&[]);
        world.expect_teams(&ann, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_database_of_a_version_that_knew_no_teams_learns_of_them() {
    on_both_engines(async |engine| {
        let mut world = World::start(engine).await;
        let [ann] = users();
        let mut sales = world.team("sales", &[&ann]);
        world.hear().await;
        // As that version left it.
        let session = world.session().await;
        world.running.stop().await;
        let as_it_was = "
            DELETE FROM projection_teams;
            UPDATE projection_organizations SET bootstrap = 8589934599; UPDATE projection_workspaces SET bootstrap = 8589934599;
            UPDATE follow_cursors SET service = 'org/2', bootstrap = 8589934599";
        session.execute_unprepared(as_it_was).await.unwrap();
        session.close().await.unwrap();
        world.running = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
        world.channel = world.running.channel().await;
        world.expect_teams(&ann, &[&sales]).await;
        sales.set_members(&[]);
        world.expect_teams(&ann, &[]).await;
    })
    .await;
}

/// How a database goes about it.
async fn plan(session: &DatabaseConnection, backend: DbBackend, statement: Statement) -> Vec<String> {
    let explain = match backend {
        DbBackend::Postgres => ("EXPLAIN", "QUERY PLAN"),
        _ => ("EXPLAIN QUERY PLAN", "detail"),
    };
    let statement = Statement {
        sql: format!("{} {}", explain.0, statement.sql),
        ..statement
    };
    let rows = session.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", explain.1).unwrap()).collect()
}

#[tokio::test]
async fn teams_are_looked_for_in_their_organization_only() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let session = world.session().await;
        let backend = session.get_database_backend();
        let (organization, statistics) = match engine {
            Engine::Postgres => ("gen_random_uuid()", "ANALYZE projection_teams"),
            Engine::Sqlite => ("randomblob(16)", "ANALYZE"),
        };
        let many = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
             INSERT INTO projection_teams (uid, workspace_uid, organization_uid, id, version, bootstrap, aliases, members)
             SELECT {organization}, {organization}, {organization}, 'sales', 1, 1, '', '' FROM numbers"
        );
        session.execute_unprepared(&many).await.unwrap();
        session.execute_unprepared(statistics).await.unwrap();
        let bakery = uid(&world.bakery.uid);
        let with_member = Query::select()
            .column(teams::Column::Uid)
            .from(teams::Entity)
            .and_where(sea_orm::ColumnTrait::in_subquery(
                &teams::Column::Uid,
                teams::with_member(bakery, Uid::new()),
            ))
            .to_owned();
        for statement in [
            teams::with_key(bakery, "sales").build(backend),
            backend.build(&teams::with_member(bakery, Uid::new())),
            backend.build(&with_member),
        ] {
            let steps = plan(&session, backend, statement).await;
            let scans = steps.iter().any(|step| step.contains("Seq Scan") || step.starts_with("SCAN "));
            assert!(!scans && steps.iter().any(|step| step.contains("projection_teams_id")), "{steps:#?}");
        }
    })
    .await;
}

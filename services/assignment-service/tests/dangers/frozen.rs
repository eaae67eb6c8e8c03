//! A replica stands still, as a process does whose machine is suspended, while another one goes on.

use crate::World;
use clientele_api::org::organization::State;
use clientele_testkit::{Engine, until};
use sea_orm::ConnectionTrait;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes down where the followers stood.
const NOTES: &str = "
    CREATE TABLE stood (n bigint GENERATED ALWAYS AS IDENTITY, cursor text, bootstrap bigint);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO stood (cursor, bootstrap) VALUES (NEW.cursor, NEW.bootstrap);
        RETURN NULL;
    END $$;
    CREATE TRIGGER noted AFTER INSERT OR UPDATE ON follow_cursors FOR EACH ROW EXECUTE FUNCTION note();";

/// The bootstrap, whether it is over, and how far they had come then.
const STOOD: &str = "SELECT bootstrap || ' ' || coalesce(cursor, '') AS answer FROM stood ORDER BY n";

impl World {
    /// Whether nobody ever wrote an earlier place over a later one.
    async fn only_went_on(&self) {
        let stood: Vec<String> = self.ask(STOOD).await;
        let places = stood.iter().map(|text| {
            let (bootstrap, cursor) = text.split_once(' ').unwrap();
            let read_once = !cursor.is_empty() && !cursor.contains('~');
            let seq = cursor.rsplit('.').next().and_then(|seq| seq.parse::<i64>().ok());
            (bootstrap.parse::<i64>().unwrap(), read_once, seq.filter(|_| read_once))
        });
        assert!(places.is_sorted(), "{stood:?}");
    }
}

/// One replica stands still when it has decided for the `nth` time what to write; another one goes on until it has heard everything;
/// then the first one continues. Before and after that, and meanwhile, the journal goes on.
async fn a_replica_that_stood_still_spoils_nothing(nth: u64) {
    let world = World::start(Engine::Postgres).await;
    world.session.execute_unprepared(NOTES).await.unwrap();
    let acme = world.feed.create_workspace("acme");
    let create = |at| {
        let name = format!("workspaces/acme/organizations/client-{at}");
        world.feed.create_organization(acme, &name)
    };
    let mut told: Vec<_> = (0..250).map(create).collect();

    let frozen = world.serve(&format!("follower-read={nth}:stop"));
    let stands = frozen.until_stopped();
    let goes_on = async {
        loop {
            until(PATIENCE, "it has heard everything", async || world.heard().await).await;
            told[0] = world.feed.update(acme, &told[0], |_| {});
        }
    };
    tokio::select! {
        () = stands => {}
        () = goes_on => {}
    }
    let other = world.serve("");
    for organization in &mut told {
        *organization = world
            .feed
            .update(acme, organization, |after| after.set_state(State::Suspended));
    }
    until(PATIENCE, "the other one has heard everything", async || {
        world.heard().await
    })
    .await;
    frozen.go_on();
    // It is back as soon as it goes on alone.
    other.kill();
    told[0] = world
        .feed
        .update(acme, &told[0], |after| after.set_state(State::Active));
    until(PATIENCE, "it goes on", async || world.heard().await).await;
    world.only_went_on().await;
    world.knows(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stood_still_while_it_read_everything_spoils_nothing() {
    // 1: its number. 2 and 3: what exists.
    for nth in 1..=3 {
        a_replica_that_stood_still_spoils_nothing(nth).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stood_still_while_it_heard_news_spoils_nothing() {
    // 4: the first checkpoint. 6: the second change that was told.
    for nth in [4, 6] {
        a_replica_that_stood_still_spoils_nothing(nth).await;
    }
}

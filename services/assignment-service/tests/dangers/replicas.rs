//! Two replicas follow one journal into one database, and are killed again and again.

use crate::World;
use assignment_service::AssignmentService;
use clientele_api::assignment::ListAgentsRequest;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::journal::{Change, ChangeKind};
use clientele_api::org::Organization;
use clientele_api::org::organization::State;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Engine, OrgFeed, Running, seed, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::ConnectionTrait;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often a replica is killed.
const KILLS: usize = 24;

/// Writes down what is written to a projection.
const NOTES: &str = "
    CREATE TABLE notes (n bigint GENERATED ALWAYS AS IDENTITY, uid uuid, bootstrap bigint, version bigint, swept boolean);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO notes (uid, bootstrap, version, swept)
            VALUES (NEW.uid, NEW.bootstrap, NEW.version, TG_OP = 'UPDATE' AND NEW.version = OLD.version AND NEW.id IS NULL);
        RETURN NULL;
    END $$;
    CREATE TRIGGER noted AFTER INSERT OR UPDATE ON projection_organizations FOR EACH ROW EXECUTE FUNCTION note();";

/// Those that were written and were not newer than what was there.
const TWICE: &str = "
    SELECT uid || ' ' || bootstrap || '.' || version AS answer FROM (
        SELECT *, lag((bootstrap, version)) OVER (PARTITION BY uid ORDER BY n) AS before FROM notes WHERE NOT swept) AS noted
    WHERE (bootstrap, version) <= before";

/// A replica on threads of its own, so that it can be killed wherever it is.
struct Replica {
    threads: Runtime,
    running: Running,
}

impl Replica {
    async fn start(service: &AssignmentService) -> Self {
        let threads = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let service = service.clone();
        let running = threads
            .spawn(async move { Running::start(&service).await })
            .await
            .unwrap();
        Self { threads, running }
    }

    /// Ends it without a farewell: nothing of it goes on after its next await.
    fn kill(self) {
        self.threads.shutdown_background();
    }

    /// Waits until it has heard everything.
    async fn hear(&self, world: &World) {
        let caller = Caller {
            min_revision: Some(world.feed.revision()),
            ..world.operator.clone()
        };
        let mut agents = AgentServiceClient::new(self.running.channel().await);
        until(Duration::from_secs(10), "everything is heard", async || {
            let list = ListAgentsRequest {
                parent: "workspaces/acme".into(),
                ..Default::default()
            };
            agents.list_agents(caller.request(list)).await.is_ok()
        })
        .await;
    }
}

/// An org-service that goes on to change its organizations until `done`; answers those that are left.
async fn tell(feed: OrgFeed, mut random: StdRng, done: CancellationToken) -> BTreeMap<String, Organization> {
    let acme = feed.create_workspace("acme");
    let mut organizations: BTreeMap<String, Organization> = BTreeMap::new();
    for at in 0.. {
        if done.is_cancelled() {
            break;
        }
        let any = random.random_range(0..=organizations.len());
        let any = organizations.values().nth(any).cloned();
        match (random.random_range(0..200), any) {
            (0..80, Some(before)) => {
                let states = [State::Active, State::Suspended, State::Deleted];
                let state = states[random.random_range(0..states.len())];
                let after = feed.update(acme, &before, |organization| organization.set_state(state));
                organizations.insert(after.uid.clone(), after);
            }
            (80..100, Some(before)) => {
                let purged = Change {
                    kind: ChangeKind::Purged.into(),
                    ..Change::removed(&before, before.version + 1)
                };
                feed.tell(&acme.to_string(), purged);
                organizations.remove(&before.uid);
            }
            (100..106, Some(_)) => feed.cut(),
            (106..107, Some(_)) => feed.restore(|entry| Some(entry.clone())),
            _ => {
                let name = format!("workspaces/acme/organizations/client-{at}");
                let created = feed.create_organization(acme, &name);
                organizations.insert(created.uid.clone(), created);
            }
        }
        sleep(Duration::from_millis(random.random_range(0..6))).await;
    }
    organizations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_followers_know_what_they_were_told_and_nothing_twice() {
    let mut random = seed();
    let world = World::start(Engine::Postgres).await;
    world.session.execute_unprepared(NOTES).await.unwrap();
    let mut replicas = [
        Replica::start(&world.service).await,
        Replica::start(&world.service).await,
    ];

    let done = CancellationToken::new();
    let telling = StdRng::seed_from_u64(random.random());
    let telling = tokio::spawn(tell(world.feed.clone(), telling, done.clone()));
    for _ in 0..KILLS {
        sleep(Duration::from_millis(random.random_range(0..150))).await;
        let fresh = Replica::start(&world.service).await;
        std::mem::replace(&mut replicas[random.random_range(0..2)], fresh).kill();
    }
    done.cancel();
    let told = telling.await.unwrap();
    assert!(told.len() > 10);

    for replica in &replicas {
        replica.hear(&world).await;
    }
    world.knows(told.into_values()).await;
    assert_eq!(world.ask::<String>(TWICE).await, [""; 0], "written again");
    assert_eq!(
        world.ask::<i64>("SELECT count(*) AS answer FROM follow_parked").await,
        [0]
    );
    replicas.into_iter().for_each(Replica::kill);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_purged_while_two_read_everything_anew_is_not_known() {
    let world = World::start(Engine::Postgres).await;
    let acme = world.feed.create_workspace("acme");
    // More than are written at a time.
    let organizations: Vec<Organization> = (0..300)
        .map(|at| {
            let name = format!("workspaces/acme/organizations/client-{at}");
            world.feed.create_organization(acme, &name)
        })
        .collect();
    world.feed.hold();
    let first = Replica::start(&world.service).await;
    let limit = Duration::from_secs(5);
    until(limit, "the first one begins", async || world.feed.opened() == 1).await;
    let (gone, kept) = organizations.split_first().unwrap();
    let purged = Change {
        kind: ChangeKind::Purged.into(),
        ..Change::removed(gone, 2)
    };
    world.feed.tell(&acme.to_string(), purged);
    let second = Replica::start(&world.service).await;
    until(limit, "the second one begins", async || world.feed.opened() >= 2).await;

    // The first one writes some of what it was told, or hears that it is not alone.
    world.feed.allow(1, 200);
    let written = "SELECT count(*) AS answer FROM projection_organizations";
    until(limit, "the first one goes on", async || {
        world.feed.opened() > 2 || world.ask::<i64>(written).await != [0]
    })
    .await;
    first.kill();
    world.feed.release();
    second.hear(&world).await;
    world.knows(kept.iter().cloned()).await;
    second.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_overtaken_by_one_that_begins_anew_begins_anew_too() {
    let world = World::start(Engine::Postgres).await;
    let acme = world.feed.create_workspace("acme");
    let bakery = world
        .feed
        .create_organization(acme, "workspaces/acme/organizations/bakery");
    let replica = Replica::start(&world.service).await;
    replica.hear(&world).await;
    let bootstrap = "SELECT bootstrap AS answer FROM follow_cursors";
    let before = world.ask::<i64>(bootstrap).await[0];

    // Another one has taken a number, and not yet committed it.
    let options = Options {
        url: world.service.config.database.expose().clone(),
        service: "assignment",
    };
    let other = connect_to_migrate(&options).await.unwrap();
    let taken = "BEGIN; UPDATE follow_cursors SET cursor = NULL, bootstrap = bootstrap + 1";
    other.execute_unprepared(taken).await.unwrap();
    let bakery = world
        .feed
        .update(acme, &bakery, |bakery| bakery.set_state(State::Suspended));
    let waiting = "SELECT count(*) AS answer FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name = 'clientele-assignment-writer' AND wait_event_type = 'Lock'";
    let limit = Duration::from_secs(10);
    until(limit, "the follower waits", async || {
        world.ask::<i64>(waiting).await == [1]
    })
    .await;
    other.execute_unprepared("COMMIT").await.unwrap();

    replica.hear(&world).await;
    world.knows([bakery]).await;
    assert_eq!(world.ask::<i64>(bootstrap).await, [before + 2]);
    replica.kill();
}

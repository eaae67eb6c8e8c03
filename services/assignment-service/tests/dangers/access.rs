//! Who may use which agent, remembered by two replicas on one database.

use crate::World;
use clientele_api::org::member::State;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Calls, ClientUser, Engine, Running, patiently, until};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tonic::Status;

const ACME: &str = "workspaces/acme";
const BAKERY: &str = "workspaces/acme/organizations/bakery";
const SOON: Duration = Duration::from_secs(10);

/// Two replicas, and Ann of `bakery`, who may use the agent `a`.
struct Two {
    world: World,
    ann: ClientUser,
    running: [Running; 2],
    here: Calls,
    there: Calls,
}

impl Two {
    async fn start(world: World) -> Self {
        let acme = world.feed.create_workspace("acme");
        let bakery = world.feed.create_organization(acme, BAKERY);
        let ann = ClientUser::create(&world.feed, acme, &bakery);
        let running = [
            Running::start(&world.service).await,
            Running::start(&world.service).await,
        ];
        let two = Self {
            here: Calls::new(running[0].channel().await),
            there: Calls::new(running[1].channel().await),
            running,
            ann,
            world,
        };
        let informed = two.informed();
        let agent = json!({ "parent": ACME, "agentId": "a", "agent": { "title": "A" } });
        let create = "/clientele.assignment.v1.AgentService/CreateAgent";
        two.here.call(create, &informed, agent).await.unwrap();
        two.change(CHANGES.len() - 1).await;
        two
    }

    /// One who wants to be answered with everything that the feed has told.
    fn informed(&self) -> Caller {
        Caller {
            min_revision: Some(self.world.feed.revision()),
            ..self.world.operator.clone()
        }
    }

    /// Makes the change of this number here; answers its revision, and what a check must say from now on.
    async fn change(&self, number: usize) -> (Caller, &'static str) {
        let (method, expected) = CHANGES[number % CHANGES.len()];
        let user = &self.ann.user.uid;
        let scope = |all: bool| json!({ "name": format!("{BAKERY}/memberScopes/{user}"), "allAgents": all });
        let agent = json!({ "name": format!("{ACME}/agents/a") });
        let (service, request) = match (method, expected) {
            ("AssignAgent", _) => ("Assignment", json!({ "parent": BAKERY, "agent": agent["name"] })),
            ("UnassignAgent", _) => ("Assignment", json!({ "name": format!("{BAKERY}/assignments/a") })),
            ("SetMemberScope", expected) => ("Assignment", json!({ "memberScope": scope(expected == MAY) })),
            _ => ("Agent", agent),
        };
        let path = format!("/clientele.assignment.v1.{service}Service/{method}");
        let (_, headers) = self.here.call(&path, &self.informed(), request).await.unwrap();
        let revision = headers.get("clientele-revision").unwrap().to_str().unwrap();
        let min_revision = Some(revision.to_owned());
        let who_made_it = Caller {
            min_revision,
            ..self.world.operator.clone()
        };
        (who_made_it, expected)
    }

    /// What is said of Ann.
    async fn check(&self, replica: &Calls, caller: &Caller) -> Result<Value, Status> {
        let user = &self.ann.user.uid;
        let request = json!({
            "organization": BAKERY, "agent": format!("{ACME}/agents/a"), "member": format!("{BAKERY}/members/{user}"),
        });
        let path = "/clientele.assignment.v1.AssignmentService/CheckAccess";
        let (answer, _) = replica.call(path, caller, request).await?;
        Ok(answer["reason"].clone())
    }

    /// Waits until everybody is told so there; answers for how long.
    async fn until_told(&self, expected: &str) -> Duration {
        let began = Instant::now();
        while self.check(&self.there, &self.world.operator).await.unwrap() != expected {
            assert!(began.elapsed() < SOON, "the other replica does not hear of it");
        }
        began.elapsed()
    }

    /// Makes changes here: they are seen here at once, there at once by who made them, and there by everybody soon; answers how soon.
    async fn exchange(&self, changes: usize) -> Vec<Duration> {
        let anybody = &self.world.operator;
        let mut lags = Vec::new();
        for number in 0..changes {
            // So that it is remembered there.
            self.check(&self.there, anybody).await.unwrap();
            let (who_made_it, expected) = self.change(number).await;
            // Every second time nobody asks so there: who does gets it read, and remembered, for all.
            if number % (2 * CHANGES.len()) < CHANGES.len() {
                assert_eq!(self.check(&self.there, &who_made_it).await.unwrap(), expected);
                self.until_told(expected).await;
            } else {
                lags.push(self.until_told(expected).await);
            }
            assert_eq!(self.check(&self.here, anybody).await.unwrap(), expected);
        }
        lags
    }

    async fn stop(self) {
        for running in self.running {
            running.stop().await;
        }
    }
}

const MAY: &str = "DENIAL_REASON_UNSPECIFIED";

/// Methods, and what is said after them. The last one undoes all others.
const CHANGES: [(&str, &str); 6] = [
    ("ArchiveAgent", "DENIAL_REASON_AGENT_ARCHIVED"),
    ("UnarchiveAgent", MAY),
    ("SetMemberScope", "DENIAL_REASON_OUT_OF_SCOPE"),
    ("SetMemberScope", MAY),
    ("UnassignAgent", "DENIAL_REASON_NOT_ASSIGNED"),
    ("AssignAgent", MAY),
];

fn show(what: &str, mut lags: Vec<Duration>) {
    lags.sort();
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
    println!(
        "{what}: seen after {:?} (p50), {:?} (p99), {:?} at most",
        at(50),
        at(99),
        at(100)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_remembers_hears_of_what_the_other_changes() {
    let mut two = Two::start(World::start(Engine::Postgres).await).await;
    show("a change at another replica", two.exchange(240).await);

    // What org-service tells: who has seen it is never told otherwise, wherever it asks.
    let mut lags = Vec::new();
    for number in 0..20 {
        let (state, expected) = [
            (State::Suspended, "DENIAL_REASON_MEMBER_SUSPENDED"),
            (State::Active, MAY),
        ][number % 2];
        two.check(&two.there, &two.world.operator).await.unwrap();
        two.ann.change_member(|member| member.set_state(state));
        if number % 4 < 2 {
            for replica in [&two.here, &two.there] {
                assert_eq!(two.check(replica, &two.informed()).await.unwrap(), expected);
            }
        }
        lags.push(two.until_told(expected).await);
    }
    show("what org-service tells", lags);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_nobody_wakes_looks_by_itself() {
    let world = World::start(Engine::Postgres).await;
    // Whoever connects from here on finds a pg_notify that does nothing.
    let deaf = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''; \
        DO $$ BEGIN \
            EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); \
        END $$";
    world.session.execute_unprepared(deaf).await.unwrap();
    let two = Two::start(world).await;
    show("a change that nobody is woken by", two.exchange(24).await);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stands_aside_while_nobody_can_wake_it() {
    let two = Two::start(World::start(Engine::Postgres).await).await;
    let anybody = &two.world.operator;
    let (url, database) = two.world.database.url.rsplit_once('/').unwrap();
    let server = Options {
        url: format!("{url}/postgres"),
        service: "assignment",
    };
    let server = connect_to_migrate(&server).await.unwrap();
    let on_the_server = async |sql: String| server.execute_unprepared(&sql).await.unwrap();
    // Changes that no journal tells show who answers.
    let turn = async |archived: bool| {
        let sql = format!("UPDATE agents SET archived = {archived}");
        two.world.session.execute_unprepared(&sql).await.unwrap();
    };
    let is_remembered = async || {
        two.check(&two.there, anybody).await.unwrap();
        turn(true).await;
        let remembered = two.check(&two.there, anybody).await.unwrap() == MAY;
        turn(false).await;
        // What the journal tells lets it be read again.
        two.change(0).await;
        let (who_made_it, expected) = two.change(1).await;
        assert_eq!(two.check(&two.there, &who_made_it).await.unwrap(), expected);
        remembered
    };
    until(SOON, "it is remembered", is_remembered).await;
    // Nobody can connect any more; those who have go on, except for who listens.
    on_the_server(format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await;
    on_the_server(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND query ILIKE 'listen %'"
    ))
    .await;
    for replica in [&two.here, &two.there] {
        // As long as the connections that are left are busy, no others can be made.
        let check = async || patiently(|| two.check(replica, anybody)).await.unwrap();
        let stands_aside = async || {
            turn(true).await;
            let read = check().await != MAY;
            turn(false).await;
            read
        };
        until(SOON, "memory stands aside", stands_aside).await;
        for (archived, expected) in [(true, CHANGES[0].1), (false, MAY)].repeat(10) {
            turn(archived).await;
            assert_eq!(check().await, expected);
        }
    }
    on_the_server(format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).await;
    until(SOON, "it is remembered again", is_remembered).await;
    two.exchange(24).await;
    server.close().await.unwrap();
    two.stop().await;
}

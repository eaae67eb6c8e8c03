//! A database that is out of reach, in all the ways in which it can be.

use crate::feed::Feed;
use crate::{World, create};
use clientele_api::journal::ListEntriesRequest;
use clientele_api::org::{
    CreateOrganizationRequest, GetOrganizationRequest, ListOrganizationsRequest, Organization,
    UpdateOrganizationRequest,
};
use clientele_store::connect::Options;
use clientele_store::cursor::Cursor;
use clientele_store::{Db, Journal};
use clientele_testkit::{Engine, Proxy, reason, until};
use futures::future::join_all;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use uuid::Uuid;

/// The longest that a call may take, and what the machine may add.
const DEADLINE: Duration = Duration::from_millis(5_000 + 500);
/// How soon readiness is withdrawn.
const NOTICE: Duration = Duration::from_secs(10);
/// How soon all is well again.
const RECOVERY: Duration = Duration::from_secs(5);

const BAKERY: &str = "workspaces/acme/organizations/bakery";

/// The calls that are made all the time.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Get,
    List,
    Log,
    Create,
    CreateWithRequestId,
    Preview,
    Rename,
}

const KINDS: [Kind; 7] = [
    Kind::Get,
    Kind::List,
    Kind::Log,
    Kind::Create,
    Kind::CreateWithRequestId,
    Kind::Preview,
    Kind::Rename,
];

impl World {
    async fn health(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        answer.unwrap().into_inner().status()
    }

    async fn call(&self, kind: Kind, id: &str, request_id: &str) -> Result<(), Status> {
        match kind {
            Kind::Get => {
                let request = GetOrganizationRequest { name: BAKERY.into() };
                let answer = self.organizations().get_organization(self.admin.request(request)).await;
                answer.map(drop)
            }
            Kind::List => {
                let request = ListOrganizationsRequest {
                    parent: "workspaces/acme".into(),
                    ..Default::default()
                };
                let answer = self
                    .organizations()
                    .list_organizations(self.admin.request(request))
                    .await;
                answer.map(drop)
            }
            Kind::Log => {
                let request = ListEntriesRequest {
                    parent: BAKERY.into(),
                    ..Default::default()
                };
                let answer = self.journal().list_entries(self.admin.request(request)).await;
                answer.map(drop)
            }
            Kind::Create | Kind::CreateWithRequestId | Kind::Preview => {
                let request = CreateOrganizationRequest {
                    request_id: request_id.to_owned(),
                    validate_only: matches!(kind, Kind::Preview),
                    ..create(id)
                };
                self.create(request).await.map(drop)
            }
            Kind::Rename => {
                let request = UpdateOrganizationRequest {
                    organization: Some(Organization {
                        name: BAKERY.into(),
                        display_name: Some(id.to_owned()),
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                let answer = self
                    .organizations()
                    .update_organization(self.admin.request(request))
                    .await;
                answer.map(drop)
            }
        }
    }
}

/// A call that was refused.
struct Refused {
    kind: Kind,
    id: String,
    request_id: String,
    status: Status,
}

/// Makes calls of one kind, one after the other, until `done`. Each ends within its deadline.
async fn call_on(world: &World, caller: usize, kind: Kind, done: &CancellationToken) -> Vec<Refused> {
    let mut refused = Vec::new();
    for at in 0.. {
        if done.is_cancelled() {
            break;
        }
        let id = format!("{kind:?}-{caller}-{at}").to_lowercase();
        let request_id = match kind {
            Kind::CreateWithRequestId => Uuid::new_v4().to_string(),
            _ => String::new(),
        };
        let began = Instant::now();
        let answer = world.call(kind, &id, &request_id).await;
        let took = began.elapsed();
        assert!(took < DEADLINE, "{kind:?} took {took:?}: {answer:?}");
        if let Err(status) = answer {
            refused.push(Refused {
                kind,
                id,
                request_id,
                status,
            });
        }
    }
    refused
}

/// Whether the refusal says what a caller needs: try again, or find out.
fn is_honest(refused: &Refused) {
    let Refused {
        kind,
        request_id,
        status,
        ..
    } = refused;
    let retry = status.get_details_retry_info().is_some();
    match (status.code(), reason(status).as_str()) {
        (Code::Unavailable, "DATABASE_UNAVAILABLE") => assert!(retry, "{kind:?}: {status:?}"),
        (Code::Unavailable, "OUTCOME_UNKNOWN") => assert_eq!(retry, !request_id.is_empty(), "{kind:?}: {status:?}"),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED") => {}
        other => panic!("{kind:?}: {other:?}: {status:?}"),
    }
}

/// A service whose database is struck by a fault, and comes back.
async fn survives(strike: fn(&Proxy), callers: usize) {
    let (world, proxy) = World::behind_a_proxy().await;
    world.create(create("bakery")).await.unwrap();
    let mut feed = Feed::start(&world).await;
    until(RECOVERY, "ready", async || {
        world.health("readiness").await == ServingStatus::Serving
    })
    .await;
    // All connections are open.
    nothing_is_refused(&world, "early").await;
    let done = CancellationToken::new();
    let kinds = KINDS.into_iter().cycle().take(callers).enumerate();
    let calls = join_all(kinds.map(|(caller, kind)| call_on(&world, caller, kind, &done)));
    let fault = async {
        world.create(create("last")).await.unwrap();
        feed.until_told(RECOVERY, "workspaces/acme/organizations/last").await;
        strike(&proxy);
        until(NOTICE, "not ready", async || {
            assert_eq!(world.health("liveness").await, ServingStatus::Serving);
            world.health("readiness").await == ServingStatus::NotServing
        })
        .await;
        done.cancel();
    };
    let (refused, ()) = tokio::join!(calls, fault);
    let refused: Vec<Refused> = refused.into_iter().flatten().collect();
    assert_eq!(refused.is_empty(), callers == 0, "the fault must be felt");
    refused.iter().for_each(is_honest);
    assert_eq!(world.health("readiness").await, ServingStatus::NotServing);

    proxy.restore();
    let restored = Instant::now();
    until(RECOVERY, "ready again", async || {
        assert_eq!(world.health("liveness").await, ServingStatus::Serving);
        world.health("readiness").await == ServingStatus::Serving
    })
    .await;
    for kind in KINDS {
        until(
            RECOVERY.saturating_sub(restored.elapsed()),
            &format!("{kind:?} again"),
            async || {
                let again = world.call(kind, &format!("{kind:?}-again").to_lowercase(), "").await;
                again.is_ok()
            },
        )
        .await;
    }
    feed.until_told(
        RECOVERY.saturating_sub(restored.elapsed()),
        "workspaces/acme/organizations/create-again",
    )
    .await;
    // What was interrupted can be repeated.
    let unsure = refused.iter().rev().filter(|refused| !refused.request_id.is_empty());
    for Refused {
        kind, id, request_id, ..
    } in unsure.take(16)
    {
        world.call(*kind, id, request_id).await.unwrap();
    }
    nothing_is_refused(&world, "late").await;
}

/// Makes many calls of every kind at once.
async fn nothing_is_refused(world: &World, name: &str) {
    let calls = KINDS.into_iter().cycle().take(64).enumerate();
    let calls = calls.map(async |(at, kind)| (kind, world.call(kind, &format!("{name}-{at}"), "").await));
    for (kind, answer) in join_all(calls).await {
        answer.unwrap_or_else(|status| panic!("{kind:?}: {status:?}"));
    }
}

/// More than there are connections, so that none is spared, and none must be lost.
const CALLERS: usize = 28;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_connections() {
    survives(Proxy::cut, CALLERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_says_nothing() {
    survives(Proxy::black_hole, CALLERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_answers_are_lost() {
    survives(Proxy::mute, CALLERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_heard_no_more() {
    survives(Proxy::half_close, CALLERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_two_seconds() {
    survives(|proxy| proxy.delay(Duration::from_secs(2)), CALLERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_away_unnoticed() {
    survives(Proxy::black_hole, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_gone_for_a_moment_soon_tells_its_end_again() {
    let world = World::start(Engine::Postgres).await;
    let proxy = Proxy::start(&world.options.url).await;
    let options = Options {
        url: proxy.url(&world.options.url),
        ..world.options.clone()
    };
    let db = Db::connect(&options).await.unwrap();
    let stop = CancellationToken::new();
    let journal = Journal::open(&db, stop.clone()).await.unwrap();
    let end = journal.horizon();
    proxy.black_hole();
    proxy.restore();
    world.create(create("late")).await.unwrap();
    let newest =
        "SELECT epoch || '.' || xid || '.' || seq AS answer FROM journal ORDER BY epoch DESC, xid DESC LIMIT 1";
    let newest = Cursor::parse(&world.ask::<String>(newest).await[0]).unwrap();
    until(RECOVERY, "the end moves on", async || *end.borrow() >= newest).await;
    stop.cancel();
}

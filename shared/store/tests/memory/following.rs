//! What a service remembers of another one that it follows.

use crate::place::{Place, SOON};
use clientele_api::Uid;
use clientele_api::org::Organization;
use clientele_store::connect::Db;
use clientele_store::follow::{self, Followed, Follower, OrganizationProjection, Peer};
use clientele_store::{Answer, Journal, Memory, Revision};
use clientele_testkit::{OrgFeed, until};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;

/// A process that follows org-service and remembers organizations.
struct Replica {
    db: Db,
    followed: Followed,
    memory: Memory<Uid, OrganizationProjection>,
    loads: AtomicU64,
    _stop: DropGuard,
    _token: tempfile::NamedTempFile,
}

impl Replica {
    async fn start(place: &Place, feed: &OrgFeed) -> Self {
        let stop = CancellationToken::new();
        let db = Db::connect(&place.options).await.unwrap();
        let journal = Journal::open(&db, stop.clone()).await.unwrap();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "a-token").unwrap();
        let peer = Peer {
            service: "org",
            channel: Endpoint::from_shared(feed.endpoint()).unwrap().connect_lazy(),
            token_file: token.path().to_owned(),
        };
        Self {
            followed: Follower::start(&db, peer, stop.clone()).await.unwrap(),
            memory: Memory::new(journal, "organizations", 100),
            loads: AtomicU64::new(0),
            db,
            _stop: stop.drop_guard(),
            _token: token,
        }
    }

    /// The version that is known of an organization.
    async fn version(&self, organization: &Organization) -> i64 {
        let uid = Uid::parse(&organization.uid).unwrap();
        let load = async || {
            self.loads.fetch_add(1, Ordering::Relaxed);
            Ok(Answer {
                value: follow::organization(self.db.read(), uid).await?,
                revision: Revision::new(),
            })
        };
        let answer = self.memory.get(uid, &[uid], &Revision::new(), load).await.unwrap();
        answer.value.map_or(0, |organization| organization.version)
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Waits until everything that was told is known.
    async fn hear(&self, feed: &OrgFeed) {
        let (epoch, n) = Revision::parse(&feed.revision()).unwrap().of("org").unwrap();
        until(SOON, "it is heard", async || self.followed.wait(epoch, n).await.is_ok()).await;
    }
}

/// A feed with an organization in a workspace.
async fn bakery() -> (OrgFeed, Uid, Organization) {
    let feed = OrgFeed::start().await;
    let acme = feed.create_workspace("acme");
    let bakery = feed.create_organization(acme, "workspaces/acme/organizations/bakery");
    (feed, acme, bakery)
}

pub(crate) async fn what_is_followed_is_seen_by_who_waited_for_it(place: &Place) {
    let (feed, acme, mut bakery) = bakery().await;
    let replica = Replica::start(place, &feed).await;
    for _ in 0..50 {
        replica.hear(&feed).await;
        assert_eq!(replica.version(&bakery).await, bakery.version);
        bakery = feed.update(acme, &bakery, |_| ());
    }
}

pub(crate) async fn what_is_swept_out_is_seen_to_be_gone(place: &Place) {
    let (feed, _, bakery) = bakery().await;
    let replica = Replica::start(place, &feed).await;
    replica.hear(&feed).await;
    // Another life, without the bakery. It is remembered again before the last of what there is now was told.
    feed.hold();
    let streams = feed.opened();
    feed.restore(|entry| (entry.changes[0].uid != bakery.uid).then(|| entry.clone()));
    until(SOON, "everything is read anew", async || feed.opened() > streams).await;
    until(SOON, "it is remembered", async || {
        let before = replica.loads();
        replica.version(&bakery).await == 1 && replica.loads() == before
    })
    .await;
    feed.release();
    until(SOON, "it is gone", async || replica.version(&bakery).await == 0).await;
}

/// A replica that is allowed to hear everything, and one that hears nothing from now on.
async fn one_hears(place: &Place, feed: &OrgFeed) -> [Replica; 2] {
    let hears = Replica::start(place, feed).await;
    hears.hear(feed).await;
    feed.hold();
    feed.allow(feed.opened(), usize::MAX);
    let is_held = Replica::start(place, feed).await;
    until(SOON, "its stream is open", async || feed.opened() == 2).await;
    [hears, is_held]
}

pub(crate) async fn what_another_replica_has_heard_is_seen_by_who_waited_for_it(place: &Place) {
    let (feed, acme, mut bakery) = bakery().await;
    let [hears, is_held] = one_hears(place, &feed).await;
    for _ in 0..20 {
        is_held.version(&bakery).await;
        bakery = feed.update(acme, &bakery, |_| ());
        hears.hear(&feed).await;
        is_held.hear(&feed).await;
        assert_eq!(is_held.version(&bakery).await, bakery.version);
    }
}

pub(crate) async fn what_another_replica_has_heard_is_seen_without_a_stream(place: &Place) {
    let (feed, acme, mut bakery) = bakery().await;
    let [_hears, is_held] = one_hears(place, &feed).await;
    for _ in 0..5 {
        bakery = feed.update(acme, &bakery, |_| ());
        until(SOON, "it is seen", async || {
            is_held.version(&bakery).await == bakery.version
        })
        .await;
    }
}

pub(crate) async fn of_two_replicas_both_see_what_they_are_told(place: &Place) {
    let (feed, acme, mut bakery) = bakery().await;
    let replicas = [Replica::start(place, &feed).await, Replica::start(place, &feed).await];
    for _ in 0..100 {
        for replica in &replicas {
            replica.hear(&feed).await;
            assert_eq!(replica.version(&bakery).await, bakery.version);
        }
        bakery = feed.update(acme, &bakery, |_| ());
    }
}

/// Their streams end at the same moment: one goes on from what the other has written.
pub(crate) async fn what_another_replica_has_heard_before_a_new_stream_is_seen(place: &Place) {
    let (feed, acme, mut bakery) = bakery().await;
    let replicas = [Replica::start(place, &feed).await, Replica::start(place, &feed).await];
    for _ in 0..40 {
        for replica in &replicas {
            until(SOON, "it is seen", async || {
                replica.version(&bakery).await == bakery.version
            })
            .await;
        }
        feed.cut();
        bakery = feed.update(acme, &bakery, |_| ());
    }
}

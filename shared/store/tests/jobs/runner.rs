//! Who runs a job, and when.

use crate::place::{Place, SOON};
use clientele_api::{Error, Micros, Result};
use clientele_store::Db;
use clientele_store::connect::db_error;
use clientele_store::jobs::{self, Job, JobScope};
use clientele_store::tx::{self, Mode, Tx};
use clientele_testkit::until;
use sea_orm::{ConnectionTrait, DbBackend};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// Writes down that a job ran.
async fn note(db: &Db, scope: &JobScope) -> Result<()> {
    let sql = format!("INSERT INTO runs VALUES ('{}', {})", scope.job(), Micros::now().0);
    let unit = async move |tx: &Tx| tx.execute_unprepared(&sql).await.map(drop).map_err(db_error);
    tx::run(db, Mode::Commit, unit).await.map(drop)
}

/// A job that writes down that it ran.
fn noting(db: &Db, name: &'static str, every: Duration) -> Job {
    let db = db.clone();
    Job::new(name, every, move |scope| {
        let db = db.clone();
        async move { note(&db, &scope).await }
    })
}

/// A job that tells when it runs, and ends when it is told to.
fn waiting(name: &'static str, begun: &Arc<Notify>, end: &Arc<Notify>) -> Job {
    let (begun, end) = (begun.clone(), end.clone());
    Job::new(name, LONG, move |_| {
        let (begun, end) = (begun.clone(), end.clone());
        async move {
            begun.notify_one();
            end.notified().await;
            Ok(())
        }
    })
}

pub(crate) async fn several_replicas_run_a_job_once_per_interval(place: &Place) {
    const EVERY: Duration = Duration::from_millis(150);
    let stop = CancellationToken::new();
    for _ in 0..4 {
        let db = place.another().await;
        jobs::start(&db, vec![noting(&db, "count", EVERY)], LONG, &stop);
    }
    let ran = "SELECT count(*) FROM runs";
    until(SOON, "eight runs", async || place.number(ran).await >= 8).await;
    stop.cancel();
    let times = place.numbers("SELECT at FROM runs ORDER BY at").await;
    for pair in times.windows(2) {
        let between = Duration::from_micros((pair[1] - pair[0]) as u64);
        assert!(between >= EVERY - Duration::from_millis(2), "{between:?} of {times:?}");
    }
}

pub(crate) async fn a_lease_is_taken_over_after_its_holder_is_gone(place: &Place) {
    const LEASE: Duration = Duration::from_secs(1);
    let (begun, end) = (Arc::default(), Arc::default());
    let (first, stop) = (CancellationToken::new(), CancellationToken::new());
    let taken = Instant::now();
    jobs::start(&place.db, vec![waiting("work", &begun, &end)], LEASE, &first);
    begun.notified().await;
    first.cancel();
    jobs::start(&place.db, vec![noting(&place.db, "work", LONG)], LEASE, &stop);
    place.until_done("work").await;
    assert!(
        taken.elapsed() >= LEASE - Duration::from_millis(2),
        "{:?}",
        taken.elapsed()
    );
    assert_eq!(place.number("SELECT count(*) FROM runs").await, 1);
}

pub(crate) async fn a_lease_is_renewed_while_its_job_runs(place: &Place) {
    const LEASE: Duration = Duration::from_millis(600);
    let (begun, end) = (Arc::default(), Arc::default());
    let stop = CancellationToken::new();
    jobs::start(&place.db, vec![waiting("work", &begun, &end)], LEASE, &stop);
    begun.notified().await;
    let lease = "SELECT until FROM jobs";
    let taken = place.number(lease).await;
    jobs::start(&place.db, vec![noting(&place.db, "work", LONG)], LEASE, &stop);
    let renewed = taken + 3 * LEASE.as_micros() as i64;
    until(SOON, "three leases", async || place.number(lease).await > renewed).await;
    end.notify_one();
    place.until_done("work").await;
    assert_eq!(
        place.number("SELECT count(*) FROM runs").await,
        0,
        "the other was told to wait"
    );
}

pub(crate) async fn a_replica_that_lost_the_lease_stops_its_run(place: &Place) {
    let other = match place.db.backend() {
        DbBackend::Postgres => "gen_random_uuid()",
        _ => "randomblob(16)",
    };
    stops_its_run_after(place, &format!("UPDATE jobs SET holder = {other}")).await;
}

pub(crate) async fn a_replica_that_can_not_renew_the_lease_stops_its_run(place: &Place) {
    stops_its_run_after(place, "ALTER TABLE jobs RENAME TO away").await;
}

async fn stops_its_run_after(place: &Place, change: &str) {
    let (begun, dropped) = (Arc::new(Notify::new()), CancellationToken::new());
    let guard = dropped.clone();
    let tell = begun.clone();
    let job = Job::new("work", LONG, move |_| {
        let (_guard, tell) = (guard.clone().drop_guard(), tell.clone());
        async move {
            let _guard = _guard;
            tell.notify_one();
            std::future::pending().await
        }
    });
    jobs::start(
        &place.db,
        vec![job],
        Duration::from_millis(300),
        &CancellationToken::new(),
    );
    begun.notified().await;
    place.change(change).await;
    tokio::time::timeout(SOON, dropped.cancelled())
        .await
        .expect("the run must end");
}

pub(crate) async fn jobs_that_panic_or_fail_are_tried_again_and_stop_no_others(place: &Place) {
    let stop = CancellationToken::new();
    let once = |name: &'static str, trouble: fn() -> Result<()>| {
        let (db, tried) = (place.db.clone(), Arc::new(AtomicBool::new(false)));
        Job::new(name, LONG, move |scope| {
            let (db, tried) = (db.clone(), tried.clone());
            async move {
                if !tried.swap(true, Ordering::Relaxed) {
                    trouble()?;
                }
                note(&db, &scope).await
            }
        })
    };
    let work = vec![
        once("panics", || panic!("on purpose")),
        once("fails", || Err(Error::internal("on purpose"))),
        noting(&place.db, "works", Duration::from_millis(50)),
    ];
    jobs::start(&place.db, work, Duration::from_millis(400), &stop);
    for job in ["panics", "fails"] {
        place.until_done(job).await;
    }
    let works = "SELECT count(*) FROM runs WHERE job = 'works'";
    until(SOON, "five runs", async || place.number(works).await >= 5).await;
    assert!(!stop.is_cancelled());
}

pub(crate) async fn a_job_that_failed_waits_before_it_is_tried_again(place: &Place) {
    let stop = CancellationToken::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let job = Job::new("fails", Duration::ZERO, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err(Error::internal("on purpose")) }
    });
    let work = vec![job, noting(&place.db, "works", Duration::from_millis(20))];
    jobs::start(&place.db, work, Duration::from_secs(30), &stop);
    let works = "SELECT count(*) FROM runs WHERE job = 'works'";
    until(SOON, "ten runs", async || place.number(works).await >= 10).await;
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

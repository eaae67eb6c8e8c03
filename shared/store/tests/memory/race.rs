//! A slow read must not bring back what has changed meanwhile.

use crate::place::Place;
use clientele_api::Uid;
use clientele_store::Revision;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(crate) async fn what_changes_during_a_read_is_not_remembered_as_it_was(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    process.set(uid, 2).await;

    let (was_read, hear_that) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let slow = process.clone();
    let slow = tokio::spawn(async move {
        let load = async || {
            let found = slow.load(uid).await;
            was_read.send(()).unwrap();
            may_go_on.await.unwrap();
            found
        };
        slow.memory.get(uid, &[uid], &Revision::new(), load).await.unwrap()
    });
    hear_that.await.unwrap();
    process.set(uid, 3).await;
    // All that will ever be told of that change has been told before the slow read ends.
    process.until_remembered(uid).await;
    go_on.send(()).unwrap();
    assert_eq!(slow.await.unwrap().value, Some(2));
    assert_eq!(process.get(uid).await, Some(3));
    process.until_remembered(uid).await;
    assert_eq!(process.get(uid).await, Some(3));
}

/// Things that readers ask for while a writer changes them.
const THINGS: usize = 8;

pub(crate) async fn readers_never_get_less_than_had_been_told_when_they_began(place: &Place) {
    let process = place.process().await;
    let uids: Arc<[Uid]> = (0..THINGS).map(|_| Uid::new()).collect();
    let told: Arc<[AtomicI64]> = (0..THINGS).map(|_| AtomicI64::new(0)).collect();
    for uid in &*uids {
        process.set(*uid, 0).await;
    }
    process.until_remembered(uids[0]).await;

    let done = CancellationToken::new();
    let readers = (0..8).map(|_| {
        let (process, uids, told, done) = (process.clone(), uids.clone(), told.clone(), done.clone());
        tokio::spawn(async move {
            let mut reads = 0_u64;
            while !done.is_cancelled() {
                let at = rand::random_range(0..THINGS);
                let least = told[at].load(Ordering::SeqCst);
                let load = async || {
                    let found = process.load(uids[at]).await;
                    tokio::time::sleep(Duration::from_micros(rand::random_range(0..2_000))).await;
                    found
                };
                let got = process.memory.get(uids[at], &[uids[at]], &Revision::new(), load).await;
                let got = got.unwrap().value.unwrap();
                assert!(got >= least, "{got} was read, {least} had been told before");
                reads += 1;
                tokio::task::yield_now().await;
            }
            reads
        })
    });
    let readers = Vec::from_iter(readers);
    let until = tokio::time::Instant::now() + Duration::from_millis(1_500);
    for value in 1.. {
        let at = rand::random_range(0..THINGS);
        process.set(uids[at], value).await;
        told[at].store(value, Ordering::SeqCst);
        if tokio::time::Instant::now() > until || readers.iter().any(|reader| reader.is_finished()) {
            break;
        }
    }
    done.cancel();
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    assert!(process.loads() < reads, "nothing was answered from memory");
}

//! What one process remembers.

use crate::place::{Place, author, organization};
use clientele_api::error::ErrorReason;
use clientele_api::{Result, Uid};
use clientele_store::{Answer, Author, Memory, Revision};
use std::collections::HashMap;

pub(crate) async fn what_is_remembered_is_not_read_again(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    place.change("UPDATE things SET value = 2").await; // which the journal does not tell
    let asking = process.clone();
    // As a server does: on a task of its own.
    let answer = tokio::spawn(async move {
        let loaded = async || asking.load(uid).await;
        asking.memory.get(uid, &[uid], &Revision::new(), loaded).await
    });
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.value, Some(1));
    let (_, n) = answer
        .revision
        .of("assignment")
        .expect("the revision of when it was read");
    assert!(n > 0);
}

pub(crate) async fn what_was_written_is_seen_by_the_next_read(place: &Place) {
    let process = place.process().await;
    let [uid, other, bakery] = [Uid::new(), Uid::new(), Uid::new()];
    process.set(uid, 0).await;
    process.until_remembered(uid).await;
    for value in 1..200 {
        process.set(uid, value).await;
        assert_eq!(process.get(uid).await, Some(value));
    }

    // What depends on an organization, whether the call names it or the unit does.
    let by_organization: Memory<Uid, i64> = Memory::new(process.journal.clone(), "of organizations", 10);
    let get = async || {
        let load = async || process.load(other).await;
        let answer = by_organization.get(bakery, &[bakery], &Revision::new(), load).await;
        answer.unwrap().value
    };
    for value in 0..200 {
        let named = (value % 2 == 0).then(|| organization(bakery));
        let found = (value % 2 == 1).then(|| organization(bakery));
        let author = Author {
            organization: named,
            ..author()
        };
        process.write(author, other, value, found).await.unwrap();
        assert_eq!(get().await, Some(value));
    }
}

pub(crate) async fn what_is_not_there_is_not_remembered(place: &Place) {
    let process = place.process().await;
    let [uid, other] = [Uid::new(), Uid::new()];
    process.set(other, 1).await;
    process.until_remembered(other).await; // so that it would be remembered
    assert_eq!(process.get(uid).await, None);
    let uuid = uid.0.simple();
    let literal = match process.db.backend() {
        sea_orm::DbBackend::Postgres => format!("'{uuid}'"),
        _ => format!("x'{uuid}'"),
    };
    place.change(&format!("INSERT INTO things VALUES ({literal}, 2)")).await;
    assert_eq!(process.get(uid).await, Some(2));
}

pub(crate) async fn who_has_seen_more_than_is_proven_is_answered_from_the_database(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    let epoch = process.journal.epoch();
    let seen = |epoch, n| {
        let mut revision = Revision::new();
        revision.raise("assignment", epoch, n);
        revision
    };
    let mut of_others = Revision::new();
    of_others.raise("org", 9, i64::MAX);
    for nothing_new in [Revision::new(), seen(epoch, 1), seen(epoch - 1, i64::MAX), of_others] {
        assert_eq!(process.reads_of(5, uid, &nothing_new).await, 0, "{nothing_new}");
    }
    for unknown in [seen(epoch, i64::MAX), seen(epoch + 1, 1)] {
        assert_eq!(process.reads_of(5, uid, &unknown).await, 5, "{unknown}");
    }
}

pub(crate) async fn at_most_its_capacity_is_remembered(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    let small: Memory<u64, i64> = Memory::new(process.journal.clone(), "small", 10);
    let get = async |key| {
        let load = async || process.load(uid).await;
        small.get(key, &[uid], &Revision::new(), load).await.unwrap();
    };
    for key in 0..1_000 {
        get(key).await;
    }
    let before = process.loads();
    for key in 0..1_000 {
        get(key).await;
    }
    assert!(process.loads() - before >= 900);
}

pub(crate) async fn at_most_its_bytes_are_remembered(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    let small: Memory<u64, i64> = Memory::of_bytes(process.journal.clone(), "small", 1_000, |_| 100);
    let get = async |key| {
        let load = async || process.load(uid).await;
        small.get(key, &[uid], &Revision::new(), load).await.unwrap();
    };
    for key in 0..1_000 {
        get(key).await;
    }
    let before = process.loads();
    for key in 0..1_000 {
        get(key).await;
    }
    assert!(process.loads() - before >= 900);
}

pub(crate) async fn of_several_those_are_loaded_that_are_not_remembered(place: &Place) {
    let process = place.process().await;
    let uids: Vec<Uid> = (0..4).map(|_| Uid::new()).collect();
    for (value, uid) in (0..).zip(&uids) {
        process.set(*uid, value).await;
    }
    process.until_remembered(uids[0]).await;
    // Answers what was found and what was loaded.
    let get_all = async |min: &Revision, gone: Option<Uid>| {
        let mut loaded = Vec::new();
        let load = async |missing: Vec<Uid>| {
            loaded.clone_from(&missing);
            let mut found = HashMap::new();
            let mut revision = Revision::new();
            for uid in missing.into_iter().filter(|uid| Some(*uid) != gone) {
                let answer = process.load(uid).await?;
                found.extend(answer.value.map(|value| (uid, value)));
                revision.merge(&answer.revision);
            }
            Ok(Answer { value: found, revision })
        };
        let keys = uids.iter().map(|uid| (*uid, [*uid]));
        let answer = process.memory.get_all(keys, min, load).await.unwrap();
        loaded.sort();
        (
            uids.iter()
                .map(|uid| answer.value.get(uid).copied())
                .collect::<Vec<_>>(),
            loaded,
            answer.revision,
        )
    };
    let nothing = Revision::new();
    // That one is not there is not remembered.
    let (found, loaded, _) = get_all(&nothing, Some(uids[3])).await;
    assert_eq!(
        (found, loaded),
        (vec![Some(0), Some(1), Some(2), None], uids[1..].to_vec())
    );
    let (found, loaded, first) = get_all(&nothing, None).await;
    assert_eq!(
        (found, loaded),
        (vec![Some(0), Some(1), Some(2), Some(3)], uids[3..].to_vec())
    );
    let (_, loaded, again) = get_all(&nothing, None).await;
    assert_eq!(
        (loaded, again),
        (vec![], first),
        "the newest of what each was read with"
    );
    let written = process.set(uids[2], 7).await;
    let (found, loaded, revision) = get_all(&nothing, None).await;
    assert_eq!(
        (found, loaded),
        (vec![Some(0), Some(1), Some(7), Some(3)], vec![uids[2]])
    );
    assert!(revision.of("assignment") >= written.of("assignment"));
    let mut later = Revision::new();
    later.raise("assignment", process.journal.epoch(), i64::MAX);
    assert_eq!(get_all(&later, None).await.1, uids);
}

pub(crate) async fn after_a_write_whose_outcome_is_unknown_everything_is_read_again(place: &Place) {
    let process = place.process().await;
    let [uid, other] = [Uid::new(), Uid::new()];
    process.set(uid, 1).await;
    process.until_remembered(uid).await;
    // The writers' connections are lost while a write is under way.
    let lost = async {
        let outcome: Result<Revision> = process.write(author(), other, 2, None).await;
        outcome.unwrap_err().reason()
    };
    place
        .change(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'clientele-assignment-writer'",
        )
        .await;
    assert_eq!(process.reads_of(5, uid, &Revision::new()).await, 0);
    assert_eq!(lost.await, ErrorReason::OutcomeUnknown);
    assert_eq!(process.reads_of(1, uid, &Revision::new()).await, 1);
}

//! Units that meet: in one batch, on one row, on one name.

use crate::place::{CONSTRAINTS, Place, account, create, create_named, insert, journal, reason, rename};
use clientele_api::error::ErrorReason;
use clientele_api::{Error, Result};
use clientele_store::connect::db_error;
use clientele_store::tx::{self, Mode, Tx};
use futures::future::join_all;
use sea_orm::ConnectionTrait;
use sea_orm::entity::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) async fn sixty_at_once(place: &mut Place) {
    let units = (0..60).map(|number| {
        let db = place.db.clone();
        let unit = async move |tx: &Tx| {
            let name = format!("{number:02}");
            if number % 2 == 0 {
                tx.execute(&insert(Uuid::now_v7(), &name, None))
                    .await
                    .map_err(db_error)?;
            } else {
                tx.write(insert(Uuid::now_v7(), &name, None), CONSTRAINTS);
            }
            tx.append(journal(&[(None, &name)]));
            match number % 3 {
                0 => Ok(()),
                1 => Err(Error::new(ErrorReason::LimitReached, "no more")),
                _ => panic!("on purpose"),
            }
        };
        async move { tx::run(&db, Mode::Commit, unit).await }
    });
    let outcomes = join_all(units.map(tokio::spawn)).await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let outcome = outcome.unwrap();
        match number % 3 {
            0 => assert!(outcome.is_ok(), "{outcome:?}"),
            1 => assert_eq!(reason(outcome), ErrorReason::LimitReached),
            _ => assert_eq!(reason(outcome), ErrorReason::Internal),
        }
    }
    let good: Vec<_> = (0..60).step_by(3).map(|number| format!("{number:02}")).collect();
    assert_eq!(place.names().await, good);
    let mut journal = place.journal().await;
    journal.sort();
    assert_eq!(journal, good);
    place.with("after").await;
}

pub(crate) async fn one_that_is_refused_leaves_its_neighbours(place: &mut Place) {
    let names = ["x", "1", "x", "2", "x", "3", "x", "4", "x"];
    let units = names.map(|name| tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), name)));
    let outcomes = join_all(units).await;
    let refused: Vec<_> = outcomes
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.reason())
        .collect();
    assert_eq!(refused, [ErrorReason::ResourceExists; 4]);
    assert_eq!(place.names().await, ["1", "2", "3", "4", "x"]);
    assert_eq!(place.journal().await.len(), 5);
}

pub(crate) async fn callers_who_leave_lose_nothing(place: &mut Place) {
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
    let calls = (0..200u64).map(|number| {
        let (db, acknowledged) = (place.db.clone(), acknowledged.clone());
        let name = format!("{number:03}");
        let call = async move {
            tx::run(&db, Mode::Commit, create_named(Uuid::now_v7(), name.clone()))
                .await
                .unwrap();
            acknowledged.lock().unwrap().push(name);
        };
        let patience = std::time::Duration::from_micros(number * 97 % 9_000);
        tokio::spawn(async move { tokio::time::timeout(patience, call).await.is_ok() })
    });
    join_all(calls).await;
    place.settle().await;
    let names = place.names().await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.iter().all(|name| names.contains(name)));
    let mut journal = place.journal().await;
    journal.sort();
    assert_eq!(journal, names);
}

pub(crate) async fn a_failed_guard_runs_the_unit_again(place: &mut Place) {
    let id = place.with("a").await;
    let attempts = Arc::new(AtomicU32::new(0));
    let seen = attempts.clone();
    let unit = async move |tx: &Tx| {
        seen.fetch_max(tx.attempt(), Ordering::Relaxed);
        let remembered = 17; // somebody has changed it since
        let version = match tx.attempt() {
            0 => remembered,
            _ => {
                account::Entity::find_by_id(id)
                    .one(tx)
                    .await
                    .map_err(db_error)?
                    .unwrap()
                    .version
            }
        };
        tx.guard(rename(id, version, "b"), CONSTRAINTS);
        tx.append(journal(&[(Some(id), "b")]));
        Ok(())
    };
    let done = tx::run(&place.db, Mode::Commit, unit).await.unwrap();
    assert!(done.position.is_some());
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    assert_eq!(
        (place.account(id).await.name.as_str(), place.account(id).await.version),
        ("b", 2)
    );
    assert_eq!(place.journal().await, ["a", "b"]);
}

pub(crate) async fn a_guard_that_never_holds_is_contention(place: &mut Place) {
    let id = place.with("a").await;
    for others in [false, true] {
        let unit = async move |tx: &Tx| {
            tx.guard(rename(id, 17, "b"), CONSTRAINTS);
            if others {
                tx.write(insert(Uuid::now_v7(), "c", None), CONSTRAINTS);
            }
            tx.append(journal(&[(Some(id), "b")]));
            Ok(())
        };
        assert_eq!(
            reason(tx::run(&place.db, Mode::Commit, unit).await),
            ErrorReason::Contention
        );
    }
    assert_eq!(place.names().await, ["a"]);
    assert_eq!(place.journal().await, ["a"]);
}

pub(crate) async fn of_two_writers_with_one_version_one_wins(place: &mut Place) {
    let id = place.with("a").await;
    for others in [false, true] {
        let version = place.account(id).await.version;
        let writers = ["x", "y"].map(|name| {
            let unit = async move |tx: &Tx| {
                let known = account::Entity::find_by_id(id)
                    .one(tx)
                    .await
                    .map_err(db_error)?
                    .unwrap();
                if known.version != version {
                    return Err(Error::etag_mismatch("accounts/a"));
                }
                tx.guard(rename(id, version, &format!("{name}{version}")), CONSTRAINTS);
                if others {
                    tx.write(insert(Uuid::now_v7(), name, None), CONSTRAINTS);
                }
                tx.append(journal(&[(Some(id), name)]));
                Ok(())
            };
            tx::run(&place.db, Mode::Commit, unit)
        });
        let outcomes = join_all(writers).await;
        let refused: Vec<_> = outcomes
            .into_iter()
            .filter_map(Result::err)
            .map(|error| error.reason())
            .collect();
        assert_eq!(refused, [ErrorReason::EtagMismatch]);
        assert_eq!(place.account(id).await.version, version + 1);
    }
    assert_eq!(place.names().await.len(), 2);
    assert_eq!(place.journal().await.len(), 3);
}

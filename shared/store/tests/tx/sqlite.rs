//! What only SQLite does.

use crate::place::{CONSTRAINTS, Place, create, insert, reason};
use clientele_api::Error;
use clientele_api::error::ErrorReason;
use clientele_store::connect::db_error;
use clientele_store::tx::{self, Mode, Tx};
use sea_orm::ConnectionTrait;
use sea_orm::entity::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_batch_and_no_more() {
    let place = Place::sqlite().await;
    let unit = async |tx: &Tx| {
        tx.execute_unprepared("PRAGMA max_page_count = 1")
            .await
            .map_err(db_error)?;
        let long = "x".repeat(1_000_000);
        assert!(tx.execute(&insert(Uuid::now_v7(), &long, None)).await.is_err());
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        Ok(())
    };
    let (before, full) = tokio::join!(
        tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "a")),
        tx::run(&place.db, Mode::Commit, unit)
    );
    assert_eq!(reason(full), ErrorReason::DatabaseUnavailable);
    place.with("c").await;
    let expected: &[_] = if before.is_ok() { &["a", "c"] } else { &["c"] };
    assert_eq!(place.names().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skips_a_unit_whose_caller_has_gone() {
    let place = Place::sqlite().await;
    let (begun, has_begun) = tokio::sync::watch::channel(false);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let first = tokio::spawn({
        let db = place.db.clone();
        let unit = async move |tx: &Tx| {
            tx.execute_unprepared("SELECT 1").await.map_err(db_error)?; // from here on it has the connection
            begun.send_replace(true);
            may_go.clone().wait_for(|go| *go).await.map_err(Error::internal)?;
            Ok(())
        };
        async move { tx::run(&db, Mode::Commit, unit).await }
    });
    has_begun.clone().wait_for(|begun| *begun).await.unwrap();
    let mut gone = Box::pin(tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "a")));
    assert!(futures::poll!(&mut gone).is_pending());
    let asks = async |tx: &Tx| {
        let insert = insert(Uuid::now_v7(), "c", None);
        tx.execute(&insert).await.map(drop).map_err(db_error)
    };
    let mut gone_too = Box::pin(tx::run(&place.db, Mode::Commit, asks));
    assert!(futures::poll!(&mut gone_too).is_pending());
    drop((gone, gone_too));
    go.send_replace(true);
    first.await.unwrap().unwrap();
    place.with("b").await;
    assert_eq!(place.names().await, ["b"]);
}

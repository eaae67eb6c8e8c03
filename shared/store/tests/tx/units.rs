//! What a unit does, and how it ends.

use crate::place::{CONSTRAINTS, Place, account, create, insert, journal, reason, rename};
use clientele_api::Error;
use clientele_api::error::ErrorReason;
use clientele_store::connect::{db_error, refusal};
use clientele_store::tx::{self, Done, Mode, Position, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend};
use std::time::Duration;

pub(crate) async fn collected_writes_are_committed(place: &mut Place) {
    let committed = place.db.committed();
    let Done { value: (), position } = tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "a"))
        .await
        .unwrap();
    let first = position.expect("a journal row");
    assert_eq!(place.names().await, ["a"]);
    assert_eq!(place.journal().await, ["a"]);
    assert_eq!(*committed.borrow(), 1);
    assert_eq!(first.xid == 0, place.db.backend() == DbBackend::Sqlite);

    let second = tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "b"))
        .await
        .unwrap()
        .position;
    assert!(second > Some(first));
}

pub(crate) async fn immediate_writes_are_part_of_the_unit(place: &mut Place) {
    let id = Uuid::now_v7();
    let unit = async move |tx: &Tx| {
        let row = account::ActiveModel {
            id: Set(id),
            name: Set("a".to_owned()),
            code: Set(None),
            version: Set(1),
        };
        let created = row.insert(tx).await.map_err(db_error)?;
        let seen = account::Entity::find_by_id(created.id)
            .one(tx)
            .await
            .map_err(db_error)?;
        assert_eq!(seen.as_ref(), Some(&created));
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        tx.append(journal(&[(Some(id), "both")]));
        Ok(created.name)
    };
    assert_eq!(tx::run(&place.db, Mode::Commit, unit).await.unwrap().value, "a");
    assert_eq!(place.names().await, ["a", "b"]);
    assert_eq!(place.journal().await, ["both"]);
}

pub(crate) async fn several_journal_rows_keep_their_order(place: &mut Place) {
    let id = place.with("a").await;
    let plain = async move |tx: &Tx| {
        tx.append(journal(&[(None, "1"), (Some(id), "2")]));
        Ok(())
    };
    let guarded = async move |tx: &Tx| {
        tx.guard(rename(id, 1, "b"), CONSTRAINTS);
        tx.append(journal(&[(None, "3"), (Some(id), "4"), (None, "5")]));
        Ok(())
    };
    let second = tx::run(&place.db, Mode::Commit, plain).await.unwrap().position.unwrap();
    let fifth = tx::run(&place.db, Mode::Commit, guarded)
        .await
        .unwrap()
        .position
        .unwrap();
    assert_eq!(place.journal().await, ["a", "1", "2", "3", "4", "5"]);
    assert_eq!(fifth.seq - second.seq, 3);
    assert!(fifth > second);
}

pub(crate) async fn writes_without_a_journal_row(place: &mut Place) {
    let id = place.with("a").await;
    let unit = async move |tx: &Tx| {
        tx.guard(rename(id, 1, "b"), CONSTRAINTS);
        tx.write(insert(Uuid::now_v7(), "c", None), CONSTRAINTS);
        tx.write(
            Query::delete()
                .from_table(account::Entity)
                .and_where(account::Column::Name.eq("c"))
                .to_owned(),
            &[],
        );
        tx.write(insert(Uuid::now_v7(), "c", None), CONSTRAINTS);
        Ok(())
    };
    assert_eq!(tx::run(&place.db, Mode::Commit, unit).await.unwrap().position, None);
    assert_eq!(place.names().await, ["b", "c"]);

    let nothing = async |_: &Tx| Ok(());
    let committed = place.db.committed();
    let before = *committed.borrow();
    tx::run(&place.db, Mode::Commit, nothing).await.unwrap();
    assert_eq!(*committed.borrow(), before);
}

pub(crate) async fn an_error_rolls_back(place: &mut Place) {
    let unit = async |tx: &Tx| {
        tx.execute(&insert(Uuid::now_v7(), "a", None)).await.map_err(db_error)?;
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        Err::<(), _>(Error::new(ErrorReason::LimitReached, "no more"))
    };
    assert_eq!(
        reason(tx::run(&place.db, Mode::Commit, unit).await),
        ErrorReason::LimitReached
    );
    place.with("c").await;
    assert_eq!(place.names().await, ["c"]);
}

pub(crate) async fn a_panic_rolls_back(place: &mut Place) {
    let unit = async |tx: &Tx| {
        tx.execute(&insert(Uuid::now_v7(), "a", None)).await.map_err(db_error)?;
        if tx.attempt() == 0 {
            panic!("on purpose");
        }
        Ok(())
    };
    let error = tx::run(&place.db, Mode::Commit, unit).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::Internal);
    assert!(error.cause().unwrap().contains("on purpose"));
    place.with("b").await;
    assert_eq!(place.names().await, ["b"]);
}

pub(crate) async fn a_unit_that_takes_too_long_rolls_back(place: &mut Place) {
    let unit = async |tx: &Tx| {
        tx.execute(&insert(Uuid::now_v7(), "a", None)).await.map_err(db_error)?;
        std::future::pending::<()>().await;
        Ok(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), tx::run(&place.db, Mode::Commit, unit)).await;
    assert_eq!(
        reason(ended.expect("a unit has a second")),
        ErrorReason::DatabaseUnavailable
    );
    place.with("b").await;
    assert_eq!(place.names().await, ["b"]);
}

pub(crate) async fn what_takes_several_statements_happens_whole_or_not_at_all(place: &mut Place) {
    let id = place.with("a").await;
    let guarded = async move |tx: &Tx| {
        tx.guard(rename(id, 1, "b"), CONSTRAINTS);
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        tx.append(journal(&[(Some(id), "b")]));
        Ok(())
    };
    let without_a_row = async |tx: &Tx| {
        for name in ["b", "a"] {
            tx.write(insert(Uuid::now_v7(), name, None), CONSTRAINTS);
        }
        Ok(())
    };
    let refused = [
        reason(tx::run(&place.db, Mode::Commit, guarded).await),
        reason(tx::run(&place.db, Mode::Commit, without_a_row).await),
    ];
    assert_eq!(refused, [ErrorReason::ResourceExists; 2]);
    assert_eq!(
        (place.names().await, place.account(id).await.version),
        (vec!["a".to_owned()], 1)
    );
    assert_eq!(place.journal().await, ["a"]);
}

pub(crate) async fn a_failed_statement_fails_its_unit(place: &mut Place) {
    place.with("a").await;
    let unit = async |tx: &Tx| {
        let refused = tx.execute(&insert(Uuid::now_v7(), "a", None)).await.unwrap_err();
        assert_eq!(refusal(refused, CONSTRAINTS).reason(), ErrorReason::ResourceExists);
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        Ok(())
    };
    assert_eq!(
        reason(tx::run(&place.db, Mode::Commit, unit).await),
        ErrorReason::Internal
    );
    assert_eq!(place.names().await, ["a"]);
}

pub(crate) async fn the_pool_for_reads_refuses_to_write(place: &mut Place) {
    place.db.ping().await.unwrap();
    assert!(
        place
            .db
            .read()
            .execute(&insert(Uuid::now_v7(), "a", None))
            .await
            .is_err()
    );
    assert!(place.names().await.is_empty());
}

pub(crate) async fn a_closed_database_takes_no_units(place: &mut Place) {
    let begun = tokio::spawn({
        let db = place.db.clone();
        async move { tx::run(&db, Mode::Commit, create(Uuid::now_v7(), "a")).await }
    });
    begun.await.unwrap().unwrap();
    place.db.close().await;
    place.db.close().await;
    let late = tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "b")).await;
    assert_eq!(reason(late), ErrorReason::Draining);
}

pub(crate) async fn validate_leaves_nothing(place: &mut Place) {
    let id = place.with("a").await;
    let committed = place.db.committed();
    let before = *committed.borrow();
    let done = tx::run(&place.db, Mode::Validate, create(Uuid::now_v7(), "b"))
        .await
        .unwrap();
    assert_eq!(done.position, None);
    let taken = tx::run(&place.db, Mode::Validate, create(Uuid::now_v7(), "a")).await;
    assert_eq!(reason(taken), ErrorReason::ResourceExists);
    let guarded = async move |tx: &Tx| {
        tx.guard(rename(id, 1, "c"), CONSTRAINTS);
        tx.append(journal(&[(Some(id), "c")]));
        Ok(())
    };
    tx::run(&place.db, Mode::Validate, guarded).await.unwrap();
    assert_eq!(place.names().await, ["a"]);
    assert_eq!(place.journal().await, ["a"]);
    assert_eq!(*committed.borrow(), before);
}

pub(crate) async fn unique_violations(place: &mut Place) {
    let unit = |name: &'static str| {
        async move |tx: &Tx| {
            tx.write(insert(Uuid::now_v7(), name, Some("code")), CONSTRAINTS);
            tx.append(journal(&[(None, name)]));
            Ok(())
        }
    };
    tx::run(&place.db, Mode::Commit, unit("a")).await.unwrap();
    let listed = tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "a"))
        .await
        .unwrap_err();
    assert_eq!(listed.reason(), ErrorReason::ResourceExists);
    assert_eq!(listed.message(), "an account of this name exists");
    let unlisted = tx::run(&place.db, Mode::Commit, unit("b")).await.unwrap_err();
    assert_eq!(unlisted.reason(), ErrorReason::Internal);
    assert!(!unlisted.message().contains("code"));
    assert!(unlisted.cause().unwrap().contains("code"));
    assert_eq!(place.journal().await, ["a"]);
}

pub(crate) async fn misuse_is_internal(place: &mut Place) {
    let id = place.with("a").await;
    let unit = async move |tx: &Tx| {
        tx.guard(rename(id, 1, "b"), CONSTRAINTS);
        tx.guard(rename(id, 1, "c"), CONSTRAINTS);
        Ok(())
    };
    assert_eq!(
        reason(tx::run(&place.db, Mode::Commit, unit).await),
        ErrorReason::Internal
    );
    let unit = async |tx: &Tx| {
        let long =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n";
        let dropped = tx.execute_unprepared(long);
        assert!(futures::poll!(dropped).is_pending());
        Ok(())
    };
    let expected = match place.db.backend() {
        DbBackend::Postgres => ErrorReason::Internal,
        _ => ErrorReason::DatabaseUnavailable, // the whole batch
    };
    assert_eq!(reason(tx::run(&place.db, Mode::Commit, unit).await), expected);
    place.with("d").await;
    assert_eq!(place.names().await, ["a", "d"]);
}

#[test]
fn positions_are_ordered_by_transaction_first() {
    assert!(Position { xid: 1, seq: 9 } < Position { xid: 2, seq: 1 });
}

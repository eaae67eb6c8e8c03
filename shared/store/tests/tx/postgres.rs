//! What only PostgreSQL does.

use crate::place::{CONSTRAINTS, Place, account, create, create_named, insert, journal, reason};
use clientele_api::Result;
use clientele_api::error::ErrorReason;
use clientele_store::connect::{Db, Options, connect_to_migrate, db_error};
use clientele_store::tx::{self, Mode, Position, Tx};
use clientele_testkit::{Proxy, until};
use futures::future::join_all;
use sea_orm::entity::prelude::*;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_a_unit_again_that_could_not_be_serialized() {
    let place = Place::postgres().await;
    let unit = async |tx: &Tx| {
        tx.execute(&insert(Uuid::now_v7(), "a", None)).await.map_err(db_error)?;
        if tx.attempt() < 3 {
            let fail = "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END $$";
            tx.execute_unprepared(fail).await.map_err(db_error)?;
        }
        Ok(tx.attempt())
    };
    assert_eq!(tx::run(&place.db, Mode::Commit, unit).await.unwrap().value, 3);
    assert_eq!(place.names().await, ["a"]);
    place.end().await;
}

async fn on(options: &Options, sql: &str) {
    let server = connect_to_migrate(options).await.unwrap();
    server.execute_unprepared(sql).await.unwrap();
    server.close().await.unwrap();
}

const WRITER: &str = "clientele-org-writer";
const READER: &str = "clientele-org";

/// Ends the connections of this name on the server, and waits until they are gone.
async fn end(options: &Options, name: &str) {
    let server = connect_to_migrate(options).await.unwrap();
    let named = format!("FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{name}'");
    server
        .execute_unprepared(&format!("SELECT pg_terminate_backend(pid) {named}"))
        .await
        .unwrap();
    while count(&server, name).await > 0 {
        tokio::task::yield_now().await;
    }
    server.close().await.unwrap();
}

/// How many connections of this name the server has.
async fn count(server: &impl ConnectionTrait, name: &str) -> i64 {
    let count = format!(
        "SELECT count(*) AS open FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = '{name}'"
    );
    let count = Statement::from_string(DbBackend::Postgres, count);
    let row = server.query_one_raw(count).await.unwrap().unwrap();
    row.try_get("", "open").unwrap()
}

/// A query that takes a while, so that of many at once each has a connection.
fn slow() -> Statement {
    Statement::from_string(DbBackend::Postgres, "SELECT pg_sleep(0.05)")
}

/// As [`slow`], in a unit that commits nothing.
async fn slow_unit(db: &Db) -> Result<()> {
    let unit = async |tx: &Tx| tx.query_one_raw(slow()).await.map(drop).map_err(db_error);
    tx::run(db, Mode::Commit, unit).await.map(drop)
}

/// Opens all connections for writes.
async fn open_all(db: &Db, server: &impl ConnectionTrait, name: &str) {
    until(SOON, "all connections", async || {
        for unit in join_all((0..16).map(|_| slow_unit(db))).await {
            unit.unwrap();
        }
        count(server, name).await == 8
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_a_restart_between_units() {
    let place = Place::postgres().await;
    place.with("a").await;
    end(&place.options, WRITER).await;
    let unit = async |tx: &Tx| {
        let known = account::Entity::find().all(tx).await.map_err(db_error)?.len();
        tx.write(insert(Uuid::now_v7(), "b", None), CONSTRAINTS);
        tx.append(journal(&[(None, "b")]));
        Ok(known)
    };
    assert_eq!(tx::run(&place.db, Mode::Commit, unit).await.unwrap().value, 1);
    assert_eq!(place.names().await, ["a", "b"]);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_when_the_answer_to_a_commit_was_lost() {
    let place = Place::postgres().await;
    place.with("a").await;
    end(&place.options, WRITER).await;
    let lost = tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), "b")).await;
    assert_eq!(reason(lost), ErrorReason::OutcomeUnknown);
    place.with("c").await;
    assert_eq!(place.names().await, ["a", "c"]);
    place.end().await;
}

/// So many creations at once; the names of those that were acknowledged, and what became of the others.
async fn at_once(place: &Place, number: usize) -> (Vec<String>, Vec<ErrorReason>) {
    let units = (0..number).map(async |number| {
        let name = format!("{number:02}");
        let done = tx::run(&place.db, Mode::Commit, create_named(Uuid::now_v7(), name.clone())).await;
        done.map(|_| name)
    });
    let (mut acknowledged, mut others) = (Vec::new(), Vec::new());
    for outcome in join_all(units).await {
        match outcome {
            Ok(name) => acknowledged.push(name),
            refused => others.push(reason(refused)),
        }
    }
    (acknowledged, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_wait_share_a_statement_and_each_is_told_its_own_place() {
    let place = Place::postgres().await;
    let units = (0..64).map(async |number| {
        let name = format!("{number:02}");
        let done = tx::run(&place.db, Mode::Commit, create_named(Uuid::now_v7(), name.clone())).await;
        (name, done.unwrap().position.unwrap())
    });
    let told: BTreeMap<Position, String> = join_all(units).await.into_iter().map(|(name, at)| (at, name)).collect();
    assert_eq!(told.values().collect::<BTreeSet<_>>().len(), 64);
    assert_eq!(Vec::from_iter(told.values().cloned()), place.journal().await);
    let transactions = told.keys().map(|position| position.xid).collect::<BTreeSet<_>>();
    assert!(transactions.len() < 64, "none was shared");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_so_to_all_whose_shared_answer_was_lost() {
    let place = Place::postgres().await;
    assert_eq!(at_once(&place, 32).await.1, []);
    on(&place.options, "DELETE FROM account").await;
    end(&place.options, WRITER).await;
    let (acknowledged, others) = at_once(&place, 32).await;
    assert!(others.contains(&ErrorReason::OutcomeUnknown), "{others:?}");
    assert!(
        others.iter().all(|reason| *reason == ErrorReason::OutcomeUnknown),
        "{others:?}"
    );
    // The server was gone before they were sent: they did not happen, and were not tried again.
    assert_eq!(place.names().await, acknowledged);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_is_lost_within_a_unit_changes_nothing() {
    let place = Place::postgres().await;
    place.with("a").await;
    let options = place.options.clone();
    let unit = async move |tx: &Tx| {
        tx.execute(&insert(Uuid::now_v7(), "b", None)).await.map_err(db_error)?;
        end(&options, WRITER).await;
        account::Entity::find().all(tx).await.map_err(db_error)?;
        Ok(())
    };
    assert_eq!(
        reason(tx::run(&place.db, Mode::Commit, unit).await),
        ErrorReason::DatabaseUnavailable
    );
    assert_eq!(place.names().await, ["a"]);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_closed_a_connection_is_not_asked_on_the_others() {
    let place = Place::postgres().await;
    let server = connect_to_migrate(&place.options).await.unwrap();
    open_all(&place.db, &server, WRITER).await;
    end(&place.options, WRITER).await;
    slow_unit(&place.db).await.unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let units = names.map(|name| tx::run(&place.db, Mode::Commit, create(Uuid::now_v7(), name)));
    for unit in join_all(units).await {
        unit.unwrap();
    }

    let read = || place.db.read().query_one_raw(slow());
    until(SOON, "all connections", async || {
        join_all((0..16).map(|_| read())).await;
        count(&server, READER).await == 8
    })
    .await;
    end(&place.options, READER).await;
    read().await.unwrap_err();
    for read in join_all((0..8).map(|_| read())).await {
        read.unwrap();
    }
    server.close().await.unwrap();
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_says_nothing_is_given_up_with_all_connections_to_it() {
    let place = Place::postgres().await;
    let proxy = Proxy::start(&place.options.url).await;
    let behind = Options {
        url: proxy.url(&place.options.url),
        service: "proxied",
    };
    let db = Db::connect(&behind).await.unwrap();
    let writer = "clientele-proxied-writer";
    open_all(&db, place.db.read(), writer).await;

    proxy.black_hole();
    // A second for the units on the open connections, and two more for those that follow on new ones. The others do not wait so long
    // for a place.
    let units = join_all((0..24).map(|_| slow_unit(&db)));
    let refused = timeout(Duration::from_secs(4), units).await.expect("given up");
    for unit in refused {
        assert_eq!(reason(unit), ErrorReason::DatabaseUnavailable);
    }

    proxy.restore();
    open_all(&db, place.db.read(), writer).await;
    proxy.black_hole();
    proxy.restore();
    until(SOON, "an answer", async || slow_unit(&db).await.is_ok()).await;
    until(SOON, "the others are closed", async || {
        count(place.db.read(), writer).await == 1
    })
    .await;
    db.close().await;
    place.end().await;
}

//! Several processes of one service.

use crate::place::{Place, Process, SOON};
use clientele_api::Uid;
use clientele_store::Revision;
use clientele_store::connect::Options;
use clientele_testkit::{Proxy, until};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};

pub(crate) async fn what_another_process_writes_is_seen(place: &Place) {
    let (writer, reader) = (place.process().await, place.process().await);
    let uid = Uid::new();
    for value in 0..5 {
        writer.set(uid, value).await;
        until(SOON, "it is seen", async || reader.get(uid).await == Some(value)).await;
        reader.until_remembered(uid).await;
    }
}

pub(crate) async fn what_readers_may_see_is_seen(place: &Place) {
    let (writer, reader) = (place.process().await, place.process().await);
    let uid = Uid::new();
    writer.set(uid, 0).await;
    reader.until_remembered(uid).await;
    for value in 1..30 {
        let (_, n) = writer.set(uid, value).await.of("assignment").unwrap();
        let mut horizon = reader.journal.horizon();
        horizon.wait_for(|horizon| horizon.includes(n)).await.unwrap();
        assert_eq!(reader.get(uid).await, Some(value));
    }
}

/// A transaction that a writer of the service has left open keeps the horizon where it is.
pub(crate) async fn who_knows_a_write_gets_nothing_older(place: &Place) {
    let (writer, reader) = (place.process().await, place.process().await);
    let uid = Uid::new();
    writer.set(uid, 1).await;
    reader.until_remembered(uid).await;
    let options: PgConnectOptions = place.options.url.parse().unwrap();
    let options = options.application_name("clientele-assignment-writer");
    let mut open: PgConnection = options.connect().await.unwrap();
    open.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let seen = writer.set(uid, 2).await;
    assert_eq!(reader.get(uid).await, Some(1), "the horizon was held");
    assert_eq!(reader.get_since(uid, &seen).await, Some(2));
    assert_eq!(reader.reads_of(5, uid, &seen).await, 5);
    open.execute("COMMIT").await.unwrap();
    until(SOON, "it is proven", async || reader.reads_of(1, uid, &seen).await == 0).await;
    assert_eq!(reader.get(uid).await, Some(2));
}

pub(crate) async fn memory_stands_aside_while_nobody_wakes_it(place: &Place) {
    let process = place.process().await;
    let uid = Uid::new();
    process.set(uid, 1).await;
    process.until_remembered(uid).await;

    let server = Options {
        url: place.options.url.rsplit_once('/').unwrap().0.to_owned() + "/postgres",
        ..place.options.clone()
    };
    let (_, database) = place.options.url.rsplit_once('/').unwrap();
    let on_the_server = async |sql: String| {
        let connection = clientele_store::connect::connect_to_migrate(&server).await.unwrap();
        sea_orm::ConnectionTrait::execute_unprepared(&connection, &sql)
            .await
            .unwrap();
        connection.close().await.unwrap();
    };
    // Nobody can connect any more; those who have go on, except for who listens.
    on_the_server(format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await;
    on_the_server(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND query ILIKE 'listen %'"
    ))
    .await;
    process.until_aside(uid).await;
    assert_eq!(process.reads_of(20, uid, &Revision::new()).await, 20);
    on_the_server(format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).await;
    process.until_remembered(uid).await;
}

pub(crate) async fn memory_stands_aside_while_the_database_is_out_of_reach(place: &Place) {
    let proxy = Proxy::start(&place.options.url).await;
    let through = Options {
        url: proxy.url(&place.options.url),
        ..place.options.clone()
    };
    let reader = Process::open(&through, &place.options).await;
    let writer = place.process().await;
    let uid = Uid::new();
    let mut value = 0;
    for silent in [false, true] {
        writer.set(uid, value).await;
        reader.until_remembered(uid).await;
        if silent {
            proxy.black_hole();
        } else {
            proxy.cut();
        }
        reader.until_aside(uid).await;
        for _ in 0..20 {
            value += 1;
            writer.set(uid, value).await;
            assert_eq!(reader.get(uid).await, Some(value));
        }
        proxy.restore();
        reader.until_remembered(uid).await;
        assert_eq!(reader.get(uid).await, Some(value));
    }
}

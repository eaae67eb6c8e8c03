//! Two replicas on one database, and a database that was another one.

use crate::feed::Feed;
use crate::{World, create};
use clientele_api::journal::WatchRequest;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_store::cursor::Cursor;
use clientele_testkit::{Database, Engine, Running, reason};
use sea_orm::ConnectionTrait;
use std::time::Duration;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_writes_is_told_even_if_the_wake_up_is_lost() {
    let database = Database::create(Engine::Postgres).await;
    let options = Options {
        url: database.url.clone(),
        service: "org",
    };
    // Whoever connects from here on finds a pg_notify that does nothing.
    connect_to_migrate(&options)
        .await
        .unwrap()
        .execute_unprepared(
            "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''; \
             DO $$ BEGIN \
                 EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); \
             END $$",
        )
        .await
        .unwrap();
    let world = World::on(database, &options.url).await;
    let other = Running::start(&world.service).await;
    let mut feed = Feed::start_at(JournalServiceClient::new(other.channel().await), &world.operator).await;
    for round in 0..8 {
        let organization = world.create(create(&format!("client-{round}"))).await.unwrap();
        // Readers look every 250 ms.
        feed.until_told(Duration::from_millis(1500), &organization.name).await;
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_begins_a_new_epoch() {
    let world = World::start(Engine::Postgres).await;
    let running = world.running;
    let journal = |running: &Running| {
        let endpoint = running.endpoint();
        async move { JournalServiceClient::new(endpoint.connect().await.unwrap()) }
    };
    let feed = Feed::start_at(journal(&running).await, &world.operator).await;
    let old = Cursor::parse(&feed.cursor).unwrap();
    running.stop().await;

    // Nothing happened in between: the cursor is good.
    let running = Running::start(&world.service).await;
    let from = |cursor: &str| {
        world.operator.request(WatchRequest {
            start: Some(Start::Cursor(cursor.to_owned())),
            ..Default::default()
        })
    };
    journal(&running).await.watch(from(&feed.cursor)).await.unwrap();
    running.stop().await;

    world
        .database
        .execute_unprepared("UPDATE journal_state SET cluster = 'other'")
        .await
        .unwrap();
    for _ in 0..2 {
        let running = Running::start(&world.service).await;
        let status = journal(&running).await.watch(from(&feed.cursor)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::OutOfRange, "CURSOR_OUT_OF_RANGE")
        );
        let fresh = Feed::start_at(journal(&running).await, &world.operator).await;
        assert_eq!(Cursor::parse(&fresh.cursor).unwrap().epoch, old.epoch + 1, "once");
        running.stop().await;
    }
}

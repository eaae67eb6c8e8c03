//! Two replicas on one database, and a database that was another one.

use crate::feed::Feed;
use crate::{World, create};
use clientele_api::journal::WatchRequest;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_store::cursor::Cursor;
use clientele_testkit::{Caller, Database, Engine, Running, reason, until};
use sea_orm::ConnectionTrait;
use std::time::{Duration, Instant};
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
async fn what_another_replica_writes_is_told_sooner_than_readers_look_by_themselves() {
    /// Readers who are not woken look every 250 ms, so this many changes one after the other take them 1750 ms.
    const ROUNDS: usize = 8;
    let world = World::start(Engine::Postgres).await;
    let other = Running::start(&world.service).await;
    let mut feed = Feed::start_at(JournalServiceClient::new(other.channel().await), &world.operator).await;
    for attempt in 0..20 {
        let began = Instant::now();
        for round in 0..ROUNDS {
            let organization = world
                .create(create(&format!("client-{attempt}-{round}")))
                .await
                .unwrap();
            feed.until_told(Duration::from_secs(20), &organization.name).await;
        }
        if began.elapsed() < Duration::from_millis(1000) {
            return;
        }
    }
    panic!("nobody wakes the readers");
}

/// Where a feed of the whole journal is now.
async fn end_of_journal(running: &Running, operator: &Caller) -> Cursor {
    let feed = Feed::start_at(JournalServiceClient::new(running.channel().await), operator).await;
    Cursor::parse(&feed.cursor).unwrap()
}

/// Whether a feed goes on from here, or is told that it can't.
async fn goes_on(running: &Running, operator: &Caller, cursor: Cursor) -> bool {
    let request = WatchRequest {
        start: Some(Start::Cursor(cursor.to_string())),
        ..Default::default()
    };
    let mut journal = JournalServiceClient::new(running.channel().await);
    let Err(status) = journal.watch(operator.request(request)).await else {
        return true;
    };
    let refused = (status.code(), reason(&status));
    assert_eq!(refused, (Code::OutOfRange, "CURSOR_OUT_OF_RANGE".to_owned()));
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_begins_a_new_epoch() {
    let world = World::start(Engine::Postgres).await;
    let server = "SELECT system_identifier || '/' || timeline_id || '/' || pg_database.oid AS answer \
        FROM pg_control_system(), pg_control_checkpoint(), pg_database WHERE datname = current_database()";
    let known = "SELECT cluster AS answer FROM journal_state";
    assert_eq!(world.ask::<String>(known).await, world.ask::<String>(server).await);
    let operator = &world.operator;
    let mut last = end_of_journal(&world.running, operator).await;
    world.running.stop().await;

    // Nothing happened in between: the cursor is good.
    let running = Running::start(&world.service).await;
    assert!(goes_on(&running, operator, last).await);
    running.stop().await;

    // It was of another cluster, of another timeline, another database of the cluster.
    for (part, other) in [("^[0-9]+", "1"), ("/[0-9]+/", "/0/"), ("[0-9]+$", "1")] {
        let change = format!("UPDATE journal_state SET cluster = regexp_replace(cluster, '{part}', '{other}')");
        world.database.execute_unprepared(&change).await.unwrap();
        let running = Running::start(&world.service).await;
        assert!(!goes_on(&running, operator, last).await);
        let first = end_of_journal(&running, operator).await;
        assert_eq!(first.epoch, last.epoch + 1);
        running.stop().await;

        let running = Running::start(&world.service).await;
        assert!(goes_on(&running, operator, first).await, "a new epoch begins once");
        running.stop().await;
        last = first;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_file_in_place_of_the_database_is_behind_later_cursors() {
    let world = World::start(Engine::Sqlite).await;
    let operator = &world.operator;
    let early = end_of_journal(&world.running, operator).await;
    world.running.stop().await;
    let file = world.options.url.strip_prefix("sqlite://").unwrap();
    let backup = format!("{file}.backup");
    // Not a copy of the file: what was written last may still be in its write-ahead log.
    let copy = format!("VACUUM INTO '{backup}'");
    world.database.execute_unprepared(&copy).await.unwrap();
    world.database.close().await.unwrap();

    let running = Running::start(&world.service).await;
    let mut organizations = OrganizationServiceClient::new(running.channel().await);
    let request = world.admin.request(create("bakery"));
    organizations.create_organization(request).await.unwrap();
    until(Duration::from_secs(5), "the end moves on", async || {
        end_of_journal(&running, operator).await > early
    })
    .await;
    let late = end_of_journal(&running, operator).await;
    running.stop().await;

    for log in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{file}{log}")); // if it is there
    }
    std::fs::rename(&backup, file).unwrap();
    let running = Running::start(&world.service).await;
    assert!(!goes_on(&running, operator, late).await);
    assert!(goes_on(&running, operator, early).await);
    running.stop().await;
}

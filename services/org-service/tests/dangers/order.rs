//! Writers that end in another order than they began.

use crate::World;
use crate::feed::Feed;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::org::Organization;
use clientele_api::{Error, Uid};
use clientele_store::connect::db_error;
use clientele_store::cursor::Cursor;
use clientele_store::tx::Tx;
use clientele_store::{Author, Db, Journal, Recorded};
use clientele_testkit::{Engine, seed};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const WRITERS: usize = 16;
const UNITS: usize = 40;
const THINGS: u32 = 8;
/// The thing that is changed when all is done.
const THE_END: u32 = THINGS;

/// How a unit behaves.
#[derive(Debug, Clone, Copy)]
struct Mood {
    thing: u32,
    /// Between its beginning and its change.
    before: Duration,
    /// Between its change and its end.
    after: Duration,
    /// After the journal row, in the commit; PostgreSQL only.
    late: u32,
    fails: bool,
}

impl Mood {
    fn draw(random: &mut StdRng) -> Self {
        let mut pause = || Duration::from_millis(random.random_range(0..8));
        Self {
            before: pause(),
            after: pause(),
            thing: random.random_range(0..THINGS),
            late: random.random_range(0..8),
            fails: random.random_ratio(1, 6),
        }
    }
}

fn name(thing: u32) -> String {
    format!("workspaces/acme/organizations/thing-{thing}")
}

fn thing(name: &str) -> u32 {
    name.rsplit('-').next().unwrap().parse().unwrap()
}

/// Tables for the units, and, on PostgreSQL, a commit that takes as long as the actor's name says.
async fn prepare(world: &World) {
    let begun = match world.database.get_database_backend() {
        DbBackend::Postgres => "bigint GENERATED ALWAYS AS IDENTITY",
        _ => "integer PRIMARY KEY",
    };
    let mut statements = vec![
        format!("CREATE TABLE begun (n {begun})"),
        "CREATE TABLE things (id bigint PRIMARY KEY, version bigint NOT NULL)".to_owned(),
    ];
    statements.extend((0..=THE_END).map(|thing| format!("INSERT INTO things VALUES ({thing}, 0)")));
    if world.database.get_database_backend() == DbBackend::Postgres {
        statements.push(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(split_part(NEW.actor, '-', 2)::int / 1000.0); RETURN NULL; END $$"
                .to_owned(),
        );
        statements.push(
            "CREATE CONSTRAINT TRIGGER lingers AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW WHEN (NEW.actor LIKE 'writer-%') EXECUTE FUNCTION linger()"
                .to_owned(),
        );
    }
    for statement in statements {
        world.database.execute_unprepared(&statement).await.unwrap();
    }
}

/// Changes a thing, and tells the journal.
async fn write(journal: &Journal, workspace: &WorkspaceRef, mood: Mood) -> Result<(), Error> {
    let author = Author {
        workspace: Some(workspace.clone()),
        organization: None,
        actor: format!("writer-{}", mood.late),
        acting_for: None,
        method: "/test/Write",
        request: None,
        validate_only: false,
        traceparent: None,
    };
    let unit = async move |tx: &Tx| {
        // From here on the transaction has its number.
        tx.execute_unprepared("INSERT INTO begun DEFAULT VALUES")
            .await
            .map_err(db_error)?;
        tokio::time::sleep(mood.before).await;
        let update = format!(
            "UPDATE things SET version = version + 1 WHERE id = {} RETURNING version",
            mood.thing
        );
        let update = Statement::from_string(tx.get_database_backend(), update);
        let row = tx.query_one_raw(update).await.map_err(db_error)?.unwrap();
        let version: i64 = row.try_get("", "version").unwrap();
        tokio::time::sleep(mood.after).await;
        if mood.fails {
            return Err(Error::internal("on purpose"));
        }
        let thing = Organization {
            name: name(mood.thing),
            uid: Uid::NIL.to_string(),
            version,
            ..Default::default()
        };
        Ok(Recorded::change((), Change::created(&thing)))
    };
    journal.write(author, unit).await.map(drop)
}

async fn a_feed_misses_nothing_and_tells_nothing_twice(engine: Engine) {
    let world = World::start(engine).await;
    prepare(&world).await;
    let db = Db::connect(&world.options).await.unwrap();
    let journal = Journal::open(&db, CancellationToken::new()).await.unwrap();
    let workspace = WorkspaceRef {
        uid: Uid::new(),
        id: "acme".to_owned(),
    };
    let mut feed = Feed::start(&world).await;
    let mut random = seed();
    let writers = (0..WRITERS).map(|_| {
        let mut random = StdRng::seed_from_u64(random.random());
        let (journal, workspace) = (journal.clone(), workspace.clone());
        async move {
            for _ in 0..UNITS {
                let mood = Mood::draw(&mut random);
                let written = write(&journal, &workspace, mood).await;
                assert_eq!(written.is_err(), mood.fails, "{written:?}");
            }
        }
    });
    let last = Mood {
        thing: THE_END,
        before: Duration::ZERO,
        after: Duration::ZERO,
        late: 0,
        fails: false,
    };
    let writing = async {
        join_all(writers).await;
        write(&journal, &workspace, last).await.unwrap();
    };
    let the_end = name(THE_END);
    let (mut told, ()) = tokio::join!(feed.until_told(Duration::from_secs(30), &the_end), writing);
    told.retain(|entry| entry.actor.starts_with("writer-")); // the feed may begin with the workspace

    let cursors: Vec<String> = told.iter().map(|entry| entry.cursor.clone()).collect();
    let positions: Vec<Cursor> = cursors.iter().map(|cursor| Cursor::parse(cursor).unwrap()).collect();
    assert!(positions.is_sorted_by(|one, next| one < next), "strictly in order");
    let written = "SELECT epoch || '.' || xid || '.' || seq AS answer FROM journal WHERE actor LIKE 'writer-%' \
            ORDER BY epoch, xid, seq";
    let written: Vec<String> = world.ask(written).await;
    assert!(written.len() > WRITERS * UNITS / 2);
    let missed: Vec<&String> = written.iter().filter(|cursor| !cursors.contains(cursor)).collect();
    assert!(missed.is_empty(), "written and not told: {missed:?}");
    assert_eq!(cursors, written);

    let mut known: BTreeMap<u32, i64> = BTreeMap::new();
    for change in told.iter().flat_map(|entry| &entry.changes) {
        let version = known.entry(thing(&change.resource)).or_default();
        *version = change.version.max(*version); // a lower one is late
    }
    let versions = "SELECT version AS answer FROM things WHERE version > 0 ORDER BY id";
    assert_eq!(Vec::from_iter(known.into_values()), world.ask::<i64>(versions).await);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_misses_nothing_and_tells_nothing_twice_on_sqlite() {
    a_feed_misses_nothing_and_tells_nothing_twice(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_misses_nothing_and_tells_nothing_twice_on_postgres() {
    a_feed_misses_nothing_and_tells_nothing_twice(Engine::Postgres).await;
}

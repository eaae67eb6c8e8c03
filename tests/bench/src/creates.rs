//! CreateOrganization beside the fastest ways to write the same rows.

use crate::Bench;
use crate::bare::Ceiling;
use crate::load::{self, Sample};
use crate::pgbench::{Form, Script};
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World, create};
use anyhow::{Context as _, Result};
use clientele_api::Uid;
use clientele_api::org::{CreateOrganizationRequest, Organization};
use clientele_testkit::Caller;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, SqliteConnection};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

const CLIENTS: [usize; 3] = [8, 16, 32];
/// As many as the service has.
const WRITERS: usize = 8;

/// On PostgreSQL.
pub(crate) async fn measure_postgres(bench: &Bench, table: &mut Table) -> Result<()> {
    let engine = Engine::Postgres(&bench.postgres);
    let databases = [Database::create(engine).await?, Database::create(engine).await?];
    // pgbench has a database of its own, made by the service too, so that neither fills the other's tables.
    let (beside, sample) = prepare(&databases[1], bench).await?;
    beside.stop().await;
    let script = Script::read(&databases[1].url).await?;
    let raw = serve_statement(&databases[1].url, script.statement(), sample).await?;
    let world = World::start(&databases[0], bench).await?;

    let mut transactions: [Series; 3] = Default::default();
    let mut statements: [Series; 3] = Default::default();
    let mut sqlx: [Series; 2] = Default::default();
    let mut service: [Series; 2] = Default::default();
    for _ in 0..bench.rounds {
        for (series, clients) in transactions.iter_mut().zip(CLIENTS) {
            let run = script.run(bench, &databases[1].url, Form::Transaction, clients);
            series.add(run.await?);
        }
        for (series, clients) in statements.iter_mut().zip(CLIENTS) {
            let run = script.run(bench, &databases[1].url, Form::Statement, clients);
            series.add(run.await?);
        }
        for ((sqlx, service), in_flight) in sqlx.iter_mut().zip(&mut service).zip([8, 32]) {
            sqlx.add(run(bench, &raw.connections, &world.admin, in_flight).await?);
            service.add(run(bench, &world.connections, &world.admin, in_flight).await?);
        }
    }

    for (form, all) in [("BEGIN .. COMMIT", &transactions), ("one statement", &statements)] {
        for (series, clients) in all.iter().zip(CLIENTS) {
            table.ceiling(format!("pgbench, {form}, {clients} clients"), series);
        }
    }
    let transactions: (&str, &[&Series]) = ("pgbench's best, BEGIN .. COMMIT", &transactions.each_ref());
    let statements: (&str, &[&Series]) = ("pgbench's best, one statement", &statements.each_ref());
    for (series, in_flight) in sqlx.iter().zip([8, 32]) {
        let scenario = format!("one statement by sqlx behind tonic, {in_flight} in flight");
        table.ratio(scenario, series, statements, None);
    }
    for ((series, raw), in_flight) in service.iter().zip(&sqlx).zip([8, 32]) {
        let scenario = format!("CreateOrganization, PostgreSQL, {in_flight} in flight");
        let goal = |goal| (in_flight == 32).then_some(goal);
        table.ratio(&scenario, series, transactions, goal(0.9));
        table.ratio(&scenario, series, statements, goal(0.55));
        table.ratio(&scenario, series, ("sqlx behind tonic", &[raw]), None);
    }

    drop(raw);
    world.stop().await;
    for database in databases {
        database.remove().await?;
    }
    Ok(())
}

/// On SQLite, durable.
pub(crate) async fn measure_sqlite(bench: &Bench, table: &mut Table) -> Result<()> {
    let databases = [
        Database::create(Engine::Sqlite).await?,
        Database::create(Engine::Sqlite).await?,
    ];
    let (beside, sample) = prepare(&databases[1], bench).await?;
    beside.stop().await;
    let ceiling = serve_one_by_one(&databases[1].url, sample).await?;
    let world = World::start(&databases[0], bench).await?;

    let mut rows: [(usize, f64, Series, Series); 2] =
        [(32, 2.5), (128, 4.0)].map(|(in_flight, goal)| (in_flight, goal, Series::default(), Series::default()));
    for _ in 0..bench.rounds {
        for (in_flight, _, one_by_one, service) in &mut rows {
            one_by_one.add(run(bench, &ceiling.connections, &world.admin, *in_flight).await?);
            service.add(run(bench, &world.connections, &world.admin, *in_flight).await?);
        }
    }

    for (in_flight, goal, one_by_one, service) in &rows {
        table.ceiling(
            format!("one transaction per commit, SQLite, {in_flight} in flight"),
            one_by_one,
        );
        let scenario = format!("CreateOrganization, SQLite, {in_flight} in flight");
        table.ratio(
            scenario,
            service,
            ("one transaction per commit", &[one_by_one]),
            Some(*goal),
        );
    }

    drop(ceiling);
    world.stop().await;
    for database in databases {
        database.remove().await?;
    }
    Ok(())
}

async fn run(bench: &Bench, connections: &[Channel], caller: &Caller, in_flight: usize) -> Result<Sample> {
    let caller = caller.clone();
    let call = move |connection| {
        let answer = create(connection, caller.clone());
        async { answer.await.map(drop) }
    };
    load::run(bench, connections, in_flight, call).await
}

/// The tables with a workspace and one organization, whose rows the ceilings copy.
async fn prepare(database: &Database, bench: &Bench) -> Result<(World, Organization)> {
    let world = World::start(database, bench).await?;
    let sample = create(world.connection()?, world.admin.clone()).await?;
    Ok((world, sample))
}

/// One statement behind a bare tonic, on as many connections as the service has.
async fn serve_statement(url: &str, statement: String, sample: Organization) -> Result<Ceiling> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.disable_statement_logging();
    let connections = futures::future::try_join_all((0..WRITERS).map(|_| options.connect())).await?;
    let permits = Arc::new(Semaphore::new(connections.len()));
    let idle = Arc::new(std::sync::Mutex::new(connections));
    let statement: Arc<str> = statement.into();
    Ceiling::serve(move |request: CreateOrganizationRequest| {
        let (permits, idle, statement, sample) = (permits.clone(), idle.clone(), statement.clone(), sample.clone());
        async move {
            let _permit = permits.acquire().await.map_err(internal)?;
            let taken = idle.lock().map_err(internal)?.pop();
            let mut connection = taken.ok_or_else(|| Status::internal("no connection"))?;
            insert_at_once(&mut connection, &statement, request)
                .await
                .map_err(internal)?;
            idle.lock().map_err(internal)?.push(connection);
            Ok(sample)
        }
    })
    .await
}

async fn insert_at_once(
    connection: &mut PgConnection,
    statement: &str,
    request: CreateOrganizationRequest,
) -> Result<()> {
    let external_id = request.organization.and_then(|organization| organization.external_id);
    let request_id: Uuid = request.request_id.parse()?;
    sqlx::query(AssertSqlSafe(statement))
        .bind(Uuid::now_v7())
        .bind(&request.organization_id)
        .bind(external_id)
        .bind(Uuid::now_v7())
        .bind(request_id)
        .execute(connection)
        .await?;
    Ok(())
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// The same rows behind a bare tonic, each create in a transaction of its own on the one writing connection.
async fn serve_one_by_one(url: &str, sample: Organization) -> Result<Ceiling> {
    let options: SqliteConnectOptions = url.parse()?;
    let mut connection = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("cache_size", "-16000")
        .pragma("mmap_size", "268435456")
        .disable_statement_logging()
        .connect()
        .await?;
    let uid = Uid::parse(&sample.uid).context("a uid")?.0;
    let organization = copy(&mut connection, "organizations", &["uid", "id", "external_id"], "uid").await?;
    let unique = ["mutation_id", "organization_uid", "organization_id", "request_id"];
    let journal = copy(&mut connection, "journal", &unique, "organization_uid").await?;
    let statements: Arc<str> = format!("BEGIN IMMEDIATE; {organization}; {journal}; COMMIT").into();
    let connection = Arc::new(Mutex::new(connection));
    Ceiling::serve(move |request: CreateOrganizationRequest| {
        let (connection, statements, sample) = (connection.clone(), statements.clone(), sample.clone());
        async move {
            let mut connection = connection.lock().await;
            insert_in_turn(&mut connection, &statements, uid, request)
                .await
                .map_err(internal)?;
            Ok(sample)
        }
    })
    .await
}

/// Inserts another row like the sample, found by a uid, but for some columns: `?` in their order, and the sample's uid last.
async fn copy(connection: &mut SqliteConnection, table: &str, unique: &[&str], uid: &str) -> Result<String> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?) WHERE name <> 'seq'")
        .bind(table)
        .fetch_all(connection)
        .await?;
    let others = columns.iter().filter(|column| !unique.contains(&column.as_str()));
    let others = others.cloned().collect::<Vec<_>>().join(", ");
    Ok(format!(
        "INSERT INTO {table} ({}, {others}) SELECT {}, {others} FROM {table} WHERE {uid} = ?",
        unique.join(", "),
        vec!["?"; unique.len()].join(", ")
    ))
}

async fn insert_in_turn(
    connection: &mut SqliteConnection,
    statements: &str,
    sample: Uuid,
    request: CreateOrganizationRequest,
) -> Result<()> {
    let external_id = request.organization.and_then(|organization| organization.external_id);
    let request_id: Uuid = request.request_id.parse()?;
    let uid = Uuid::now_v7();
    sqlx::query(AssertSqlSafe(statements))
        .bind(uid)
        .bind(&request.organization_id)
        .bind(external_id)
        .bind(sample)
        .bind(Uuid::now_v7())
        .bind(uid)
        .bind(&request.organization_id)
        .bind(request_id)
        .bind(sample)
        .execute(connection)
        .await?;
    Ok(())
}

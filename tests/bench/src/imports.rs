//! ImportAgents beside INSERT … SELECT of the same rows.

use crate::Bench;
use crate::load::Sample;
use crate::table::{Series, Table};
use crate::world::{self, Database, Engine};
use anyhow::{Context as _, Result, ensure};
use assignment_service::AssignmentService;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::{Agent, ImportAgentsRequest, ImportedAgent, agent::State};
use clientele_service::peer::OrgPeer;
use clientele_testkit::{Caller, OrgFeed, Running, Tokens};
use futures::stream;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::time::Instant;
use uuid::Uuid;

/// The rows of a call.
const ROWS: i32 = 10_000;
/// The rows of a message, and of a chunk.
const CHUNK: i32 = 500;

/// A running assignment-service with the workspace `acme`.
struct World {
    caller: Caller,
    running: Running,
    _feed: OrgFeed,
    _tokens: Tokens,
}

impl World {
    async fn start(database: &Database, bench: &Bench) -> Result<Self> {
        let tokens = Tokens::create();
        let feed = OrgFeed::start().await;
        feed.create_workspace("acme");
        let config = world::config(&database.url, &tokens.issuers(), bench.telemetry.as_deref());
        let org = OrgPeer::new(feed.endpoint(), tokens.service_file("assignment-service"));
        let running = Running::start(&AssignmentService { config, org }).await;
        let caller = Caller {
            min_revision: Some(feed.revision()),
            ..Caller::with(tokens.service("platform"))
        };
        Ok(Self {
            caller,
            running,
            _feed: feed,
            _tokens: tokens,
        })
    }

    /// Imports agents that are new.
    async fn import(&self, bench: &Bench) -> Result<Sample> {
        let run = Uuid::now_v7().simple().to_string();
        let rows = Vec::from_iter((0..ROWS).map(|at| row(&run, at)));
        let parted = rows.chunks(CHUNK as usize).map(|agents| ImportAgentsRequest {
            parent: "workspaces/acme".to_owned(),
            agents: agents.to_vec(),
            request_id: run.parse::<Uuid>().unwrap_or_default().to_string(),
            ..ImportAgentsRequest::default()
        });
        let messages = Vec::from_iter(parted);
        let mut agents = AgentServiceClient::new(self.running.channel().await);
        let (began, spent) = (Instant::now(), bench.cpu.read());
        let answer = agents
            .import_agents(self.caller.request(stream::iter(messages)))
            .await?
            .into_inner();
        let took = began.elapsed();
        ensure!(answer.created == ROWS, "{answer:?}");
        Ok(Sample::new(vec![took], ROWS as usize, took, bench.cpu.since(spent)))
    }
}

fn row(run: &str, at: i32) -> ImportedAgent {
    let agent = Agent {
        title: Some(format!("Support agent number {at} of the friendly bakery")),
        description: Some("Answers questions about orders, opening hours and allergens, in two languages.".to_owned()),
        platform: Some("voiceflow".to_owned()),
        channels: vec!["web".to_owned(), "whatsapp".to_owned()],
        tags: vec!["support".to_owned(), "bakery".to_owned(), format!("store-{}", at % 100)],
        state: Some(State::Deployed.into()),
        ..Agent::default()
    };
    ImportedAgent {
        agent_id: format!("{run}-{at}"),
        agent: Some(agent),
    }
}

/// The same rows, ready to be inserted again under other ids, in the same tables with the same indexes.
struct Ceiling {
    connection: PgConnection,
    agents: String,
    journal: String,
    runs: i32,
}

impl Ceiling {
    /// Of what a service has imported into this database.
    async fn prepare(database: &Database, bench: &Bench) -> Result<Self> {
        let world = World::start(database, bench).await?;
        world.import(bench).await?;
        world.running.stop().await;
        let mut connection = PgConnection::connect(&database.url).await?;
        connection
            .execute(
                "CREATE TABLE staged_agents AS SELECT row_number() OVER (ORDER BY uid) AS n, agents.* FROM agents;
                 CREATE TABLE staged_journal AS SELECT row_number() OVER (ORDER BY xid, seq) AS n, journal.* FROM journal;
                 CREATE INDEX ON staged_agents (n); CREATE INDEX ON staged_journal (n);
                 ANALYZE staged_agents; ANALYZE staged_journal;",
            )
            .await?;
        // Uids rise as the service's do: what is inserted last is at the end of its index.
        let uid = "lpad(to_hex($1::bigint * 1000000 + n), 32, '0')::uuid";
        let agents = copy(
            &mut connection,
            "agents",
            &[("uid", uid), ("id", "id || '-' || $1")],
            &[],
        )
        .await?;
        let request = "CASE WHEN request_id IS NULL THEN NULL ELSE gen_random_uuid() END";
        let journal = copy(&mut connection, "journal", &[("request_id", request)], &["xid", "seq"]).await?;
        Ok(Self {
            connection,
            agents,
            journal,
            runs: 0,
        })
    }

    /// Inserts all rows again, so many of them in a transaction, each of which is one statement.
    async fn run(&mut self, bench: &Bench, rows: i32) -> Result<Sample> {
        self.runs += 1;
        let chunk = |table: &str, size: i32| format!("{table} WHERE n > $2 * {size} AND n <= ($2 + 1) * {size}");
        let sql = format!(
            "WITH w0 AS ({}) {}",
            chunk(&self.agents, rows),
            chunk(&self.journal, rows / CHUNK)
        );
        let (began, spent) = (Instant::now(), bench.cpu.read());
        for at in 0..ROWS / rows {
            let statement = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(i64::from(self.runs))
                .bind(at);
            statement.execute(&mut self.connection).await?;
        }
        let took = began.elapsed();
        Ok(Sample::new(vec![took], ROWS as usize, took, bench.cpu.since(spent)))
    }
}

/// INSERT … SELECT of the staged rows of a table, with other values in some columns, and without those that the database gives.
async fn copy(connection: &mut PgConnection, table: &str, other: &[(&str, &str)], given: &[&str]) -> Result<String> {
    let columns =
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1 AND is_generated = 'NEVER'";
    let columns: Vec<String> = sqlx::query_scalar(columns).bind(table).fetch_all(connection).await?;
    ensure!(!columns.is_empty(), "no table {table}");
    let columns = Vec::from_iter(
        columns
            .iter()
            .map(String::as_str)
            .filter(|column| !given.contains(column)),
    );
    let values = columns.iter().map(|column| {
        let other = other.iter().find(|(name, _)| name == column);
        other.map_or(*column, |(_, value)| value)
    });
    let values = Vec::from_iter(values).join(", ");
    Ok(format!(
        "INSERT INTO {table} ({}) SELECT {values} FROM staged_{table}",
        columns.join(", ")
    ))
}

/// On PostgreSQL.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let engine = Engine::Postgres(&bench.postgres);
    let databases = [Database::create(engine).await?, Database::create(engine).await?];
    let mut ceiling = Ceiling::prepare(&databases[1], bench).await?;
    let world = World::start(&databases[0], bench).await?;
    world.import(bench).await.context("the first import")?;

    let (mut at_once, mut in_chunks, mut service) = (Series::default(), Series::default(), Series::default());
    for _ in 0..bench.rounds {
        at_once.add(ceiling.run(bench, ROWS).await?);
        in_chunks.add(ceiling.run(bench, CHUNK).await?);
        service.add(world.import(bench).await?);
    }

    table.ceiling(format!("INSERT … SELECT of {ROWS} agents, all at once"), &at_once);
    table.ceiling(
        format!("INSERT … SELECT of {ROWS} agents, {CHUNK} a transaction"),
        &in_chunks,
    );
    let scenario = format!("ImportAgents, {ROWS} new ones in a call");
    table.ratio(
        &scenario,
        &service,
        ("INSERT … SELECT, all at once", &[&at_once]),
        Some(0.5),
    );
    table.ratio(&scenario, &service, ("INSERT … SELECT in chunks", &[&in_chunks]), None);

    ceiling.connection.close().await?;
    world.running.stop().await;
    for database in databases {
        database.remove().await?;
    }
    Ok(())
}

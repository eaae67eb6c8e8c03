//! The echoes, and GetOrganization beside them.

use crate::Bench;
use crate::bare::{Ceiling, call_empty};
use crate::load;
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World, create};
use anyhow::{Context as _, Result};
use clientele_api::org::organization::State;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{GetOrganizationRequest, Organization, OrganizationLimits};
use clientele_api::{Micros, Uid};
use clientele_testkit::Caller;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::types::Json;
use sqlx::{ConnectOptions as _, Row as _};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// How many organizations there are, each asked for in turn.
const ORGANIZATIONS: usize = 1_000;
/// As many as the service has.
const READERS: u32 = 8;
const IN_FLIGHT: usize = 32;

/// Measures all of it, the rounds of ceilings and service by turns.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let engines = [Engine::Postgres(&bench.postgres), Engine::Sqlite];
    let databases = [Database::create(engines[0]).await?, Database::create(engines[1]).await?];
    let postgres = World::start(&databases[0], bench).await?;
    let sqlite = World::start(&databases[1], bench).await?;
    let in_postgres = fill(&postgres).await?;
    let in_sqlite = fill(&sqlite).await?;

    let empty = Ceiling::serve(async |(): ()| Ok(())).await?;
    let prebuilt = serve_prebuilt(&in_postgres).await?;
    let raw = serve_raw(&databases[0].url, &in_postgres).await?;

    let caller = postgres.admin.clone();
    let [mut echo, mut message, mut select, mut on_postgres, mut on_sqlite] = Default::default();
    for _ in 0..bench.rounds {
        let call = {
            let caller = caller.clone();
            move |connection| call_empty(connection, caller.clone())
        };
        let run = load::run(bench, &empty.connections, IN_FLIGHT, call);
        Series::add(&mut echo, run.await?);
        message.add(get(bench, &prebuilt.connections, &caller, &in_postgres).await?);
        select.add(get(bench, &raw.connections, &caller, &in_postgres).await?);
        on_postgres.add(get(bench, &postgres.connections, &caller, &in_postgres).await?);
        on_sqlite.add(get(bench, &sqlite.connections, &sqlite.admin, &in_sqlite).await?);
    }

    let prebuilt_echo: (&str, &[&Series]) = ("the prebuilt echo", &[&message]);
    table.ceiling("empty echo, 32 in flight", &echo);
    table.ratio(
        "echo of a prebuilt Organization",
        &message,
        ("the empty echo", &[&echo]),
        None,
    );
    table.ratio("raw sqlx behind tonic, PostgreSQL", &select, prebuilt_echo, None);
    table.ratio(
        "GetOrganization, PostgreSQL",
        &on_postgres,
        ("raw sqlx", &[&select]),
        Some(0.8),
    );
    table.ratio("GetOrganization, PostgreSQL", &on_postgres, prebuilt_echo, None);
    table.ratio("GetOrganization, SQLite", &on_sqlite, prebuilt_echo, None);

    postgres.stop().await;
    sqlite.stop().await;
    drop(raw);
    for database in databases {
        database.remove().await?;
    }
    Ok(())
}

async fn fill(world: &World) -> Result<Arc<Vec<Organization>>> {
    let connection = world.connection()?;
    let creates = (0..ORGANIZATIONS).map(|_| create(connection.clone(), world.admin.clone()));
    let created = futures::stream::iter(creates).buffer_unordered(IN_FLIGHT);
    Ok(Arc::new(created.try_collect().await?))
}

async fn get(
    bench: &Bench,
    connections: &[Channel],
    caller: &Caller,
    organizations: &Arc<Vec<Organization>>,
) -> Result<load::Sample> {
    let turn = Arc::new(AtomicUsize::new(0));
    let (caller, organizations) = (caller.clone(), organizations.clone());
    let call = move |connection| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % organizations.len();
        let request = caller.request(GetOrganizationRequest {
            name: organizations[turn].name.clone(),
        });
        async move {
            let mut client = OrganizationServiceClient::new(connection);
            client.get_organization(request).await.map(drop)
        }
    };
    load::run(bench, connections, IN_FLIGHT, call).await
}

/// An echo that answers a message as large as the service's.
async fn serve_prebuilt(organizations: &[Organization]) -> Result<Ceiling> {
    let organization = organizations.first().cloned().context("no organization")?;
    let work = move |_: GetOrganizationRequest| {
        let organization = organization.clone();
        async { Ok(organization) }
    };
    Ceiling::serve(work).await
}

/// Nothing but the one statement, by uid, and the message made of its row.
async fn serve_raw(url: &str, organizations: &[Organization]) -> Result<Ceiling> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_with(options.disable_statement_logging())
        .await?;
    let uids = organizations.iter().map(|organization| {
        let uid = Uid::parse(&organization.uid).context("a uid")?;
        Ok((organization.name.clone(), uid.0))
    });
    let uids = Arc::new(uids.collect::<Result<HashMap<_, _>>>()?);
    let work = move |request: GetOrganizationRequest| {
        let (pool, uid) = (pool.clone(), uids.get(&request.name).copied());
        async move {
            let uid = uid.ok_or_else(|| Status::not_found("no such organization"))?;
            select(&pool, uid)
                .await
                .map_err(|error| Status::internal(error.to_string()))
        }
    };
    Ceiling::serve(work).await
}

async fn select(pool: &PgPool, uid: Uuid) -> sqlx::Result<Organization> {
    let sql = "SELECT uid, workspace_id, id, version, create_time, update_time, display_name, external_id, contact_email, \
               annotations, max_members, max_teams, max_pending_invitations, max_agents, client_access_enabled, \
               self_edit_enabled, logo_content_type, logo_width, logo_height, logo_size, logo_sha256, suspend_time, \
               suspend_actor, suspend_reason, delete_time, purge_time FROM organizations WHERE uid = $1";
    let row = sqlx::query(sql).bind(uid).fetch_one(pool).await?;
    read(&row)
}

/// The organizations of the bench have no logo and are active; what such a row does not need is decoded all the same.
fn read(row: &PgRow) -> sqlx::Result<Organization> {
    let uid = Uid(row.try_get("uid")?);
    let version = row.try_get("version")?;
    let (workspace, id): (String, String) = (row.try_get("workspace_id")?, row.try_get("id")?);
    let time = |column| row.try_get(column).map(|time| Some(Micros(time).into()));
    let time_or_none = |column| {
        let time: Option<i64> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(time.map(|time| Micros(time).into()))
    };
    let Json(annotations): Json<BTreeMap<String, String>> = row.try_get("annotations")?;
    let _: Option<String> = row.try_get("logo_content_type")?;
    let _: Option<i32> = row.try_get("logo_width")?;
    let _: Option<i32> = row.try_get("logo_height")?;
    let _: Option<i32> = row.try_get("logo_size")?;
    let _: Option<Vec<u8>> = row.try_get("logo_sha256")?;
    let _: Option<i64> = row.try_get("suspend_time")?;
    let _: Option<String> = row.try_get("suspend_actor")?;
    let _: Option<String> = row.try_get("suspend_reason")?;
    Ok(Organization {
        name: format!("workspaces/{workspace}/organizations/{id}"),
        uid: uid.to_string(),
        version,
        etag: uid.etag(version),
        create_time: time("create_time")?,
        update_time: time("update_time")?,
        display_name: Some(row.try_get("display_name")?),
        external_id: row.try_get("external_id")?,
        contact_email: row.try_get("contact_email")?,
        annotations,
        limits: Some(OrganizationLimits {
            max_members: row.try_get("max_members")?,
            max_teams: row.try_get("max_teams")?,
            max_pending_invitations: row.try_get("max_pending_invitations")?,
            max_agents: row.try_get("max_agents")?,
        }),
        client_access_enabled: Some(row.try_get("client_access_enabled")?),
        self_edit_enabled: Some(row.try_get("self_edit_enabled")?),
        logo: None,
        state: State::Active.into(),
        suspension: None,
        delete_time: time_or_none("delete_time")?,
        purge_time: time_or_none("purge_time")?,
    })
}

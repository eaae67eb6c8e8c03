//! TestPermissions beside the echo: what a dashboard asks for every page that it draws.

use crate::Bench;
use crate::bare::{Ceiling, call_empty};
use crate::load;
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World};
use anyhow::Result;
use clientele_api::org::member_service_client::MemberServiceClient;
use clientele_api::org::{BatchCreateMembersRequest, CreateMemberRequest, Member, NewUser, TestPermissionsRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many members there are, each asked for in turn.
const MEMBERS: usize = 1_000;
const BATCH: usize = 100;
const IN_FLIGHT: usize = 32;

/// Measures an internal service that asks for three permissions of one of many members, answered from memory.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let engine = Engine::Postgres(&bench.postgres);
    let database = Database::create(engine).await?;
    let world = World::start(&database, bench).await?;
    let members = Arc::new(fill(&world).await?);
    let empty = Ceiling::serve(async |(): ()| Ok(())).await?;
    let [mut echo, mut tests]: [Series; 2] = Default::default();
    for _ in 0..bench.rounds {
        let caller = world.service.clone();
        let call = move |connection| call_empty(connection, caller.clone());
        echo.add(load::run(bench, &empty.connections, IN_FLIGHT, call).await?);
        tests.add(ask(bench, &world, &members).await?);
    }
    table.ceiling("empty echo, 32 in flight", &echo);
    table.ratio(
        "TestPermissions, PostgreSQL",
        &tests,
        ("the empty echo", &[&echo]),
        Some(0.75),
    );
    world.stop().await;
    database.remove().await
}

/// Makes an organization with so many members; their names.
pub(crate) async fn fill(world: &World) -> Result<Vec<String>> {
    let organization = crate::world::create(world.connection()?, world.admin.clone()).await?;
    let mut client = MemberServiceClient::new(world.connection()?);
    let mut names = Vec::new();
    for batch in 0..MEMBERS / BATCH {
        let requests = (0..BATCH).map(|at| CreateMemberRequest {
            new_user: Some(NewUser {
                email: format!("person-{batch}-{at}@friendly-bakery.example"),
                ..NewUser::default()
            }),
            member: Some(Member {
                roles: vec!["viewer".to_owned()],
                ..Member::default()
            }),
            ..CreateMemberRequest::default()
        });
        let request = BatchCreateMembersRequest {
            parent: organization.name.clone(),
            requests: requests.collect(),
            ..BatchCreateMembersRequest::default()
        };
        let added = client.batch_create_members(world.admin.request(request)).await?;
        names.extend(added.into_inner().members.into_iter().map(|member| member.name));
    }
    Ok(names)
}

/// Asks for the permissions of one member after the other.
pub(crate) async fn ask(bench: &Bench, world: &World, members: &Arc<Vec<String>>) -> Result<load::Sample> {
    let turn = Arc::new(AtomicUsize::new(0));
    let (caller, members) = (world.service.clone(), members.clone());
    let call = move |connection| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % members.len();
        let request = caller.request(TestPermissionsRequest {
            name: members[turn].clone(),
            permissions: ["conversations.view", "leads.view", "billing.view"]
                .map(str::to_owned)
                .to_vec(),
        });
        async move {
            let mut client = MemberServiceClient::new(connection);
            client.test_permissions(request).await.map(drop)
        }
    };
    load::run(bench, &world.connections, IN_FLIGHT, call).await
}

//! Workspaces: create, get, list, update, delete.

use crate::World;
use clientele_api::org::{CreateWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest, Workspace};
use clientele_testkit::{Engine, on_both_engines, reason};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

const UPDATE: &str = "WorkspaceService/UpdateWorkspace";
const DELETE: &str = "WorkspaceService/DeleteWorkspace";
const CREATE_ORGANIZATION: &str = "OrganizationService/CreateOrganization";
const GLOBEX: &str = "workspaces/globex";

fn globex() -> Value {
    json!({ "name": GLOBEX })
}

fn bakery_of_globex() -> Value {
    json!({ "parent": GLOBEX, "organizationId": "bakery", "organization": { "displayName": "Bakery" } })
}

#[tokio::test]
async fn a_workspace_is_renamed_by_its_admins() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let rename =
            |etag: &Value| json!({ "workspace": { "name": "workspaces/acme", "displayName": "New", "etag": etag } });
        let get = || world.done("WorkspaceService/GetWorkspace", json!({ "name": "workspaces/acme" }));
        let created = get().await;
        let renamed = world.done(UPDATE, rename(&created["etag"])).await;
        assert_eq!(
            (&renamed["displayName"], &renamed["version"]),
            (&json!("New"), &json!("2"))
        );
        assert_eq!(get().await, renamed);
        // The same again changes nothing.
        assert_eq!(world.done(UPDATE, rename(&renamed["etag"])).await, renamed);
        let stale = rename(&created["etag"]);
        let admin = &world.admin;
        world
            .refused(admin, UPDATE, stale, Code::Aborted, "ETAG_MISMATCH")
            .await;
        for bad in ["", "a\u{0}"] {
            let bad =
                json!({ "workspace": { "name": "workspaces/acme", "displayName": bad }, "updateMask": "displayName" });
            world
                .refused(admin, UPDATE, bad, Code::InvalidArgument, "INVALID_FIELDS")
                .await;
        }
        let preview =
            json!({ "workspace": { "name": "workspaces/acme", "displayName": "Other" }, "validateOnly": true });
        assert_eq!(world.done(UPDATE, preview).await["displayName"], "Other");
        assert_eq!(get().await, renamed);
    })
    .await;
}

#[tokio::test]
async fn a_workspace_is_deleted_when_there_is_nothing_in_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let operator = &world.operator;
        let first = world.create_workspace("globex").await;
        let done = async |method: &str, request: Value| world.call(operator, method, request).await.unwrap();
        let refused = async |figures: [&str; 3]| {
            let (code, why) = (Code::FailedPrecondition, "WORKSPACE_NOT_EMPTY");
            let status = world.refused(operator, DELETE, globex(), code, why).await;
            let metadata = status.get_details_error_info().unwrap().metadata;
            let told = ["organizations", "users", "erasures"].map(|key| metadata[key].clone());
            assert_eq!(told, figures);
        };
        done(CREATE_ORGANIZATION, bakery_of_globex()).await;
        refused(["1", "0", "0"]).await;
        let bakery = format!("{GLOBEX}/organizations/bakery");
        let new = json!({ "parent": bakery, "newUser": { "email": "ann@example.com" } });
        let ann = done("MemberService/CreateMember", new).await;
        refused(["1", "1", "0"]).await;
        done("OrganizationService/DeleteOrganization", json!({ "name": bakery })).await;
        refused(["1", "1", "0"]).await;
        done("UserService/DeleteUser", json!({ "name": ann["user"] })).await;
        refused(["1", "0", "0"]).await;
        done(
            "OrganizationService/PurgeOrganization",
            json!({ "name": bakery, "force": true }),
        )
        .await;

        let stale = json!({ "name": GLOBEX, "etag": "stale" });
        world
            .refused(operator, DELETE, stale, Code::Aborted, "ETAG_MISMATCH")
            .await;
        done(DELETE, json!({ "name": GLOBEX, "validateOnly": true })).await;
        let remembered = json!({ "name": GLOBEX, "etag": first.etag, "requestId": Uuid::new_v4().to_string() });
        done(DELETE, remembered.clone()).await;
        world
            .refused(operator, DELETE, globex(), Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        // Its id is free: another one has it now, of which the repetition knows nothing.
        let second = world.create_workspace("globex").await;
        assert_ne!((&second.uid, &second.etag), (&first.uid, &first.etag));
        done(DELETE, remembered).await;
        let found = done("WorkspaceService/GetWorkspace", globex()).await;
        assert_eq!(found["uid"], second.uid.as_str());
        done(CREATE_ORGANIZATION, bakery_of_globex()).await;
    })
    .await;
}

/// The organization is put in while the call that deletes the workspace has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_not_deleted_that_gets_an_organization_meanwhile() {
    let world = World::start(Engine::Postgres).await;
    world.create_workspace("globex").await;
    world.create_organization("bakery").await;
    let session = world.database().await;
    let creating = session.begin().await.unwrap();
    let create = "CREATE TEMP TABLE new ON COMMIT DROP AS SELECT * FROM organizations; \
        UPDATE new SET uid = gen_random_uuid(), workspace_id = 'globex', \
            workspace_uid = (SELECT uid FROM workspaces WHERE id = 'globex'); \
        INSERT INTO organizations SELECT * FROM new";
    creating.execute_unprepared(create).await.unwrap();
    let create = async {
        world.until_waiting(1).await;
        creating.commit().await.unwrap();
    };
    let delete = world.call(&world.operator, DELETE, globex());
    let (deleted, ()) = tokio::join!(delete, create);
    assert_eq!(reason(&deleted.unwrap_err()), "WORKSPACE_NOT_EMPTY");
}

/// Each workspace is deleted while an organization is created in it: either the organization is, or the workspace is not there.
async fn a_workspace_is_deleted_or_gets_an_organization(engine: Engine) {
    let world = World::start(engine).await;
    for _ in 0..12 {
        world.create_workspace("globex").await;
        let create = world.call_patiently(&world.operator, CREATE_ORGANIZATION, bakery_of_globex());
        let delete = world.call_patiently(&world.operator, DELETE, globex());
        match tokio::join!(create, delete) {
            (Ok(_), Err(refused)) => {
                assert_eq!(reason(&refused), "WORKSPACE_NOT_EMPTY");
                let bakery = json!({ "name": format!("{GLOBEX}/organizations/bakery"), "force": true });
                for method in ["DeleteOrganization", "PurgeOrganization"] {
                    let mut bakery = bakery.clone();
                    if method == "DeleteOrganization" {
                        bakery.as_object_mut().unwrap().remove("force");
                    }
                    let method = format!("OrganizationService/{method}");
                    world.call_patiently(&world.operator, &method, bakery).await.unwrap();
                }
                world.call_patiently(&world.operator, DELETE, globex()).await.unwrap();
            }
            (Err(refused), Ok(_)) => {
                assert_eq!(
                    (refused.code(), reason(&refused).as_str()),
                    (Code::NotFound, "RESOURCE_NOT_FOUND")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_deleted_or_gets_an_organization_on_sqlite() {
    a_workspace_is_deleted_or_gets_an_organization(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_deleted_or_gets_an_organization_on_postgres() {
    a_workspace_is_deleted_or_gets_an_organization(Engine::Postgres).await;
}

#[tokio::test]
async fn a_workspace_is_created_once_and_read_back() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_workspace("globex").await;
        assert_eq!((created.name.as_str(), created.version), ("workspaces/globex", 1));
        assert!(created.create_time.is_some() && created.create_time == created.update_time);
        let get = GetWorkspaceRequest {
            name: created.name.clone(),
        };
        let read = world
            .workspaces()
            .get_workspace(world.operator.request(get))
            .await
            .unwrap();
        assert!(
            read.metadata()
                .get("clientele-revision")
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("org=1.")
        );
        assert_eq!(read.into_inner(), created);

        let workspace = Some(Workspace {
            display_name: Some("Again".into()),
            ..Default::default()
        });
        let again = CreateWorkspaceRequest {
            workspace_id: "globex".into(),
            workspace,
            ..Default::default()
        };
        let status = world
            .workspaces()
            .create_workspace(world.operator.request(again))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::AlreadyExists, "RESOURCE_EXISTS")
        );
        world.running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn workspaces_are_listed_oldest_first_page_by_page() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for at in 0..5 {
            world.create_workspace(&format!("agency-{at}")).await;
        }
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListWorkspacesRequest {
                page_size: 2,
                page_token,
            };
            let page = world
                .workspaces()
                .list_workspaces(world.operator.request(request))
                .await
                .unwrap()
                .into_inner();
            assert!(page.workspaces.len() <= 2);
            names.extend(page.workspaces.into_iter().map(|workspace| workspace.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected =
            ["acme", "agency-0", "agency-1", "agency-2", "agency-3", "agency-4"].map(|id| format!("workspaces/{id}"));
        assert_eq!(names, expected);
    })
    .await;
}

#[tokio::test]
async fn staff_sees_its_own_workspace_only() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_workspace("globex").await;
        let get = |name: &str| world.member.request(GetWorkspaceRequest { name: name.to_owned() });
        assert!(world.workspaces().get_workspace(get("workspaces/acme")).await.is_ok());
        for foreign in ["workspaces/globex", "workspaces/nowhere"] {
            let status = world.workspaces().get_workspace(get(foreign)).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::NotFound, "RESOURCE_NOT_FOUND")
            );
            // What exists and what does not look the same.
            assert_eq!(
                status.message().replace(foreign, "X"),
                "Resource \"X\" does not exist, or is not yours"
            );
        }
    })
    .await;
}

//! Workspaces: create, get, list.

use crate::World;
use clientele_api::org::{CreateWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest, Workspace};
use clientele_testkit::{on_both_engines, reason};
use tonic::Code;

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

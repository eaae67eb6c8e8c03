//! Roles: built in and an organization's own.

use crate::World;
use clientele_testkit::on_both_engines;
use serde_json::{Value, json};
use tonic::Code;

const BAKERY: &str = "workspaces/acme/organizations/bakery";

fn create(id: &str, permissions: &[&str]) -> Value {
    json!({ "parent": BAKERY, "roleId": id, "role": { "title": format!("The {id}"), "permissions": permissions } })
}

fn name(id: &str) -> String {
    format!("{BAKERY}/roles/{id}")
}

#[tokio::test]
async fn built_in_roles_come_first_and_stay_as_they_are() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        for id in ["sales", "aides", "zebra"] {
            world.done("RoleService/CreateRole", create(id, &["leads.view"])).await;
        }
        for page_size in [1, 2, 3, 4, 5, 50] {
            let (mut token, mut ids) = (json!(""), Vec::new());
            loop {
                let request = json!({ "parent": BAKERY, "pageSize": page_size, "pageToken": token });
                let page = world.done("RoleService/ListRoles", request).await;
                for role in page["roles"].as_array().unwrap() {
                    ids.push(role["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
                }
                token = page["nextPageToken"].clone();
                if token == "" {
                    break;
                }
            }
            let all = [
                "org-admin",
                "member",
                "viewer",
                "billing-manager",
                "aides",
                "sales",
                "zebra",
            ];
            assert_eq!(ids, all, "by {page_size}");
        }
        let built_in = world
            .done("RoleService/GetRole", json!({ "name": name("member") }))
            .await;
        assert_eq!(
            (&built_in["builtIn"], &built_in["permissions"]),
            (&json!(true), &json!(["conversations.view", "home.view"]))
        );
        assert_eq!(
            built_in["uid"],
            world
                .done("RoleService/GetRole", json!({ "name": name("member") }))
                .await["uid"]
        );
        let update = json!({ "role": { "name": name("viewer"), "title": "X" } });
        world
            .refused(
                &world.admin,
                "RoleService/UpdateRole",
                update,
                Code::FailedPrecondition,
                "ROLE_BUILT_IN",
            )
            .await;
        let delete = json!({ "name": name("org-admin") });
        world
            .refused(
                &world.admin,
                "RoleService/DeleteRole",
                delete,
                Code::FailedPrecondition,
                "ROLE_BUILT_IN",
            )
            .await;
        world
            .refused(
                &world.admin,
                "RoleService/CreateRole",
                create("viewer", &[]),
                Code::AlreadyExists,
                "RESOURCE_EXISTS",
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_role_is_changed_for_all_who_hold_it_and_deleted_when_nobody_does() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let created = world
            .done("RoleService/CreateRole", create("sales", &["leads.view", "home.view"]))
            .await;
        assert_eq!(
            (&created["version"], &created["permissions"]),
            (&json!("1"), &json!(["home.view", "leads.view"]))
        );
        world
            .refused(
                &world.admin,
                "RoleService/CreateRole",
                create("sales", &[]),
                Code::AlreadyExists,
                "RESOURCE_EXISTS",
            )
            .await;
        world
            .refused(
                &world.admin,
                "RoleService/CreateRole",
                create("x", &["home.see"]),
                Code::InvalidArgument,
                "INVALID_FIELDS",
            )
            .await;
        let ann = world.add("bakery", "ann@example.com", &["sales"]).await;

        let update =
            json!({ "role": { "name": name("sales"), "permissions": ["prompt.view"], "etag": created["etag"] } });
        let updated = world.done("RoleService/UpdateRole", update.clone()).await;
        assert_eq!(
            (&updated["version"], &updated["title"]),
            (&json!("2"), &json!("The sales"))
        );
        world
            .refused(
                &world.admin,
                "RoleService/UpdateRole",
                update,
                Code::Aborted,
                "ETAG_MISMATCH",
            )
            .await;
        let test = json!({ "name": ann.member, "permissions": ["prompt.view", "leads.view"] });
        let held = world
            .call(&ann.caller, "MemberService/TestPermissions", test)
            .await
            .unwrap();
        assert_eq!(held["permissions"], json!(["prompt.view"]));

        let delete = json!({ "name": name("sales") });
        let status = world
            .refused(
                &world.admin,
                "RoleService/DeleteRole",
                delete.clone(),
                Code::FailedPrecondition,
                "ROLE_IN_USE",
            )
            .await;
        assert!(status.message().contains("1 members"), "{status:?}");
        // Another organization's role of the same id is another role.
        world.create_organization("butcher").await;
        let parent = "workspaces/acme/organizations/butcher";
        let other = json!({ "parent": parent, "roleId": "sales", "role": { "title": "S" } });
        world.done("RoleService/CreateRole", other).await;
        world
            .done(
                "RoleService/DeleteRole",
                json!({ "name": format!("{parent}/roles/sales") }),
            )
            .await;
        // A removed member holds nothing.
        world
            .done("MemberService/RemoveMember", json!({ "name": ann.member }))
            .await;
        world.done("RoleService/DeleteRole", delete.clone()).await;
        world
            .refused(
                &world.admin,
                "RoleService/DeleteRole",
                delete,
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        let again = world.done("RoleService/CreateRole", create("sales", &[])).await;
        assert_ne!(again["uid"], created["uid"]);
    })
    .await;
}

#[tokio::test]
async fn a_role_is_not_deleted_while_somebody_gets_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let people = futures::future::join_all((0..8).map(|at| {
            let world = &world;
            async move { world.add("bakery", &format!("p{at}@example.com"), &[]).await }
        }))
        .await;
        for round in 0..4 {
            let id = format!("role-{round}");
            world.done("RoleService/CreateRole", create(&id, &["leads.view"])).await;
            let give = people.iter().map(|person| {
                let request = json!({ "member": { "name": person.member, "roles": [id] } });
                let world = &world;
                async move {
                    world
                        .call_patiently(&world.admin, "MemberService/UpdateMember", request)
                        .await
                }
            });
            let by_name = json!({ "name": name(&id) });
            let delete = world.call_patiently(&world.admin, "RoleService/DeleteRole", by_name);
            let (given, deleted) = futures::join!(futures::future::join_all(give), delete);
            let holders = given.iter().filter(|one| one.is_ok()).count();
            // Whichever came first: nobody holds a role that there is not.
            assert_eq!(deleted.is_ok(), holders == 0, "{deleted:?} {given:?}");
            for person in &people {
                world
                    .done(
                        "MemberService/UpdateMember",
                        json!({ "member": { "name": person.member }, "updateMask": "roles" }),
                    )
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_organization_has_at_most_a_hundred_roles() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let call = |at: usize| {
            let (world, request) = (&world, create(&format!("role-{at}"), &[]));
            async move {
                world
                    .call_patiently(&world.admin, "RoleService/CreateRole", request)
                    .await
            }
        };
        let answers = futures::future::join_all((0..110).map(call)).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 100);
        for status in refused {
            assert_eq!(clientele_testkit::reason(&status.unwrap_err()), "LIMIT_REACHED");
        }
    })
    .await;
}

#[tokio::test]
async fn the_catalogue_lists_what_can_be_granted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let listed = world
            .done("RoleService/ListPermissions", json!({ "parent": BAKERY }))
            .await;
        let listed = listed["permissions"].as_array().unwrap();
        assert!(listed.len() > 20 && listed.iter().all(|one| one["description"] != ""));
        let all: Vec<&str> = listed.iter().map(|one| one["permission"].as_str().unwrap()).collect();
        let grantable: Vec<&str> = all.iter().copied().filter(|one| !one.contains('{')).collect();
        world.done("RoleService/CreateRole", create("all", &grantable)).await;
        assert!(all.contains(&"tabs.{id}.view"));
    })
    .await;
}

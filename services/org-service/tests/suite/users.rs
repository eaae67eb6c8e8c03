//! Users: who they are, their emails, and who may change them.

use crate::World;
use clientele_api::access::StaffRole;
use clientele_testkit::{Caller, on_both_engines};
use serde_json::json;
use tonic::Code;

const ACME: &str = "workspaces/acme";

#[tokio::test]
async fn a_user_is_read_changed_disabled_and_enabled() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "Ann@Example.com", &[]).await;
        let name = format!("{ACME}/users/{}", ann.user);
        let read = world.call(&world.member, "UserService/GetUser", json!({ "name": name })).await.unwrap();
        assert_eq!((&read["email"], &read["state"], &read["uid"]), (&json!("Ann@Example.com"), &json!("STATE_ACTIVE"), &json!(ann.user)));

        let update = json!({ "user": { "name": name, "displayName": "Ann", "locale": "pt-BR", "photoUri": "https://x.de/a.png", "etag": read["etag"] } });
        let updated = world.done("UserService/UpdateUser", update.clone()).await;
        assert_eq!((&updated["displayName"], &updated["version"]), (&json!("Ann"), &json!("2")));
        world.refused(&world.admin, "UserService/UpdateUser", update, Code::Aborted, "ETAG_MISMATCH").await;

        let by_name = json!({ "name": name });
        let disabled = world.done("UserService/DisableUser", by_name.clone()).await;
        assert_eq!(disabled["state"], "STATE_DISABLED");
        world.refused(&world.admin, "UserService/DisableUser", by_name.clone(), Code::FailedPrecondition, "USER_DISABLED").await;
        let enabled = world.done("UserService/EnableUser", by_name.clone()).await;
        assert_eq!((&enabled["state"], &enabled["version"]), (&json!("STATE_ACTIVE"), &json!("4")));
        world.refused(&world.admin, "UserService/EnableUser", by_name, Code::FailedPrecondition, "USER_NOT_DISABLED").await;

        for unknown in ["nobody", "01a20cb6-3a63-755b-9f1d-4c93df7357b0"] {
            let request = json!({ "name": format!("{ACME}/users/{unknown}") });
            world.refused(&world.member, "UserService/GetUser", request, Code::NotFound, "RESOURCE_NOT_FOUND").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_email_belongs_to_one_user_of_a_workspace_whatever_its_case() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &[]).await;
        let ben = world.add("bakery", "ben@example.com", &[]).await;
        let check = |email: &str| json!({ "parent": ACME, "email": email });
        let taken = world.done("UserService/CheckEmail", check("ANN@example.COM")).await;
        assert_eq!(
            (&taken["available"], &taken["user"]),
            (&json!(false), &json!(format!("{ACME}/users/{}", ann.user)))
        );
        assert_eq!(
            world.done("UserService/CheckEmail", check("new@example.com")).await["available"],
            true
        );
        world
            .refused(
                &world.admin,
                "UserService/CheckEmail",
                check("ann"),
                Code::InvalidArgument,
                "INVALID_FIELDS",
            )
            .await;

        let rename = |email: &str| json!({ "user": { "name": format!("{ACME}/users/{}", ben.user), "email": email } });
        world
            .refused(
                &world.admin,
                "UserService/UpdateUser",
                rename("Ann@Example.com"),
                Code::AlreadyExists,
                "EMAIL_TAKEN",
            )
            .await;
        world.done("UserService/UpdateUser", rename("BEN@example.com")).await;
        let found = world
            .done(
                "UserService/ListUsers",
                json!({ "parent": ACME, "filter": "email = \"Ben@Example.com\"" }),
            )
            .await;
        assert_eq!(found["users"][0]["email"], "BEN@example.com");
        // What a person is shows in all its memberships at once.
        let member = world
            .done("MemberService/GetMember", json!({ "name": ben.member }))
            .await;
        assert_eq!(
            (&member["person"]["email"], &member["version"]),
            (&json!("BEN@example.com"), &json!("1"))
        );
    })
    .await;
}

#[tokio::test]
async fn of_writers_who_want_one_email_one_gets_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["bakery", "butcher"] {
            world.create_organization(id).await;
        }
        // In organizations of their own, so that nothing but the email is between them.
        let call = |at: usize| {
            let parent = format!("{ACME}/organizations/{}", ["bakery", "butcher"][at % 2]);
            let request = json!({ "parent": parent, "newUser": { "email": "ann@example.com" } });
            let world = &world;
            async move {
                world
                    .call_patiently(&world.admin, "MemberService/CreateMember", request)
                    .await
            }
        };
        let answers = futures::future::join_all((0..16).map(call)).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1);
        for status in refused {
            let status = status.unwrap_err();
            assert_eq!(
                (status.code(), clientele_testkit::reason(&status)),
                (Code::AlreadyExists, "EMAIL_TAKEN".to_owned())
            );
        }
    })
    .await;
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let mut all = Vec::new();
        for at in 0..5 {
            all.push(world.add("bakery", &format!("p{at}@example.com"), &[]).await);
        }
        let disable = json!({ "name": format!("{ACME}/users/{}", all[2].user) });
        world.done("UserService/DisableUser", disable).await;
        let (mut token, mut seen) = (json!(""), Vec::new());
        loop {
            let request = json!({ "parent": ACME, "pageSize": 2, "pageToken": token });
            let page = world.done("UserService/ListUsers", request).await;
            seen.extend(
                page["users"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|user| user["uid"].as_str().unwrap().to_owned()),
            );
            token = page["nextPageToken"].clone();
            if token == "" {
                break;
            }
        }
        assert_eq!(seen, all.iter().map(|one| one.user.clone()).collect::<Vec<_>>());
        let disabled = world
            .done(
                "UserService/ListUsers",
                json!({ "parent": ACME, "filter": "state = DISABLED" }),
            )
            .await;
        assert_eq!(disabled["users"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_user_changes_of_itself_what_is_its_own() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["org-admin"]).await;
        let ben = world.add("bakery", "ben@example.com", &[]).await;
        let update = |person: &crate::Person, field: &str, value: &str| json!({ "user": { "name": format!("{ACME}/users/{}", person.user), field: value } });
        let method = "UserService/UpdateUser";
        let changed = world.call(&ben.caller, method, update(&ben, "displayName", "Ben")).await.unwrap();
        assert_eq!(changed["displayName"], "Ben");
        world.refused(&ben.caller, method, update(&ben, "email", "me@example.com"), Code::PermissionDenied, "FIELD_NOT_ALLOWED").await;
        // An org admin is no admin of people: the user is the person's own, in every organization that it is in.
        world.refused(&ann.caller, method, update(&ben, "displayName", "X"), Code::PermissionDenied, "CALLER_NOT_ALLOWED").await;
        for (method, request) in [
            ("UserService/GetUser", json!({ "name": format!("{ACME}/users/{}", ben.user) })),
            ("UserService/ListUsers", json!({ "parent": ACME })),
            ("UserService/CheckEmail", json!({ "parent": ACME, "email": "ben@example.com" })),
            ("UserService/DisableUser", json!({ "name": format!("{ACME}/users/{}", ben.user) })),
            ("UserService/EnableUser", json!({ "name": format!("{ACME}/users/{}", ben.user) })),
        ] {
            world.refused(&ann.caller, method, request, Code::PermissionDenied, "CALLER_NOT_ALLOWED").await;
        }
        // In another workspace the same uid means nobody, and whether there is one is not told.
        world.create_workspace("globex").await;
        for workspace in ["globex", "nobody"] {
            for field in ["displayName", "email"] {
                let name = format!("workspaces/{workspace}/users/{}", ben.user);
                let elsewhere = json!({ "user": { "name": name, field: "x@example.com" } });
                let status = world.refused(&ben.caller, method, elsewhere, Code::NotFound, "RESOURCE_NOT_FOUND").await;
                assert_eq!(status.message(), format!("Resource {name:?} does not exist, or is not yours"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn workspaces_share_no_users() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_workspace("globex").await;
        let olga = Caller::with(world.tokens.staff("globex", StaffRole::Admin));
        let create =
            json!({ "parent": "workspaces/globex", "organizationId": "bank", "organization": { "displayName": "B" } });
        world
            .call(&olga, "OrganizationService/CreateOrganization", create)
            .await
            .unwrap();
        let bank = "workspaces/globex/organizations/bank";
        let ann = world.add("bakery", "ann@example.com", &[]).await;
        let here = format!("{ACME}/users/{}", ann.user);
        let there = format!("workspaces/globex/users/{}", ann.user);
        let name = json!({ "name": there });
        for (method, request) in [
            ("UserService/GetUser", name.clone()),
            (
                "UserService/UpdateUser",
                json!({ "user": { "name": there, "displayName": "X" } }),
            ),
            ("UserService/DisableUser", name.clone()),
            ("UserService/EnableUser", name),
            ("MemberService/CreateMember", json!({ "parent": bank, "user": there })),
        ] {
            for caller in [&olga, &world.operator] {
                world
                    .refused(caller, method, request.clone(), Code::NotFound, "RESOURCE_NOT_FOUND")
                    .await;
            }
        }
        let check = json!({ "parent": "workspaces/globex", "email": "ann@example.com" });
        assert_eq!(
            world.call(&olga, "UserService/CheckEmail", check).await.unwrap()["available"],
            true
        );
        let list = json!({ "parent": "workspaces/globex" });
        assert_eq!(
            world.call(&olga, "UserService/ListUsers", list.clone()).await.unwrap()["users"],
            json!([])
        );
        // The same address is another person there.
        let member = json!({ "parent": bank, "newUser": { "email": "ann@example.com" } });
        let member = world.call(&olga, "MemberService/CreateMember", member).await.unwrap();
        let listed = world.call(&olga, "UserService/ListUsers", list).await.unwrap();
        assert_eq!(listed["users"].as_array().unwrap().len(), 1);
        assert_eq!(listed["users"][0]["name"], member["user"]);
        assert_eq!(
            world.done("UserService/GetUser", json!({ "name": here })).await["version"],
            "1"
        );
    })
    .await;
}

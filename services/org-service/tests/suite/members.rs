//! Members: added, changed, suspended, removed and back again.

use crate::World;
use clientele_testkit::{Engine, on_both_engines, reason, until};
use futures::future::Either;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement, TransactionTrait as _};
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt as _;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";

fn new(email: &str, roles: &[&str]) -> Value {
    json!({ "parent": BAKERY, "newUser": { "email": email }, "member": { "roles": roles } })
}

#[tokio::test]
async fn one_person_has_its_own_roles_in_each_organization() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["bakery", "butcher"] {
            world.create_organization(id).await;
        }
        let created = world
            .done(
                "MemberService/CreateMember",
                json!({
                    "parent": BAKERY,
                    "newUser": { "email": "ann@example.com", "displayName": "Ann" },
                    "member": { "roles": ["org-admin"], "permissions": ["billing.view", "tabs.offers.view"], "notification": { "through": "THROUGH_PUSH" } },
                }),
            )
            .await;
        assert_eq!((&created["version"], &created["state"], &created["presence"]), (&json!("1"), &json!("STATE_ACTIVE"), &json!("PRESENCE_OFFLINE")));
        assert_eq!(created["person"], json!({ "email": "ann@example.com", "displayName": "Ann", "photoUri": "" }));
        assert_eq!(created["notification"], json!({ "through": "THROUGH_PUSH", "about": "ABOUT_ALL" }));
        assert_eq!(world.done("MemberService/GetMember", json!({ "name": created["name"] })).await, created);

        let there = json!({ "parent": BUTCHER, "user": created["user"], "member": { "roles": ["viewer"] } });
        let other = world.done("MemberService/CreateMember", there.clone()).await;
        assert_eq!((&other["user"], &other["roles"]), (&created["user"], &json!(["viewer"])));
        assert_ne!(other["uid"], created["uid"]);
        world.refused(&world.admin, "MemberService/CreateMember", there, Code::AlreadyExists, "RESOURCE_EXISTS").await;
        let taken = world.refused(&world.admin, "MemberService/CreateMember", new("ANN@example.com", &[]), Code::AlreadyExists, "EMAIL_TAKEN").await;
        assert!(taken.message().contains(created["user"].as_str().unwrap()), "{taken:?}");
        // What it may do is not the same in both.
        for (member, holds) in [(&created, true), (&other, false)] {
            let test = json!({ "name": member["name"], "permissions": ["billing.view"] });
            let held = world.call(&world.operator, "MemberService/TestPermissions", test).await.unwrap();
            assert_eq!(held["permissions"].as_array().unwrap().len() == 1, holds);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_can_t_be_given() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["bakery", "butcher"] {
            world.create_organization(id).await;
        }
        world
            .done(
                "RoleService/CreateRole",
                json!({ "parent": BUTCHER, "roleId": "sales", "role": { "title": "S" } }),
            )
            .await;
        let create = "MemberService/CreateMember";
        // Another organization's role is none here.
        world
            .refused(
                &world.admin,
                create,
                new("ann@example.com", &["sales"]),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        let nobody = json!({ "parent": BAKERY, "user": "workspaces/acme/users/01a20cb6-3a63-755b-9f1d-4c93df7357b0" });
        world
            .refused(&world.admin, create, nobody, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        let elsewhere =
            json!({ "parent": BAKERY, "user": "workspaces/globex/users/01a20cb6-3a63-755b-9f1d-4c93df7357b0" });
        world
            .refused(&world.admin, create, elsewhere, Code::InvalidArgument, "INVALID_FIELDS")
            .await;
        for bad in [
            json!({ "parent": BAKERY }),
            new("", &[]),
            new("ann@example.com", &["viewer", "viewer"]),
        ] {
            world
                .refused(&world.admin, create, bad, Code::InvalidArgument, "INVALID_FIELDS")
                .await;
        }
        let ann = world.add("bakery", "ann@example.com", &[]).await;
        let update = json!({ "member": { "name": ann.member, "roles": ["sales"] } });
        world
            .refused(
                &world.admin,
                "MemberService/UpdateMember",
                update,
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        for unknown in ["nobody", "01a20cb6-3a63-755b-9f1d-4c93df7357b0"] {
            let request = json!({ "name": format!("{BAKERY}/members/{unknown}") });
            world
                .refused(
                    &world.admin,
                    "MemberService/GetMember",
                    request,
                    Code::NotFound,
                    "RESOURCE_NOT_FOUND",
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_removed_member_stays_and_comes_back_as_the_same() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["viewer"]).await;
        let name = json!({ "name": ann.member });
        let before = world.done("MemberService/GetMember", name.clone()).await;
        world
            .call(
                &ann.caller,
                "MemberService/SetPresence",
                json!({ "name": ann.member, "presence": "PRESENCE_ONLINE" }),
            )
            .await
            .unwrap();
        let removed = world.done("MemberService/RemoveMember", name.clone()).await;
        assert_eq!(
            (&removed["state"], &removed["version"], &removed["roles"]),
            (&json!("STATE_REMOVED"), &json!("2"), &json!([]))
        );
        assert_eq!(world.done("MemberService/GetMember", name.clone()).await, removed);
        for method in ["RemoveMember", "SuspendMember", "ResumeMember"] {
            let method = format!("MemberService/{method}");
            world
                .refused(
                    &world.admin,
                    &method,
                    name.clone(),
                    Code::FailedPrecondition,
                    "MEMBER_REMOVED",
                )
                .await;
        }
        let list = |show: bool| json!({ "parent": BAKERY, "showRemoved": show });
        assert_eq!(
            world.done("MemberService/ListMembers", list(false)).await["members"],
            json!([])
        );
        assert_eq!(
            world.done("MemberService/ListMembers", list(true)).await["members"]
                .as_array()
                .unwrap()
                .len(),
            1
        );

        let again = json!({ "parent": BAKERY, "user": before["user"], "member": { "roles": ["member"] } });
        let again = world.done("MemberService/CreateMember", again).await;
        assert_eq!(
            (&again["uid"], &again["version"], &again["roles"]),
            (&before["uid"], &json!("3"), &json!(["member"]))
        );
        assert_eq!(again["presence"], "PRESENCE_OFFLINE");
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_added_whole_or_not_at_all() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &[]).await;
        world.done("MemberService/RemoveMember", json!({ "name": ann.member })).await;
        let person = |at: usize| json!({ "newUser": { "email": format!("p{at}@example.com") }, "member": { "roles": ["viewer"] } });
        let mut requests: Vec<Value> = (0..99).map(person).collect();
        requests.push(json!({ "parent": BAKERY, "user": format!("workspaces/acme/users/{}", ann.user) }));
        let batch = |requests: &[Value]| json!({ "parent": BAKERY, "requests": requests });
        let mut bad = requests.clone();
        bad[50]["member"]["roles"] = json!(["sales"]);
        let method = "MemberService/BatchCreateMembers";
        world.refused(&world.admin, method, batch(&bad), Code::NotFound, "RESOURCE_NOT_FOUND").await;
        let mut twice = requests.clone();
        twice[7]["newUser"]["email"] = json!("P3@example.com");
        world.refused(&world.admin, method, batch(&twice), Code::InvalidArgument, "INVALID_FIELDS").await;
        assert_eq!(world.done("MemberService/ListMembers", json!({ "parent": BAKERY })).await["members"], json!([]));
        assert_eq!(world.done("UserService/CheckEmail", json!({ "parent": "workspaces/acme", "email": "p0@example.com" })).await["available"], true);

        let added = world.done(method, batch(&requests)).await;
        let added = added["members"].as_array().unwrap();
        assert_eq!(added.len(), 100);
        assert_eq!((&added[3]["person"]["email"], &added[99]["version"]), (&json!("p3@example.com"), &json!("3")));
        requests.push(person(100));
        world.refused(&world.admin, method, batch(&requests), Code::InvalidArgument, "INVALID_FIELDS").await;
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_one_of_a_batch_is_named() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["bakery", "butcher"] {
            world.create_organization(id).await;
        }
        let ann = world.add("butcher", "ann@example.com", &[]).await;
        let user = format!("workspaces/acme/users/{}", ann.user);
        let (method, id) = (
            "MemberService/BatchCreateMembers",
            "01a20cb6-3a63-455b-9f1d-4c93df7357b0",
        );
        let refused = async |requests: [Value; 2]| {
            let batch = json!({ "parent": BAKERY, "requests": requests });
            world
                .refused(&world.admin, method, batch, Code::InvalidArgument, "INVALID_FIELDS")
                .await
        };
        for (field, one) in [
            ("parent", json!({ "parent": BUTCHER, "user": user })),
            ("request_id", json!({ "requestId": id, "user": user })),
            ("request_id", json!({ "validateOnly": true, "user": user })),
            // The same uid, but said to be somebody of another workspace.
            (
                "user",
                json!({ "user": format!("workspaces/globex/users/{}", ann.user) }),
            ),
            ("user", json!({})),
        ] {
            let status = refused([json!({ "newUser": { "email": "ben@example.com" } }), one.clone()]).await;
            let violations = status.get_details_bad_request().unwrap().field_violations;
            let fields: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
            assert_eq!(fields, [format!("requests[1].{field}")], "{one}");
        }
        let new = |email: &str| json!({ "newUser": { "email": email } });
        for twice in [
            [json!({ "user": user }), json!({ "user": user })],
            [new("ben@example.com"), new("Ben@Example.com")],
        ] {
            let violations = refused(twice).await.get_details_bad_request().unwrap().field_violations;
            assert_eq!(violations[0].field, "requests");
            assert!(violations[0].description.ends_with("once"), "{violations:?}");
        }
        assert_eq!(
            world
                .done("MemberService/ListMembers", json!({ "parent": BAKERY }))
                .await["members"],
            json!([])
        );
    })
    .await;
}

#[tokio::test]
async fn max_members_binds_whoever_comes_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let limit = json!({ "organization": { "name": BAKERY, "limits": { "maxMembers": 10 } } });
        world.done("OrganizationService/UpdateOrganization", limit).await;
        let call = |at: usize| {
            let (world, request) = (&world, new(&format!("p{at}@example.com"), &[]));
            async move {
                world
                    .call_patiently(&world.admin, "MemberService/CreateMember", request)
                    .await
            }
        };
        let answers = futures::future::join_all((0..64).map(call)).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 10);
        for status in refused {
            let status = status.unwrap_err();
            assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
        }
        // A removed member makes room, a suspended one does not; a batch needs room for all of it.
        let name = |at: usize| json!({ "name": done[at].as_ref().unwrap()["name"] });
        world.done("MemberService/SuspendMember", name(0)).await;
        world.refused(&world.admin, "MemberService/CreateMember", new("x@example.com", &[]), Code::ResourceExhausted, "LIMIT_REACHED").await;
        world.done("MemberService/RemoveMember", name(1)).await;
        let two = json!({ "parent": BAKERY, "requests": [{ "newUser": { "email": "x@example.com" } }, { "newUser": { "email": "y@example.com" } }] });
        world.refused(&world.admin, "MemberService/BatchCreateMembers", two, Code::ResourceExhausted, "LIMIT_REACHED").await;
        world.done("MemberService/CreateMember", new("x@example.com", &[])).await;
    })
    .await;
}

#[tokio::test]
async fn members_are_filtered_and_listed_page_by_page() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let mut all = Vec::new();
        for at in 0..7 {
            let roles: &[&str] = if at % 2 == 0 {
                &["viewer"]
            } else {
                &["member", "org-admin"]
            };
            all.push(world.add("bakery", &format!("p{at}@example.com"), roles).await);
        }
        world
            .done("MemberService/SuspendMember", json!({ "name": all[2].member }))
            .await;
        let listed = async |filter: &str| {
            let (mut token, mut names) = (json!(""), Vec::new());
            loop {
                let request = json!({ "parent": BAKERY, "pageSize": 2, "pageToken": token, "filter": filter });
                let page = world.done("MemberService/ListMembers", request).await;
                names.extend(
                    page["members"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|one| one["name"].as_str().unwrap().to_owned()),
                );
                token = page["nextPageToken"].clone();
                if token == "" {
                    return names;
                }
            }
        };
        let of = |at: &[usize]| at.iter().map(|at| all[*at].member.clone()).collect::<Vec<_>>();
        assert_eq!(listed("").await, of(&[0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(listed("role = org-admin").await, of(&[1, 3, 5]));
        assert_eq!(listed("role = viewer AND state = ACTIVE").await, of(&[0, 4, 6]));
        assert_eq!(listed("email = \"P3@example.com\"").await, of(&[3]));
        for bad in ["role = \"%\"", "state = GONE", "state = UNSPECIFIED", "name = x"] {
            let request = json!({ "parent": BAKERY, "filter": bad });
            world
                .refused(
                    &world.admin,
                    "MemberService/ListMembers",
                    request,
                    Code::InvalidArgument,
                    "INVALID_FIELDS",
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_last_org_admin_stays_unless_staff_forces_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["org-admin"]).await;
        let ben = world.add("bakery", "ben@example.com", &["org-admin"]).await;
        let demote = |person: &crate::Person, force: bool| json!({ "member": { "name": person.member, "roles": ["member"] }, "force": force });
        let end = |person: &crate::Person, force: bool| json!({ "name": person.member, "force": force });
        // Ben is an org admin, but disabled: Ann is the last one.
        let user = json!({ "name": format!("workspaces/acme/users/{}", ben.user) });
        world.done("UserService/DisableUser", user.clone()).await;
        for caller in [&ann.caller, &world.admin] {
            for (method, request) in [
                ("MemberService/UpdateMember", demote(&ann, false)),
                ("MemberService/SuspendMember", end(&ann, false)),
                ("MemberService/RemoveMember", end(&ann, false)),
            ] {
                world.refused(caller, method, request, Code::FailedPrecondition, "LAST_ORG_ADMIN").await;
            }
        }
        // Force is the staff's.
        world.refused(&ann.caller, "MemberService/RemoveMember", end(&ann, true), Code::FailedPrecondition, "LAST_ORG_ADMIN").await;
        world.done("UserService/EnableUser", user).await;
        world.call(&ann.caller, "MemberService/UpdateMember", demote(&ann, false)).await.unwrap();
        world.refused(&world.admin, "MemberService/SuspendMember", end(&ben, false), Code::FailedPrecondition, "LAST_ORG_ADMIN").await;
        world.done("MemberService/SuspendMember", end(&ben, true)).await;
    })
    .await;
}

#[tokio::test]
async fn an_org_admin_who_can_do_nothing_does_not_count() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["org-admin"]).await;
        for (at, method) in ["MemberService/SuspendMember", "MemberService/RemoveMember"]
            .iter()
            .enumerate()
        {
            let other = world.add("bakery", &format!("p{at}@example.com"), &["org-admin"]).await;
            world.done(method, json!({ "name": other.member })).await;
            let remove = json!({ "name": ann.member });
            world
                .refused(
                    &world.admin,
                    "MemberService/RemoveMember",
                    remove,
                    Code::FailedPrecondition,
                    "LAST_ORG_ADMIN",
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_last_org_admins_who_remove_each_other_one_stays() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for round in 0..6 {
            let id = format!("bakery-{round}");
            world.create_organization(&id).await;
            let ann = world.add(&id, &format!("ann{round}@example.com"), &["org-admin"]).await;
            let ben = world.add(&id, &format!("ben{round}@example.com"), &["org-admin"]).await;
            let remove = |who: &crate::Person, whom: &crate::Person| {
                let (caller, request) = (who.caller.clone(), json!({ "name": whom.member }));
                let world = &world;
                async move {
                    world
                        .call_patiently(&caller, "MemberService/RemoveMember", request)
                        .await
                }
            };
            let (one, other) = futures::join!(remove(&ann, &ben), remove(&ben, &ann));
            assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
            let admins =
                json!({ "parent": format!("workspaces/acme/organizations/{id}"), "filter": "role = org-admin" });
            assert_eq!(
                world.done("MemberService/ListMembers", admins).await["members"]
                    .as_array()
                    .unwrap()
                    .len(),
                1
            );
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_removed_removes_nobody_any_more() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for round in 0..6 {
            let id = format!("bakery-{round}");
            world.create_organization(&id).await;
            // There is a third org admin: it is not about the last one.
            world
                .add(&id, &format!("carl{round}@example.com"), &["org-admin"])
                .await;
            let ann = world.add(&id, &format!("ann{round}@example.com"), &["org-admin"]).await;
            let ben = world.add(&id, &format!("ben{round}@example.com"), &["org-admin"]).await;
            let remove = |who: &crate::Person, whom: &crate::Person| {
                let (caller, request) = (who.caller.clone(), json!({ "name": whom.member }));
                let world = &world;
                async move {
                    world
                        .call_patiently(&caller, "MemberService/RemoveMember", request)
                        .await
                }
            };
            let (one, other) = futures::join!(remove(&ann, &ben), remove(&ben, &ann));
            let refusal = one.as_ref().err().or(other.as_ref().err());
            assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
            assert_eq!(reason(refusal.unwrap()), "ACCESS_DENIED");
        }
    })
    .await;
}

#[tokio::test]
async fn presence_is_no_version_and_no_journal_row() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["viewer"]).await;
        let rows = world.journal_rows().await;
        let presence = |presence: &str| json!({ "name": ann.member, "presence": presence });
        let online = world
            .call(&ann.caller, "MemberService/SetPresence", presence("PRESENCE_ONLINE"))
            .await
            .unwrap();
        assert_eq!(
            (&online["presence"], &online["version"]),
            (&json!("PRESENCE_ONLINE"), &json!("1"))
        );
        assert_eq!(world.journal_rows().await, rows);
        // What changes the member leaves its presence alone.
        let update =
            json!({ "member": { "name": ann.member, "roles": ["member"], "notification": { "about": "ABOUT_NONE" } } });
        let updated = world.done("MemberService/UpdateMember", update).await;
        assert_eq!(
            (&updated["presence"], &updated["version"]),
            (&json!("PRESENCE_ONLINE"), &json!("2"))
        );
        let read = world
            .done("MemberService/GetMember", json!({ "name": ann.member }))
            .await;
        assert_eq!(read, updated);
        let unspecified = presence("PRESENCE_UNSPECIFIED");
        world
            .refused(
                &ann.caller,
                "MemberService/SetPresence",
                unspecified,
                Code::InvalidArgument,
                "INVALID_FIELDS",
            )
            .await;
        world
            .refused(
                &world.admin,
                "MemberService/SetPresence",
                presence("PRESENCE_OFFLINE"),
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED",
            )
            .await;
        // Who is shut out is not there, whoever says so.
        for (method, why) in [
            ("SuspendMember", "MEMBER_SUSPENDED"),
            ("RemoveMember", "MEMBER_REMOVED"),
        ] {
            let method = format!("MemberService/{method}");
            world.done(&method, json!({ "name": ann.member })).await;
            world
                .refused(
                    &world.operator,
                    "MemberService/SetPresence",
                    presence("PRESENCE_ONLINE"),
                    Code::FailedPrecondition,
                    why,
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_preview_makes_nobody_a_member() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let rows = world.journal_rows().await;
        let mut request = new("ann@example.com", &["viewer"]);
        request["validateOnly"] = json!(true);
        let preview = world.done("MemberService/CreateMember", request).await;
        assert_eq!((&preview["roles"], &preview["version"]), (&json!(["viewer"]), &json!("1")));
        for hidden in ["name", "uid", "user", "etag"] {
            assert_eq!(preview[hidden], "", "{hidden}");
        }
        let batch = json!({ "parent": BAKERY, "requests": [{ "newUser": { "email": "ann@example.com" } }], "validateOnly": true });
        let preview = world.done("MemberService/BatchCreateMembers", batch).await;
        assert_eq!(preview["members"][0]["uid"], "");
        assert_eq!(world.done("MemberService/ListMembers", json!({ "parent": BAKERY })).await["members"], json!([]));
        assert_eq!(world.journal_rows().await, rows);
        world.done("MemberService/CreateMember", new("ann@example.com", &[])).await;
    })
    .await;
}

#[tokio::test]
async fn members_of_a_deleted_organization_are_read_and_not_changed() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["viewer"]).await;
        let bakery = json!({ "name": BAKERY });
        let suspended = world
            .done("OrganizationService/SuspendOrganization", bakery.clone())
            .await;
        assert_eq!(suspended["state"], "STATE_SUSPENDED");
        world.add("bakery", "ben@example.com", &[]).await; // staff goes on while it is suspended
        world
            .call(&world.owner, "OrganizationService/DeleteOrganization", bakery)
            .await
            .unwrap();
        let name = json!({ "name": ann.member });
        world.done("MemberService/GetMember", name.clone()).await;
        assert_eq!(
            world
                .done("MemberService/ListMembers", json!({ "parent": BAKERY }))
                .await["members"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        for (method, request) in [
            ("MemberService/CreateMember", new("carl@example.com", &[])),
            (
                "MemberService/UpdateMember",
                json!({ "member": { "name": ann.member, "roles": [] }, "updateMask": "roles" }),
            ),
            ("MemberService/SuspendMember", name.clone()),
            ("MemberService/RemoveMember", name),
            (
                "RoleService/CreateRole",
                json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S" } }),
            ),
        ] {
            world
                .refused(
                    &world.admin,
                    method,
                    request,
                    Code::FailedPrecondition,
                    "ORGANIZATION_DELETED",
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_counts_or_changes_people_goes_one_after_the_other() {
    let world = World::start(Engine::Postgres).await;
    world.create_organization("bakery").await;
    let ann = world.add("bakery", "ann@example.com", &[]).await;
    let (name, role) = (json!({ "name": ann.member }), format!("{BAKERY}/roles/sales"));
    let (database, another) = (world.database().await, world.database().await);
    for (method, request) in [
        ("MemberService/CreateMember", new("ben@example.com", &[])),
        (
            "MemberService/BatchCreateMembers",
            json!({ "parent": BAKERY, "requests": [{ "newUser": { "email": "carl@example.com" } }] }),
        ),
        (
            "MemberService/UpdateMember",
            json!({ "member": { "name": ann.member, "roles": ["viewer"] } }),
        ),
        ("MemberService/SuspendMember", name.clone()),
        ("MemberService/ResumeMember", name.clone()),
        ("MemberService/RemoveMember", name),
        (
            "RoleService/CreateRole",
            json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S" } }),
        ),
        (
            "RoleService/UpdateRole",
            json!({ "role": { "name": role, "title": "T" } }),
        ),
        ("RoleService/DeleteRole", json!({ "name": role })),
        (
            "InvitationService/CreateInvitation",
            json!({ "parent": BAKERY, "invitation": { "email": "dora@example.com" } }),
        ),
        (
            "TeamService/CreateTeam",
            json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "S" } }),
        ),
    ] {
        // What only refers to the organization does not wait for this.
        let other = another.begin().await.unwrap();
        let lock = "SELECT uid FROM organizations FOR NO KEY UPDATE";
        other.execute_unprepared(lock).await.unwrap();
        let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits = until(Duration::from_secs(60), "the call waits", async || {
            let waits = Statement::from_string(DbBackend::Postgres, waits);
            database.query_one_raw(waits).await.unwrap().is_some()
        });
        let call = world.call_patiently(&world.admin, method, request);
        match futures::future::select(pin!(waits), pin!(call)).await {
            Either::Left(((), call)) => {
                other.rollback().await.unwrap();
                call.await.unwrap();
            }
            Either::Right((answer, _)) => panic!("{method} did not wait: {answer:?}"),
        }
    }
}

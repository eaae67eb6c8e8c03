//! What client users may do: by role and grant, in their own organization, and at once.

use crate::{Person, World};
use clientele_testkit::{Caller, ClientUsers, on_both_engines, refuse_client_users};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tonic::Code;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";
const UPDATE: &str = "MemberService/UpdateMember";

async fn world(engine: clientele_testkit::Engine) -> (World, Person, Person) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher"] {
        world.create_organization(id).await;
    }
    let ann = world.add("bakery", "ann@example.com", &["org-admin"]).await;
    let ben = world.add("bakery", "ben@example.com", &["member"]).await;
    (world, ann, ben)
}

fn give(person: &Person, roles: &[&str], permissions: &[&str]) -> Value {
    json!({ "member": { "name": person.member, "roles": roles, "permissions": permissions }, "updateMask": "roles,permissions" })
}

#[tokio::test]
async fn an_org_admin_manages_its_organization_and_nothing_else() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let carl = world.add("butcher", "carl@example.com", &["org-admin"]).await;
        let listed = world
            .call(&ann.caller, "MemberService/ListMembers", json!({ "parent": BAKERY }))
            .await
            .unwrap();
        assert_eq!(listed["members"][1]["person"]["email"], "ben@example.com");
        world
            .call(&ann.caller, UPDATE, give(&ben, &["viewer"], &[]))
            .await
            .unwrap();
        world
            .call(
                &ann.caller,
                "MemberService/SuspendMember",
                json!({ "name": ben.member }),
            )
            .await
            .unwrap();
        world
            .call(&ann.caller, "MemberService/ResumeMember", json!({ "name": ben.member }))
            .await
            .unwrap();
        world
            .call(
                &ann.caller,
                "RoleService/CreateRole",
                json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S" } }),
            )
            .await
            .unwrap();
        world
            .call(
                &ann.caller,
                "OrganizationService/GetOrganization",
                json!({ "name": BAKERY }),
            )
            .await
            .unwrap();
        // New people come by invitation.
        for (method, request) in [
            (
                "MemberService/CreateMember",
                json!({ "parent": BAKERY, "newUser": { "email": "x@example.com" } }),
            ),
            (
                "MemberService/BatchCreateMembers",
                json!({ "parent": BAKERY, "requests": [] }),
            ),
            (
                "OrganizationService/ListOrganizations",
                json!({ "parent": "workspaces/acme" }),
            ),
            ("OrganizationService/SuspendOrganization", json!({ "name": BAKERY })),
            ("WorkspaceService/GetWorkspace", json!({ "name": "workspaces/acme" })),
        ] {
            world
                .refused(
                    &ann.caller,
                    method,
                    request,
                    Code::PermissionDenied,
                    "CALLER_NOT_ALLOWED",
                )
                .await;
        }
        // The neighbour looks as if it did not exist, whether it does or not.
        for other in [
            BUTCHER,
            "workspaces/acme/organizations/nobody",
            "workspaces/nobody/organizations/bakery",
        ] {
            for (method, request) in [
                ("OrganizationService/GetOrganization", json!({ "name": other })),
                ("MemberService/ListMembers", json!({ "parent": other })),
                (
                    "MemberService/GetMember",
                    json!({ "name": format!("{other}/members/{}", carl.user) }),
                ),
                (
                    "MemberService/RemoveMember",
                    json!({ "name": format!("{other}/members/{}", carl.user) }),
                ),
                ("RoleService/ListRoles", json!({ "parent": other })),
            ] {
                let named = request["name"]
                    .as_str()
                    .or(request["parent"].as_str())
                    .unwrap()
                    .to_owned();
                let status = world
                    .refused(&ann.caller, method, request, Code::NotFound, "RESOURCE_NOT_FOUND")
                    .await;
                assert_eq!(
                    status.message(),
                    format!("Resource {named:?} does not exist, or is not yours")
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn everybody_else_sees_itself_and_nobody_else() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let listed = world
            .call(&ben.caller, "MemberService/ListMembers", json!({ "parent": BAKERY }))
            .await
            .unwrap();
        let listed = listed["members"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[0]["name"]), (1, &json!(ben.member)));
        world
            .call(&ben.caller, "MemberService/GetMember", json!({ "name": ben.member }))
            .await
            .unwrap();
        world
            .call(
                &ben.caller,
                "MemberService/ListEffectivePermissions",
                json!({ "name": ben.member }),
            )
            .await
            .unwrap();
        for (method, request) in [
            ("MemberService/GetMember", json!({ "name": ann.member })),
            ("MemberService/ListEffectivePermissions", json!({ "name": ann.member })),
            (
                "MemberService/TestPermissions",
                json!({ "name": ann.member, "permissions": ["home.view"] }),
            ),
            (
                "MemberService/SetPresence",
                json!({ "name": ann.member, "presence": "PRESENCE_ONLINE" }),
            ),
            (UPDATE, give(&ben, &["org-admin"], &[])),
            ("MemberService/RemoveMember", json!({ "name": ann.member })),
            (
                "RoleService/CreateRole",
                json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S" } }),
            ),
            (
                "OrganizationService/UpdateOrganization",
                json!({ "organization": { "name": BAKERY, "displayName": "X" } }),
            ),
        ] {
            world
                .refused(
                    &ben.caller,
                    method,
                    request,
                    Code::PermissionDenied,
                    "PERMISSION_MISSING",
                )
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_grants_what_they_lack() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let denied = (Code::PermissionDenied, "GRANT_NOT_HELD");
        // An org admin has no billing: not by grant, not by role, not by a role of its own making.
        for request in [give(&ben, &[], &["billing.view"]), give(&ben, &["billing-manager"], &[])] {
            world.refused(&ann.caller, UPDATE, request, denied.0, denied.1).await;
        }
        let role = |permissions: &[&str]| json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S", "permissions": permissions } });
        world.refused(&ann.caller, "RoleService/CreateRole", role(&["leads.view", "billing.manage"]), denied.0, denied.1).await;
        world.call(&ann.caller, "RoleService/CreateRole", role(&["leads.view"])).await.unwrap();
        let widen = json!({ "role": { "name": format!("{BAKERY}/roles/sales"), "permissions": ["leads.view", "billing.view"] } });
        world.refused(&ann.caller, "RoleService/UpdateRole", widen.clone(), denied.0, denied.1).await;
        // Staff may; then the role is more than its maker may give.
        world.done("RoleService/UpdateRole", widen).await;
        world.refused(&ann.caller, UPDATE, give(&ben, &["sales"], &[]), denied.0, denied.1).await;
        world.done(UPDATE, give(&ben, &["member", "sales"], &[])).await;
        // What somebody has already is not given anew, and may be taken.
        world.call(&ann.caller, UPDATE, give(&ben, &["sales", "viewer"], &[])).await.unwrap();
        world.call(&ann.caller, UPDATE, give(&ben, &[], &[])).await.unwrap();
        world.refused(&ann.caller, UPDATE, give(&ben, &["sales"], &[]), denied.0, denied.1).await;
        // Members.manage alone makes no org admin.
        world.done(UPDATE, give(&ben, &["member"], &["members.manage"])).await;
        world.refused(&ben.caller, UPDATE, give(&ben, &["org-admin"], &[]), denied.0, denied.1).await;
        world.refused(&ben.caller, UPDATE, give(&ann, &["org-admin", "viewer"], &[]), denied.0, denied.1).await;
    })
    .await;
}

#[tokio::test]
async fn effective_permissions_say_what_gives_them() {
    on_both_engines(async |engine| {
        let (world, _, ben) = world(engine).await;
        let role = json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S", "permissions": ["leads.view", "home.view"] } });
        world.done("RoleService/CreateRole", role).await;
        world.done(UPDATE, give(&ben, &["member", "sales"], &["home.view", "tabs.offers.view"])).await;
        let service = Caller::with(world.tokens.service("dashboard"));
        let name = json!({ "name": ben.member });
        let list = "MemberService/ListEffectivePermissions";
        let answer = world.call(&service, list, name.clone()).await.unwrap();
        let one = |permission: &str, roles: &[&str], granted: bool| json!({ "permission": permission, "roles": roles, "granted": granted });
        assert_eq!(
            answer["permissions"],
            json!([
                one("conversations.view", &["member"], false),
                one("home.view", &["member", "sales"], true),
                one("leads.view", &["sales"], false),
                one("tabs.offers.view", &[], true),
            ])
        );
        assert_eq!(answer["denial"], "ACCESS_DENIAL_UNSPECIFIED");
        let test = |permissions: &[&str]| json!({ "name": ben.member, "permissions": permissions });
        let held = world.call(&service, "MemberService/TestPermissions", test(&["tabs.x.view", "tabs.offers.view", "home.view", "home.manage"])).await;
        assert_eq!(held.unwrap()["permissions"], json!(["tabs.offers.view", "home.view"]));
        for bad in [test(&[]), test(&["home.see"]), test(&vec!["home.view"; 101])] {
            world.refused(&service, "MemberService/TestPermissions", bad, Code::InvalidArgument, "INVALID_FIELDS").await;
        }
        for staff in [&world.owner, &world.member] {
            world.refused(staff, list, name.clone(), Code::PermissionDenied, "CALLER_NOT_ALLOWED").await;
        }
        let stranger = json!({ "name": format!("{BUTCHER}/members/{}", ben.user) });
        world.refused(&service, list, stranger, Code::NotFound, "RESOURCE_NOT_FOUND").await;
    })
    .await;
}

#[tokio::test]
async fn whatever_shuts_somebody_out_does_so_at_once() {
    on_both_engines(async |engine| {
        let (world, _, ben) = world(engine).await;
        let service = Caller::with(world.tokens.service("dashboard"));
        let user = json!({ "name": format!("workspaces/acme/users/{}", ben.user) });
        let member = json!({ "name": ben.member });
        let bakery = json!({ "name": BAKERY });
        let access = |enabled: bool| json!({ "organization": { "name": BAKERY, "clientAccessEnabled": enabled } });
        let back = json!({ "parent": BAKERY, "user": user["name"], "member": { "roles": ["member"] } });
        for (denial, (method, request), undo) in [
            (
                "USER_DISABLED",
                ("UserService/DisableUser", user.clone()),
                ("UserService/EnableUser", user.clone()),
            ),
            (
                "MEMBER_SUSPENDED",
                ("MemberService/SuspendMember", member.clone()),
                ("MemberService/ResumeMember", member.clone()),
            ),
            (
                "ACCESS_OFF",
                ("OrganizationService/UpdateOrganization", access(false)),
                ("OrganizationService/UpdateOrganization", access(true)),
            ),
            (
                "ORGANIZATION_SUSPENDED",
                ("OrganizationService/SuspendOrganization", bakery.clone()),
                ("OrganizationService/ResumeOrganization", bakery.clone()),
            ),
            (
                "ORGANIZATION_DELETED",
                ("OrganizationService/DeleteOrganization", bakery.clone()),
                ("OrganizationService/UndeleteOrganization", bakery.clone()),
            ),
            (
                "MEMBER_REMOVED",
                ("MemberService/RemoveMember", member.clone()),
                ("MemberService/CreateMember", back),
            ),
        ] {
            let get = ("MemberService/GetMember", member.clone());
            world.call(&ben.caller, get.0, get.1.clone()).await.unwrap();
            world.call(&world.owner, method, request).await.unwrap();
            let status = world
                .refused(
                    &ben.caller,
                    get.0,
                    get.1.clone(),
                    Code::PermissionDenied,
                    "ACCESS_DENIED",
                )
                .await;
            assert!(status.message().ends_with(denial), "{status:?}");
            let effective = world
                .call(&service, "MemberService/ListEffectivePermissions", member.clone())
                .await
                .unwrap();
            assert_eq!(
                (&effective["denial"], &effective["permissions"]),
                (&json!(format!("ACCESS_DENIAL_{denial}")), &json!([]))
            );
            let test = json!({ "name": ben.member, "permissions": ["home.view"] });
            let held = world
                .call(&service, "MemberService/TestPermissions", test.clone())
                .await
                .unwrap();
            assert_eq!(held["permissions"], json!([]), "{denial}");
            world.call(&world.owner, undo.0, undo.1).await.unwrap();
            let held = world
                .call(&service, "MemberService/TestPermissions", test)
                .await
                .unwrap();
            assert_eq!(held["permissions"], json!(["home.view"]), "{denial} undone");
        }
        // Less is less at once, too.
        world.done(UPDATE, give(&ben, &[], &["members.manage"])).await;
        world
            .call(
                &ben.caller,
                "RoleService/CreateRole",
                json!({ "parent": BAKERY, "roleId": "aide", "role": { "title": "A" } }),
            )
            .await
            .unwrap();
        world.done(UPDATE, give(&ben, &[], &[])).await;
        world
            .refused(
                &ben.caller,
                "RoleService/DeleteRole",
                json!({ "name": format!("{BAKERY}/roles/aide") }),
                Code::PermissionDenied,
                "PERMISSION_MISSING",
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_organization_is_edited_by_its_own_as_far_as_it_lets_them() {
    on_both_engines(async |engine| {
        let (world, ann, _) = world(engine).await;
        let method = "OrganizationService/UpdateOrganization";
        let update = |field: &str, value: Value| json!({ "organization": { "name": BAKERY, field: value } });
        world
            .refused(
                &ann.caller,
                method,
                update("displayName", json!("X")),
                Code::FailedPrecondition,
                "SELF_EDIT_DISABLED",
            )
            .await;
        let pixel = "R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";
        let logo = json!({ "name": BAKERY, "contentType": "image/gif", "content": pixel });
        // Before anything is decoded.
        let garbage = json!({ "name": BAKERY, "contentType": "image/gif", "content": "AAAA" });
        for logo in [&logo, &garbage] {
            world
                .refused(
                    &ann.caller,
                    "OrganizationService/UpdateLogo",
                    logo.clone(),
                    Code::FailedPrecondition,
                    "SELF_EDIT_DISABLED",
                )
                .await;
        }
        world.done(method, update("selfEditEnabled", json!(true))).await;
        world
            .call(&ann.caller, method, update("displayName", json!("X")))
            .await
            .unwrap();
        world
            .call(&ann.caller, method, update("contactEmail", json!("x@example.com")))
            .await
            .unwrap();
        world
            .call(&ann.caller, "OrganizationService/UpdateLogo", logo)
            .await
            .unwrap();
        world
            .call(&ann.caller, "OrganizationService/DeleteLogo", json!({ "name": BAKERY }))
            .await
            .unwrap();
        for (field, value) in [
            ("externalId", json!("x")),
            ("clientAccessEnabled", json!(false)),
            ("selfEditEnabled", json!(false)),
            ("limits", json!({ "maxMembers": 9 })),
        ] {
            world
                .refused(
                    &ann.caller,
                    method,
                    update(field, value),
                    Code::PermissionDenied,
                    "FIELD_NOT_ALLOWED",
                )
                .await;
        }
        let all = json!({ "organization": { "name": BAKERY, "displayName": "Y" }, "updateMask": "*" });
        world
            .refused(&ann.caller, method, all, Code::PermissionDenied, "FIELD_NOT_ALLOWED")
            .await;
    })
    .await;
}

#[tokio::test]
async fn who_was_a_member_is_nobody_s_to_know_but_the_staff_s() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        world
            .call(&ann.caller, "MemberService/RemoveMember", json!({ "name": ben.member }))
            .await
            .unwrap();
        let user = json!({ "name": format!("workspaces/acme/users/{}", ben.user), "email": "new@example.com" });
        world.done("UserService/UpdateUser", json!({ "user": user })).await;
        let get = json!({ "name": ben.member });
        let list = json!({ "parent": BAKERY, "showRemoved": true });
        let by_email = json!({ "parent": BAKERY, "showRemoved": true, "filter": "email = \"new@example.com\"" });
        for (caller, known) in [(&ann.caller, false), (&world.member, true)] {
            let member = world
                .call(caller, "MemberService/GetMember", get.clone())
                .await
                .unwrap();
            assert_eq!(
                (&member["state"], member["person"].is_object()),
                (&json!("STATE_REMOVED"), known)
            );
            let listed = world
                .call(caller, "MemberService/ListMembers", list.clone())
                .await
                .unwrap();
            assert_eq!(listed["members"][1]["person"].is_object(), known);
            let found = world
                .call(caller, "MemberService/ListMembers", by_email.clone())
                .await
                .unwrap();
            assert_eq!(found["members"].as_array().unwrap().len(), usize::from(known));
        }
    })
    .await;
}

#[tokio::test]
async fn a_first_answer_is_given_again_to_who_is_still_let_in() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let elsewhere = |organization: &str| Caller::with(world.tokens.user(&ann.user, organization));
        let remove = json!({ "name": ben.member, "requestId": "01a20cb6-3a63-455b-9f1d-4c93df7357b1" });
        let method = "MemberService/RemoveMember";
        let first = world.call(&ann.caller, method, remove.clone()).await.unwrap();
        assert_eq!(world.call(&ann.caller, method, remove.clone()).await.unwrap(), first);
        // With a token for another organization, of hers or of nobody's, it is a stranger's call.
        let in_butcher = json!({ "parent": BUTCHER, "user": format!("workspaces/acme/users/{}", ann.user) });
        world.done("MemberService/CreateMember", in_butcher).await;
        let butcher = world
            .done("OrganizationService/GetOrganization", json!({ "name": BUTCHER }))
            .await;
        for organization in [butcher["uid"].as_str().unwrap(), "01a20cb6-3a63-755b-9f1d-4c93df7357b0"] {
            let caller = elsewhere(organization);
            world
                .refused(&caller, method, remove.clone(), Code::NotFound, "RESOURCE_NOT_FOUND")
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_org_admin_reads_the_journal_of_its_organization() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        world.add("butcher", "carl@example.com", &["org-admin"]).await;
        let list = |parent: &str| json!({ "parent": parent });
        let read = async |caller: &Caller, parent: &str| {
            let path = "/clientele.journal.v1.JournalService/ListEntries";
            world
                .calls()
                .call(path, caller, list(parent))
                .await
                .map(|(answer, _)| answer)
        };
        // What changed nothing is remembered for its request id only.
        let same = json!({ "name": BAKERY, "displayName": "The bakery client" });
        let same = json!({ "organization": same, "requestId": "01a20cb6-3a63-455b-9f1d-4c93df7357b0" });
        let rows = world.journal_rows().await;
        world.done("OrganizationService/UpdateOrganization", same).await;
        assert_eq!(world.journal_rows().await, rows + 1);
        let entries = read(&ann.caller, BAKERY).await.unwrap();
        let entries = entries["entries"].as_array().unwrap();
        // The organization, Ann and Ben.
        assert_eq!(entries.len(), 3);
        let mut kinds = std::collections::BTreeSet::new();
        for entry in entries {
            assert_eq!(entry["organization"], BAKERY);
            for change in entry["changes"].as_array().unwrap() {
                let resource = change["resource"].as_str().unwrap();
                kinds.insert(resource.rsplit('/').nth(1).unwrap().to_owned());
            }
        }
        // Users are the workspace's: absent, not masked.
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["members", "organizations"]);
        assert!(read(&ann.caller, BUTCHER).await.is_err());
        assert!(read(&ann.caller, "workspaces/acme").await.is_err());
        assert!(read(&ann.caller, "").await.is_err());
        // What is absent can't be looked for either.
        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let hidden = format!("resource = \"workspaces/acme/users/{}\"", ben.user);
        let looked_for = json!({ "parent": BAKERY, "filter": hidden });
        let (found, _) = world.calls().call(path, &ann.caller, looked_for.clone()).await.unwrap();
        assert_eq!(found["entries"], json!([]));
        let (found, _) = world.calls().call(path, &world.member, looked_for).await.unwrap();
        assert_eq!(found["entries"].as_array().unwrap().len(), 1);
        // It tells of members and invitations: who may not see those may not see it either.
        world.done(UPDATE, give(&ben, &[], &["organization.manage"])).await;
        assert!(read(&ben.caller, BAKERY).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn the_journal_of_members_names_no_person() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let rename =
            json!({ "user": { "name": format!("workspaces/acme/users/{}", ben.user), "displayName": "Ben Baker" } });
        let online = json!({ "name": ben.member, "presence": "PRESENCE_ONLINE" });
        world.call(&ben.caller, "UserService/UpdateUser", rename).await.unwrap();
        world
            .call(&ben.caller, "MemberService/SetPresence", online)
            .await
            .unwrap();
        let by_name = json!({ "name": ben.member });
        world
            .call(&ann.caller, UPDATE, give(&ben, &["viewer"], &[]))
            .await
            .unwrap();
        for method in ["SuspendMember", "ResumeMember", "RemoveMember"] {
            let method = format!("MemberService/{method}");
            world.call(&ann.caller, &method, by_name.clone()).await.unwrap();
        }
        let user = format!("workspaces/acme/users/{}", ben.user);
        world
            .done("MemberService/CreateMember", json!({ "parent": BAKERY, "user": user }))
            .await;

        let list = async |caller: &Caller| {
            let list = json!({ "parent": BAKERY, "pageSize": 500 });
            let path = "/clientele.journal.v1.JournalService/ListEntries";
            let (answer, _) = world.calls().call(path, caller, list).await.unwrap();
            let entries = answer["entries"].as_array().unwrap().clone();
            entries
                .iter()
                .flat_map(|entry| entry["changes"].as_array().unwrap().clone())
                .collect::<Vec<_>>()
        };
        for caller in [&ann.caller, &world.member] {
            let changes = list(caller).await;
            let members: Vec<&Value> = changes
                .iter()
                .filter(|change| change["resource"] == ben.member)
                .collect();
            assert_eq!(members.len(), 6);
            for told in members
                .iter()
                .flat_map(|change| [&change["before"], &change["after"]])
                .filter(|told| !told.is_null())
            {
                assert_eq!(
                    (&told["person"], &told["presence"]),
                    (&Value::Null, &json!("PRESENCE_UNSPECIFIED")),
                    "{told}"
                );
                assert_eq!(told["user"], user);
            }
        }
        let client = json!(list(&ann.caller).await).to_string();
        for secret in ["@example.com", "Ben Baker"] {
            assert!(!client.contains(secret), "{client}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_admitted_is_looked_at_again_where_it_is_done() {
    on_both_engines(async |engine| {
        let (world, ann, ben) = world(engine).await;
        let selves = json!({ "organization": { "name": BAKERY, "selfEditEnabled": true } });
        world.done("OrganizationService/UpdateOrganization", selves).await;
        let role = json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S" } });
        world.done("RoleService/CreateRole", role).await;
        let team = json!({ "parent": BAKERY, "teamId": "sales", "team": { "label": "S" } });
        world.done("TeamService/CreateTeam", team).await;
        let invite = |email: &str| json!({ "parent": BAKERY, "invitation": { "email": email } });
        let invitation = world
            .done("InvitationService/CreateInvitation", invite("c@example.com"))
            .await;
        let (bakery, member) = (json!({ "name": BAKERY }), json!({ "name": ben.member }));
        let (role, team) = (format!("{BAKERY}/roles/sales"), format!("{BAKERY}/teams/sales"));
        let pixel = "R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";
        let in_team = json!({ "name": team, "members": [ben.user] });
        let herself = format!("workspaces/acme/users/{}", ann.user);
        let password = json!({ "name": herself, "password": "tulip-anvil-mosaic" });
        world.done("UserService/SetPassword", password.clone()).await;
        let mut another = json!({ "name": herself, "password": "mosaic-tulip-anvil" });
        another["oldPassword"] = password["password"].clone();
        let calls = [
            (
                "InvitationService/BatchCreateInvitations",
                json!({ "parent": BAKERY, "requests": [{ "invitation": { "email": "d@example.com" } }] }),
            ),
            ("InvitationService/CreateInvitation", invite("d@example.com")),
            (
                "InvitationService/RevokeInvitation",
                json!({ "name": invitation["name"] }),
            ),
            ("MemberService/RemoveMember", member.clone()),
            ("MemberService/ResumeMember", member.clone()),
            (
                "MemberService/SetPresence",
                json!({ "name": ann.member, "presence": "PRESENCE_ONLINE" }),
            ),
            ("MemberService/SuspendMember", member),
            (UPDATE, give(&ben, &["viewer"], &[])),
            ("OrganizationService/DeleteLogo", bakery),
            (
                "OrganizationService/UpdateLogo",
                json!({ "name": BAKERY, "contentType": "image/gif", "content": pixel }),
            ),
            (
                "OrganizationService/UpdateOrganization",
                json!({ "organization": { "name": BAKERY, "displayName": "X" } }),
            ),
            (
                "RoleService/CreateRole",
                json!({ "parent": BAKERY, "roleId": "aide", "role": { "title": "A" } }),
            ),
            ("RoleService/DeleteRole", json!({ "name": role })),
            (
                "RoleService/UpdateRole",
                json!({ "role": { "name": role, "title": "T" } }),
            ),
            ("TeamService/AddTeamMembers", in_team.clone()),
            (
                "TeamService/CreateTeam",
                json!({ "parent": BAKERY, "teamId": "shop", "team": { "label": "S" } }),
            ),
            ("TeamService/DeleteTeam", json!({ "name": team })),
            ("TeamService/PickAssignee", json!({ "name": team })),
            ("TeamService/RemoveTeamMembers", in_team),
            (
                "TeamService/UpdateTeam",
                json!({ "team": { "name": team, "label": "T" } }),
            ),
            ("UserService/SetPassword", another),
            (
                "UserService/UpdateUser",
                json!({ "user": { "name": herself, "displayName": "A" } }),
            ),
        ];
        let open = world
            .calls()
            .methods(&world.running.services)
            .into_iter()
            .filter(|method| {
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                let writes = method.input().get_field_by_name("request_id").is_some();
                writes && clientele_api::method(&path).is_some_and(|method| !method.permissions.is_empty())
            });
        let mut open: Vec<String> = open
            .map(|method| format!("{}/{}", method.parent_service().name(), method.name()))
            .collect();
        open.sort();
        assert_eq!(
            calls.iter().map(|(method, _)| (*method).to_owned()).collect::<Vec<_>>(),
            open
        );

        let database = world.database().await;
        let whoever = "user_uid = (SELECT uid FROM users WHERE email = 'ann@example.com')";
        let set = async |changes: &str| {
            let update = format!("UPDATE members SET {changes} WHERE {whoever}");
            database.execute_unprepared(&update).await.unwrap();
        };
        let get = async || {
            let ben = json!({ "name": ben.member });
            world.call(&ann.caller, "MemberService/GetMember", ben).await
        };
        // Read anew and remembered, once something else has changed.
        let remember = async |text: &str| {
            set("state = 1, roles = '[\"org-admin\"]', permissions = '[]'").await;
            let rename = json!({ "organization": { "name": BAKERY, "displayName": text } });
            world.done("OrganizationService/UpdateOrganization", rename).await;
            get().await.unwrap();
        };
        let denied = Code::PermissionDenied;
        for (method, request) in calls {
            for attempt in 0.. {
                assert!(attempt < 50, "{method}: she is never admitted as she is remembered");
                remember(&format!("{method} {attempt}")).await;
                // Nothing tells the service of this.
                set("state = 2").await;
                world
                    .refused(&ann.caller, method, request.clone(), denied, "ACCESS_DENIED")
                    .await;
                if get().await.is_ok() {
                    break;
                }
            }
        }
        let less = "roles = '[]', permissions = '[\"members.manage\"]'";
        for (method, request, why) in [
            (UPDATE, give(&ben, &["viewer"], &[]), "GRANT_NOT_HELD"),
            ("TeamService/DeleteTeam", json!({ "name": team }), "PERMISSION_MISSING"),
        ] {
            remember(why).await;
            set(less).await;
            world.refused(&ann.caller, method, request, denied, why).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_method_gives_client_users_more_than_its_policy() {
    on_both_engines(async |engine| {
        let (world, admin, _) = world(engine).await;
        let nobody = world.add("bakery", "nobody@example.com", &[]).await;
        let suspended = world.add("bakery", "suspended@example.com", &["org-admin"]).await;
        world
            .done("MemberService/SuspendMember", json!({ "name": suspended.member }))
            .await;
        let neighbour = world.add("butcher", "neighbour@example.com", &["org-admin"]).await;
        let users = ClientUsers {
            admin: admin.caller,
            nobody: nobody.caller,
            suspended: suspended.caller,
            neighbour: neighbour.caller,
        };
        refuse_client_users(&world.calls(), &world.running.services, "acme", "bakery", &users).await;
    })
    .await;
}

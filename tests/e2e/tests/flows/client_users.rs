//! What org-service decides of client users binds in the other services.

use crate::World;
use clientele_api::access::StaffRole;
use clientele_testkit::{Caller, Calls, Running, on_both_engines, reason};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::interval;

const ORG: &str = "/clientele.org.v1.";
const LIST: &str = "/clientele.journal.v1.JournalService/ListEntries";
const BAKERY: &str = "workspaces/acme/organizations/bakery";
/// How often a member is suspended and resumed to see how fast the others hear of it.
const ROUNDS: usize = 100;

/// The three services, as staff of `acme` and a client user call them.
struct Scene {
    world: World,
    org: Calls,
    others: [Calls; 2],
    staff: Caller,
}

impl Scene {
    /// `acme` with the organization `bakery`.
    async fn set(world: World) -> Self {
        let operator = Caller::with(world.tokens.operator());
        let scene = Self {
            org: Calls::new(world.org.channel().await),
            others: [
                Calls::new(world.assignment.channel().await),
                Calls::new(world.settings.channel().await),
            ],
            staff: Caller::with(world.tokens.staff("acme", StaffRole::Owner)),
            world,
        };
        let workspace = json!({ "workspaceId": "acme", "workspace": { "displayName": "Acme" } });
        let create = format!("{ORG}WorkspaceService/CreateWorkspace");
        scene.org.call(&create, &operator, workspace).await.unwrap();
        let bakery =
            json!({ "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "B" } });
        scene.done("OrganizationService/CreateOrganization", bakery).await;
        scene
    }

    /// What the staff does in org-service.
    async fn done(&self, method: &str, request: Value) -> Value {
        let answer = self.org.call(&format!("{ORG}{method}"), &self.staff, request).await;
        answer.unwrap_or_else(|status| panic!("{method}: {status:?}")).0
    }

    /// What a service answers to who wants to see the journal of the bakery: `OK`, or why not.
    async fn asks(&self, calls: &Calls, caller: &Caller) -> String {
        let list = json!({ "parent": BAKERY });
        match calls.call(LIST, caller, list).await {
            Ok(_) => "OK".to_owned(),
            Err(status) => reason(&status),
        }
    }

    /// It holds in org-service at once, and in the others as soon as they hear of it; answers how long that took.
    async fn binds(&self, caller: &Caller, expected: &str) -> [Duration; 2] {
        let began = Instant::now();
        assert_eq!(self.asks(&self.org, caller).await, expected, "in org-service");
        let heard = async |calls: &Calls| {
            let mut looks = interval(Duration::from_millis(1));
            while self.asks(calls, caller).await != expected {
                assert!(began.elapsed() < Duration::from_secs(20), "it is never {expected}");
                looks.tick().await;
            }
            began.elapsed()
        };
        let [assignment, settings] = &self.others;
        tokio::join!(heard(assignment), heard(settings)).into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_org_service_decides_of_client_users_binds_in_every_service() {
    on_both_engines(async |engine| {
        let scene = Scene::set(World::start(engine).await).await;
        let role = json!({ "parent": BAKERY, "roleId": "hosts", "role": { "title": "H", "permissions": ["members.manage"] } });
        let role = scene.done("RoleService/CreateRole", role).await["name"].clone();
        let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com" }, "member": { "roles": ["hosts"] } });
        let member = scene.done("MemberService/CreateMember", new).await;
        let (member, user) = (&member["name"], member["name"].as_str().unwrap().rsplit('/').next().unwrap());
        let bakery = scene.done("OrganizationService/GetOrganization", json!({ "name": BAKERY })).await;
        let ann = Caller::with(scene.world.tokens.user(user, bakery["uid"].as_str().unwrap()));
        scene.binds(&ann, "OK").await;

        let (denied, missing) = ("ACCESS_DENIED", "PERMISSION_MISSING");
        let bakery = json!({ "name": BAKERY });
        let access = |on: bool| json!({ "organization": { "name": BAKERY, "clientAccessEnabled": on } });
        let holds = |permission: &str| json!({ "role": { "name": role, "permissions": [permission] }, "updateMask": "permissions" });
        let held = |role: &str| json!({ "member": { "name": member, "roles": [role] } });
        let itself = json!({ "name": member });
        let person = json!({ "name": format!("workspaces/acme/users/{user}") });
        let ways = [
            ("OrganizationService/SuspendOrganization", bakery.clone(), denied),
            ("OrganizationService/ResumeOrganization", bakery.clone(), "OK"),
            ("OrganizationService/DeleteOrganization", bakery.clone(), denied),
            ("OrganizationService/UndeleteOrganization", bakery, "OK"),
            ("OrganizationService/UpdateOrganization", access(false), denied),
            ("OrganizationService/UpdateOrganization", access(true), "OK"),
            ("UserService/DisableUser", person.clone(), denied),
            ("UserService/EnableUser", person, "OK"),
            ("MemberService/SuspendMember", itself.clone(), denied),
            ("MemberService/ResumeMember", itself.clone(), "OK"),
            ("RoleService/UpdateRole", holds("home.view"), missing),
            ("RoleService/UpdateRole", holds("members.manage"), "OK"),
            ("MemberService/UpdateMember", held("viewer"), missing),
            ("MemberService/UpdateMember", held("hosts"), "OK"),
        ];
        for (method, request, expected) in ways {
            scene.done(method, request).await;
            scene.binds(&ann, expected).await;
        }
        // A session that ends; the others go on.
        let session = scene.done("SessionService/ImpersonateMember", itself.clone()).await;
        let signed_in = Caller::with(session["accessToken"].as_str().unwrap());
        scene.binds(&signed_in, "OK").await;
        let its_name = json!({ "name": session["session"]["name"] });
        scene.done("SessionService/RevokeSession", its_name).await;
        scene.binds(&signed_in, "SESSION_ENDED").await;
        scene.binds(&ann, "OK").await;
        scene.done("MemberService/RemoveMember", itself).await;
        scene.binds(&ann, denied).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_shut_out_is_out_everywhere_within_the_lag_of_the_feed() {
    on_both_engines(async |engine| {
        let scene = Scene::set(World::start(engine).await).await;
        let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com" }, "member": { "permissions": ["members.manage"] } });
        let member = scene.done("MemberService/CreateMember", new).await["name"].clone();
        let bakery = scene.done("OrganizationService/GetOrganization", json!({ "name": BAKERY })).await;
        let user = member.as_str().unwrap().rsplit('/').next().unwrap();
        let ann = Caller::with(scene.world.tokens.user(user, bakery["uid"].as_str().unwrap()));
        scene.binds(&ann, "OK").await;
        let mut lags = Vec::new();
        for _ in 0..ROUNDS {
            scene.done("MemberService/SuspendMember", json!({ "name": member })).await;
            lags.extend(scene.binds(&ann, "ACCESS_DENIED").await);
            scene.done("MemberService/ResumeMember", json!({ "name": member })).await;
            lags.extend(scene.binds(&ann, "OK").await);
        }
        lags.sort();
        let at = |percent: usize| lags[lags.len() * percent / 100];
        println!("{engine:?}: {} changes, p50 {:?}, p99 {:?}", 2 * ROUNDS, at(50), at(99));
    })
    .await;
}

#[tokio::test]
async fn who_is_signed_in_stays_so_while_org_service_is_down() {
    on_both_engines(async |engine| {
        let scene = Scene::set(World::start(engine).await).await;
        let password = "tulip anvil mosaic river";
        let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com" }, "member": { "permissions": ["members.manage"] } });
        let member = scene.done("MemberService/CreateMember", new).await["name"].clone();
        let user = member.as_str().unwrap().replace("/organizations/bakery/members/", "/users/");
        let set = json!({ "name": user, "password": password });
        scene.done("UserService/SetPassword", set).await;
        let sign_in = json!({ "parent": "workspaces/acme", "email": "ann@example.com", "password": password });
        let create = format!("{ORG}SessionService/CreateSession");
        let session = scene.org.call(&create, &Caller::default(), sign_in).await.unwrap().0;
        let ann = Caller::with(session["tokens"]["accessToken"].as_str().unwrap());
        scene.binds(&ann, "OK").await;
        // One that starts while org-service is down knows its keys from before.
        let Scene { world, others, .. } = scene;
        world.org.stop().await;
        let restarted = Running::start(&world.assignment_service).await;
        let list = json!({ "parent": BAKERY });
        for calls in [Calls::new(restarted.channel().await), others[1].clone()] {
            calls.call(LIST, &ann, list.clone()).await.unwrap();
        }
    })
    .await;
}

//! Sessions: signing in, refreshing, going elsewhere, logging in as somebody else, and the end of it all.

use crate::{Person, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clientele_testkit::{Caller, Engine, on_both_engines, until};
use futures::future::join_all;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::{Code, Status};

const ACME: &str = "workspaces/acme";
const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";
const PASSWORD: &str = "correct horse battery staple";
const CREATE: &str = "SessionService/CreateSession";
const REFRESH: &str = "SessionService/RefreshSession";
const SWITCH: &str = "SessionService/SwitchSession";
const REVOKE: &str = "SessionService/RevokeSession";
const LIST: &str = "SessionService/ListSessions";
const IMPERSONATE: &str = "SessionService/ImpersonateMember";
const GET: &str = "OrganizationService/GetOrganization";

/// Somebody without a token.
pub(crate) fn nobody() -> Caller {
    Caller::default()
}

impl World {
    /// A member of the bakery who has a password.
    pub(crate) async fn with_password(&self, email: &str, roles: &[&str]) -> Person {
        let person = self.add("bakery", email, roles).await;
        self.give_password(&person).await;
        person
    }

    pub(crate) async fn give_password(&self, person: &Person) {
        let name = format!("{ACME}/users/{}", person.user);
        self.done("UserService/SetPassword", json!({ "name": name, "password": PASSWORD }))
            .await;
    }

    /// Signs in, to this organization if it is not empty.
    pub(crate) async fn try_sign_in(&self, email: &str, organization: &str) -> Result<Value, Status> {
        let request = json!({ "parent": ACME, "email": email, "password": PASSWORD, "organization": organization });
        let answer = self.call(&nobody(), CREATE, request).await?;
        Ok(answer)
    }

    /// Signs in to the only organization; the tokens.
    pub(crate) async fn sign_in(&self, email: &str) -> Value {
        self.try_sign_in(email, "").await.unwrap()["tokens"].clone()
    }

    async fn refresh(&self, tokens: &Value) -> Result<Value, Status> {
        self.call(&nobody(), REFRESH, proof(tokens)).await
    }

    pub(crate) async fn is_over(&self, tokens: &Value) {
        let get = json!({ "name": tokens["session"]["organization"] });
        self.refused(&bearer(tokens), GET, get, Code::Unauthenticated, "SESSION_ENDED")
            .await;
        self.refused(
            &nobody(),
            REFRESH,
            proof(tokens),
            Code::Unauthenticated,
            "SESSION_ENDED",
        )
        .await;
    }

    async fn works(&self, tokens: &Value) {
        let get = json!({ "name": tokens["session"]["organization"] });
        self.call(&bearer(tokens), GET, get).await.unwrap();
    }

    async fn execute(&self, sql: &str) {
        self.database().await.execute_unprepared(sql).await.unwrap();
    }
}

/// The bearer of the access token among these.
pub(crate) fn bearer(tokens: &Value) -> Caller {
    Caller::with(tokens["accessToken"].as_str().unwrap())
}

/// A request that is proven by the refresh token among these.
fn proof(tokens: &Value) -> Value {
    json!({ "name": tokens["session"]["name"], "refreshToken": tokens["refreshToken"] })
}

fn claims(tokens: &Value) -> Value {
    let token = tokens["accessToken"].as_str().unwrap();
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

async fn world(engine: Engine) -> (World, Person) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher"] {
        world.create_organization(id).await;
    }
    let ann = world.with_password("ann@example.com", &["org-admin"]).await;
    (world, ann)
}

/// Makes somebody a member of the butcher's, too.
async fn join_butcher(world: &World, person: &Person) -> Person {
    let user = format!("{ACME}/users/{}", person.user);
    let request = json!({ "parent": BUTCHER, "user": user, "member": { "roles": ["viewer"] } });
    world
        .person(world.done("MemberService/CreateMember", request).await)
        .await
}

#[tokio::test]
async fn who_signs_in_calls_with_its_token() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let tokens = world.sign_in("ANN@example.com").await;
        let session = &tokens["session"];
        let user = format!("{ACME}/users/{}", ann.user);
        assert_eq!(
            (&session["user"], &session["organization"], &session["state"]),
            (&json!(user), &json!(BAKERY), &json!("STATE_ACTIVE"))
        );
        assert_eq!(
            (&session["actor"], &session["actingFor"]),
            (&json!(format!("users/{}", ann.user)), &json!(""))
        );
        world.works(&tokens).await;
        let claims = claims(&tokens);
        assert_eq!(claims["sid"], session["uid"]);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
        assert!(claims.get("act").is_none());
        // What it does is its own doing.
        let update = json!({ "organization": { "name": BAKERY, "displayName": "Ann's" } });
        world
            .done(
                "OrganizationService/UpdateOrganization",
                json!({ "organization": { "name": BAKERY, "selfEditEnabled": true } }),
            )
            .await;
        world
            .call(&bearer(&tokens), "OrganizationService/UpdateOrganization", update)
            .await
            .unwrap();
        let entries = entries(&world, &world.member, ACME).await;
        let actor = json!(format!("users/{}", ann.user));
        assert_eq!((&entries[0]["actor"], &entries[0]["actingFor"]), (&actor, &json!("")));
        let begun = entries
            .iter()
            .find(|entry| entry["method"].as_str().unwrap().ends_with("/CreateSession"))
            .unwrap();
        assert_eq!(begun["actor"], actor);
        assert_eq!(begun["changes"][0]["resource"], session["name"]);
        // Signing in is not the organization's business, and its admins do not see it.
        assert!(
            self::entries(&world, &bearer(&tokens), BAKERY)
                .await
                .iter()
                .all(|entry| !entry.to_string().contains("/sessions/"))
        );
    })
    .await;
}

async fn entries(world: &World, caller: &Caller, parent: &str) -> Vec<Value> {
    let path = "/clientele.journal.v1.JournalService/ListEntries";
    let listed = world
        .calls()
        .call(path, caller, json!({ "parent": parent }))
        .await
        .unwrap()
        .0;
    listed["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn wrong_credentials_are_all_answered_alike() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        world.create_workspace("zeta").await;
        world.add("bakery", "without@example.com", &[]).await;
        let mut answers = BTreeSet::new();
        for (parent, email, password) in [
            (ACME, "ann@example.com", "correct horse battery stable"),
            (ACME, "nobody@example.com", PASSWORD),
            (ACME, "without@example.com", PASSWORD),
            (ACME, "ann@example", PASSWORD),
            ("workspaces/zeta", "ann@example.com", PASSWORD),
        ] {
            let request = json!({ "parent": parent, "email": email, "password": password });
            let status = world
                .refused(&nobody(), CREATE, request, Code::Unauthenticated, "CREDENTIALS_INVALID")
                .await;
            answers.insert(status.message().to_owned());
        }
        assert_eq!(answers.len(), 1);
        let request = json!({ "parent": "workspaces/none", "email": "ann@example.com", "password": PASSWORD });
        world
            .refused(&nobody(), CREATE, request, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        let request = json!({ "parent": ACME, "email": "", "password": "" });
        let status = world
            .refused(&nobody(), CREATE, request, Code::InvalidArgument, "INVALID_FIELDS")
            .await;
        assert!(!format!("{status:?}").contains(PASSWORD));
    })
    .await;
}

#[tokio::test]
async fn who_has_several_organizations_chooses() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        join_butcher(&world, &ann).await;
        let answer = world.try_sign_in("ann@example.com", "").await.unwrap();
        assert_eq!(answer["tokens"], Value::Null);
        let names: Vec<&str> = answer["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["organization"].as_str().unwrap())
            .collect();
        assert_eq!(names, [BAKERY, BUTCHER]);
        assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
        let there = world.try_sign_in("ann@example.com", BUTCHER).await.unwrap()["tokens"].clone();
        world.works(&there).await;
        // Of several that it may not use, those that it may.
        world
            .done(
                "OrganizationService/SuspendOrganization",
                json!({ "name": BUTCHER, "reason": "unpaid" }),
            )
            .await;
        assert_eq!(
            world.sign_in("ann@example.com").await["session"]["organization"],
            BAKERY
        );
        for name in [
            "workspaces/acme/organizations/other",
            "workspaces/zeta/organizations/bakery",
            "x",
        ] {
            let status = world.try_sign_in("ann@example.com", name).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_may_do_nothing_neither_signs_in_nor_refreshes() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let user = format!("{ACME}/users/{}", ann.user);
        let access = |enabled| json!({ "organization": { "name": BAKERY, "clientAccessEnabled": enabled } });
        let mut tokens = world.sign_in("ann@example.com").await;
        for (denial, shut, request, open, undo) in [
            (
                "USER_DISABLED",
                "UserService/DisableUser",
                json!({ "name": user }),
                "UserService/EnableUser",
                json!({ "name": user }),
            ),
            (
                "ACCESS_OFF",
                "OrganizationService/UpdateOrganization",
                access(false),
                "OrganizationService/UpdateOrganization",
                access(true),
            ),
            (
                "ORGANIZATION_SUSPENDED",
                "OrganizationService/SuspendOrganization",
                json!({ "name": BAKERY, "reason": "x" }),
                "OrganizationService/ResumeOrganization",
                json!({ "name": BAKERY }),
            ),
            (
                "MEMBER_SUSPENDED",
                "MemberService/SuspendMember",
                json!({ "name": ann.member, "force": true }),
                "MemberService/ResumeMember",
                json!({ "name": ann.member }),
            ),
        ] {
            world.done(shut, request).await;
            let get = json!({ "name": BAKERY });
            for (caller, method, request) in [
                (bearer(&tokens), GET, get),
                (nobody(), REFRESH, proof(&tokens)),
                (
                    nobody(),
                    CREATE,
                    json!({ "parent": ACME, "email": "ann@example.com", "password": PASSWORD }),
                ),
            ] {
                let status = world
                    .refused(&caller, method, request, Code::PermissionDenied, "ACCESS_DENIED")
                    .await;
                assert!(status.message().contains(denial), "{denial} {method}: {status:?}");
            }
            world.done(open, undo).await;
            // It was shut out, not signed out.
            tokens = world.refresh(&tokens).await.unwrap();
            world.works(&tokens).await;
        }
        world
            .done(
                "MemberService/RemoveMember",
                json!({ "name": ann.member, "force": true }),
            )
            .await;
        world
            .refused(
                &bearer(&tokens),
                GET,
                json!({ "name": BAKERY }),
                Code::PermissionDenied,
                "ACCESS_DENIED",
            )
            .await;
        world
            .refused(
                &nobody(),
                REFRESH,
                proof(&tokens),
                Code::PermissionDenied,
                "ACCESS_DENIED",
            )
            .await;
        let status = world.try_sign_in("ann@example.com", "").await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "it is a member nowhere");
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_works_once_and_the_one_before_for_a_while() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let first = world.sign_in("ann@example.com").await;
        let second = world.refresh(&first).await.unwrap();
        assert_ne!(first["refreshToken"], second["refreshToken"]);
        world.works(&second).await;
        world.works(&first).await; // an access token lives on
        // The answer was lost: the same successor.
        let again = world.refresh(&first).await.unwrap();
        assert_eq!(again["refreshToken"], second["refreshToken"]);
        let third = world.refresh(&again).await.unwrap();
        assert_eq!(
            third["session"]["version"], first["session"]["version"],
            "no change that counts"
        );
        // Two before: somebody has a copy, and nobody knows who is who.
        world
            .refused(
                &nobody(),
                REFRESH,
                proof(&first),
                Code::Unauthenticated,
                "SESSION_ENDED",
            )
            .await;
        world.is_over(&third).await;
        let entries = entries(&world, &world.member, ACME).await;
        assert_eq!(entries[0]["changes"][0]["after"]["state"], "STATE_REVOKED");
        assert_eq!(entries[0]["actor"], "public", "nobody knows whose copy it is");
    })
    .await;
}

#[tokio::test]
async fn after_half_a_minute_the_token_before_is_a_copy() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let first = world.sign_in("ann@example.com").await;
        let second = world.refresh(&first).await.unwrap();
        world
            .execute("UPDATE sessions SET last_use_time = last_use_time - 25000000")
            .await;
        assert_eq!(
            world.refresh(&first).await.unwrap()["refreshToken"],
            second["refreshToken"]
        );
        world
            .execute("UPDATE sessions SET last_use_time = last_use_time - 6000000")
            .await;
        world
            .refused(
                &nobody(),
                REFRESH,
                proof(&first),
                Code::Unauthenticated,
                "SESSION_ENDED",
            )
            .await;
        world.is_over(&second).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_has_no_token_of_the_session_learns_and_changes_nothing() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let (ours, other) = (
            world.sign_in("ann@example.com").await,
            world.sign_in("ann@example.com").await,
        );
        let mut answers = BTreeSet::new();
        let long = "A".repeat(5000);
        for (name, token) in [
            (
                ours["session"]["name"].as_str().unwrap(),
                other["refreshToken"].as_str().unwrap(),
            ),
            (ours["session"]["name"].as_str().unwrap(), ""),
            (ours["session"]["name"].as_str().unwrap(), &long),
            (
                ours["session"]["name"].as_str().unwrap(),
                ours["accessToken"].as_str().unwrap(),
            ),
            ("workspaces/acme/sessions/none", ours["refreshToken"].as_str().unwrap()),
            (
                "workspaces/acme/sessions/019b0000-0000-7000-8000-000000000000",
                ours["refreshToken"].as_str().unwrap(),
            ),
        ] {
            for (method, organization) in [(REFRESH, None), (SWITCH, Some(BUTCHER))] {
                let mut request = json!({ "name": name, "refreshToken": token });
                if let Some(organization) = organization {
                    request["organization"] = json!(organization);
                }
                let status = world
                    .refused(&nobody(), method, request, Code::Unauthenticated, "SESSION_ENDED")
                    .await;
                answers.insert(status.message().to_owned());
            }
        }
        assert_eq!(answers.len(), 1);
        world.create_workspace("zeta").await;
        let elsewhere = ours["session"]["name"].as_str().unwrap().replace("acme", "zeta");
        let request = json!({ "name": elsewhere, "refreshToken": ours["refreshToken"] });
        world
            .refused(&nobody(), REFRESH, request, Code::Unauthenticated, "SESSION_ENDED")
            .await;
        world.refresh(&ours).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_many_who_refresh_at_once_all_get_the_same() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let tokens = world.sign_in("ann@example.com").await;
        let refreshed = join_all((0..16).map(|_| clientele_testkit::patiently(|| world.refresh(&tokens)))).await;
        let successors: BTreeSet<String> = refreshed
            .into_iter()
            .map(|one| one.unwrap()["refreshToken"].to_string())
            .collect();
        assert_eq!(successors.len(), 1);
        assert_eq!(world.count("SELECT CAST(generation AS bigint) FROM sessions").await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_session_goes_to_another_organization() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let bakery = world.sign_in("ann@example.com").await;
        let to = |tokens: &Value, organization: &str| {
            let mut request = proof(tokens);
            request["organization"] = json!(organization);
            request
        };
        world
            .refused(
                &nobody(),
                SWITCH,
                to(&bakery, BUTCHER),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        join_butcher(&world, &ann).await;
        let butcher = world.call(&nobody(), SWITCH, to(&bakery, BUTCHER)).await.unwrap();
        assert_eq!(butcher["session"]["organization"], BUTCHER);
        world.works(&butcher).await;
        // Its answer was lost.
        let again = world.call(&nobody(), SWITCH, to(&bakery, BUTCHER)).await.unwrap();
        assert_eq!(again["refreshToken"], butcher["refreshToken"]);
        assert_eq!(again["session"]["version"], butcher["session"]["version"]);
        // In the butcher's it is no org admin, and the bakery is another one's.
        world
            .refused(
                &bearer(&butcher),
                GET,
                json!({ "name": BAKERY }),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        world
            .refused(
                &bearer(&butcher),
                "MemberService/SuspendMember",
                json!({ "name": format!("{BUTCHER}/members/{}", ann.user) }),
                Code::PermissionDenied,
                "PERMISSION_MISSING",
            )
            .await;
        let refreshed = world.refresh(&butcher).await.unwrap();
        assert_eq!(refreshed["session"]["organization"], BUTCHER);
        // Out of a place that was shut, too.
        world
            .done(
                "OrganizationService/SuspendOrganization",
                json!({ "name": BUTCHER, "reason": "x" }),
            )
            .await;
        let home = world.call(&nobody(), SWITCH, to(&refreshed, BAKERY)).await.unwrap();
        world.works(&home).await;
        let status = world
            .refused(
                &nobody(),
                SWITCH,
                to(&home, BUTCHER),
                Code::PermissionDenied,
                "ACCESS_DENIED",
            )
            .await;
        assert!(status.message().contains("ORGANIZATION_SUSPENDED"));
        world.refresh(&home).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_session_is_ended_by_its_user_and_by_admins() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let ben = world.with_password("ben@example.com", &["org-admin"]).await;
        let (phone, desk) = (
            world.sign_in("ann@example.com").await,
            world.sign_in("ann@example.com").await,
        );
        let revoke = |tokens: &Value| json!({ "name": tokens["session"]["name"] });
        // Another's session looks as if it did not exist, to an org admin, too.
        let bens = world.sign_in("ben@example.com").await;
        for caller in [&bearer(&bens), &ben.caller] {
            world
                .refused(caller, REVOKE, revoke(&phone), Code::NotFound, "RESOURCE_NOT_FOUND")
                .await;
        }
        let other = Caller::with(world.tokens.staff("zeta", clientele_api::access::StaffRole::Admin));
        world
            .refused(&other, REVOKE, revoke(&phone), Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        world
            .refused(
                &world.member,
                REVOKE,
                revoke(&phone),
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED",
            )
            .await;
        world
            .refused(
                &nobody(),
                REVOKE,
                revoke(&phone),
                Code::Unauthenticated,
                "TOKEN_MISSING",
            )
            .await;
        world.works(&phone).await;
        let ended = world.call(&bearer(&desk), REVOKE, revoke(&phone)).await.unwrap();
        assert_eq!(ended["state"], "STATE_REVOKED");
        world.is_over(&phone).await;
        world.works(&desk).await;
        assert_eq!(
            world.call(&bearer(&desk), REVOKE, revoke(&phone)).await.unwrap()["version"],
            ended["version"]
        );
        world.done(REVOKE, revoke(&desk)).await;
        world.is_over(&desk).await;
    })
    .await;
}

#[tokio::test]
async fn a_user_sees_its_sessions_and_nobody_else_s() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let ben = world.with_password("ben@example.com", &["org-admin"]).await;
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(world.sign_in("ann@example.com").await["session"]["name"].clone());
        }
        let bens = world.sign_in("ben@example.com").await;
        let list = |person: &Person, ended: bool| json!({ "parent": format!("{ACME}/users/{}", person.user), "showEnded": ended });
        let found = |listed: &Value| listed["sessions"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
        assert_eq!(found(&world.call(&ann.caller, LIST, list(&ann, false)).await.unwrap()), names);
        for caller in [&bearer(&bens), &ben.caller] {
            world.refused(caller, LIST, list(&ann, false), Code::PermissionDenied, "CALLER_NOT_ALLOWED").await;
        }
        world.done(REVOKE, json!({ "name": names[1] })).await;
        assert_eq!(found(&world.done(LIST, list(&ann, false)).await), [names[0].clone(), names[2].clone()]);
        let mut page = list(&ann, true);
        page["pageSize"] = json!(2);
        let first = world.done(LIST, page.clone()).await;
        page["pageToken"] = first["nextPageToken"].clone();
        let second = world.done(LIST, page).await;
        assert_eq!([found(&first), found(&second)].concat(), names);
        assert_eq!(second["nextPageToken"], "");
        world.refused(&world.admin, LIST, json!({ "parent": format!("{ACME}/users/none") }), Code::NotFound, "RESOURCE_NOT_FOUND").await;
    })
    .await;
}

#[tokio::test]
async fn staff_logs_in_as_a_member_and_both_are_known() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let request = json!({ "name": ann.member });
        for caller in [
            &world.member,
            &ann.caller,
            &Caller::with(world.tokens.service("mailer")),
        ] {
            world
                .refused(
                    caller,
                    IMPERSONATE,
                    request.clone(),
                    Code::PermissionDenied,
                    "CALLER_NOT_ALLOWED",
                )
                .await;
        }
        let tokens = world.done(IMPERSONATE, request.clone()).await;
        let (staff, user) = (json!("staff/sam"), json!(format!("users/{}", ann.user)));
        let claims = claims(&tokens);
        assert_eq!((&claims["act"]["sub"], &claims["sub"]), (&staff, &json!(ann.user)));
        assert_eq!(
            (&tokens["session"]["actor"], &tokens["session"]["actingFor"]),
            (&staff, &user)
        );
        let role = json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "Sales" } });
        world
            .call(&bearer(&tokens), "RoleService/CreateRole", role)
            .await
            .unwrap();
        for entry in entries(&world, &world.member, BAKERY).await.iter().take(2) {
            assert_eq!((&entry["actor"], &entry["actingFor"]), (&staff, &user), "{entry}");
        }
        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let filter = json!({ "parent": ACME, "filter": format!("acting_for = \"users/{}\"", ann.user) });
        let listed = world.calls().call(path, &world.member, filter).await.unwrap().0;
        assert_eq!(listed["entries"].as_array().unwrap().len(), 2);
        // It is not the person: it sets no password, whether it knows the one before or not.
        let set = json!({ "name": format!("{ACME}/users/{}", ann.user), "password": "entirely different words", "oldPassword": PASSWORD });
        let method = "UserService/SetPassword";
        world
            .refused(&bearer(&tokens), method, set, Code::PermissionDenied, "CALLER_NOT_ALLOWED")
            .await;
        // For an hour, however often it refreshes.
        let left = |tokens: &Value| tokens["session"]["expireTime"].clone();
        let refreshed = world.refresh(&tokens).await.unwrap();
        assert_eq!(left(&refreshed), left(&tokens));
        assert_eq!(self::claims(&refreshed)["act"]["sub"], staff);
        join_butcher(&world, &ann).await;
        let mut switch = proof(&refreshed);
        switch["organization"] = json!(BUTCHER);
        let refreshed = world.call(&nobody(), SWITCH, switch).await.unwrap();
        let switched = &self::entries(&world, &world.member, ACME).await[0];
        assert_eq!((&switched["actor"], &switched["actingFor"]), (&staff, &user), "{switched}");
        world.execute("UPDATE sessions SET expire_time = create_time").await;
        world
            .refused(
                &nobody(),
                REFRESH,
                proof(&refreshed),
                Code::Unauthenticated,
                "SESSION_ENDED",
            )
            .await;
        // What the member could not do, it can't.
        world
            .done(
                "MemberService/SuspendMember",
                json!({ "name": ann.member, "force": true }),
            )
            .await;
        world
            .refused(
                &world.admin,
                IMPERSONATE,
                request,
                Code::PermissionDenied,
                "ACCESS_DENIED",
            )
            .await;
        world.done("MemberService/RemoveMember", json!({ "name": format!("{BUTCHER}/members/{}", ann.user) })).await;
        let stranger = json!({ "name": format!("{BUTCHER}/members/{}", ann.user) });
        world
            .refused(
                &world.admin,
                IMPERSONATE,
                stranger,
                Code::PermissionDenied,
                "ACCESS_DENIED",
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn tokens_are_kept_nowhere() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let tokens = world.sign_in("ann@example.com").await;
        let refreshed = world.refresh(&tokens).await.unwrap();
        let journal = entries(&world, &world.operator, "").await;
        let text = serde_json::to_string(&journal).unwrap();
        for one in [&tokens, &refreshed] {
            for token in ["accessToken", "refreshToken"] {
                assert!(!text.contains(one[token].as_str().unwrap()), "{token}");
            }
        }
        // As bytes, too: what a refresh token is made of is in no row.
        let raw = URL_SAFE_NO_PAD
            .decode(refreshed["refreshToken"].as_str().unwrap())
            .unwrap();
        let hex: String = raw[20..].iter().map(|byte| format!("{byte:02X}")).collect();
        let bytes = match engine {
            Engine::Sqlite => "hex(changes) LIKE '%{}%' OR hex(coalesce(answer, x'')) LIKE '%{}%'",
            Engine::Postgres => {
                "upper(encode(changes, 'hex')) LIKE '%{}%' OR upper(encode(coalesce(answer, ''), 'hex')) LIKE '%{}%'"
            }
        };
        assert_eq!(
            world
                .count(&format!(
                    "SELECT count(*) FROM journal WHERE {}",
                    bytes.replace("{}", &hex)
                ))
                .await,
            0
        );
    })
    .await;
}

#[tokio::test]
async fn a_user_has_a_hundred_sessions_at_most() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let first = world.sign_in("ann@example.com").await;
        let second = world.done(IMPERSONATE, json!({ "name": ann.member })).await;
        for _ in 0..98 {
            world.done(IMPERSONATE, json!({ "name": ann.member })).await;
        }
        world.works(&first).await;
        let first = world.refresh(&first).await.unwrap(); // so that the second one was used least recently
        world.sign_in("ann@example.com").await;
        world.is_over(&second).await;
        world.works(&first).await;
        assert_eq!(
            world.count("SELECT count(*) FROM sessions WHERE NOT revoked").await,
            100
        );
    })
    .await;
}

fn expired(engine: Engine, tokens: &Value, ago: i64) -> String {
    let uid = tokens["session"]["uid"].as_str().unwrap().replace('-', "");
    let uid = match engine {
        Engine::Sqlite => format!("x'{uid}'"),
        Engine::Postgres => format!("'{uid}'"),
    };
    format!("UPDATE sessions SET expire_time = last_use_time - {ago} WHERE uid = {uid}")
}

#[tokio::test]
async fn what_expired_can_t_be_refreshed_and_is_swept_out() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (world, ann) = world(engine).await;
        let (old, young) = (
            world.sign_in("ann@example.com").await,
            world.sign_in("ann@example.com").await,
        );
        let day = 24 * 3600 * 1_000_000_i64;
        let sql = [expired(engine, &old, day + 1), expired(engine, &young, day / 2)];
        world.execute(&sql.join(";")).await;
        for tokens in [&old, &young] {
            world
                .refused(
                    &nobody(),
                    REFRESH,
                    proof(tokens),
                    Code::Unauthenticated,
                    "SESSION_ENDED",
                )
                .await;
        }
        let list = json!({ "parent": format!("{ACME}/users/{}", ann.user), "showEnded": true });
        assert_eq!(world.done(LIST, list).await["sessions"][0]["state"], "STATE_EXPIRED");
        let restarted = clientele_testkit::Running::start(&world.service).await;
        world.execute("UPDATE jobs SET last_run = 0").await;
        drop(restarted);
        let _again = clientele_testkit::Running::start(&world.service).await;
        until(Duration::from_secs(60), "the old one is gone", async || {
            world.count("SELECT count(*) FROM sessions").await == 1
        })
        .await;
    }
}

#[tokio::test]
async fn keys_rotate_and_nobody_is_signed_out() {
    let (world, _) = world(Engine::Sqlite).await;
    let before = world.sign_in("ann@example.com").await;
    let jwks = async || {
        let keys = world
            .call(&nobody(), "SessionService/GetSigningKeys", json!({}))
            .await
            .unwrap();
        serde_json::from_str::<Value>(keys["jwks"].as_str().unwrap()).unwrap()
    };
    let header = |tokens: &Value| {
        let token = tokens["accessToken"].as_str().unwrap().to_owned();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
    };
    let first = jwks().await["keys"][0]["kid"].clone();
    assert_eq!(header(&before), first);
    let folder = &world.service.session_keys;
    clientele_service::token::SigningKey::generate()
        .save(&folder.join("2.pem"))
        .unwrap();
    until(Duration::from_secs(30), "the new key is published", async || {
        jwks().await["keys"].as_array().unwrap().len() == 2
    })
    .await;
    // It does not sign before it is ten minutes old.
    assert_eq!(header(&world.refresh(&before).await.unwrap()), first);
    let file = std::fs::File::options()
        .append(true)
        .open(folder.join("2.pem"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(601))
        .unwrap();
    let restarted = clientele_testkit::Running::start(&world.service).await;
    let calls = clientele_testkit::Calls::new(restarted.channel().await);
    let path = "/clientele.org.v1.SessionService/RefreshSession";
    let after = calls.call(path, &nobody(), proof(&before)).await.unwrap().0;
    assert_ne!(header(&after), first);
    world.works(&after).await;
    world.works(&before).await;
    // The old key goes: its access tokens end, its sessions do not.
    std::fs::remove_file(folder.join("1.pem")).unwrap();
    assert_eq!(jwks().await["keys"].as_array().unwrap().len(), 1);
    until(
        Duration::from_secs(30),
        "the old key proves nothing any more",
        async || {
            world
                .call(&bearer(&before), GET, json!({ "name": BAKERY }))
                .await
                .is_err()
        },
    )
    .await;
    world
        .refused(
            &bearer(&before),
            GET,
            json!({ "name": BAKERY }),
            Code::Unauthenticated,
            "TOKEN_INVALID",
        )
        .await;
    world.works(&world.refresh(&after).await.unwrap()).await;
}

async fn set_password_as(world: &World, caller: &Caller, person: &Person, request: Value) {
    let mut request = request;
    request["name"] = json!(format!("{ACME}/users/{}", person.user));
    world.call(caller, "UserService/SetPassword", request).await.unwrap();
}

#[tokio::test]
async fn another_password_ends_the_sessions_of_the_one_before() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let (ours, thief) = (
            world.sign_in("ann@example.com").await,
            world.sign_in("ann@example.com").await,
        );
        let new = "entirely different words";
        let request = json!({ "password": new, "oldPassword": PASSWORD });
        set_password_as(&world, &bearer(&ours), &ann, request).await;
        world.works(&ours).await;
        world.is_over(&thief).await;
        let status = world.try_sign_in("ann@example.com", "").await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        // An admin's, and a reset: nobody stays.
        set_password_as(&world, &world.admin, &ann, json!({ "password": PASSWORD })).await;
        world.is_over(&ours).await;
        let again = world.sign_in("ann@example.com").await;
        let name = json!(format!("{ACME}/users/{}", ann.user));
        let reset = world
            .done("UserService/CreatePasswordReset", json!({ "name": name }))
            .await;
        let request = json!({ "name": name, "token": reset["token"], "password": new });
        world
            .call(&nobody(), "UserService/ResetPassword", request)
            .await
            .unwrap();
        world.is_over(&again).await;
    })
    .await;
}

/// Another connection holds Ann's row: whoever begins or ends her sessions waits for it.
async fn hold_ann(world: &World) -> (DatabaseConnection, DatabaseTransaction) {
    // Each of them has one connection.
    let (database, other) = (world.database().await, world.database().await);
    let held = other.begin().await.unwrap();
    let lock = "SELECT uid FROM users FOR UPDATE";
    held.execute_unprepared(lock).await.unwrap();
    (database, held)
}

async fn until_somebody_waits(database: &DatabaseConnection) {
    let waiting = "SELECT count(*) AS answer FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waiting = Statement::from_string(database.get_database_backend(), waiting);
    until(Duration::from_secs(30), "somebody waits", async || {
        let row = database.query_one_raw(waiting.clone()).await.unwrap().unwrap();
        row.try_get::<i64>("", "answer").unwrap() > 0
    })
    .await;
}

#[tokio::test]
async fn who_signs_in_while_the_password_changes_does_not_get_in() {
    let (world, _) = world(Engine::Postgres).await;
    let (database, held) = hold_ann(&world).await;
    let change = async {
        until_somebody_waits(&database).await;
        let other = "UPDATE users SET password_hash = replace(password_hash, 'argon2id', 'argon2i')";
        held.execute_unprepared(other).await.unwrap();
        held.commit().await.unwrap();
    };
    let (entered, ()) = tokio::join!(world.try_sign_in("ann@example.com", ""), change);
    assert_eq!(entered.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_session_that_begins_while_the_password_changes_is_over_afterwards() {
    let (world, ann) = world(Engine::Postgres).await;
    world.sign_in("ann@example.com").await;
    let (database, held) = hold_ann(&world).await;
    let name = json!(format!("{ACME}/users/{}", ann.user));
    let change = json!({ "name": name, "password": "entirely different words" });
    let begin = async {
        until_somebody_waits(&database).await;
        // As another sign-in writes one, which got hold of the row before.
        let one_more =
            "CREATE TEMP TABLE one_more AS SELECT * FROM sessions; UPDATE one_more SET uid = gen_random_uuid();
            INSERT INTO sessions SELECT * FROM one_more";
        held.execute_unprepared(one_more).await.unwrap();
        held.commit().await.unwrap();
    };
    let (changed, ()) = tokio::join!(world.call(&world.admin, "UserService/SetPassword", change), begin);
    changed.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM sessions WHERE NOT revoked").await, 0);
}

#[tokio::test]
async fn a_session_that_is_ended_while_it_is_refreshed_stays_ended() {
    let (world, _) = world(Engine::Postgres).await;
    let tokens = world.sign_in("ann@example.com").await;
    let (database, other) = (world.database().await, world.database().await);
    let held = other.begin().await.unwrap();
    held.execute_unprepared("UPDATE sessions SET revoked = true")
        .await
        .unwrap();
    let end = async {
        until_somebody_waits(&database).await;
        held.commit().await.unwrap();
    };
    let (refreshed, ()) = tokio::join!(world.refresh(&tokens), end);
    assert_eq!(refreshed.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(world.count("SELECT count(*) FROM sessions WHERE NOT revoked").await, 0);
}

#[tokio::test]
async fn any_password_that_can_be_set_signs_in() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        let spaced = "  entirely different words ";
        let long = "entirely different words ".to_owned() + &"o\u{308}".repeat(150);
        for password in [spaced, &long] {
            set_password_as(&world, &world.admin, &ann, json!({ "password": password })).await;
            let request = json!({ "parent": ACME, "email": "ann@example.com", "password": password });
            world.call(&nobody(), CREATE, request).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_namesake_of_what_was_purged_can_be_gone_to() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        join_butcher(&world, &ann).await;
        // As a purge leaves it until its last step.
        world
            .execute("UPDATE organizations SET id = '~butcher', display_name = '', delete_time = 1, purge_time = NULL WHERE id = 'butcher'")
            .await;
        world.create_organization("butcher").await;
        let user = format!("{ACME}/users/{}", ann.user);
        let request = json!({ "parent": BUTCHER, "user": user });
        let replica = clientele_testkit::Running::start(&world.service).await; // remembers no name
        let calls = clientele_testkit::Calls::new(replica.channel().await);
        let create = "/clientele.org.v1.MemberService/CreateMember";
        calls.call(create, &world.admin, request).await.unwrap();
        let bakery = world.try_sign_in("ann@example.com", BAKERY).await.unwrap()["tokens"].clone();
        let mut switch = proof(&bakery);
        switch["organization"] = json!(BUTCHER);
        world.call(&nobody(), SWITCH, switch).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_org_admin_shuts_out_of_its_own_organization_only() {
    on_both_engines(async |engine| {
        let (world, ann) = world(engine).await;
        join_butcher(&world, &ann).await;
        let ben = world.with_password("ben@example.com", &["org-admin"]).await;
        let ben_in = world.sign_in("ben@example.com").await;
        let there = world.try_sign_in("ann@example.com", BUTCHER).await.unwrap()["tokens"].clone();
        let here = world.try_sign_in("ann@example.com", BAKERY).await.unwrap()["tokens"].clone();
        world
            .call(
                &bearer(&ben_in),
                "MemberService/SuspendMember",
                json!({ "name": ann.member }),
            )
            .await
            .unwrap();
        world.works(&there).await;
        let get = json!({ "name": BAKERY });
        world
            .refused(&bearer(&here), GET, get, Code::PermissionDenied, "ACCESS_DENIED")
            .await;
        let mut switch = proof(&there);
        switch["organization"] = json!(BAKERY);
        world
            .refused(&nobody(), SWITCH, switch, Code::PermissionDenied, "ACCESS_DENIED")
            .await;
        // What the person is signed in with is not the org admin's to change.
        let name = json!(format!("{ACME}/users/{}", ann.user));
        for (method, request) in [
            (
                "UserService/SetPassword",
                json!({ "name": name, "password": "entirely different words" }),
            ),
            ("UserService/CreatePasswordReset", json!({ "name": name })),
            (
                "UserService/UpdateUser",
                json!({ "user": { "name": name, "email": "ben2@example.com" } }),
            ),
            ("UserService/DisableUser", json!({ "name": name })),
            ("UserService/DeleteUser", json!({ "name": name })),
            (IMPERSONATE, json!({ "name": ann.member })),
        ] {
            for caller in [&bearer(&ben_in), &ben.caller] {
                world
                    .refused(
                        caller,
                        method,
                        request.clone(),
                        Code::PermissionDenied,
                        "CALLER_NOT_ALLOWED",
                    )
                    .await;
            }
        }
        world.works(&world.refresh(&there).await.unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_over_accepts_no_invitation() {
    on_both_engines(async |engine| {
        let (world, _) = world(engine).await;
        let over = world.sign_in("ann@example.com").await;
        let goes_on = world.sign_in("ann@example.com").await;
        world.done(REVOKE, json!({ "name": over["session"]["name"] })).await;
        let invitation = json!({ "parent": BUTCHER, "invitation": { "email": "ann@example.com", "roles": ["viewer"] } });
        let invitation = world.done("InvitationService/CreateInvitation", invitation).await;
        let issue = json!({ "name": invitation["name"] });
        let token = world.done("InvitationService/IssueInvitationToken", issue).await["token"].clone();
        let accept = json!({ "name": invitation["name"], "token": token });
        let method = "InvitationService/AcceptInvitation";
        world.refused(&nobody(), method, accept.clone(), Code::FailedPrecondition, "SIGN_IN_REQUIRED").await;
        world.refused(&bearer(&over), method, accept.clone(), Code::Unauthenticated, "SESSION_ENDED").await;
        let logged_in = world.done(IMPERSONATE, json!({ "name": format!("{BAKERY}/members/{}", goes_on["session"]["user"].as_str().unwrap().rsplit('/').next().unwrap()) })).await;
        world.refused(&bearer(&logged_in), method, accept.clone(), Code::FailedPrecondition, "SIGN_IN_REQUIRED").await;
        let accepted = world.call(&bearer(&goes_on), method, accept).await.unwrap();
        assert_eq!(accepted["state"], "STATE_ACCEPTED");
    })
    .await;
}

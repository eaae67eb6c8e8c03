//! Every way by which somebody could become somebody else: closed.

use crate::passwords::{CREATE_RESET, FIRST, RESET, SECOND, SET, user_name};
use crate::{Person, World};
use clientele_api::access::StaffRole;
use clientele_testkit::{Caller, Engine, on_both_engines, reason};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

const ACCEPT: &str = "InvitationService/AcceptInvitation";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";

/// Ann of the bakery, who has a password; and Olga, an org admin of the bakery.
async fn world(engine: Engine) -> (World, Person, Person) {
    let (world, ann) = World::with_ann(engine).await;
    world.set_password(&ann, FIRST).await;
    world.create_organization("butcher").await;
    let olga = world.add("bakery", "olga@example.com", &["org-admin"]).await;
    (world, ann, olga)
}

#[tokio::test]
async fn an_org_admin_reaches_no_person() {
    on_both_engines(async |engine| {
        let (world, ann, olga) = world(engine).await;
        world.set_password(&olga, FIRST).await;
        let name = user_name(&ann);
        for (method, request) in [
            (SET, json!({ "name": name, "password": SECOND })),
            (SET, json!({ "name": name, "password": SECOND, "oldPassword": FIRST })),
            (CREATE_RESET, json!({ "name": name })),
            (CREATE_RESET, json!({ "name": user_name(&olga) })),
            (
                "UserService/UpdateUser",
                json!({ "user": { "name": name, "email": "olga+ann@example.com" } }),
            ),
            ("UserService/DisableUser", json!({ "name": name })),
        ] {
            world
                .refused(
                    &olga.caller,
                    method,
                    request,
                    Code::PermissionDenied,
                    "CALLER_NOT_ALLOWED",
                )
                .await;
        }
        // Nor does she move herself to an address that somebody else reads.
        let herself = json!({ "user": { "name": user_name(&olga), "email": "ann2@example.com" } });
        world
            .refused(
                &olga.caller,
                "UserService/UpdateUser",
                herself,
                Code::PermissionDenied,
                "FIELD_NOT_ALLOWED",
            )
            .await;
        assert!(world.knows(&ann, FIRST).await);
    })
    .await;
}

#[tokio::test]
async fn staff_of_another_workspace_reaches_no_person() {
    on_both_engines(async |engine| {
        let (world, ann, _) = world(engine).await;
        world.create_workspace("globex").await;
        let theirs = Caller::with(world.tokens.staff("globex", StaffRole::Owner));
        for workspace in ["acme", "globex"] {
            let name = format!("workspaces/{workspace}/users/{}", ann.user);
            for (method, request) in [
                (SET, json!({ "name": name, "password": SECOND })),
                (CREATE_RESET, json!({ "name": name })),
            ] {
                world
                    .refused(&theirs, method, request, Code::NotFound, "RESOURCE_NOT_FOUND")
                    .await;
            }
        }
        assert!(world.knows(&ann, FIRST).await);
    })
    .await;
}

#[tokio::test]
async fn who_has_the_invitation_of_somebody_with_a_password_has_nothing() {
    on_both_engines(async |engine| {
        let (world, ann, olga) = world(engine).await;
        let (name, token) = world.invite_to(BUTCHER, "Ann@Example.com").await;
        let accept = json!({ "name": name, "token": token });
        let mut with_password = accept.clone();
        with_password["password"] = json!(SECOND);
        let service = Caller::with(world.tokens.service("dashboard"));
        let nowhere = Caller::with(
            world
                .tokens
                .user(&Uuid::now_v7().to_string(), &Uuid::now_v7().to_string()),
        );
        let garbage = Caller::with("a.b.c");
        let nobody = Caller::default();
        for caller in [
            &nobody,
            &garbage,
            &olga.caller,
            &nowhere,
            &world.owner,
            &service,
            &world.operator,
        ] {
            for request in [&accept, &with_password] {
                world
                    .refused(
                        caller,
                        ACCEPT,
                        request.clone(),
                        Code::FailedPrecondition,
                        "SIGN_IN_REQUIRED",
                    )
                    .await;
            }
        }
        // She herself accepts, and keeps her password.
        let status = world.call(&ann.caller, ACCEPT, with_password).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELDS");
        let accepted = world.call(&ann.caller, ACCEPT, accept).await.unwrap();
        assert_eq!(accepted["member"], format!("{BUTCHER}/members/{}", ann.user));
        assert!(world.knows(&ann, FIRST).await);
    })
    .await;
}

#[tokio::test]
async fn of_two_invitations_of_a_person_one_gives_the_password() {
    on_both_engines(async |engine| {
        let (world, _, _) = world(engine).await;
        let ben = world.add("bakery", "ben@example.com", &[]).await;
        let invite = async |organization: &str| {
            world.create_organization(organization).await;
            let parent = format!("workspaces/acme/organizations/{organization}");
            let (name, token) = world.invite_to(&parent, "ben@example.com").await;
            json!({ "name": name, "token": token })
        };
        let with = |mut request: Value, password: &str| {
            request["password"] = json!(password);
            request
        };
        let (first, second) = (invite("baker").await, invite("brewer").await);
        let nobody = Caller::default();
        let (one, other) = futures::join!(
            world.call(&nobody, ACCEPT, with(first, FIRST)),
            world.call(&nobody, ACCEPT, with(second, SECOND))
        );
        let (refusal, password) = match (one, other) {
            (Ok(_), Err(refusal)) => (refusal, FIRST),
            (Err(refusal), Ok(_)) => (refusal, SECOND),
            both => panic!("{both:?}"),
        };
        assert_eq!(reason(&refusal), "SIGN_IN_REQUIRED");
        assert!(world.knows(&ben, password).await);
        // Somebody new likewise.
        let third = invite("bank").await;
        world
            .refused(
                &nobody,
                ACCEPT,
                with(third, SECOND),
                Code::FailedPrecondition,
                "SIGN_IN_REQUIRED",
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_token_resets_the_password_it_was_made_for_and_no_other() {
    on_both_engines(async |engine| {
        let (world, ann, olga) = world(engine).await;
        world.create_workspace("globex").await;
        let token = world.reset_token(&ann).await;
        let (_, invitation_token) = world.invite_to(BUTCHER, "ann@example.com").await;
        let another = |workspace: &str, user: &str| format!("workspaces/{workspace}/users/{user}");
        // Another user, another workspace, nobody.
        world.reset_token(&olga).await;
        for name in [
            user_name(&olga),
            another("globex", &ann.user),
            another("nobody", &ann.user),
            another("acme", &Uuid::now_v7().to_string()),
            another("acme", "ann"),
        ] {
            world.no_reset(&name, &token).await;
        }
        // Another token.
        let name = user_name(&ann);
        for wrong in ["", &token[1..], &format!("{token}="), &invitation_token] {
            world.no_reset(&name, wrong).await;
        }
        assert!(world.knows(&ann, FIRST).await);
        let reset = json!({ "name": name, "token": token, "password": SECOND });
        world.call(&Caller::default(), RESET, reset).await.unwrap();
        assert!(world.knows(&ann, SECOND).await);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_resets_ends_with_what_it_was_made_for() {
    on_both_engines(async |engine| {
        let (world, ann, _) = world(engine).await;
        let name = user_name(&ann);
        let by_name = json!({ "name": name });
        let rename = json!({ "user": { "name": name, "email": "ann@example.org" } });
        let set = json!({ "name": name, "password": FIRST });
        for (method, request) in [
            ("UserService/UpdateUser", rename),
            (SET, set),
            ("UserService/DisableUser", by_name.clone()),
        ] {
            let token = world.reset_token(&ann).await;
            world.done(method, request).await;
            world.no_reset(&name, &token).await;
            world.pass_since_resets(60).await;
        }
        // Nor while she is disabled, and not with the same one when she is enabled again.
        world
            .refused(
                &world.admin,
                CREATE_RESET,
                by_name.clone(),
                Code::FailedPrecondition,
                "USER_DISABLED",
            )
            .await;
        world.done("UserService/EnableUser", by_name).await;
        let token = world.reset_token(&ann).await;
        let reset = json!({ "name": name, "token": token, "password": SECOND, "validateOnly": true });
        world.pass_since_resets(3540).await;
        world.call(&Caller::default(), RESET, reset).await.unwrap();
        world.pass_since_resets(60).await;
        world.no_reset(&name, &token).await;
        assert!(world.knows(&ann, FIRST).await);
    })
    .await;
}

#[tokio::test]
async fn an_email_that_somebody_has_makes_nobody_a_member() {
    on_both_engines(async |engine| {
        let (world, ann, _) = world(engine).await;
        let create = json!({ "parent": BUTCHER, "newUser": { "email": "ANN@example.com", "displayName": "Eve" } });
        world
            .refused(
                &world.admin,
                "MemberService/CreateMember",
                create,
                Code::AlreadyExists,
                "EMAIL_TAKEN",
            )
            .await;
        let read = world
            .done("UserService/GetUser", json!({ "name": user_name(&ann) }))
            .await;
        assert_eq!((&read["displayName"], &read["version"]), (&json!(""), &json!("2")));
    })
    .await;
}

#[tokio::test]
async fn a_request_id_is_no_proof() {
    on_both_engines(async |engine| {
        let (world, ann, olga) = world(engine).await;
        let name = user_name(&ann);
        let id = || json!(Uuid::new_v4().to_string());
        let create = json!({ "name": name, "requestId": id() });
        let issued = world.done(CREATE_RESET, create.clone()).await;
        // The first answer has a token: whoever repeats the call must be who made it.
        let service = Caller::with(world.tokens.service("mailer"));
        for (caller, why) in [
            (&olga.caller, "CALLER_NOT_ALLOWED"),
            (&world.member, "CALLER_NOT_ALLOWED"),
            (&Caller::default(), "TOKEN_MISSING"),
            (&service, "REQUEST_ID_REUSED"),
            (&world.operator, "REQUEST_ID_REUSED"),
        ] {
            let status = world.call(caller, CREATE_RESET, create.clone()).await.unwrap_err();
            assert_eq!(reason(&status), why, "{status:?}");
        }
        let reset = json!({ "name": name, "token": issued["token"], "password": SECOND, "requestId": id() });
        world.call(&Caller::default(), RESET, reset.clone()).await.unwrap();
        let mut guessed = reset.clone();
        guessed["token"] = json!("guessed");
        let status = world.call(&Caller::default(), RESET, guessed).await.unwrap_err();
        assert_eq!(reason(&status), "REQUEST_ID_REUSED");
        // A repetition sets nothing, whatever password it brings.
        let mut again = reset;
        again["password"] = json!("another-anvil-mosaic");
        world.call(&Caller::default(), RESET, again).await.unwrap();
        assert!(world.knows(&ann, SECOND).await);
        // Nor does the token of a repetition reset anything after the next one was made.
        world.pass_since_resets(60).await;
        world.reset_token(&ann).await;
        let repeated = world.done(CREATE_RESET, create).await;
        assert_eq!(repeated["token"], issued["token"]);
        world.no_reset(&name, repeated["token"].as_str().unwrap()).await;
    })
    .await;
}

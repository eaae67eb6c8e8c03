//! Passwords: what a good one is, who sets them, how they are reset, and how often they are guessed.

use crate::invitations::Logged;
use crate::{Person, World};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{InitialState, ListEntriesRequest, WatchRequest};
use clientele_testkit::{Caller, Engine, on_both_engines, reason};
use futures::future::join_all;
use prost::Message as _;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

pub(crate) const SET: &str = "UserService/SetPassword";
pub(crate) const CREATE_RESET: &str = "UserService/CreatePasswordReset";
pub(crate) const RESET: &str = "UserService/ResetPassword";
const ACCEPT: &str = "InvitationService/AcceptInvitation";
const BAKERY: &str = "workspaces/acme/organizations/bakery";
pub(crate) const FIRST: &str = "tulip-anvil-mosaic";
pub(crate) const SECOND: &str = "größe mal sieben brote";

pub(crate) fn user_name(person: &Person) -> String {
    format!("workspaces/acme/users/{}", person.user)
}

impl World {
    /// The bakery with Ann, who has no password yet.
    pub(crate) async fn with_ann(engine: Engine) -> (Self, Person) {
        let world = Self::start(engine).await;
        world.create_organization("bakery").await;
        let ann = world.add("bakery", "ann@example.com", &["member"]).await;
        (world, ann)
    }

    pub(crate) async fn set_password(&self, person: &Person, password: &str) -> Value {
        let request = json!({ "name": user_name(person), "password": password });
        self.done(SET, request).await
    }

    /// Whether the person can prove this password.
    pub(crate) async fn knows(&self, person: &Person, password: &str) -> bool {
        let request =
            json!({ "name": user_name(person), "password": FIRST, "oldPassword": password, "validateOnly": true });
        match self.call(&person.caller, SET, request).await {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(fields(&status), ["old_password"]);
                false
            }
        }
    }

    /// The token that resets the password of a person.
    pub(crate) async fn reset_token(&self, person: &Person) -> String {
        let issued = self.done(CREATE_RESET, json!({ "name": user_name(person) })).await;
        issued["token"].as_str().unwrap().to_owned()
    }

    /// As if so many seconds had passed since every token that resets a password.
    pub(crate) async fn pass_since_resets(&self, seconds: u64) {
        let update = format!("UPDATE users SET reset_time = reset_time - {seconds}000000");
        self.database().await.execute_unprepared(&update).await.unwrap();
    }

    /// The token is answered like a user that does not exist.
    pub(crate) async fn no_reset(&self, name: &str, token: &str) {
        let request = json!({ "name": name, "token": token, "password": SECOND });
        let status = self
            .refused(&Caller::default(), RESET, request, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        assert_eq!(
            status.message(),
            format!("Resource {name:?} does not exist, or is not yours")
        );
    }
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELDS"),
        "{status:?}"
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_password_that_breaks_a_rule_is_refused_wherever_it_is_set() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let (invitation, its_token) = world.invite_to(BAKERY, "ben@example.com").await;
        let token = world.reset_token(&ann).await;
        let control = "tulip\u{7}anvil-mosaic";
        for bad in [
            "tulip",
            "",
            &"x".repeat(257),
            control,
            "password1234",
            "ann@example.com",
        ] {
            for (method, caller, mut request) in [
                (SET, &world.admin, json!({ "name": user_name(&ann) })),
                (
                    RESET,
                    &Caller::default(),
                    json!({ "name": user_name(&ann), "token": token }),
                ),
                (
                    ACCEPT,
                    &Caller::default(),
                    json!({ "name": invitation, "token": its_token, "validateOnly": true }),
                ),
            ] {
                if method == ACCEPT && (bad.is_empty() || bad.contains("ann")) {
                    continue; // sets none, and is not about Ann
                }
                request["password"] = json!(bad);
                let status = world.call(caller, method, request).await.unwrap_err();
                assert_eq!(fields(&status), ["password"], "{method} {bad:?}");
                assert!(bad.is_empty() || !format!("{status:?}").contains(bad), "{status:?}");
            }
        }
        let too_weak =
            json!({ "name": invitation, "token": its_token, "password": "Ben-Baker-1999", "displayName": "Ben Baker" });
        let status = world.call(&Caller::default(), ACCEPT, too_weak).await.unwrap_err();
        assert_eq!(fields(&status), ["password"]);
        // The tokens are as good as before.
        let good = json!({ "name": invitation, "token": its_token, "password": FIRST });
        world.call(&Caller::default(), ACCEPT, good).await.unwrap();
        let good = json!({ "name": user_name(&ann), "token": token, "password": FIRST });
        world.call(&Caller::default(), RESET, good).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_person_sets_its_password_with_the_old_one_and_an_admin_without() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let set = |old: &str, new: &str| json!({ "name": user_name(&ann), "password": new, "oldPassword": old });
        // Who has none has nothing to prove it with.
        for old in ["", FIRST] {
            let status = world.call(&ann.caller, SET, set(old, SECOND)).await.unwrap_err();
            assert_eq!(fields(&status), ["old_password"]);
        }
        let by_admin = world.set_password(&ann, FIRST).await;
        assert_eq!(
            (&by_admin["hasPassword"], &by_admin["version"]),
            (&json!(true), &json!("2"))
        );
        for old in ["", "tulip-anvil-mosaics"] {
            let status = world.call(&ann.caller, SET, set(old, SECOND)).await.unwrap_err();
            assert_eq!(fields(&status), ["old_password"]);
        }
        let mut stale = set(FIRST, SECOND);
        stale["etag"] = json!("stale");
        world
            .refused(&ann.caller, SET, stale, Code::Aborted, "ETAG_MISMATCH")
            .await;
        let mut preview = set(FIRST, SECOND);
        preview["validateOnly"] = json!(true);
        world.call(&ann.caller, SET, preview).await.unwrap();
        assert!(world.knows(&ann, FIRST).await);

        // What a repetition is, is not said by the passwords: nothing is remembered of them.
        let mut by_herself = set(FIRST, SECOND);
        by_herself["requestId"] = json!(Uuid::new_v4().to_string());
        let answer = world.call(&ann.caller, SET, by_herself.clone()).await.unwrap();
        assert_eq!(answer["version"], "3");
        for password in [SECOND, "another-anvil-mosaic"] {
            by_herself["password"] = json!(password);
            assert_eq!(world.call(&ann.caller, SET, by_herself.clone()).await.unwrap(), answer);
        }
        assert!(world.knows(&ann, SECOND).await && !world.knows(&ann, FIRST).await);
        // Typed on another keyboard.
        assert!(world.knows(&ann, "gro\u{308}ße mal sieben brote").await);

        for (caller, code, why) in [
            (&world.member, Code::PermissionDenied, "CALLER_NOT_ALLOWED"),
            (
                &Caller::with(world.tokens.service("dashboard")),
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED",
            ),
            (&Caller::default(), Code::Unauthenticated, "TOKEN_MISSING"),
        ] {
            world.refused(caller, SET, set(SECOND, FIRST), code, why).await;
        }

        let read = world
            .done("UserService/GetUser", json!({ "name": user_name(&ann) }))
            .await;
        assert_eq!(read["hasPassword"], true);
        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let list =
            json!({ "parent": "workspaces/acme", "filter": "method = \"/clientele.org.v1.UserService/SetPassword\"" });
        let (entries, _) = world.calls().call(path, &world.member, list).await.unwrap();
        let entries = entries["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        for entry in entries {
            assert_eq!(entry["changes"][0]["changedFields"], json!(["has_password"]));
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_who_prove_the_same_old_password_one_sets_the_new_one() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        world.set_password(&ann, FIRST).await;
        let set = |at: usize| {
            let request =
                json!({ "name": user_name(&ann), "password": format!("{SECOND} {at}"), "oldPassword": FIRST });
            world.call(&ann.caller, SET, request)
        };
        let answers = join_all((0..4).map(set)).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1);
        for status in refused {
            assert_eq!(fields(&status.unwrap_err()), ["old_password"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_reset_gives_a_password_once() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let name = user_name(&ann);
        let service = Caller::with(world.tokens.service("mailer"));
        let mut create = json!({ "name": name, "requestId": Uuid::new_v4().to_string() });
        let preview = json!({ "name": name, "validateOnly": true });
        let preview = world.call(&service, CREATE_RESET, preview).await.unwrap();
        assert_eq!(
            (&preview["token"], &preview["expireTime"], &preview["user"]["uid"]),
            (&json!(""), &Value::Null, &json!(""))
        );
        let issued = world.call(&service, CREATE_RESET, create.clone()).await.unwrap();
        assert_eq!(
            world.call(&service, CREATE_RESET, create.clone()).await.unwrap(),
            issued
        );
        assert_eq!(
            (&issued["resetCount"], &issued["user"]["version"]),
            (&json!(1), &json!("2"))
        );
        assert!(issued["expireTime"].is_string() && issued["user"]["hasPassword"] == false);
        let first = issued["token"].as_str().unwrap();

        create["requestId"] = json!(Uuid::new_v4().to_string());
        let soon = world
            .refused(
                &world.admin,
                CREATE_RESET,
                create.clone(),
                Code::ResourceExhausted,
                "TOKEN_ISSUED_RECENTLY",
            )
            .await;
        assert!(soon.get_details_retry_info().unwrap().retry_delay.is_some());
        for caller in [&world.member, &ann.caller] {
            world
                .refused(
                    caller,
                    CREATE_RESET,
                    create.clone(),
                    Code::PermissionDenied,
                    "CALLER_NOT_ALLOWED",
                )
                .await;
        }
        world.pass_since_resets(60).await;
        let second = world.reset_token(&ann).await;
        world.no_reset(&name, first).await;
        let mut reset = json!({ "name": name, "token": second, "password": FIRST, "validateOnly": true });
        let nobody = Caller::default();
        world.call(&nobody, RESET, reset.clone()).await.unwrap();
        reset["validateOnly"] = json!(false);
        reset["requestId"] = json!(Uuid::new_v4().to_string());
        let answer = world.call(&nobody, RESET, reset.clone()).await.unwrap();
        assert_eq!(answer["hasPassword"], true);
        assert_eq!(world.call(&nobody, RESET, reset).await.unwrap(), answer);
        world.no_reset(&name, &second).await;
        assert!(world.knows(&ann, FIRST).await);
    })
    .await;
}

#[tokio::test]
async fn of_several_who_reset_with_one_token_one_does() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let token = world.reset_token(&ann).await;
        let nobody = Caller::default();
        let reset = |at: usize| {
            let request = json!({ "name": user_name(&ann), "token": token, "password": format!("{SECOND} {at}") });
            world.call(&nobody, RESET, request)
        };
        let answers = join_all((0..8).map(reset)).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        for status in answers.into_iter().filter_map(Result::err) {
            assert_eq!(reason(&status), "RESOURCE_NOT_FOUND", "{status:?}");
        }
    })
    .await;
}

/// How many of 64 wrong passwords, eight at once, were looked at. A minute in which the test is not finished gives one more.
async fn looked_at(world: &World, person: &Person, caller: &Caller) -> usize {
    let wrong = json!({ "name": user_name(person), "password": SECOND, "oldPassword": "tulip-anvil-mosaics" });
    let mut answers = Vec::new();
    for _ in 0..8 {
        // Few enough that a busy machine answers each before its deadline.
        answers.extend(join_all((0..8).map(|_| world.call(caller, SET, wrong.clone()))).await);
    }
    let mut looked_at = 0;
    for status in answers.into_iter().map(Result::unwrap_err) {
        if status.code() == Code::InvalidArgument {
            looked_at += 1;
            continue;
        }
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"),
            "{status:?}"
        );
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    looked_at
}

#[tokio::test]
async fn wrong_passwords_are_looked_at_only_so_often() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let ben = world.add("bakery", "ben@example.com", &[]).await;
        world.set_password(&ann, FIRST).await;
        // Ben has none: it is the same for him.
        for person in [&ann, &ben] {
            let looked_at = looked_at(&world, person, &person.caller).await;
            assert!((10..14).contains(&looked_at), "{looked_at}");
        }
        // The right one does not help by now.
        let right = json!({ "name": user_name(&ann), "password": SECOND, "oldPassword": FIRST });
        world
            .refused(&ann.caller, SET, right, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS")
            .await;
        // Another one does, by an admin or by a reset.
        let preview = json!({ "name": user_name(&ann), "password": FIRST, "validateOnly": true });
        world.done(SET, preview).await;
        let right = json!({ "name": user_name(&ann), "password": SECOND, "oldPassword": FIRST });
        world
            .refused(&ann.caller, SET, right, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS")
            .await;
        world.set_password(&ann, FIRST).await;
        assert!(world.knows(&ann, FIRST).await);
        let token = world.reset_token(&ben).await;
        let reset = json!({ "name": user_name(&ben), "token": token, "password": SECOND });
        world.call(&Caller::default(), RESET, reset).await.unwrap();
        assert!(world.knows(&ben, SECOND).await);
    })
    .await;
}

#[tokio::test]
async fn who_speaks_for_itself_does_not_say_where_it_is() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        world.set_password(&ann, FIRST).await;
        // She is known where she is, and has a budget of her own there, besides that of her account.
        assert!(world.knows(&ann, FIRST).await);
        let elsewhere = Caller {
            client_address: Some("192.0.2.1".to_owned()),
            ..ann.caller.clone()
        };
        let looked_at = looked_at(&world, &ann, &elsewhere).await;
        assert!((20..26).contains(&looked_at), "{looked_at}");

        let get = json!({ "name": ann.member });
        let garbled = |token: String| Caller {
            client_address: Some("somewhere".to_owned()),
            ..Caller::with(token)
        };
        let service = garbled(world.tokens.service("dashboard"));
        let method = "MemberService/GetMember";
        world
            .refused(&service, method, get.clone(), Code::InvalidArgument, "INVALID_HEADER")
            .await;
        let operator = garbled(world.tokens.operator());
        world.call(&operator, method, get).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_password_is_kept_nowhere() {
    on_both_engines(async |engine| {
        let (world, ann) = World::with_ann(engine).await;
        let id = || Uuid::new_v4().to_string();
        let name = user_name(&ann);
        let token = world.reset_token(&ann).await;
        let third = "another-anvil-mosaic";
        let reset = json!({ "name": name, "token": token, "password": FIRST, "requestId": id() });
        world.call(&Caller::default(), RESET, reset).await.unwrap();
        let set = json!({ "name": name, "password": SECOND, "oldPassword": FIRST, "requestId": id() });
        world.call(&ann.caller, SET, set.clone()).await.unwrap();
        world.call(&ann.caller, SET, set).await.unwrap();
        let (invitation, its_token) = world.invite_to(BAKERY, "ben@example.com").await;
        let accept = json!({ "name": invitation, "token": its_token, "password": third, "requestId": id() });
        world.call(&Caller::default(), ACCEPT, accept).await.unwrap();
        let secrets = [FIRST, SECOND, third, &token, &its_token];
        let holds_none = |what: &str, bytes: &[u8], secrets: &[&str]| {
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{what} has {secret}");
            }
        };
        // What is told has no hash of a password either.
        let told = [&secrets[..], &["argon2"]].concat();

        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let parent = "workspaces/acme".to_owned();
        let request = ListEntriesRequest {
            parent: parent.clone(),
            page_size: 500,
            ..Default::default()
        };
        let calls = world.calls();
        let entries = calls.raw(path, &world.member, request.encode_to_vec().into()).await;
        holds_none("the journal", &entries.unwrap().0, &told);
        let start = Some(Start::InitialState(InitialState {}));
        let watch = WatchRequest {
            parent,
            start,
            ..Default::default()
        };
        let feed = world.journal().watch(world.admin.request(watch)).await;
        let mut feed = feed.unwrap().into_inner();
        let mut users = 0;
        while let Some(Item::Entry(entry)) = feed.message().await.unwrap().unwrap().item {
            holds_none("the feed", &entry.encode_to_vec(), &told);
            let changes = entry.changes.iter();
            users += changes.filter(|change| change.resource.contains("/users/")).count();
        }
        assert_eq!(users, 2);

        if engine == Engine::Sqlite {
            let url = world.service.config.database.expose();
            let file = url.strip_prefix("sqlite://").unwrap();
            for file in [file.to_owned(), format!("{file}-wal")] {
                holds_none(&file, &std::fs::read(&file).unwrap(), &secrets);
            }
        } else {
            let database = world.database().await;
            for table in ["users", "journal", "invitations", "members"] {
                let select = format!("SELECT {table}::text AS line FROM {table}");
                let select = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, select);
                let rows = database.query_all_raw(select).await.unwrap();
                assert!(!rows.is_empty());
                for row in rows {
                    let line: String = row.try_get("", "line").unwrap();
                    for secret in secrets {
                        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                        assert!(!line.contains(secret) && !line.contains(&hex), "{table} has {secret}");
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_log_has_a_password_or_what_is_kept_of_it() {
    let (world, ann) = World::with_ann(Engine::Sqlite).await;
    let server = Logged::start(&world).await;
    let name = user_name(&ann);
    let nobody = Caller::default();
    let issued = server
        .call(&world.admin, CREATE_RESET, json!({ "name": name }))
        .await
        .unwrap();
    let token = issued["token"].as_str().unwrap();
    let reset = json!({ "name": name, "token": token, "password": FIRST });
    server.call(&nobody, RESET, reset.clone()).await.unwrap();
    server.call(&nobody, RESET, reset.clone()).await.unwrap_err();
    let set = |old: &str, new: &str| json!({ "name": name, "password": new, "oldPassword": old });
    for (old, new) in [("not-this-one", SECOND), (FIRST, "password1234")] {
        server.call(&ann.caller, SET, set(old, new)).await.unwrap_err();
    }
    server.call(&ann.caller, SET, set(FIRST, SECOND)).await.unwrap();
    let kept = world.database().await;
    let select = "SELECT password_hash AS kept FROM users WHERE password_hash IS NOT NULL";
    let select = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, select);
    let row = kept.query_one_raw(select).await.unwrap().unwrap();
    let hash: String = row.try_get("", "kept").unwrap();
    assert!(hash.starts_with("$argon2id$"));
    // A fault of the service is logged with its cause.
    let rename = "ALTER TABLE users RENAME TO lost";
    kept.execute_unprepared(rename).await.unwrap();
    let fault = server.call(&world.admin, SET, set("", SECOND)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Internal);
    let log = server.stop();
    assert!(
        log.contains("connection accepted") && log.contains("a call failed"),
        "{log}"
    );
    for secret in [FIRST, SECOND, "not-this-one", "password1234", token, &hash, "$argon2id"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

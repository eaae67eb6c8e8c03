//! Canned responses.

mod access;
mod batch;
mod journal;
mod plans;
mod search;

use crate::{BAKERY, World, coded, refused};
use clientele_api::org::organization::State;
use clientele_api::settings::SettingsValues;
use clientele_testkit::{Caller, ClientUser, OrgTeam, on_both_engines, patiently};
use futures::future::join_all;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

const CAFE: &str = "workspaces/acme/organizations/cafe";

impl World {
    /// Calls a method of the service.
    pub(crate) async fn canned(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, Status> {
        let path = format!("/clientele.settings.v1.CannedResponseService/{method}");
        let answer = self.calls().call(&path, caller, request).await;
        answer.map(|(answer, _)| answer)
    }

    pub(crate) async fn create_canned(&self, caller: &Caller, response: Value) -> Result<Value, Status> {
        let request = json!({ "parent": BAKERY, "cannedResponse": response });
        self.canned(caller, "CreateCannedResponse", request).await
    }

    async fn get_canned(&self, caller: &Caller, name: &Value) -> Result<Value, Status> {
        self.canned(caller, "GetCannedResponse", json!({ "name": name })).await
    }

    async fn update_canned(&self, caller: &Caller, response: Value) -> Result<Value, Status> {
        let request = json!({ "cannedResponse": response });
        self.canned(caller, "UpdateCannedResponse", request).await
    }

    async fn delete_canned(&self, caller: &Caller, name: &Value) -> Result<Value, Status> {
        self.canned(caller, "DeleteCannedResponse", json!({ "name": name }))
            .await
    }

    /// The short codes of those that the caller lists, read in pages of two.
    pub(crate) async fn listed(&self, caller: &Caller, filter: &str) -> Vec<String> {
        let request = json!({ "parent": BAKERY, "filter": filter, "pageSize": 2 });
        self.paged(caller, "ListCannedResponses", request).await
    }

    /// The short codes of those that the caller finds, read in pages of two.
    async fn searched(&self, caller: &Caller, query: &str) -> Vec<String> {
        let request = json!({ "parent": BAKERY, "query": query, "pageSize": 2 });
        self.paged(caller, "SearchCannedResponses", request).await
    }

    async fn paged(&self, caller: &Caller, method: &str, mut request: Value) -> Vec<String> {
        let mut codes = Vec::new();
        loop {
            let page = self.canned(caller, method, request.clone()).await.unwrap();
            let found = page["cannedResponses"].as_array().unwrap();
            codes.extend(found.iter().map(|one| one["shortCode"].as_str().unwrap().to_owned()));
            if page["nextPageToken"] == "" {
                return codes;
            }
            request["pageToken"] = page["nextPageToken"].clone();
        }
    }

    /// Offers canned responses to the users of `bakery`, or does so no more.
    pub(crate) async fn offer_canned(&self, enabled: bool) {
        let values = SettingsValues {
            canned_responses_enabled: Some(enabled),
            ..Default::default()
        };
        self.set(values).await.unwrap();
    }

    /// A user of `bakery` with these built-in roles.
    pub(crate) async fn user(&self, roles: &[&str]) -> (ClientUser, Caller) {
        let user = ClientUser::with_roles(&self.feed, self.acme, &self.bakery, roles);
        let caller = user.caller(&self.tokens);
        self.hear().await;
        (user, caller)
    }

    /// A team of `bakery` with these users in it.
    pub(crate) async fn create_team(&self, key: &str, members: &[&ClientUser]) -> OrgTeam {
        let members: Vec<&str> = members.iter().map(|member| member.user.uid.as_str()).collect();
        let team = OrgTeam::create(&self.feed, self.acme, &self.bakery, key, &members);
        self.hear().await;
        team
    }
}

/// A canned response of the organization.
pub(crate) fn canned(code: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_ORGANIZATION" })
}

/// A canned response that its writer keeps for itself.
pub(crate) fn personal(code: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_PERSONAL" })
}

/// A canned response of a team of `bakery`.
pub(crate) fn of_team(code: &str, key: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_TEAM", "team": format!("{BAKERY}/teams/{key}") })
}

/// With other fields.
pub(crate) fn with(mut response: Value, fields: Value) -> Value {
    for (field, value) in fields.as_object().unwrap() {
        response[field] = value.clone();
    }
    response
}

/// The paths of the fields that broke rules.
fn fields(status: Status) -> Vec<String> {
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn what_is_created_is_answered_got_listed_changed_and_deleted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let full = json!({
            "shortCode": "Hours",
            "title": "Opening hours",
            "text": "Hi {{ name }}, we are open\n\tfrom {{from}} to {{to}}, {{name}}.",
            "scope": "SCOPE_ORGANIZATION",
            "language": "ger",
            "tags": ["ä \"quoted\"", "b"],
        });
        let created = world.create_canned(&world.admin, full.clone()).await.unwrap();
        let uid = created["uid"].as_str().unwrap();
        assert_eq!(created["name"], format!("{BAKERY}/cannedResponses/{uid}"));
        assert_eq!((&created["version"], &created["language"]), (&json!("1"), &json!("de")));
        assert_eq!(created["variables"], json!(["name", "from", "to"]));
        for field in ["shortCode", "title", "text", "scope", "tags"] {
            assert_eq!(created[field], full[field], "{field}");
        }
        assert_eq!((&created["owner"], &created["teamUid"]), (&json!(""), &json!("")));
        assert_eq!(created["createTime"], created["updateTime"]);
        for caller in [&world.admin, &world.member] {
            assert_eq!(world.get_canned(caller, &created["name"]).await.unwrap(), created);
        }
        let other = world.create_canned(&world.admin, canned("other")).await.unwrap();
        for absent in ["title", "language"] {
            assert_eq!(other[absent], "");
        }
        world.create_canned(&world.admin, canned("third")).await.unwrap();
        assert_eq!(world.listed(&world.member, "").await, ["Hours", "other", "third"]);

        let change = json!({ "name": created["name"], "etag": created["etag"], "text": "Bye {{a}}.", "scope": "SCOPE_ORGANIZATION" });
        let changed = world.update_canned(&world.admin, change.clone()).await.unwrap();
        assert_eq!((&changed["version"], &changed["variables"]), (&json!("2"), &json!(["a"])));
        assert_eq!((&changed["title"], &changed["createTime"]), (&created["title"], &created["createTime"]));
        let status = world.update_canned(&world.admin, change).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
        let same = json!({ "name": created["name"], "text": "Bye {{a}}." });
        assert_eq!(world.update_canned(&world.admin, same).await.unwrap(), changed);
        let clear = json!({
            "cannedResponse": { "name": created["name"] },
            "updateMask": "title,language,tags",
        });
        let cleared = world.canned(&world.admin, "UpdateCannedResponse", clear).await.unwrap();
        assert_eq!(
            (&cleared["title"], &cleared["language"], &cleared["tags"]),
            (&json!(""), &json!(""), &json!([]))
        );

        let stale = json!({ "name": created["name"], "etag": created["etag"] });
        let status = world.canned(&world.admin, "DeleteCannedResponse", stale).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
        world.delete_canned(&world.admin, &created["name"]).await.unwrap();
        for status in [
            world.get_canned(&world.member, &created["name"]).await.unwrap_err(),
            world.delete_canned(&world.admin, &created["name"]).await.unwrap_err(),
            world.update_canned(&world.admin, json!({ "name": created["name"], "title": "T" })).await.unwrap_err(),
            world.get_canned(&world.member, &json!(format!("{BAKERY}/cannedResponses/nothing"))).await.unwrap_err(),
        ] {
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
        assert_eq!(world.listed(&world.member, "").await, ["other", "third"]);
        // Of another organization it is not there.
        world.feed.create_organization(world.acme, CAFE);
        world.hear().await;
        let elsewhere = json!(other["name"].as_str().unwrap().replace(BAKERY, CAFE));
        let status = world.get_canned(&world.member, &elsewhere).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_its_field() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let name = world.create_canned(&world.admin, canned("here")).await.unwrap()["name"].clone();
        let long = |characters: usize| "ä".repeat(characters);
        let numbered = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
        let many = |count: usize| (0..count).map(|at| format!("{{{{v{at}}}}}")).collect::<String>();
        for (field, good, bad) in [
            (
                "shortCode",
                json!([long(64), "a\\b", "%_'\"{{", "+1", "東京"]),
                json!(["", long(65), "a b", "a/b", "/", "a\u{a0}b", "a\nb", " a", "\u{0}", "a\u{2028}b"]),
            ),
            (
                "title",
                json!(["", long(200), "'; DROP TABLE x --"]),
                json!([long(201), "a\nb", " a", "a\u{0}"]),
            ),
            (
                "text",
                json!([long(4_000), " ", "a\n\tb", "{ {a} }", "}}", "{{ a.b_1 }}", many(50)]),
                json!(["", long(4_001), "a\u{0}", "a\r\n", "{{", "{{1}}", "{{a", "{{{a}}}", many(51)]),
            ),
            ("language", json!(["", "de", "pt-BR"]), json!(["xx", "english", "d"])),
            (
                "tags",
                json!([[], numbered(20), [long(64)]]),
                json!([numbered(21), [long(65)], [""], ["a", "a"], [" a"]]),
            ),
        ] {
            let path = format!("canned_response.{}", if field == "shortCode" { "short_code" } else { field });
            for (at, value) in good.as_array().unwrap().iter().enumerate() {
                let response = with(canned(&format!("{field}{at}")), json!({ field: value }));
                let created = world.create_canned(&world.admin, response).await;
                created.unwrap_or_else(|status| panic!("{field} {value}: {status:?}"));
            }
            for value in bad.as_array().unwrap() {
                let response = with(canned("bad"), json!({ field: value }));
                let status = world.create_canned(&world.admin, response).await.unwrap_err();
                assert_eq!(fields(status), [path.as_str()], "{field} {value}");
                let response = json!({ "name": name, field: value });
                let mask = path.trim_start_matches("canned_response.");
                let request = json!({ "cannedResponse": response, "updateMask": if mask == "short_code" { "shortCode" } else { mask } });
                let status = world.canned(&world.admin, "UpdateCannedResponse", request).await.unwrap_err();
                assert_eq!(fields(status), [path.as_str()], "{field} {value}");
            }
        }
        // All at once.
        let status = world.create_canned(&world.admin, json!({ "language": "xx" })).await.unwrap_err();
        let all = ["scope", "short_code", "text", "language"].map(|field| format!("canned_response.{field}"));
        assert_eq!(fields(status), all);
        let status = world.create_canned(&world.admin, with(canned("a"), json!({ "scope": 9 }))).await.unwrap_err();
        assert_eq!(fields(status), ["canned_response.scope"]);
    })
    .await;
}

#[tokio::test]
async fn a_short_code_is_there_once_for_each_readers_and_language() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&["org-admin"]).await;
        let (_, bobs) = world.user(&[]).await;
        world.create_team("sales", &[&ann]).await;
        world.create_team("night", &[]).await;
        let first = world.create_canned(&world.admin, canned("Öffnung")).await.unwrap();
        for code in ["Öffnung", "ÖFFNUNG", "o\u{308}ffnung"] {
            let status = world.create_canned(&world.admin, canned(code)).await.unwrap_err();
            assert_eq!(status.get_details_resource_info().unwrap().resource_name, first["name"]);
            assert_eq!(
                coded(status),
                refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"),
                "{code}"
            );
        }
        let german = with(canned("öffnung"), json!({ "language": "de" }));
        for (caller, response) in [
            (&world.admin, german.clone()),
            (&world.admin, canned("offnung")),
            (&world.admin, of_team("öffnung", "sales")),
            (&world.admin, of_team("öffnung", "night")),
            (&anns, personal("öffnung")),
            (&bobs, personal("öffnung")),
        ] {
            world.create_canned(caller, response.clone()).await.unwrap();
            let status = world.create_canned(caller, response).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"));
        }
        // By a change of code or language too; not by what changes nothing of it.
        let other = world.create_canned(&world.admin, canned("other")).await.unwrap();
        let taken = json!({ "name": other["name"], "shortCode": "ÖFFNUNG" });
        let status = world.update_canned(&world.admin, taken).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"));
        let taken = json!({ "name": first["name"], "language": "de" });
        let status = world.update_canned(&world.admin, taken).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"));
        let upper = json!({ "name": first["name"], "shortCode": "ÖFFNUNG" });
        assert_eq!(
            world.update_canned(&world.admin, upper).await.unwrap()["shortCode"],
            "ÖFFNUNG"
        );
        // What is deleted takes no code.
        world.delete_canned(&world.admin, &first["name"]).await.unwrap();
        world.create_canned(&world.admin, canned("öffnung")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_those_who_create_the_same_at_the_same_moment_one_does() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let create = |at: usize| {
            let code = if at.is_multiple_of(2) { "hours" } else { "Hours" };
            world.create_canned(&world.admin, canned(code))
        };
        let outcomes = join_all((0..16).map(create)).await;
        let (created, taken): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((created.len(), taken.len()), (1, 15));
        for status in taken.into_iter().map(Result::unwrap_err) {
            assert_eq!(coded(status), refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"));
        }
    })
    .await;
}

#[tokio::test]
async fn each_has_so_many_of_its_own_and_no_more_however_many_call() {
    // So much that the callers have their connections when it comes to the last ones.
    const ROOM: usize = 40;
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (_, anns) = world.user(&[]).await;
        world.create_team("sales", &[]).await;
        for batch in 0..4 {
            let count = if batch == 3 { 500 - ROOM } else { 500 };
            let rows: Vec<Value> = (0..count).map(|at| canned(&format!("c{batch}-{at}"))).collect();
            let request = json!({ "parent": BAKERY, "cannedResponses": rows });
            world.canned(&world.admin, "BatchUpsertCannedResponses", request).await.unwrap();
        }
        let create = async |at: usize| {
            let request_id = Uuid::new_v4().to_string();
            let response = canned(&format!("last{at}"));
            let request = json!({ "parent": BAKERY, "cannedResponse": response, "requestId": request_id });
            patiently(|| world.canned(&world.admin, "CreateCannedResponse", request.clone())).await
        };
        let mut created: Vec<Value> = Vec::new();
        for _ in 0..3 {
            for response in &created {
                world.delete_canned(&world.admin, &response["name"]).await.unwrap();
            }
            created.clear();
            for outcome in join_all((0..64).map(create)).await {
                match outcome {
                    Ok(response) => created.push(response),
                    Err(status) => {
                        let metadata = status.get_details_error_info().unwrap().metadata;
                        assert_eq!((metadata["limit"].as_str(), metadata["used"].as_str()), ("2000", "2000"));
                        assert_eq!(coded(status), refused(Code::ResourceExhausted, "LIMIT_REACHED"));
                    }
                }
            }
            assert_eq!(created.len(), ROOM);
        }
        let over = json!({ "parent": BAKERY, "cannedResponses": [canned("over"), of_team("a", "sales")] });
        let status = world.canned(&world.admin, "BatchUpsertCannedResponses", over).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::ResourceExhausted, "LIMIT_REACHED"));
        // What is there can be replaced; teams and people have as many of their own.
        let there = json!({ "parent": BAKERY, "cannedResponses": [with(canned("c0-0"), json!({ "title": "T" })), of_team("a", "sales")] });
        world.canned(&world.admin, "BatchUpsertCannedResponses", there).await.unwrap();
        world.create_canned(&anns, personal("a")).await.unwrap();
        world.delete_canned(&world.admin, &created[0]["name"]).await.unwrap();
        world.create_canned(&world.admin, canned("room")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_reads_it_stays_who_reads_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&[]).await;
        world.create_team("sales", &[]).await;
        world.create_team("night", &[]).await;
        let team = world.create_canned(&world.admin, of_team("a", "sales")).await.unwrap();
        let own = world.create_canned(&anns, personal("a")).await.unwrap();
        let owner = format!("{BAKERY}/members/{}", ann.user.uid);
        assert_eq!((&own["owner"], &own["team"]), (&json!(owner), &Value::Null));
        let of_night = format!("{BAKERY}/teams/night");
        for (caller, response, change, field) in [
            (&world.admin, &team, json!({ "scope": "SCOPE_ORGANIZATION" }), "scope"),
            (&world.admin, &team, json!({ "scope": "SCOPE_UNSPECIFIED" }), "scope"),
            (&world.admin, &team, json!({ "team": of_night }), "team"),
            (&world.admin, &team, json!({ "team": "" }), "team"),
            (&anns, &own, json!({ "scope": "SCOPE_ORGANIZATION" }), "scope"),
            (&anns, &own, json!({ "team": of_night }), "team"),
        ] {
            let change = with(json!({ "name": response["name"], "title": "T" }), change);
            let status = world.update_canned(caller, change).await.unwrap_err();
            assert_eq!(fields(status), [format!("canned_response.{field}")]);
        }
        for mask in ["scope", "team"] {
            let request = json!({ "cannedResponse": team, "updateMask": mask });
            let status = world
                .canned(&world.admin, "UpdateCannedResponse", request)
                .await
                .unwrap_err();
            assert_eq!(fields(status), ["update_mask"]);
        }
        // What was answered can be sent back, changed.
        for (caller, response) in [(&world.admin, &team), (&anns, &own)] {
            let mut changed = response.clone();
            changed["title"] = json!("T");
            for request in [
                json!({ "cannedResponse": changed, "updateMask": "*" }),
                json!({ "cannedResponse": with(changed.clone(), json!({ "title": "U", "etag": "" })) }),
            ] {
                let after = world.canned(caller, "UpdateCannedResponse", request).await.unwrap();
                for field in ["scope", "team", "teamUid", "owner"] {
                    assert_eq!(after[field], response[field]);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_team_is_named_with_its_scope_and_only_with_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.create_organization(world.acme, CAFE);
        let mut sales = world.create_team("sales", &[]).await;
        for (response, field) in [
            (
                with(canned("a"), json!({ "team": format!("{BAKERY}/teams/sales") })),
                "team",
            ),
            (with(of_team("a", "sales"), json!({ "team": "" })), "team"),
            (with(of_team("a", "sales"), json!({ "team": "sales" })), "team"),
            (
                with(of_team("a", "sales"), json!({ "team": format!("{CAFE}/teams/sales") })),
                "team",
            ),
            (of_team("a", "a/b"), "team"),
            (personal("a"), "scope"),
            (with(canned("a"), json!({ "scope": "SCOPE_UNSPECIFIED" })), "scope"),
        ] {
            let status = world.create_canned(&world.admin, response).await.unwrap_err();
            assert_eq!(fields(status), [format!("canned_response.{field}")]);
        }
        let status = world
            .create_canned(&world.admin, of_team("a", "nobody"))
            .await
            .unwrap_err();
        assert_eq!(status.get_details_resource_info().unwrap().resource_type, "Team");
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        // By a key that it had before too; as it was named, so it is answered.
        let by_key = world.create_canned(&world.admin, of_team("a", "sales")).await.unwrap();
        sales.rename("first_line");
        world.hear().await;
        let by_alias = world.create_canned(&world.admin, of_team("b", "sales")).await.unwrap();
        let by_new_key = world
            .create_canned(&world.admin, of_team("c", "first_line"))
            .await
            .unwrap();
        for (response, key) in [(&by_key, "sales"), (&by_alias, "sales"), (&by_new_key, "first_line")] {
            assert_eq!(response["team"], format!("{BAKERY}/teams/{key}"));
            assert_eq!(response["teamUid"], sales.team.uid);
        }
        let status = world
            .create_canned(&world.admin, of_team("c", "sales"))
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::AlreadyExists, "SHORT_CODE_TAKEN"));
        sales.delete();
        world.hear().await;
        let status = world
            .create_canned(&world.admin, of_team("d", "first_line"))
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        // Its own can still be changed and deleted.
        let change = json!({ "name": by_key["name"], "title": "T" });
        world.update_canned(&world.admin, change).await.unwrap();
        world.delete_canned(&world.admin, &by_key["name"]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&[]).await;
        let sales = world.create_team("sales", &[&ann]).await;
        let german = json!({ "language": "de", "tags": ["a'b", "x"] });
        world
            .create_canned(&world.admin, with(canned("one"), german.clone()))
            .await
            .unwrap();
        world
            .create_canned(&world.admin, with(of_team("two", "sales"), json!({ "tags": ["x"] })))
            .await
            .unwrap();
        world
            .create_canned(&anns, with(personal("three"), german))
            .await
            .unwrap();
        let of_sales = format!("team_uid = \"{}\"", sales.team.uid);
        let of_bakery = format!("team_uid = \"{}\"", world.bakery.uid);
        for (filter, codes) in [
            ("", &["one", "two", "three"][..]),
            ("scope = ORGANIZATION", &["one"]),
            ("scope = TEAM", &["two"]),
            ("scope = PERSONAL", &["three"]),
            ("scope = PERSONAL AND scope = TEAM", &[]),
            (&of_sales, &["two"]),
            (&of_bakery, &[]),
            ("language = de", &["one", "three"]),
            ("language = \"ger\"", &["one", "three"]),
            ("language = \"\"", &["two"]),
            ("tag = \"a'b\"", &["one", "three"]),
            ("tag = x AND language = de AND scope = ORGANIZATION", &["one"]),
            ("tag = X", &[]),
        ] {
            assert_eq!(world.listed(&anns, filter).await, codes, "{filter}");
            let search = json!({ "parent": BAKERY, "query": "h", "filter": filter, "pageSize": 1 });
            let mut found = world.paged(&anns, "SearchCannedResponses", search).await;
            found.sort_by_key(|code| codes.iter().position(|one| one == code));
            assert_eq!(found, codes, "{filter}");
        }
        for filter in [
            "scope = all",
            "scope = UNSPECIFIED",
            "team_uid = sales",
            "language = xx",
            "owner = x",
            "scope < TEAM",
            "tag",
        ] {
            for method in ["ListCannedResponses", "SearchCannedResponses"] {
                let request = json!({ "parent": BAKERY, "filter": filter });
                let status = world.canned(&anns, method, request).await.unwrap_err();
                assert_eq!(fields(status), ["filter"], "{filter}");
            }
        }
        // A token is of its list only.
        let page = json!({ "parent": BAKERY, "pageSize": 1 });
        let first = world.canned(&anns, "ListCannedResponses", page.clone()).await.unwrap();
        let token = json!({ "pageToken": first["nextPageToken"] });
        for (method, request) in [
            (
                "ListCannedResponses",
                with(page.clone(), json!({ "filter": "scope = TEAM" })),
            ),
            ("SearchCannedResponses", page),
        ] {
            let status = world
                .canned(&anns, method, with(request, token.clone()))
                .await
                .unwrap_err();
            assert_eq!(coded(status), refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        }
    })
    .await;
}

#[tokio::test]
async fn values_are_put_in_the_places_of_variables() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let text = "Hi {{ name }}, {{a.b}}{{c}} {{name}}";
        let name = world
            .create_canned(&world.admin, with(canned("a"), json!({ "text": text })))
            .await
            .unwrap()["name"]
            .clone();
        let render = async |variables: Value| {
            let request = json!({ "name": name, "variables": variables });
            world.canned(&world.member, "RenderCannedResponse", request).await
        };
        let rendered = render(json!({ "name": "{{c}}\n\t", "a.b": "", "other": "x" }))
            .await
            .unwrap();
        assert_eq!(
            rendered,
            json!({ "text": "Hi {{c}}\n\t, {{c}} {{c}}\n\t", "missingVariables": ["c"] })
        );
        let rendered = render(json!({})).await.unwrap();
        assert_eq!(
            rendered,
            json!({ "text": text, "missingVariables": ["name", "a.b", "c"] })
        );
        let many = |count: usize| {
            (0..count)
                .map(|at| (format!("v{at}"), json!("")))
                .collect::<serde_json::Map<_, _>>()
        };
        render(Value::Object(many(100))).await.unwrap();
        for (variables, field) in [
            (Value::Object(many(101)), "variables"),
            (json!({ "name": "ä".repeat(4_001) }), "variables.name"),
            (json!({ "other": "a\u{0}" }), "variables.other"),
            (json!({ "c": "a\r" }), "variables.c"),
            (json!({ "x".repeat(10_000): "\u{7}" }), "variables"),
        ] {
            assert_eq!(fields(render(variables).await.unwrap_err()), [field]);
        }
        let change = json!({ "name": name, "text": "{{a}}".repeat(800) });
        world.update_canned(&world.admin, change).await.unwrap();
        render(json!({ "a": "ä".repeat(25) })).await.unwrap();
        let status = render(json!({ "a": "ä".repeat(26) })).await.unwrap_err();
        assert!(
            status.get_details_bad_request().unwrap().field_violations[0]
                .description
                .ends_with("not 20800")
        );
        assert_eq!(fields(status), ["variables"]);
    })
    .await;
}

#[tokio::test]
async fn while_they_are_off_they_are_kept_and_hidden_from_users_of_the_organization() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&["org-admin"]).await;
        world.create_team("sales", &[&ann]).await;
        let mut before = Vec::new();
        for response in [canned("a"), of_team("b", "sales"), personal("c")] {
            before.push(world.create_canned(&anns, response).await.unwrap());
        }
        world.offer_canned(false).await;
        let as_ann = Caller::with(world.tokens.staff_as_user(&ann.user.uid, &world.bakery.uid));
        for caller in [&anns, &as_ann] {
            assert!(world.listed(caller, "").await.is_empty() && world.searched(caller, "").await.is_empty());
            for response in &before {
                let name = json!({ "name": response["name"] });
                for method in ["GetCannedResponse", "RenderCannedResponse"] {
                    let status = world.canned(caller, method, name.clone()).await.unwrap_err();
                    assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
                }
                let update = json!({ "cannedResponse": { "name": response["name"], "title": "T" } });
                for (method, request) in [("UpdateCannedResponse", update), ("DeleteCannedResponse", name)] {
                    let status = world.canned(caller, method, request).await.unwrap_err();
                    assert_eq!(
                        coded(status),
                        refused(Code::FailedPrecondition, "CANNED_RESPONSES_DISABLED")
                    );
                }
            }
            let batch = json!({ "parent": BAKERY, "cannedResponses": [personal("d")] });
            for status in [
                world.create_canned(caller, personal("d")).await.unwrap_err(),
                world
                    .canned(caller, "BatchUpsertCannedResponses", batch)
                    .await
                    .unwrap_err(),
            ] {
                assert_eq!(
                    coded(status),
                    refused(Code::FailedPrecondition, "CANNED_RESPONSES_DISABLED")
                );
            }
            // What is wrong is told all the same.
            let status = world
                .canned(
                    caller,
                    "ListCannedResponses",
                    json!({ "parent": BAKERY, "filter": "x" }),
                )
                .await;
            assert_eq!(fields(status.unwrap_err()), ["filter"]);
        }
        // Staff and services go on.
        let service = Caller::with(world.tokens.service("dashboard"));
        assert_eq!(world.listed(&world.member, "").await, ["a", "b"]);
        assert_eq!(world.get_canned(&service, &before[0]["name"]).await.unwrap(), before[0]);
        world.create_canned(&world.admin, canned("e")).await.unwrap();
        world.offer_canned(true).await;
        for response in &before {
            assert_eq!(world.get_canned(&anns, &response["name"]).await.unwrap(), *response);
        }
        assert_eq!(world.listed(&anns, "").await, ["a", "b", "c", "e"]);
        // By the workspace's default too.
        let clear = ["overrides.canned_responses_enabled"];
        world.clear(&clear).await.unwrap();
        assert!(world.listed(&anns, "").await.is_empty());
        let default = SettingsValues {
            canned_responses_enabled: Some(true),
            ..Default::default()
        };
        world.set_defaults(default).await.unwrap();
        assert_eq!(world.listed(&anns, "").await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn of_a_deleted_organization_everything_is_read_and_nothing_written() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_canned(&world.admin, canned("a")).await.unwrap();
        let suspended = world
            .change(&world.bakery, |bakery| bakery.set_state(State::Suspended))
            .await;
        world.create_canned(&world.admin, canned("b")).await.unwrap();
        world
            .change(&suspended, |bakery| bakery.set_state(State::Deleted))
            .await;
        assert_eq!(
            world.get_canned(&world.member, &created["name"]).await.unwrap(),
            created
        );
        assert_eq!(world.listed(&world.member, "").await, ["a", "b"]);
        assert_eq!(world.searched(&world.member, "b").await, ["b"]);
        let batch = json!({ "parent": BAKERY, "cannedResponses": [canned("d")] });
        for status in [
            world.create_canned(&world.admin, canned("c")).await.unwrap_err(),
            world
                .update_canned(&world.admin, json!({ "name": created["name"], "title": "T" }))
                .await
                .unwrap_err(),
            world.delete_canned(&world.admin, &created["name"]).await.unwrap_err(),
            world
                .canned(&world.admin, "BatchUpsertCannedResponses", batch)
                .await
                .unwrap_err(),
        ] {
            assert_eq!(coded(status), refused(Code::FailedPrecondition, "ORGANIZATION_DELETED"));
        }
    })
    .await;
}

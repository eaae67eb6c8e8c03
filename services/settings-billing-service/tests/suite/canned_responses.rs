//! Canned responses.

use crate::{BAKERY, World, coded, refused};
use clientele_api::settings::SettingsValues;
use clientele_testkit::{Caller, ClientUser, OrgTeam, on_both_engines};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const CAFE: &str = "workspaces/acme/organizations/cafe";

impl World {
    /// Calls a method of the service.
    async fn canned(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, Status> {
        let path = format!("/clientele.settings.v1.CannedResponseService/{method}");
        let answer = self.calls().call(&path, caller, request).await;
        answer.map(|(answer, _)| answer)
    }

    async fn create_canned(&self, caller: &Caller, response: Value) -> Result<Value, Status> {
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
    async fn listed(&self, caller: &Caller, filter: &str) -> Vec<String> {
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
    async fn offer_canned(&self, enabled: bool) {
        let values = SettingsValues {
            canned_responses_enabled: Some(enabled),
            ..Default::default()
        };
        self.set(values).await.unwrap();
    }

    /// A user of `bakery` with these built-in roles.
    async fn user(&self, roles: &[&str]) -> (ClientUser, Caller) {
        let user = ClientUser::with_roles(&self.feed, self.acme, &self.bakery, roles);
        let caller = user.caller(&self.tokens);
        self.hear().await;
        (user, caller)
    }

    /// A team of `bakery` with these users in it.
    async fn create_team(&self, key: &str, members: &[&ClientUser]) -> OrgTeam {
        let members: Vec<&str> = members.iter().map(|member| member.user.uid.as_str()).collect();
        let team = OrgTeam::create(&self.feed, self.acme, &self.bakery, key, &members);
        self.hear().await;
        team
    }
}

/// A canned response of the organization.
fn canned(code: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_ORGANIZATION" })
}

/// A canned response that its writer keeps for itself.
fn personal(code: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_PERSONAL" })
}

/// A canned response of a team of `bakery`.
fn of_team(code: &str, key: &str) -> Value {
    json!({ "shortCode": code, "text": "Hi.", "scope": "SCOPE_TEAM", "team": format!("{BAKERY}/teams/{key}") })
}

/// With other fields.
fn with(mut response: Value, fields: Value) -> Value {
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

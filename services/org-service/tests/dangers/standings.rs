//! What client users may do, remembered by two replicas on one database.

use crate::{World, create};
use clientele_testkit::{Caller, Calls, Engine, Running, until};
use serde_json::{Value, json};
use std::time::Duration;

const MEMBER: &str = "/clientele.org.v1.MemberService";
const BAKERY: &str = "workspaces/acme/organizations/bakery";

/// What the replica answers; the permissions that Ann holds of two.
async fn held(calls: &Calls, caller: &Caller, member: &str) -> Value {
    let request = json!({ "name": member, "permissions": ["home.view", "leads.view"] });
    let (answer, _) = calls
        .call(&format!("{MEMBER}/TestPermissions"), caller, request)
        .await
        .unwrap();
    answer["permissions"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_remembers_hears_of_what_the_other_takes_away() {
    let world = World::start(Engine::Postgres).await;
    let other = Running::start(&world.service).await;
    let (here, there) = (Calls::new(world.channel.clone()), Calls::new(other.channel().await));
    world.create(create("bakery")).await.unwrap();
    let done = async |method: &str, request: Value| {
        here.call(&format!("{MEMBER}/{method}"), &world.admin, request)
            .await
            .unwrap()
    };
    let new = json!({ "parent": BAKERY, "newUser": { "email": "ann@example.com" }, "member": { "roles": ["member"] } });
    let (member, headers) = done("CreateMember", new).await;
    let name = member["name"].as_str().unwrap();
    let mut caller = world.operator.clone();
    caller.min_revision = Some(headers.get("clientele-revision").unwrap().to_str().unwrap().to_owned());
    assert_eq!(held(&there, &caller, name).await, json!(["home.view"]));
    let forgetful = world.operator.clone();
    for round in 0..20 {
        let (role, expected) = [
            ("viewer", json!(["home.view", "leads.view"])),
            ("member", json!(["home.view"])),
        ][round % 2]
            .clone();
        held(&there, &forgetful, name).await; // so that it is remembered there
        let (_, headers) = done("UpdateMember", json!({ "member": { "name": name, "roles": [role] } })).await;
        // Here at once; there at once for who has seen it; there for everybody as soon as the feed is there.
        assert_eq!(held(&here, &forgetful, name).await, expected);
        if round % 4 < 2 {
            caller.min_revision = Some(headers.get("clientele-revision").unwrap().to_str().unwrap().to_owned());
            assert_eq!(held(&there, &caller, name).await, expected);
        }
        let heard = async || held(&there, &forgetful, name).await == expected;
        until(Duration::from_secs(5), "the other replica hears of it", heard).await;
    }
    other.stop().await;
}

//! Calls whose answer is lost.

use crate::{World, create};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, Organization, UpdateOrganizationRequest};
use clientele_testkit::{Engine, Proxy, until};
use std::time::Duration;
use tonic::transport::Endpoint;
use uuid::Uuid;

async fn a_repeated_request_id_has_one_effect_and_the_first_answer(engine: Engine) {
    let world = World::start(engine).await;
    let service = format!("http://{}", world.running.address);
    let proxy = Proxy::start(&service).await;
    let endpoint = Endpoint::from_shared(proxy.url(&service)).unwrap();
    // The id of the second one is derived: tried again, it would be another one.
    for (at, organization_id) in ["bakery", ""].into_iter().enumerate() {
        let request = CreateOrganizationRequest {
            organization_id: organization_id.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..create("bakery")
        };
        let mut client = OrganizationServiceClient::new(endpoint.connect().await.unwrap());
        proxy.mute();
        let sent = world.admin.request(request.clone());
        let mut first = client.clone();
        let call = tokio::spawn(async move { first.create_organization(sent).await });
        let count = "SELECT count(*) AS answer FROM organizations";
        until(Duration::from_secs(5), "the request arrives", async || {
            world.ask::<i64>(count).await == [at as i64 + 1]
        })
        .await;
        proxy.cut();
        call.await.unwrap().expect_err("the answer is lost");
        proxy.restore();

        let newest = "SELECT id AS answer FROM organizations ORDER BY create_time DESC LIMIT 1";
        let id = world.ask::<String>(newest).await.remove(0);
        let created = Organization {
            name: format!("workspaces/acme/organizations/{id}"),
            display_name: Some("New".to_owned()),
            ..Default::default()
        };
        let rename = UpdateOrganizationRequest {
            organization: Some(created.clone()),
            ..Default::default()
        };
        world
            .organizations()
            .update_organization(world.admin.request(rename))
            .await
            .unwrap();

        client = OrganizationServiceClient::new(endpoint.connect().await.unwrap());
        for _ in 0..2 {
            let answer = client.create_organization(world.admin.request(request.clone())).await;
            let answer = answer.unwrap().into_inner();
            assert_eq!(
                (answer.name.as_str(), answer.version, answer.display_name()),
                (created.name.as_str(), 1, "The bakery client")
            );
        }
        assert_eq!(world.ask::<i64>(count).await, [at as i64 + 1]);
        let rows = "SELECT count(*) AS answer FROM journal WHERE request_id IS NOT NULL";
        assert_eq!(world.ask::<i64>(rows).await, [at as i64 + 1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_id_has_one_effect_and_the_first_answer_on_sqlite() {
    a_repeated_request_id_has_one_effect_and_the_first_answer(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_id_has_one_effect_and_the_first_answer_on_postgres() {
    a_repeated_request_id_has_one_effect_and_the_first_answer(Engine::Postgres).await;
}

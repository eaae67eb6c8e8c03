//! What a crash leaves: everything that was acknowledged, nothing twice.

use crate::AllInOne;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, ListOrganizationsRequest, Organization};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many clients write when it happens.
const CLIENTS: usize = 16;
/// After how many acknowledged writes it happens.
const ACKNOWLEDGED: usize = 200;

fn request() -> CreateOrganizationRequest {
    let organization = Some(Organization {
        display_name: Some("Bakery".into()),
        ..Default::default()
    });
    CreateOrganizationRequest {
        parent: "workspaces/acme".into(),
        organization,
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_killed_process_has_kept_what_it_acknowledged_and_a_repetition_happens_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = AllInOne::start(folder.path());
    let operator = AllInOne::operator(folder.path());
    first.create_workspace(&operator).await;

    // Each client writes until the server is gone, and then tells what it sent last, whose outcome it does not know.
    let (told, mut hears) = mpsc::unbounded_channel();
    for _ in 0..CLIENTS {
        let mut client = OrganizationServiceClient::new(first.channel(0).await);
        let (told, operator) = (told.clone(), operator.clone());
        tokio::spawn(async move {
            loop {
                let request = request();
                let answer = client.create_organization(operator.request(request.clone())).await;
                let gone = answer.is_err();
                told.send((request, answer.ok().map(tonic::Response::into_inner)))
                    .unwrap();
                if gone {
                    return;
                }
            }
        });
    }
    drop(told);
    let mut sent = Vec::new();
    while sent.len() < ACKNOWLEDGED {
        sent.push(hears.recv().await.unwrap());
    }
    first.kill();
    while let Some(last) = hears.recv().await {
        sent.push(last);
    }
    let unknown = sent.iter().filter(|(_, answer)| answer.is_none()).count();
    assert_eq!(unknown, CLIENTS);

    let second = AllInOne::start(folder.path());
    let mut client = OrganizationServiceClient::new(second.channel(0).await);
    let mut uids = BTreeSet::new();
    for (request, before) in &sent {
        let answer = client
            .create_organization(operator.request(request.clone()))
            .await
            .unwrap()
            .into_inner();
        if let Some(before) = before {
            assert_eq!(answer, *before);
        }
        uids.insert(answer.uid);
    }
    assert_eq!(uids.len(), sent.len());
    let mut listed = BTreeSet::new();
    let mut list = ListOrganizationsRequest {
        parent: "workspaces/acme".into(),
        page_size: 500,
        ..Default::default()
    };
    loop {
        let page = client
            .list_organizations(operator.request(list.clone()))
            .await
            .unwrap()
            .into_inner();
        listed.extend(page.organizations.into_iter().map(|organization| organization.uid));
        list.page_token = page.next_page_token;
        if list.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, uids, "what is there is what was asked for, once each");
    second.interrupt().await;
}

//! An older copy of a database is put in its place.

use crate::AllInOne;
use clientele_api::assignment::ListAssignmentsRequest;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::journal::WatchRequest;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, Organization};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, reason, until};
use sea_orm::ConnectionTrait;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tonic::Code;

const SOON: Duration = Duration::from_secs(20);

async fn create(running: &AllInOne, operator: &Caller, id: &str) {
    let organization = Some(Organization {
        display_name: Some(id.to_owned()),
        ..Default::default()
    });
    let create = CreateOrganizationRequest {
        parent: "workspaces/acme".into(),
        organization_id: id.to_owned(),
        organization,
        ..Default::default()
    };
    let mut client = OrganizationServiceClient::new(running.channel(0).await);
    client.create_organization(operator.request(create)).await.unwrap();
}

/// What assignment-service answers when it is asked about an organization.
async fn known(running: &AllInOne, operator: &Caller, id: &str) -> Code {
    let list = ListAssignmentsRequest {
        parent: format!("workspaces/acme/organizations/{id}"),
        ..Default::default()
    };
    let mut client = AssignmentServiceClient::new(running.channel(1).await);
    match client.list_assignments(operator.request(list)).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

fn watch_from(cursor: &str) -> WatchRequest {
    WatchRequest {
        start: (!cursor.is_empty()).then(|| Start::Cursor(cursor.to_owned())),
        ..Default::default()
    }
}

async fn cursor(running: &AllInOne, operator: &Caller) -> String {
    let mut client = JournalServiceClient::new(running.channel(0).await);
    let mut stream = client
        .watch(operator.request(watch_from("")))
        .await
        .unwrap()
        .into_inner();
    loop {
        if let Some(Item::Checkpoint(checkpoint)) = stream.message().await.unwrap().unwrap().item {
            return checkpoint.cursor;
        }
    }
}

fn restore(folder: &Path, service: &str, backup: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clientele"))
        .args(["restore", service])
        .arg(backup)
        .arg("--data")
        .arg(folder)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_restored_database_is_another_life_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start(folder.path());
    let operator = AllInOne::operator(folder.path());
    running.create_workspace(&operator).await;
    create(&running, &operator, "bakery").await;

    let backup = folder.path().join("backup.db");
    let options = Options {
        url: format!("sqlite://{}", folder.path().join("org.db").display()),
        service: "org",
    };
    let database = connect_to_migrate(&options).await.unwrap();
    let copy = format!("VACUUM INTO '{}'", backup.display());
    database.execute_unprepared(&copy).await.unwrap();
    database.close().await.unwrap();

    create(&running, &operator, "butcher").await;
    until(SOON, "both are known", async || {
        known(&running, &operator, "bakery").await == Code::Ok
            && known(&running, &operator, "butcher").await == Code::Ok
    })
    .await;
    let before = cursor(&running, &operator).await;
    let refused = restore(folder.path(), "org", &backup);
    assert!(!refused.status.success(), "it runs: {refused:?}");
    create(&running, &operator, "grocer").await;
    running.interrupt().await;

    let refused = restore(folder.path(), "settings-billing", &backup);
    assert!(!refused.status.success(), "of another service: {refused:?}");
    let restored = restore(folder.path(), "org", &backup);
    assert!(restored.status.success(), "{restored:?}");

    let running = AllInOne::start(folder.path());
    // More than there was: the old cursor is not above the end.
    for id in ["florist", "barber", "tailor", "cobbler"] {
        create(&running, &operator, id).await;
    }
    let mut journal = JournalServiceClient::new(running.channel(0).await);
    let status = journal.watch(operator.request(watch_from(&before))).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "CURSOR_OUT_OF_RANGE")
    );
    until(SOON, "what is gone is forgotten", async || {
        known(&running, &operator, "butcher").await == Code::NotFound
            && known(&running, &operator, "bakery").await == Code::Ok
            && known(&running, &operator, "cobbler").await == Code::Ok
    })
    .await;
    running.interrupt().await;
}

//! What followers know after crashes: what the service knows that they follow.

use crate::AllInOne;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{
    CreateOrganizationRequest, Organization, ResumeOrganizationRequest, SuspendOrganizationRequest,
    UpdateOrganizationRequest,
};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, seed, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{ConnectionTrait, Statement};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::Channel;

/// How often everything is killed.
const KILLS: usize = 6;
/// How many clients write meanwhile.
const CLIENTS: usize = 8;

/// What org-service knows, as far as it is followed.
const SOURCE: &str = "
    SELECT 'workspace ' || lower(hex(uid)) || ' ' || id || ' ' || version AS answer FROM workspaces UNION ALL
    SELECT lower(hex(uid)) || ' ' || lower(hex(workspace_uid)) || ' ' || id || ' ' || version || ' '
        || CASE WHEN delete_time IS NOT NULL THEN 3 WHEN suspend_time IS NOT NULL THEN 2 ELSE 1 END || ' ' || client_access_enabled
        FROM organizations ORDER BY 1";

/// The same, as it is known to a follower.
const PROJECTION: &str = "
    SELECT 'workspace ' || lower(hex(uid)) || ' ' || id || ' ' || version AS answer FROM projection_workspaces WHERE id IS NOT NULL UNION ALL
    SELECT lower(hex(uid)) || ' ' || lower(hex(workspace_uid)) || ' ' || id || ' ' || version || ' ' || state || ' ' || client_access_enabled
        FROM projection_organizations WHERE id IS NOT NULL ORDER BY 1";

/// Writes something to an organization that may be there; a refusal by its state is an answer too.
async fn write(
    client: &mut OrganizationServiceClient<Channel>,
    operator: &Caller,
    random: &mut StdRng,
) -> Result<(), Status> {
    let id = format!("client-{}", random.random_range(0..200));
    let name = format!("workspaces/acme/organizations/{id}");
    let organization = Organization {
        name: name.clone(),
        display_name: Some(format!("Client {}", random.random::<u32>())),
        client_access_enabled: Some(random.random()),
        ..Default::default()
    };
    let answer = match random.random_range(0..5) {
        0 => {
            let suspend = SuspendOrganizationRequest {
                name,
                reason: "unpaid".into(),
                ..Default::default()
            };
            client.suspend_organization(operator.request(suspend)).await
        }
        1 => {
            let resume = ResumeOrganizationRequest {
                name,
                ..Default::default()
            };
            client.resume_organization(operator.request(resume)).await
        }
        2 => {
            let update = UpdateOrganizationRequest {
                organization: Some(organization),
                ..Default::default()
            };
            client.update_organization(operator.request(update)).await
        }
        _ => {
            let create = CreateOrganizationRequest {
                parent: "workspaces/acme".into(),
                organization_id: id,
                organization: Some(organization),
                ..Default::default()
            };
            client.create_organization(operator.request(create)).await
        }
    };
    match answer {
        Err(status) if status.code() == tonic::Code::Unavailable || status.code() == tonic::Code::Unknown => {
            Err(status)
        }
        _ => Ok(()),
    }
}

async fn ask(data: &Path, service: &'static str, sql: &str) -> Vec<String> {
    let url = format!("sqlite://{}", data.join(format!("{service}.db")).display());
    let session = connect_to_migrate(&Options { url, service }).await.unwrap();
    let statement = Statement::from_string(session.get_database_backend(), sql);
    let rows = session.query_all_raw(statement).await.unwrap();
    let answers = rows.iter().map(|row| row.try_get("", "answer").unwrap()).collect();
    session.close().await.unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_followers_know_what_their_source_knows() {
    let mut random = seed();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut running = AllInOne::start(data);
    let operator = AllInOne::operator(data);
    running.create_workspace(&operator).await;

    for round in 0..KILLS {
        let (told, mut hears) = mpsc::unbounded_channel();
        for _ in 0..CLIENTS {
            let mut client = OrganizationServiceClient::new(running.channel(0).await);
            let (told, operator) = (told.clone(), operator.clone());
            let mut random = StdRng::seed_from_u64(random.random());
            tokio::spawn(async move {
                while write(&mut client, &operator, &mut random).await.is_ok() {
                    let _ = told.send(()); // enough may have been written
                }
            });
        }
        drop(told);
        for _ in 0..random.random_range(1..300) {
            hears.recv().await.unwrap();
        }
        running.kill();
        if round % 2 == 0 {
            // One of the followers has lost what it knew, and reads everything while more is written.
            for file in ["assignment.db", "assignment.db-wal", "assignment.db-shm"] {
                let _ = std::fs::remove_file(data.join(file));
            }
        }
        running = AllInOne::start(data);
    }

    let source = ask(data, "org", SOURCE).await;
    assert!(source.len() > 50, "{}", source.len());
    for follower in ["assignment", "settings-billing"] {
        until(Duration::from_secs(60), follower, async || {
            ask(data, follower, PROJECTION).await == source
        })
        .await;
        assert_eq!(
            ask(data, follower, "SELECT uid AS answer FROM follow_parked").await,
            [""; 0]
        );
    }
    running.interrupt().await;
}

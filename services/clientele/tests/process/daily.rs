//! What everybody does with it: set up, stop, go on, mint tokens.

use crate::{AllInOne, token};
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{Agent, AssignAgentRequest, CreateAgentRequest, ListAssignmentsRequest};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{
    CreateOrganizationRequest, CreateWorkspaceRequest, GetOrganizationRequest, Organization, Workspace,
};
use clientele_testkit::{Caller, reason};
use std::os::unix::fs::PermissionsExt as _;
use tonic::Code;
use uuid::Uuid;

#[tokio::test]
async fn the_main_job_is_done_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = AllInOne::start(&data);
    let operator = Caller::with(std::fs::read_to_string(data.join("operator.token")).unwrap());
    let mut workspaces = WorkspaceServiceClient::new(first.channel(0).await);
    let workspace = Some(Workspace {
        display_name: Some("Acme".into()),
        ..Default::default()
    });
    let request = CreateWorkspaceRequest {
        workspace_id: "acme".into(),
        workspace,
        ..Default::default()
    };
    workspaces.create_workspace(operator.request(request)).await.unwrap();

    let admin = Caller::with(token(&data, &["--role", "admin", "--workspace", "acme", "--subject", "ann"]).unwrap());
    let mut organizations = OrganizationServiceClient::new(first.channel(0).await);
    let organization = Some(Organization {
        display_name: Some("Bakery".into()),
        ..Default::default()
    });
    let request = CreateOrganizationRequest {
        parent: "workspaces/acme".into(),
        organization,
        ..Default::default()
    };
    let created = organizations.create_organization(admin.request(request)).await.unwrap();
    let revision = created
        .metadata()
        .get("clientele-revision")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let bakery = created.into_inner();

    // The organization was created a moment ago, in another service.
    let admin = Caller {
        min_revision: Some(revision),
        ..admin
    };
    let agent = Some(Agent {
        title: Some("Support".into()),
        ..Default::default()
    });
    let request = CreateAgentRequest {
        parent: "workspaces/acme".into(),
        agent_id: "support".into(),
        agent,
        ..Default::default()
    };
    AgentServiceClient::new(first.channel(1).await)
        .create_agent(admin.request(request))
        .await
        .unwrap();
    let mut assignments = AssignmentServiceClient::new(first.channel(1).await);
    let request = AssignAgentRequest {
        parent: bakery.name.clone(),
        agent: "workspaces/acme/agents/support".into(),
        ..Default::default()
    };
    assignments.assign_agent(admin.request(request)).await.unwrap();
    first.interrupt().await;

    let secret_key = data.join("keys/secret.key");
    let kept = std::fs::read(&secret_key).unwrap();
    assert_eq!(
        std::fs::metadata(&secret_key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = AllInOne::start(&data);
    assert_eq!(std::fs::read(&secret_key).unwrap(), kept, "it is made once");
    let mut organizations = OrganizationServiceClient::new(second.channel(0).await);
    let request = GetOrganizationRequest {
        name: bakery.name.clone(),
    };
    // Tokens of the first run are good in the second: the key stayed.
    assert_eq!(
        organizations
            .get_organization(admin.request(request))
            .await
            .unwrap()
            .into_inner(),
        bakery
    );
    let mut assignments = AssignmentServiceClient::new(second.channel(1).await);
    let request = ListAssignmentsRequest {
        parent: bakery.name.clone(),
        ..Default::default()
    };
    assert_eq!(
        assignments
            .list_assignments(admin.request(request))
            .await
            .unwrap()
            .into_inner()
            .assignments
            .len(),
        1
    );
    second.interrupt().await;
}

#[tokio::test]
async fn tokens_are_minted_for_every_role_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start(folder.path());
    let mut organizations = OrganizationServiceClient::new(running.channel(0).await);
    let mut get = async |arguments: &[&str]| {
        let caller = Caller::with(token(folder.path(), arguments).unwrap());
        let request = GetOrganizationRequest {
            name: "workspaces/acme/organizations/bakery".into(),
        };
        organizations
            .get_organization(caller.request(request))
            .await
            .unwrap_err()
    };
    for arguments in [
        &["--role", "operator"][..],
        &["--role", "service", "--subject", "runtime"],
        &["--role", "member", "--workspace", "acme"],
    ] {
        assert_eq!(reason(&get(arguments).await), "RESOURCE_NOT_FOUND");
    }
    // Client users go by uids.
    let (user, organization) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let client = ["--role", "user", "--organization", &organization, "--subject", &user];
    assert_eq!(reason(&get(&client).await), "RESOURCE_NOT_FOUND");
    let foreign = get(&["--role", "owner", "--workspace", "globex"]).await;
    assert_eq!(
        (foreign.code(), reason(&foreign).as_str()),
        (Code::NotFound, "RESOURCE_NOT_FOUND")
    );
    for arguments in [
        &["--role", "admin"][..],
        &["--role", "operator", "--workspace", "acme"],
        &["--role", "king"],
        &["--role", "user", "--subject", &user],
        &["--role", "user", "--organization", &organization],
        &[
            "--role",
            "admin",
            "--workspace",
            "acme",
            "--organization",
            &organization,
        ],
        &[],
    ] {
        assert!(
            !token(folder.path(), arguments).unwrap_err().is_empty(),
            "{arguments:?}"
        );
    }
    let elsewhere = token(&folder.path().join("elsewhere"), &["--role", "operator"]).unwrap_err();
    assert!(elsewhere.contains("start clientele there first"), "{elsewhere}");
    running.interrupt().await;
}

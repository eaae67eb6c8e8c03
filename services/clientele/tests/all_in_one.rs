//! The all-in-one as its user meets it: a process, a data folder, a token, and Ctrl-C.

#![cfg(test)]

use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{Agent, AssignAgentRequest, CreateAgentRequest, ListAssignmentsRequest};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{
    CreateOrganizationRequest, CreateWorkspaceRequest, GetOrganizationRequest, Organization, Workspace,
};
use clientele_testkit::{Caller, reason};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::Channel;

/// The process, and the three addresses that it told.
struct AllInOne {
    process: Child,
    addresses: Vec<String>,
}

impl AllInOne {
    fn start(data: &Path) -> Self {
        let any = "127.0.0.1:0";
        let mut process = Command::new(env!("CARGO_BIN_EXE_clientele"))
            .args(["--org", any, "--assignment", any, "--settings-billing", any, "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses = Vec::new();
        let mut ended = false;
        for line in BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [service, address] = words[..]
                && service.ends_with("-service")
            {
                addresses.push(format!("http://{address}"));
            }
            if line.contains("Ctrl-C") {
                ended = true;
                break;
            }
        }
        assert!(
            ended && addresses.len() == 3,
            "it must tell where it serves: {addresses:?}"
        );
        Self { process, addresses }
    }

    async fn channel(&self, at: usize) -> Channel {
        Channel::from_shared(self.addresses[at].clone())
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Ctrl-C. The clients must go on meanwhile: they close their connections when the server asks them to.
    async fn interrupt(mut self) {
        let asked = Instant::now();
        let killed = Command::new("kill")
            .args(["-INT", &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let status = tokio::task::spawn_blocking(move || self.process.wait().unwrap())
            .await
            .unwrap();
        assert!(status.success(), "{status}");
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "it took {:?} to end",
            asked.elapsed()
        );
    }
}

fn token(data: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_clientele"))
        .arg("token")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

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

    let second = AllInOne::start(&data);
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
    let foreign = get(&["--role", "owner", "--workspace", "globex"]).await;
    assert_eq!(
        (foreign.code(), reason(&foreign).as_str()),
        (Code::NotFound, "RESOURCE_NOT_FOUND")
    );
    for arguments in [
        &["--role", "admin"][..],
        &["--role", "operator", "--workspace", "acme"],
        &["--role", "king"],
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

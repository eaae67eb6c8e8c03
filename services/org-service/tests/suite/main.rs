//! The contract of org-service, on both engines.

#![cfg(test)]

mod bad_input;
mod conventions;
mod invitations;
mod jobs;
mod journal;
mod logos;
mod members;
mod model;
mod organizations;
mod passwords;
mod permissions;
mod purge;
mod roles;
mod search;
mod sessions;
mod takeover;
mod teams;
mod users;
mod walks;
mod workspaces;

use clientele_api::access::StaffRole;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::team_service_client::TeamServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateOrganizationRequest, CreateWorkspaceRequest, Organization, Workspace};
use clientele_service::config::Config;
use clientele_testkit::{Caller, Calls, Database, Engine, Running, Tokens, patiently, reason};
use org_service::OrgService;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

/// A running org-service with the workspace `acme`, and everybody who calls it.
struct World {
    running: Running,
    channel: Channel,
    tokens: Tokens,
    operator: Caller,
    owner: Caller,
    admin: Caller,
    member: Caller,
    service: OrgService,
    logos: TempDir,
    _database: Database,
}

impl World {
    async fn start(engine: Engine) -> Self {
        Self::start_on(Database::create(engine).await).await
    }

    async fn start_on(database: Database) -> Self {
        let tokens = Tokens::create();
        let logos = tempfile::tempdir().unwrap();
        let mut config = Config::new(database.url.clone(), tokens.issuers());
        config.drain_delay = Duration::ZERO;
        let service = OrgService {
            config,
            logos: logos.path().to_owned(),
            secret_key_file: tokens.secret_key(),
            session_keys: tokens.session_keys(),
        };
        let running = Running::start(&service).await;
        let world = Self {
            channel: running.channel().await,
            running,
            operator: Caller::with(tokens.operator()),
            owner: Caller::with(tokens.staff("acme", StaffRole::Owner)),
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            member: Caller::with(tokens.staff("acme", StaffRole::Member)),
            tokens,
            service,
            logos,
            _database: database,
        };
        world.create_workspace("acme").await;
        world
    }

    fn workspaces(&self) -> WorkspaceServiceClient<Channel> {
        WorkspaceServiceClient::new(self.channel.clone())
    }

    fn organizations(&self) -> OrganizationServiceClient<Channel> {
        OrganizationServiceClient::new(self.channel.clone())
    }

    fn teams(&self) -> TeamServiceClient<Channel> {
        TeamServiceClient::new(self.channel.clone())
    }

    fn journal(&self) -> JournalServiceClient<Channel> {
        JournalServiceClient::new(self.channel.clone())
    }

    fn calls(&self) -> Calls {
        Calls::new(self.channel.clone())
    }

    /// Calls a method of `clientele.org.v1`, named as in `MemberService/CreateMember`.
    async fn call(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, Status> {
        let path = format!("/clientele.org.v1.{method}");
        let answered = self.calls().call(&path, caller, request).await;
        answered.map(|(answer, _)| answer)
    }

    /// Calls with a request id, and again while it is to be tried again: among many at the same moment a call may wait for its turn
    /// longer than it is given.
    async fn call_patiently(&self, caller: &Caller, method: &str, mut request: Value) -> Result<Value, Status> {
        request["requestId"] = json!(Uuid::new_v4().to_string());
        patiently(|| self.call(caller, method, request.clone())).await
    }

    /// Calls as an admin of `acme`, which must be answered.
    async fn done(&self, method: &str, request: Value) -> Value {
        let answered = self.call(&self.admin, method, request).await;
        answered.unwrap_or_else(|status| panic!("{method}: {status:?}"))
    }

    /// Calls, which must be refused with this code and reason.
    async fn refused(&self, caller: &Caller, method: &str, request: Value, code: Code, why: &str) -> Status {
        match self.call(caller, method, request.clone()).await {
            Ok(answer) => panic!("{method} {request} was answered: {answer}"),
            Err(status) => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (code, why),
                    "{method} {request}: {status:?}"
                );
                status
            }
        }
    }

    /// Makes a new person a member of an organization of `acme`.
    async fn add(&self, organization: &str, email: &str, roles: &[&str]) -> Person {
        let request = json!({
            "parent": format!("workspaces/acme/organizations/{organization}"),
            "newUser": { "email": email },
            "member": { "roles": roles },
        });
        self.person(self.done("MemberService/CreateMember", request).await)
            .await
    }

    async fn person(&self, member: Value) -> Person {
        let name = member["name"].as_str().unwrap().to_owned();
        let (organization, user) = name.split_once("/members/").unwrap();
        let found = self
            .done("OrganizationService/GetOrganization", json!({ "name": organization }))
            .await;
        Person {
            caller: Caller::with(self.tokens.user(user, found["uid"].as_str().unwrap())),
            user: user.to_owned(),
            member: name,
        }
    }

    async fn create_workspace(&self, id: &str) -> Workspace {
        let workspace = Some(Workspace {
            display_name: Some(format!("The {id} agency")),
            ..Workspace::default()
        });
        let request = CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            workspace,
            ..Default::default()
        };
        self.workspaces()
            .create_workspace(self.operator.request(request))
            .await
            .unwrap()
            .into_inner()
    }

    async fn create_organization(&self, id: &str) -> Organization {
        let request = create(id, named(&format!("The {id} client")));
        self.organizations()
            .create_organization(self.admin.request(request))
            .await
            .unwrap()
            .into_inner()
    }
}

/// A member of an organization.
#[derive(Clone)]
struct Person {
    /// The name of the member.
    member: String,
    /// The id of the user.
    user: String,
    /// The person, signed in to the organization.
    caller: Caller,
}

/// A request for an organization in `acme`.
fn create(id: &str, organization: Organization) -> CreateOrganizationRequest {
    CreateOrganizationRequest {
        parent: "workspaces/acme".to_owned(),
        organization_id: id.to_owned(),
        organization: Some(organization),
        ..Default::default()
    }
}

fn named(display_name: &str) -> Organization {
    Organization {
        display_name: Some(display_name.to_owned()),
        ..Default::default()
    }
}

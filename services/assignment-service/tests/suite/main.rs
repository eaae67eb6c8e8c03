//! The contract of assignment-service, on both engines.

#![cfg(test)]

mod access;
mod agents;
mod arranging;
mod assignments;
mod bad_input;
mod client_users;
mod conventions;
mod following;
mod histories;
mod imports;
mod journal;
mod leftovers;
mod limits;
mod linear;
mod member_scopes;
mod model;
mod plans;
mod search;
mod walks;

use assignment_service::AssignmentService;
use clientele_api::Uid;
use clientele_api::access::StaffRole;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{Agent, AssignAgentRequest, Assignment, CreateAgentRequest, agent::State};
use clientele_api::assignment::{ListAgentsRequest, ListAssignmentsRequest, UnassignAgentRequest, UpdateAgentRequest};
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::org::Organization;
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Calls, Database, Engine, OrgFeed, Running, Tokens, patiently, reason};
use prost_types::FieldMask;
use sea_orm::ConnectionTrait as _;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

const ACME: &str = "workspaces/acme";
const BAKERY: &str = "workspaces/acme/organizations/bakery";
const CAFE: &str = "workspaces/acme/organizations/cafe";

/// A running assignment-service that follows a journal which the test tells; the workspace `acme`, and everybody who calls.
struct World {
    running: Running,
    channel: Channel,
    feed: OrgFeed,
    acme: Uid,
    tokens: Tokens,
    operator: Caller,
    admin: Caller,
    member: Caller,
    service: Caller,
    database: Database,
}

impl World {
    async fn start(engine: Engine) -> Self {
        Self::start_on(Database::create(engine).await, async |_| {}).await
    }

    /// On a database in which something is done before, for `acme`.
    async fn start_on(database: Database, before: impl AsyncFnOnce(Uid)) -> Self {
        let tokens = Tokens::create();
        let feed = OrgFeed::start().await;
        let acme = feed.create_workspace("acme");
        before(acme).await;
        let running = Running::start(&service(&database, &feed, &tokens)).await;
        let world = Self {
            channel: running.channel().await,
            running,
            feed,
            acme,
            operator: Caller::with(tokens.operator()),
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            member: Caller::with(tokens.staff("acme", StaffRole::Member)),
            service: Caller::with(tokens.service("runtime")),
            tokens,
            database,
        };
        world.hear().await;
        world
    }

    fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel.clone())
    }

    fn assignments(&self) -> AssignmentServiceClient<Channel> {
        AssignmentServiceClient::new(self.channel.clone())
    }

    fn journal(&self) -> JournalServiceClient<Channel> {
        JournalServiceClient::new(self.channel.clone())
    }

    fn calls(&self) -> Calls {
        Calls::new(self.channel.clone())
    }

    /// The caller, who wants to be answered with everything that the feed has told.
    fn informed(&self, caller: &Caller) -> Caller {
        Caller {
            min_revision: Some(self.feed.revision()),
            ..caller.clone()
        }
    }

    /// Waits until the service has heard everything that the feed has told.
    async fn hear(&self) {
        let list = ListAgentsRequest {
            parent: ACME.into(),
            ..Default::default()
        };
        let caller = self.informed(&self.operator);
        patiently(|| async { self.agents().list_agents(caller.request(list.clone())).await })
            .await
            .unwrap();
    }

    /// Tells of an organization in `acme`, and waits until the service has heard of it.
    async fn create_organization(&self, id: &str) -> Organization {
        let organization = self
            .feed
            .create_organization(self.acme, &format!("{ACME}/organizations/{id}"));
        self.hear().await;
        organization
    }

    /// Tells of a change of an organization, and waits until the service has heard of it.
    async fn change(&self, before: &Organization, change: impl FnOnce(&mut Organization)) -> Organization {
        let after = self.feed.update(self.acme, before, change);
        self.hear().await;
        after
    }

    async fn create(&self, agent_id: &str, agent: Agent) -> Result<Agent, Status> {
        let request = CreateAgentRequest {
            parent: ACME.into(),
            agent_id: agent_id.into(),
            agent: Some(agent),
            ..Default::default()
        };
        let answer = self.agents().create_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    /// An agent of `acme` with its id as its title.
    async fn create_agent(&self, id: &str) -> Agent {
        self.create(id, titled(id)).await.unwrap()
    }

    async fn update(&self, agent: Agent, paths: Option<&[&str]>) -> Result<Agent, Status> {
        let update_mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let request = UpdateAgentRequest {
            agent: Some(agent),
            update_mask,
            ..Default::default()
        };
        let answer = self.agents().update_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn assign(&self, agent: &str) -> Result<Assignment, Status> {
        self.assign_with(agent, Assignment::default()).await
    }

    async fn assign_to(&self, organization: &str, agent: &str) -> Result<Assignment, Status> {
        let request = AssignAgentRequest {
            parent: organization.into(),
            agent: agent_name(agent),
            ..Default::default()
        };
        let answer = self.assignments().assign_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn assign_with(&self, agent: &str, assignment: Assignment) -> Result<Assignment, Status> {
        let request = AssignAgentRequest {
            assignment: Some(assignment),
            ..assign(agent)
        };
        let answer = self.assignments().assign_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn unassign(&self, agent: &str, etag: &str) -> Result<(), Status> {
        let request = UnassignAgentRequest {
            name: format!("{BAKERY}/assignments/{agent}"),
            etag: etag.into(),
            ..Default::default()
        };
        let answer = self.assignments().unassign_agent(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    /// Does what nobody can by calls.
    async fn execute(&self, sql: &str) {
        let options = Options {
            url: self.database.url.clone(),
            service: "assignment",
        };
        let database = connect_to_migrate(&options).await.unwrap();
        database.execute_unprepared(sql).await.unwrap();
        database.close().await.unwrap();
    }

    /// The assignments of `bakery`, read in pages of two.
    async fn assigned(&self) -> Result<Vec<Assignment>, Status> {
        let mut request = ListAssignmentsRequest {
            parent: BAKERY.into(),
            page_size: 2,
            ..Default::default()
        };
        let mut assignments = Vec::new();
        loop {
            let answer = self
                .assignments()
                .list_assignments(self.member.request(request.clone()))
                .await;
            let page = answer?.into_inner();
            assert!(page.assignments.len() <= 2);
            assignments.extend(page.assignments);
            if page.next_page_token.is_empty() {
                return Ok(assignments);
            }
            request.page_token = page.next_page_token;
        }
    }
}

/// The service on a database, which follows what the test tells.
fn service(database: &Database, feed: &OrgFeed, tokens: &Tokens) -> AssignmentService {
    let mut config = Config::new(database.url.clone(), tokens.issuers());
    config.drain_delay = Duration::ZERO;
    let org = OrgPeer::new(feed.endpoint(), tokens.service_file("assignment-service"));
    AssignmentService { config, org }
}

/// A request to let `bakery` use an agent.
fn assign(agent: &str) -> AssignAgentRequest {
    AssignAgentRequest {
        parent: BAKERY.into(),
        agent: agent_name(agent),
        ..Default::default()
    }
}

fn titled(title: &str) -> Agent {
    Agent {
        title: Some(title.to_owned()),
        ..Default::default()
    }
}

/// An agent of which everything is said.
fn full() -> Agent {
    Agent {
        description: Some("Answers.\nAlways.".into()),
        platform: Some("voiceflow".into()),
        channels: texts(&["web", "whatsapp"]),
        tags: texts(&["ä \"quoted\"", "b"]),
        state: Some(State::Deployed.into()),
        ..titled("Support")
    }
}

fn agent_name(id: &str) -> String {
    format!("{ACME}/agents/{id}")
}

/// The ids of the agents, in the order of the assignments.
fn ids(assignments: &[Assignment]) -> Vec<&str> {
    assignments
        .iter()
        .map(|assignment| assignment.agent.rsplit('/').next().unwrap())
        .collect()
}

fn texts(given: &[&str]) -> Vec<String> {
    given.iter().map(|text| (*text).to_owned()).collect()
}

/// The paths of the fields that broke rules.
fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

fn coded(status: Status) -> (Code, String) {
    (status.code(), reason(&status))
}

fn refused(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

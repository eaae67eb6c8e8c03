//! Flows over all three services, each on a database of its own and following org-service.

#![cfg(test)]

mod client_users;
mod effects;
mod purge;
mod read_your_writes;
mod readme;

use assignment_service::AssignmentService;
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_testkit::{Caller, Database, Engine, Running, Tokens};
use org_service::OrgService;
use settings_billing_service::SettingsBillingService;
use std::time::Duration;
use tempfile::TempDir;
use tonic::Response;
use tonic::transport::Channel;

/// All three services on databases of their own.
struct World {
    org: Running,
    assignment: Running,
    settings: Running,
    assignment_service: AssignmentService,
    tokens: Tokens,
    _kept: (Vec<Database>, TempDir),
}

impl World {
    async fn start(engine: Engine) -> Self {
        let tokens = Tokens::create();
        let databases = [
            Database::create(engine).await,
            Database::create(engine).await,
            Database::create(engine).await,
        ];
        let config = |at: usize| Config {
            drain_delay: Duration::ZERO,
            ..Config::new(databases[at].url.clone(), tokens.issuers())
        };
        let logos = tempfile::tempdir().unwrap();
        let org = Running::start(&OrgService {
            config: config(0),
            logos: logos.path().to_owned(),
            secret_key_file: tokens.secret_key(),
            session_keys: tokens.session_keys(),
        })
        .await;
        let follow = |service| OrgPeer::new(format!("http://{}", org.address), tokens.service_file(service));
        let assignment_service = AssignmentService {
            config: config(1),
            org: follow("assignment-service"),
        };
        let assignment = Running::start(&assignment_service).await;
        let settings = Running::start(&SettingsBillingService {
            config: config(2),
            org: follow("settings-billing-service"),
        })
        .await;
        Self {
            org,
            assignment,
            settings,
            assignment_service,
            tokens,
            _kept: (databases.into(), logos),
        }
    }

    async fn organizations(&self) -> OrganizationServiceClient<Channel> {
        OrganizationServiceClient::new(self.org.channel().await)
    }

    async fn assignments(&self) -> AssignmentServiceClient<Channel> {
        AssignmentServiceClient::new(self.assignment.channel().await)
    }
}

/// The caller, who has now seen this answer.
fn having_seen<T>(caller: &Caller, answer: &Response<T>) -> Caller {
    let revision = answer
        .metadata()
        .get("clientele-revision")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    Caller {
        min_revision: Some(revision),
        ..caller.clone()
    }
}

//! A service that was away while an organization was purged reads what is left of it, and goes on.

use assignment_service::AssignmentService;
use clientele_service::assembly::Service as _;
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Calls, Database, Running, Tokens, on_both_engines};
use org_service::OrgService;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Status;

const BAKERY: &str = "workspaces/acme/organizations/bakery";

async fn call(calls: &Calls, caller: &Caller, method: &str, request: Value) -> Result<(Value, String), Status> {
    let (answer, headers) = calls.call(&format!("/clientele.{method}"), caller, request).await?;
    let revision = headers.get("clientele-revision").unwrap().to_str().unwrap();
    Ok((answer, revision.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_during_a_purge_goes_on_with_the_namesake() {
    on_both_engines(async |engine| {
        let tokens = Tokens::create();
        let operator = Caller::with(tokens.operator());
        let (own, its) = (Database::create(engine).await, Database::create(engine).await);
        let logos = tempfile::tempdir().unwrap();
        let config = |database: &Database| Config {
            drain_delay: Duration::ZERO,
            ..Config::new(database.url.clone(), tokens.issuers())
        };
        let org = Running::start(&OrgService {
            config: config(&own),
            logos: logos.path().to_owned(),
            secret_key_file: tokens.secret_key(),
            session_keys: tokens.session_keys(),
        })
        .await;
        let assignment = AssignmentService {
            config: config(&its),
            org: OrgPeer::new(
                format!("http://{}", org.address),
                tokens.service_file("assignment-service"),
            ),
        };
        let calls = Calls::new(org.channel().await);
        let done = async |method: &str, request: Value| call(&calls, &operator, method, request).await.unwrap();
        let acme = json!({ "workspaceId": "acme", "workspace": { "displayName": "Acme" } });
        done("org.v1.WorkspaceService/CreateWorkspace", acme).await;
        let bakery = json!({
            "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "Bakery" },
        });
        let create = "org.v1.OrganizationService/CreateOrganization";
        // It knows the first organization, and then is away.
        let (first, revision) = done(create, bakery.clone()).await;
        let following = Running::start(&assignment).await;
        let list = "assignment.v1.AssignmentService/ListAssignments";
        let having_seen = |revision: &str| Caller {
            min_revision: Some(revision.to_owned()),
            ..operator.clone()
        };
        let ask = async |running: &Running, revision: &str| {
            let calls = Calls::new(running.channel().await);
            call(&calls, &having_seen(revision), list, json!({ "parent": BAKERY })).await
        };
        ask(&following, &revision).await.unwrap();
        following.stop().await;

        let rename = json!({ "organization": { "name": BAKERY, "displayName": "Zebra" } });
        done("org.v1.OrganizationService/UpdateOrganization", rename).await;
        let new = json!({ "parent": BAKERY, "newUser": { "email": "zebra@example.com" } });
        done("org.v1.MemberService/CreateMember", new).await;
        done(
            "org.v1.OrganizationService/DeleteOrganization",
            json!({ "name": BAKERY }),
        )
        .await;
        let force = json!({ "name": BAKERY, "force": true });
        let (_, purged) = done("org.v1.OrganizationService/PurgeOrganization", force).await;

        let following = Running::start(&assignment).await;
        let gone = ask(&following, &purged).await.unwrap_err();
        assert_eq!(gone.code(), tonic::Code::NotFound);
        let (second, revision) = done(create, bakery).await;
        assert_ne!(first["uid"], second["uid"]);
        ask(&following, &revision).await.unwrap();

        let options = Options {
            url: its.url.clone(),
            service: AssignmentService::KEY,
        };
        let database = connect_to_migrate(&options).await.unwrap();
        for (sql, expected) in [
            ("SELECT count(*) FROM follow_parked", 0),
            ("SELECT count(*) FROM projection_organizations WHERE id IS NULL", 1),
            ("SELECT count(*) FROM projection_organizations", 2),
        ] {
            let statement = Statement::from_string(database.get_database_backend(), sql);
            let row = database.query_one_raw(statement).await.unwrap().unwrap();
            assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), expected, "{sql}");
        }
        following.stop().await;
        org.stop().await;
    })
    .await;
}

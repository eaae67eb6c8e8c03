//! The process dies before a commit, or between commit and answer.

use crate::{ACME, BAKERY};
use clientele_service::assembly::Service as _;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Database, Engine, OrgFeed, Process, Step, Tokens, repeat_what_died, until};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use settings_billing_service::SettingsBillingService;
use std::time::Duration;

async fn a_call_whose_server_dies_happens_once(engine: Engine) {
    let tokens = Tokens::create();
    let database = Database::create(engine).await;
    SettingsBillingService::migrate(&database.url).await.unwrap();
    let options = Options {
        url: database.url.clone(),
        service: "settings",
    };
    let session = connect_to_migrate(&options).await.unwrap();
    let count = async |sql: &str| -> i64 {
        let statement = Statement::from_string(session.get_database_backend(), sql);
        let row = session.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    };
    let feed = OrgFeed::start().await;
    let acme = feed.create_workspace("acme");
    feed.create_organization(acme, BAKERY);
    let serve = |fail_points: &str| {
        let settings = [
            ("--database", database.url.as_str()),
            ("--issuers", &tokens.issuers().display().to_string()),
            ("--org-endpoint", &feed.endpoint()),
            (
                "--peer-token-file",
                &tokens.service_file("settings-billing-service").display().to_string(),
            ),
        ];
        Process::serve(env!("CARGO_BIN_EXE_settings-billing-service"), &settings, fail_points)
    };
    let first = serve("");
    until(Duration::from_secs(60), "the organization is known", async || {
        count("SELECT count(*) FROM projection_organizations").await == 1
    })
    .await;
    first.kill();

    let remembered = async || count("SELECT count(request_id) FROM journal").await;
    let operator = Caller::with(tokens.operator());
    // The first write of each is an insert, the others are updates.
    let settings = |one: &'static str, other: &'static str| {
        move |death: &str| Step {
            method: "/clientele.settings.v1.SettingsService/UpdateSettings",
            request: json!({ "settings": {
                "name": format!("{BAKERY}/settings"),
                "overrides": { "language": if death == "before-commit" { one } else { other } },
            }}),
        }
    };
    let defaults = |one: &'static str, other: &'static str| {
        move |death: &str| Step {
            method: "/clientele.settings.v1.SettingsService/UpdateWorkspaceSettings",
            request: json!({ "workspaceSettings": {
                "name": format!("{ACME}/settings"),
                "defaults": { "language": if death == "before-commit" { one } else { other } },
            }}),
        }
    };
    repeat_what_died(serve, remembered, &operator, settings("de", "fr"), settings("it", "es")).await;
    repeat_what_died(serve, remembered, &operator, defaults("de", "fr"), defaults("it", "es")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_sqlite() {
    a_call_whose_server_dies_happens_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_server_dies_happens_once_on_postgres() {
    a_call_whose_server_dies_happens_once(Engine::Postgres).await;
}

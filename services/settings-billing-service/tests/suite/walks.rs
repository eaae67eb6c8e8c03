//! Walks over every method of the descriptors.

use crate::{ACME, BAKERY, World};
use clientele_testkit::{Caller, Step, on_both_engines, refuse_everybody_else, replay_every_mutation};
use serde_json::json;

#[tokio::test]
async fn nobody_gets_what_the_policy_does_not_give() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        refuse_everybody_else(&world.calls(), &world.tokens, &world.running.services, "acme", "bakery").await;
    })
    .await;
}

#[tokio::test]
async fn every_mutation_happens_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let settings = |overrides| Step {
            method: "/clientele.settings.v1.SettingsService/UpdateSettings",
            request: json!({ "settings": { "name": format!("{BAKERY}/settings"), "overrides": overrides } }),
        };
        let defaults = |defaults| Step {
            method: "/clientele.settings.v1.SettingsService/UpdateWorkspaceSettings",
            request: json!({ "workspaceSettings": { "name": format!("{ACME}/settings"), "defaults": defaults } }),
        };
        let back = |method, parent: &str, version: i64| Step {
            method,
            request: json!({ "name": format!("{parent}/settings"), "version": version }),
        };
        let settings_back = |version| {
            let method = "/clientele.settings.v1.SettingsService/RollbackSettings";
            back(method, BAKERY, version)
        };
        let defaults_back = |version| {
            let method = "/clientele.settings.v1.SettingsService/RollbackWorkspaceSettings";
            back(method, ACME, version)
        };
        let canned = |method, request| Step { method, request };
        let hours = json!({ "shortCode": "hours", "text": "Hi.", "scope": "SCOPE_ORGANIZATION" });
        let create = json!({ "parent": BAKERY, "cannedResponse": hours });
        let create_canned = "/clientele.settings.v1.CannedResponseService/CreateCannedResponse";
        let operator = Caller::with(world.tokens.operator());
        let (there, _) = world.calls().call(create_canned, &operator, create).await.unwrap();
        let change = json!({ "cannedResponse": { "name": there["name"], "title": "Hours" } });
        let prices = json!({ "shortCode": "prices", "text": "Hi.", "scope": "SCOPE_ORGANIZATION" });
        let rows = json!([hours, { "shortCode": "vat", "text": "Hi.", "scope": "SCOPE_ORGANIZATION" }]);
        let steps = vec![
            canned(create_canned, json!({ "parent": BAKERY, "cannedResponse": prices })),
            canned(
                "/clientele.settings.v1.CannedResponseService/UpdateCannedResponse",
                change.clone(),
            ),
            canned(
                "/clientele.settings.v1.CannedResponseService/UpdateCannedResponse",
                change,
            ),
            canned(
                "/clientele.settings.v1.CannedResponseService/BatchUpsertCannedResponses",
                json!({ "parent": BAKERY, "cannedResponses": rows }),
            ),
            canned(
                "/clientele.settings.v1.CannedResponseService/DeleteCannedResponse",
                json!({ "name": there["name"] }),
            ),
            settings(json!({ "language": "de" })),
            defaults(json!({ "language": "fr", "layout": "LAYOUT_HORIZONTAL" })),
            // These change nothing, and are remembered all the same.
            settings(json!({ "language": "de" })),
            defaults(json!({ "language": "fr" })),
            settings(json!({ "handoff": { "humanEnabled": true } })),
            settings(json!({ "handoff": { "smartEnabled": true } })),
            defaults(json!({ "language": "it" })),
            settings_back(1),
            defaults_back(1),
            settings_back(0),
            defaults_back(0),
        ];
        replay_every_mutation(&world.calls(), &world.tokens, &world.running.services, steps).await;
    })
    .await;
}

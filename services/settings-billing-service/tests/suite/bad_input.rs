//! Bad input costs its own request and nothing else: the right code, a reason, the field.

use crate::{ACME, BAKERY, World, language, mask, refused, update, update_defaults};
use clientele_api::settings::{Settings, SettingsValues, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest};
use clientele_testkit::{on_both_engines, reason};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The fields that a refusal names, with what they must be.
fn violations(status: &Status) -> Vec<(String, String)> {
    assert_eq!(
        (status.code(), reason(status)),
        refused(Code::InvalidArgument, "INVALID_FIELDS"),
        "{status:?}"
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|one| (one.field, one.description)).collect()
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|(field, _)| field).collect()
}

#[tokio::test]
async fn languages_are_answered_by_their_two_letters_or_refused_with_a_hint() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (given, answered) in [
            ("eng", "en"),
            ("pt-BR", "pt"),
            ("PT", "pt"),
            ("ger", "de"),
            ("zh_Hans_CN", "zh"),
            ("iw", "he"),
        ] {
            let settings = world.set(language(given)).await.unwrap();
            assert_eq!(settings.overrides.unwrap().language(), answered, "{given}");
            let defaults = world.set_defaults(language(given)).await.unwrap();
            assert_eq!(defaults.defaults.unwrap().language(), answered, "{given}");
        }
        for (given, hint) in [
            ("xx", "`xh`"),
            ("german", "`de`"),
            ("", "`en`"),
            ("a\0", "ISO 639-1"),
            ("日本語", "ISO 639-1"),
        ] {
            let status = world.set(language(given)).await.unwrap_err();
            let (field, rule) = violations(&status).remove(0);
            assert_eq!(field, "settings.overrides.language");
            assert!(rule.contains(hint), "{given:?}: {rule}");
            let status = world.set_defaults(language(given)).await.unwrap_err();
            assert_eq!(fields(&status), ["workspace_settings.defaults.language"]);
        }
    })
    .await;
}

#[tokio::test]
async fn every_field_that_breaks_its_rule_is_named() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for number in [0, 3, -1, i32::MAX] {
            let given = SettingsValues {
                layout: Some(number),
                ..language("xx")
            };
            let status = world.set(given.clone()).await.unwrap_err();
            assert_eq!(
                fields(&status),
                ["settings.overrides.language", "settings.overrides.layout"],
                "{number}"
            );
            let status = world.set_defaults(given).await.unwrap_err();
            let expected = ["language", "layout"].map(|leaf| format!("workspace_settings.defaults.{leaf}"));
            assert_eq!(fields(&status), expected, "{number}");
        }
        assert_eq!(world.get().await.unwrap().version, 0);
    })
    .await;
}

#[tokio::test]
async fn masks_that_name_nothing_or_the_wrong_thing_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for paths in [
            &[][..],
            &["language"],
            &["nothing"],
            &["overrides.languages"],
            &["overrides.handoff.human_enabled.x"],
            &["defaults.language"],
            &["effective.language"],
            &["effective"],
            &["sources"],
            &["version"],
            &["name"],
            &["etag"],
        ] {
            let request = UpdateSettingsRequest {
                update_mask: mask(paths),
                ..update(language("de"))
            };
            let status = world.update(request).await.unwrap_err();
            assert!(
                fields(&status).iter().all(|field| field == "update_mask"),
                "{paths:?}: {status:?}"
            );
        }
        let nothing = world.set(SettingsValues::default()).await.unwrap_err();
        assert_eq!(fields(&nothing), ["update_mask"]);
        let wrong = UpdateWorkspaceSettingsRequest {
            update_mask: mask(&["overrides.language"]),
            ..update_defaults(language("de"))
        };
        assert_eq!(
            fields(&world.update_defaults(wrong).await.unwrap_err()),
            ["update_mask"]
        );
        // Output-only fields without a mask are ignored.
        let mut with_output = update(language("de"));
        let settings = with_output.settings.as_mut().unwrap();
        *settings = Settings {
            version: 9,
            uid: "x".into(),
            effective: Some(language("fr")),
            ..settings.clone()
        };
        let answer = world.update(with_output).await.unwrap();
        assert_eq!((answer.version, answer.effective.unwrap().language()), (1, "de"));
    })
    .await;
}

#[tokio::test]
async fn names_of_another_form_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let calls = world.calls();
        const SETTINGS: &str = "/clientele.settings.v1.SettingsService";
        for name in [
            "",
            "bakery",
            BAKERY,
            "workspaces/acme/settings",
            "workspaces/acme/organizations/a\0/settings",
        ] {
            let get = calls
                .call(
                    &format!("{SETTINGS}/GetSettings"),
                    &world.member,
                    json!({ "name": name }),
                )
                .await;
            assert_eq!(fields(&get.unwrap_err()), ["name"], "{name:?}");
            let update = json!({ "settings": { "name": name, "overrides": { "language": "de" } } });
            let update = calls
                .call(&format!("{SETTINGS}/UpdateSettings"), &world.admin, update)
                .await;
            assert_eq!(fields(&update.unwrap_err()), ["settings.name"], "{name:?}");
        }
        let get = json!({ "name": ACME });
        let get = calls
            .call(&format!("{SETTINGS}/GetWorkspaceSettings"), &world.member, get)
            .await;
        assert_eq!(fields(&get.unwrap_err()), ["name"]);
    })
    .await;
}

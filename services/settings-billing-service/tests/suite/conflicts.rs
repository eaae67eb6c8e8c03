//! Rules between values: smart handoff needs human handoff, after defaults and overrides are taken together.

use crate::{World, coded, handoff, language, refused, source};
use clientele_api::settings::field_source::Source;
use clientele_api::settings::{HandoffValues, SettingsValues};
use clientele_testkit::on_both_engines;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const SMART: &str = "handoff.smart_enabled";
const ON: Option<bool> = Some(true);
const OFF: Option<bool> = Some(false);

fn conflict<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("smart handoff needs human handoff");
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(
        (metadata["human_enabled"].as_str(), metadata["smart_enabled"].as_str()),
        ("false", "true")
    );
    assert_eq!(coded(status), refused(Code::FailedPrecondition, "SETTINGS_CONFLICT"));
}

#[tokio::test]
async fn smart_handoff_needs_human_handoff() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        conflict(world.set(handoff(None, ON)).await);
        assert_eq!(world.get().await.unwrap().version, 0, "a refused write leaves nothing");
        let both = world.set(handoff(ON, ON)).await.unwrap();
        assert_eq!(both.effective.unwrap().handoff.unwrap().smart_enabled, ON);
        conflict(world.set(handoff(OFF, None)).await);
        conflict(world.clear(&["overrides.handoff.human_enabled"]).await);
        world.set(handoff(OFF, OFF)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_counts_is_the_effective_result() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(handoff(ON, None)).await.unwrap();
        let smart = world.set(handoff(None, ON)).await.unwrap();
        assert_eq!((smart.version, source(&smart, SMART)), (1, Source::Organization));
        conflict(world.set(handoff(OFF, None)).await);
        assert_eq!(world.get().await.unwrap(), smart);
    })
    .await;
}

#[tokio::test]
async fn what_is_broken_later_from_above_is_off_and_stops_no_other_write() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(handoff(ON, None)).await.unwrap();
        world.set(handoff(None, ON)).await.unwrap();
        world.set_defaults(handoff(OFF, None)).await.unwrap();
        let broken = world.get().await.unwrap();
        let effective = broken.effective.as_ref().unwrap().handoff.unwrap();
        assert_eq!((effective.human_enabled, effective.smart_enabled), (OFF, OFF));
        assert_eq!(source(&broken, SMART), Source::Dependency);
        assert_eq!(source(&broken, "handoff.human_enabled"), Source::Workspace);
        assert_eq!(
            broken.overrides.as_ref().unwrap().handoff.unwrap().smart_enabled,
            ON,
            "what was set is kept"
        );

        let show_messages = HandoffValues {
            show_messages: OFF,
            ..Default::default()
        };
        let unrelated = SettingsValues {
            handoff: Some(show_messages),
            ..language("de")
        };
        let written = world.set(unrelated).await.unwrap();
        assert_eq!((written.version, source(&written, SMART)), (2, Source::Dependency));
        conflict(world.set(handoff(OFF, None)).await);
        // It holds again as soon as its need is met, from either level.
        world.set_defaults(handoff(ON, None)).await.unwrap();
        assert_eq!(source(&world.get().await.unwrap(), SMART), Source::Organization);
        world.set_defaults(handoff(OFF, None)).await.unwrap();
        let mended = world.set(handoff(ON, None)).await.unwrap();
        assert_eq!(mended.effective.as_ref().unwrap().handoff.unwrap().smart_enabled, ON);
        assert_eq!(source(&mended, SMART), Source::Organization);
    })
    .await;
}

#[tokio::test]
async fn defaults_keep_the_rule_among_themselves() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        conflict(world.set_defaults(handoff(None, ON)).await);
        world.set_defaults(handoff(ON, ON)).await.unwrap();
        conflict(world.set_defaults(handoff(OFF, None)).await);
        let inherited = world.get().await.unwrap();
        assert_eq!(source(&inherited, SMART), Source::Workspace);
        // An organization can't keep the half of it that needs the other.
        conflict(world.set(handoff(OFF, None)).await);
        let off = world.set(handoff(OFF, OFF)).await.unwrap();
        assert_eq!(source(&off, SMART), Source::Organization);
    })
    .await;
}

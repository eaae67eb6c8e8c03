//! The settings of organizations.

use crate::{ACME, BAKERY, World, all_leaves, coded, each_leaf, language, of_round, refused, source, update};
use clientele_api::org::organization::State;
use clientele_api::settings::field_source::Source;
use clientele_api::settings::{
    Branding, CustomTabList, HandoffValues, Layout, PageList, Settings, SettingsValues, TextDirection,
    UpdateSettingsRequest,
};
use clientele_testkit::on_both_engines;
use futures::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt;

impl World {
    async fn set_if(&self, etag: &str, overrides: SettingsValues) -> Result<Settings, Status> {
        let mut request = update(overrides);
        request.settings.as_mut().unwrap().etag = etag.to_owned();
        self.update(request).await
    }
}

#[tokio::test]
async fn a_new_organization_has_what_is_built_in() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let settings = world.get().await.unwrap();
        assert_eq!(
            (settings.name.as_str(), &settings.uid),
            (&*format!("{BAKERY}/settings"), &world.bakery.uid)
        );
        assert_eq!(
            (settings.version, settings.create_time, settings.update_time),
            (0, None, None)
        );
        assert!(!settings.etag.is_empty());
        let built_in = SettingsValues {
            language: Some("en".into()),
            layout: Some(Layout::Vertical.into()),
            handoff: Some(HandoffValues {
                human_enabled: Some(false),
                smart_enabled: Some(false),
                show_messages: Some(true),
            }),
            canned_responses_enabled: Some(false),
            pages: Some(PageList {
                pages: (1..=10).collect(),
            }),
            custom_tabs: Some(CustomTabList::default()),
            free_tags_enabled: Some(false),
            time_zone: Some("UTC".into()),
            branding: Some(Branding::default()),
        };
        assert_eq!(settings.effective, Some(built_in));
        assert_eq!(settings.text_direction(), TextDirection::LeftToRight);
        let paths: Vec<&str> = settings.sources.iter().map(|source| source.path.as_str()).collect();
        let handoff = [
            "handoff.human_enabled",
            "handoff.smart_enabled",
            "handoff.show_messages",
        ];
        let others = [
            "canned_responses_enabled",
            "pages",
            "custom_tabs",
            "free_tags_enabled",
            "time_zone",
            "branding",
        ];
        assert_eq!(paths, [&["language", "layout"][..], &handoff, &others].concat());
        assert!(settings.sources.iter().all(|source| source.source() == Source::BuiltIn));
        world.running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_set_is_read_back() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.set(language("de")).await.unwrap();
        assert_eq!((first.version, first.create_time == first.update_time), (1, true));
        assert!(first.create_time.is_some());
        assert_eq!(first.overrides.as_ref().unwrap().language(), "de");
        assert_eq!(first.effective.as_ref().unwrap().language(), "de");
        assert_eq!(source(&first, "language"), Source::Organization);
        assert_eq!(source(&first, "layout"), Source::BuiltIn);
        assert_eq!(world.get().await.unwrap(), first);
        // Again: nothing changes. The rest: what was set before stays.
        assert_eq!(world.set(language("de")).await.unwrap(), first);
        let second = world.set(all_leaves()).await.unwrap();
        assert_eq!((second.version, second.create_time), (2, first.create_time));
        assert_ne!(second.etag, first.etag);
        assert_eq!(
            (&second.overrides, &second.effective),
            (&Some(all_leaves()), &Some(all_leaves()))
        );
        assert!(
            second
                .sources
                .iter()
                .all(|source| source.source() == Source::Organization)
        );
        assert_eq!(world.get().await.unwrap(), second);
        // Another organization has nothing of it.
        world
            .feed
            .create_organization(world.acme, &format!("{ACME}/organizations/butcher"));
        world.hear().await;
        assert_eq!(
            world
                .get_of(&format!("{ACME}/organizations/butcher"))
                .await
                .unwrap()
                .version,
            0
        );
    })
    .await;
}

#[tokio::test]
async fn an_override_is_cleared_by_its_path() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(all_leaves()).await.unwrap();
        let cleared = world.clear(&["overrides.language"]).await.unwrap();
        assert_eq!(
            (cleared.version, cleared.effective.as_ref().unwrap().language()),
            (2, "en")
        );
        assert_eq!(source(&cleared, "language"), Source::BuiltIn);
        assert_eq!(source(&cleared, "layout"), Source::Organization);
        let cleared = world.clear(&["overrides.handoff"]).await.unwrap();
        assert_eq!(
            cleared.overrides.as_ref().unwrap().handoff,
            Some(HandoffValues::default())
        );
        let cleared = world.clear(&["*"]).await.unwrap();
        assert_eq!(cleared.version, 4);
        assert!(cleared.sources.iter().all(|source| source.source() == Source::BuiltIn));
        assert_eq!(world.clear(&["*"]).await.unwrap(), cleared);
        assert_eq!(world.get().await.unwrap(), cleared);
    })
    .await;
}

#[tokio::test]
async fn etags_are_of_one_version_the_one_before_the_first_too() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let unset = world.get().await.unwrap();
        let first = world.set_if(&unset.etag, language("de")).await.unwrap();
        for stale in [unset.etag.as_str(), "stale"] {
            let status = world.set_if(stale, language("fr")).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
        }
        let second = world.set_if(&first.etag, language("fr")).await.unwrap();
        assert_eq!(second.version, 2);
        let status = world.set_if(&first.etag, language("it")).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
        assert_eq!(world.get().await.unwrap(), second);
    })
    .await;
}

#[tokio::test]
async fn of_writers_with_one_etag_one_wins() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        // The first writers of all, then later ones.
        for version in 1..=3 {
            let etag = world.get().await.unwrap().etag;
            let codes = [["de", "fr", "it"], ["es", "pt", "nl"], ["da", "sv", "fi"]][version - 1];
            let answers = join_all(codes.map(|code| world.set_if(&etag, language(code)))).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!((won.len(), lost.len()), (1, 2));
            for status in lost.into_iter().map(Result::unwrap_err) {
                assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
            }
            let present = world.get().await.unwrap();
            assert_eq!((present.version, won[0].as_ref().unwrap()), (version as i64, &present));
        }
    })
    .await;
}

#[tokio::test]
async fn of_first_writers_without_etags_none_is_lost() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        // Several times: that they meet is likely, not certain.
        for at in 0..4 {
            let organization = format!("{ACME}/organizations/new-{at}");
            world.feed.create_organization(world.acme, &organization);
            world.hear().await;
            let set = |overrides| {
                let mut request = update(overrides);
                request.settings.as_mut().unwrap().name = format!("{organization}/settings");
                world.update(request)
            };
            for answer in join_all(each_leaf().map(set)).await {
                answer.unwrap();
            }
            let settings = world.get_of(&organization).await.unwrap();
            assert_eq!((settings.version, settings.overrides), (10, Some(all_leaves())));
        }
    })
    .await;
}

#[tokio::test]
async fn of_later_writers_without_etags_none_is_lost() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for round in 0..4 {
            let cleared = UpdateSettingsRequest {
                update_mask: crate::mask(&["*"]),
                ..update(language(["fr", "it", "es", "pt"][round]))
            };
            let before = world.update(cleared).await.unwrap();
            let leaves = each_leaf().map(|overrides| of_round(round, overrides));
            for answer in join_all(leaves.map(|overrides| world.set(overrides))).await {
                answer.unwrap();
            }
            let settings = world.get().await.unwrap();
            assert_eq!(
                (settings.version, settings.overrides),
                (before.version + 10, Some(of_round(round, all_leaves())))
            );
        }
    })
    .await;
}

#[tokio::test]
async fn settings_change_unless_the_organization_is_deleted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let suspended = world
            .change(&world.bakery, |bakery| bakery.set_state(State::Suspended))
            .await;
        let set = world.set(language("de")).await.unwrap();
        let deleted = world
            .change(&suspended, |bakery| bakery.set_state(State::Deleted))
            .await;
        let status = world.set(language("fr")).await.unwrap_err();
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, BAKERY);
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "ORGANIZATION_DELETED"));
        assert_eq!(world.get().await.unwrap(), set, "the staff still reads");
        world.change(&deleted, |bakery| bakery.set_state(State::Active)).await;
        world.set(language("fr")).await.unwrap();
    })
    .await;
}

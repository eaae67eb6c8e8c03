//! The defaults of workspaces, and what organizations have of them.

use crate::{ACME, World, all_leaves, coded, each_leaf, language, mask, of_round, refused, source, update_defaults};
use clientele_api::settings::field_source::Source;
use clientele_api::settings::{SettingsValues, UpdateWorkspaceSettingsRequest, WorkspaceSettings};
use clientele_testkit::on_both_engines;
use futures::future::join_all;
use tonic::{Code, Status};

impl World {
    async fn set_defaults_if(&self, etag: &str, defaults: SettingsValues) -> Result<WorkspaceSettings, Status> {
        let mut request = update_defaults(defaults);
        request.workspace_settings.as_mut().unwrap().etag = etag.to_owned();
        self.update_defaults(request).await
    }

    async fn clear_defaults(&self, paths: &[&str]) -> WorkspaceSettings {
        let request = UpdateWorkspaceSettingsRequest {
            update_mask: mask(paths),
            ..update_defaults(SettingsValues::default())
        };
        self.update_defaults(request).await.unwrap()
    }
}

#[tokio::test]
async fn defaults_are_set_read_back_and_cleared() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let unset = world.get_defaults().await;
        assert_eq!(
            (unset.name.as_str(), &unset.uid),
            (&*format!("{ACME}/settings"), &world.acme.to_string())
        );
        assert_eq!((unset.version, unset.create_time, unset.update_time), (0, None, None));
        let first = world.set_defaults_if(&unset.etag, all_leaves()).await.unwrap();
        assert_eq!((first.version, first.defaults.as_ref()), (1, Some(&all_leaves())));
        assert!(first.create_time.is_some());
        assert_eq!(world.get_defaults().await, first);
        assert_eq!(world.set_defaults(all_leaves()).await.unwrap(), first);
        for stale in [&unset.etag, "stale"] {
            let status = world.set_defaults_if(stale, language("fr")).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
        }
        let cleared = world
            .clear_defaults(&["defaults.language", "defaults.handoff.smart_enabled"])
            .await;
        let defaults = cleared.defaults.as_ref().unwrap();
        assert_eq!((cleared.version, &defaults.language), (2, &None));
        assert_eq!(defaults.handoff.unwrap().smart_enabled, None);
        assert_eq!(defaults.handoff.unwrap().human_enabled, Some(true));
        assert_eq!(world.get_defaults().await, cleared);
        world.running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn of_writers_of_defaults_none_is_lost() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        // The first writers of all, then later ones.
        for (round, version) in [10, 21, 32].into_iter().enumerate() {
            let leaves = each_leaf().map(|defaults| of_round(round, defaults));
            for answer in join_all(leaves.map(|defaults| world.set_defaults(defaults))).await {
                answer.unwrap();
            }
            let present = world.get_defaults().await;
            assert_eq!(
                (present.version, &present.defaults),
                (version, &Some(of_round(round, all_leaves())))
            );
            let cleared = world.clear_defaults(&["*"]).await;
            assert_eq!(cleared.version, version + 1);
        }
        let etag = world.get_defaults().await.etag;
        let answers = join_all(["de", "fr", "it"].map(|code| world.set_defaults_if(&etag, language(code)))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    })
    .await;
}

#[tokio::test]
async fn each_value_is_inherited_by_itself_also_when_it_changes_later() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let overrides = SettingsValues {
            layout: Some(1),
            ..Default::default()
        };
        let set = world.set(overrides.clone()).await.unwrap();
        world.set_defaults(all_leaves()).await.unwrap();
        let inherited = world.get().await.unwrap();
        // The defaults are no change of the organization's own settings.
        assert_eq!((inherited.version, &inherited.etag), (1, &set.etag));
        assert_eq!(inherited.overrides, set.overrides);
        let expected = SettingsValues {
            layout: Some(1),
            ..all_leaves()
        };
        assert_eq!(inherited.effective, Some(expected));
        for found in &inherited.sources {
            let expected = if found.path == "layout" {
                Source::Organization
            } else {
                Source::Workspace
            };
            assert_eq!(found.source(), expected, "{}", found.path);
        }
        // An override that says the same as the default is an override.
        let same = world.set(language("de")).await.unwrap();
        assert_eq!((same.version, source(&same, "language")), (2, Source::Organization));
        world.set_defaults(language("fr")).await.unwrap();
        assert_eq!(world.get().await.unwrap().effective.unwrap().language(), "de");
        let cleared = world.clear(&["overrides.language", "overrides.layout"]).await.unwrap();
        assert_eq!(cleared.effective.as_ref().unwrap().language(), "fr");
        assert_eq!(
            (source(&cleared, "language"), source(&cleared, "layout")),
            (Source::Workspace, Source::Workspace)
        );
        world.clear_defaults(&["*"]).await;
        let built_in = world.get().await.unwrap();
        assert!(built_in.sources.iter().all(|source| source.source() == Source::BuiltIn));
    })
    .await;
}

#[tokio::test]
async fn a_workspace_gives_its_own_organizations_only() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let globex = world.feed.create_workspace("globex");
        world
            .feed
            .create_organization(globex, "workspaces/globex/organizations/bakery");
        world.hear().await;
        world.set_defaults(language("de")).await.unwrap();
        let foreign = clientele_api::settings::GetSettingsRequest {
            name: "workspaces/globex/organizations/bakery/settings".into(),
        };
        let service = clientele_testkit::Caller::with(world.tokens.service("dashboard"));
        let theirs = world
            .settings()
            .get_settings(service.request(foreign.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(theirs.effective.unwrap().language(), "en");
        let status = world
            .settings()
            .get_settings(world.member.request(foreign))
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

//! The settings of several organizations at once.

use crate::{ACME, BAKERY, World, coded, language, refused, update};
use clientele_api::org::organization::State;
use clientele_api::settings::{BatchGetSettingsRequest, BatchGetSettingsResponse, Settings};
use clientele_testkit::{Caller, on_both_engines, reason};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

fn settings_name(id: &str) -> String {
    format!("{ACME}/organizations/{id}/settings")
}

impl World {
    async fn batch_get(&self, ids: &[&str]) -> Result<Vec<Settings>, Status> {
        self.batch_get_names(ids.iter().map(|id| settings_name(id)).collect())
            .await
    }

    async fn batch_get_names(&self, names: Vec<String>) -> Result<Vec<Settings>, Status> {
        let answer = self.batch_get_as(&self.member, names).await?;
        Ok(answer.into_inner().settings)
    }

    async fn batch_get_as(
        &self,
        caller: &Caller,
        names: Vec<String>,
    ) -> Result<Response<BatchGetSettingsResponse>, Status> {
        let request = BatchGetSettingsRequest {
            parent: ACME.into(),
            names,
        };
        self.settings().batch_get_settings(caller.request(request)).await
    }

    fn create_organizations(&self, ids: &[&str]) {
        for id in ids {
            let name = format!("{ACME}/organizations/{id}");
            self.feed.create_organization(self.acme, &name);
        }
    }

    async fn set_language(&self, id: &str, code: &str) {
        let mut request = update(language(code));
        request.settings.as_mut().unwrap().name = settings_name(id);
        self.update(request).await.unwrap();
    }
}

#[tokio::test]
async fn several_are_answered_in_the_order_of_the_request() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organizations(&["butcher", "cafe", "dairy"]);
        world.hear().await;
        world.set_language("bakery", "de").await;
        world.set_language("cafe", "fr").await;
        world.set_defaults(language("it")).await.unwrap();
        // Some are remembered, some are not, one is asked for twice.
        world.get().await.unwrap();
        for asked in [
            &["cafe", "bakery"][..],
            &["dairy", "cafe", "bakery", "butcher", "cafe"],
            &["butcher", "dairy"],
            &["bakery"; 100],
        ] {
            let got = world.batch_get(asked).await.unwrap();
            let mut expected = Vec::new();
            for id in asked {
                let organization = format!("{ACME}/organizations/{id}");
                expected.push(world.get_of(&organization).await.unwrap());
            }
            assert_eq!(got, expected);
        }
        let got = world.batch_get(&["dairy", "cafe", "bakery"]).await.unwrap();
        let languages = got
            .iter()
            .map(|settings| settings.effective.as_ref().unwrap().language());
        assert_eq!(languages.collect::<Vec<_>>(), ["it", "fr", "de"]);
        // The staff still reads those of a deleted one.
        world
            .change(&world.bakery, |bakery| bakery.set_state(State::Deleted))
            .await;
        assert_eq!(
            world.batch_get(&["bakery"]).await.unwrap(),
            [world.get().await.unwrap()]
        );
    })
    .await;
}

#[tokio::test]
async fn a_hundred_are_answered_that_nobody_has_asked_for_yet() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let ids: Vec<String> = (0..100).map(|at| format!("client-{at:03}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.create_organizations(&ids);
        world.hear().await;
        world.set_language(ids[7], "de").await;
        let got = world.batch_get(&ids).await.unwrap();
        let names: Vec<&str> = got.iter().map(|settings| settings.name.as_str()).collect();
        assert_eq!(names, ids.iter().map(|id| settings_name(id)).collect::<Vec<_>>());
        for (at, settings) in got.iter().enumerate() {
            let code = if at == 7 { "de" } else { "en" };
            assert_eq!(settings.effective.as_ref().unwrap().language(), code);
        }
    })
    .await;
}

#[tokio::test]
async fn all_or_none_are_answered() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let globex = world.feed.create_workspace("globex");
        world
            .feed
            .create_organization(globex, "workspaces/globex/organizations/theirs");
        world.create_organizations(&["butcher"]);
        world.hear().await;
        for unknown in ["nobody", "theirs"] {
            let status = world.batch_get(&["bakery", unknown, "butcher"]).await.unwrap_err();
            let about = status.get_details_resource_info().unwrap();
            let name = format!("{ACME}/organizations/{unknown}");
            assert_eq!(
                (about.resource_type.as_str(), about.resource_name),
                ("Organization", name)
            );
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
        world.batch_get(&["bakery", "butcher"]).await.unwrap();
        world.purge_bakery();
        world.hear().await;
        let status = world.batch_get(&["butcher", "bakery"]).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn names_that_are_none_or_too_many_or_of_somebody_else_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = settings_name("bakery");
        let theirs = "workspaces/globex/organizations/bakery/settings".to_owned();
        let long = settings_name(&"x".repeat(100_000));
        for (names, fields) in [
            (vec![], &["names"][..]),
            (vec![bakery.clone(); 101], &["names"]),
            (
                vec![
                    bakery,
                    theirs,
                    BAKERY.into(),
                    String::new(),
                    long,
                    "workspaces/acme/settings".into(),
                ],
                &["names[1]", "names[2]", "names[3]", "names[4]", "names[5]"],
            ),
        ] {
            let status = world.batch_get_names(names).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status)),
                refused(Code::InvalidArgument, "INVALID_FIELDS")
            );
            let violations = status.get_details_bad_request().unwrap().field_violations;
            let named: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
            assert_eq!(named, fields);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_has_written_gets_it_and_is_told_how_new_it_is() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let revision = |answer: &Response<BatchGetSettingsResponse>| {
            let header = answer.metadata().get("clientele-revision").unwrap().to_str().unwrap();
            let (org, own) = header.split_once(",settings=1.").unwrap();
            (org.to_owned(), own.parse::<i64>().unwrap())
        };
        let mut written = 0;
        for code in ["de", "fr", "it"] {
            world.create_organizations(&[code]);
            let caller = world.informed(&world.member);
            let names = vec![settings_name("bakery"), settings_name(code)];
            let got = world.batch_get_as(&caller, names).await.unwrap();
            assert_eq!(revision(&got).0, world.feed.revision());
            assert!(revision(&got).1 >= written);
            let request = world.admin.request(update(language(code)));
            let set = world.settings().update_settings(request).await.unwrap();
            let header = set.metadata().get("clientele-revision").unwrap().to_str().unwrap();
            written = header.rsplit('.').next().unwrap().parse().unwrap();
            let got = world
                .batch_get_as(&world.member, vec![settings_name("bakery")])
                .await
                .unwrap();
            assert!(revision(&got).1 >= written);
            assert_eq!(got.into_inner().settings, [set.into_inner()]);
        }
    })
    .await;
}

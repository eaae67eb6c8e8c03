//! Custom tabs: their order, who may see them, and ids that are never given out again.

use crate::{ACME, World, coded, refused, tabs, update};
use clientele_api::settings::custom_tab::Visibility;
use clientele_api::settings::{RollbackSettingsRequest, RollbackWorkspaceSettingsRequest, Settings, SettingsValues};
use clientele_testkit::{Engine, on_both_engines, until};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, TransactionTrait};
use std::fmt::Debug;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const BUTCHER: &str = "workspaces/acme/organizations/butcher";
const SOON: Duration = Duration::from_secs(10);

impl World {
    async fn with_butcher(engine: Engine) -> Self {
        let world = Self::start(engine).await;
        world.feed.create_organization(world.acme, BUTCHER);
        world.hear().await;
        world
    }

    async fn set_in(&self, organization: &str, overrides: SettingsValues) -> Result<Settings, Status> {
        let mut request = update(overrides);
        request.settings.as_mut().unwrap().name = format!("{organization}/settings");
        self.update(request).await
    }
}

/// It was refused since this id was given out before; answers the one that is named instead.
fn used<T: Debug>(answer: Result<T, Status>, id: &str) -> String {
    let status = answer.expect_err("an id is given out once");
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["id"], id, "{status:?}");
    assert_eq!(coded(status), refused(Code::AlreadyExists, "TAB_ID_USED"));
    metadata["free"].clone()
}

#[tokio::test]
async fn tabs_have_an_order_and_who_may_see_them() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut given = tabs(&["shop", "docs"]);
        given.custom_tabs.as_mut().unwrap().tabs[1].visibility = Visibility::Always.into();
        assert_eq!(
            world.set(given.clone()).await.unwrap().effective.unwrap().custom_tabs,
            given.custom_tabs
        );
        // Another order, another title: the same tabs.
        let list = given.custom_tabs.as_mut().unwrap();
        list.tabs.reverse();
        list.tabs[0].title = "Manual".into();
        let answer = world.set(given.clone()).await.unwrap();
        assert_eq!(
            (answer.version, answer.effective.unwrap().custom_tabs),
            (2, given.custom_tabs)
        );
    })
    .await;
}

#[tokio::test]
async fn an_id_is_never_given_out_again() {
    on_both_engines(async |engine| {
        let world = World::with_butcher(engine).await;
        world.set(tabs(&["shop", "docs"])).await.unwrap();
        world.set(tabs(&["docs"])).await.unwrap();
        assert_eq!(used(world.set(tabs(&["docs", "shop"])).await, "shop"), "shop-2");
        // Nor is another one of the same call named.
        let with_another = ["docs", "shop", "shop-2"];
        assert_eq!(used(world.set(tabs(&with_another)).await, "shop"), "shop-3");
        world.clear(&["overrides.custom_tabs"]).await.unwrap();
        used(world.set(tabs(&["docs"])).await, "docs");
        assert_eq!(world.get().await.unwrap().version, 3, "a refused write leaves nothing");
        world.set(tabs(&["shop-2"])).await.unwrap();
        world.set(tabs(&[])).await.unwrap();
        assert_eq!(used(world.set(tabs(&["shop"])).await, "shop"), "shop-3");
        // Another organization has tabs of its own.
        world.set_in(BUTCHER, tabs(&["shop"])).await.unwrap();
        // What was only checked is not given out.
        let mut preview = update(tabs(&["news"]));
        preview.validate_only = true;
        world.update(preview.clone()).await.unwrap();
        world.update(preview).await.unwrap();
        world.set(tabs(&["news"])).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_id_of_the_workspace_is_the_same_tab_in_its_organizations() {
    on_both_engines(async |engine| {
        let world = World::with_butcher(engine).await;
        world.set_defaults(tabs(&["help", "shop"])).await.unwrap();
        // Taken over, in another order, with one of its own; and once more after the override was cleared.
        for _ in 0..2 {
            let own = ["shop", "help"];
            world.set(tabs(&own)).await.unwrap();
            world.clear(&["overrides.custom_tabs"]).await.unwrap();
        }
        world.set(tabs(&["shop", "own", "help"])).await.unwrap();
        // What the workspace takes away stays with who took it over, and is nobody else's any more.
        world.set_defaults(tabs(&["shop"])).await.unwrap();
        world.set(tabs(&["help", "shop", "own"])).await.unwrap();
        used(world.set_in(BUTCHER, tabs(&["help"])).await, "help");
        used(world.set_defaults(tabs(&["shop", "help"])).await, "help");
        world.set(tabs(&["own"])).await.unwrap();
        used(world.set(tabs(&["own", "help"])).await, "help");
        // The workspace does not give out what an organization has or had: people there may hold its permission.
        assert_eq!(used(world.set_defaults(tabs(&["shop", "own"])).await, "own"), "own-2");
        world.set(tabs(&[])).await.unwrap();
        used(world.set_defaults(tabs(&["shop", "own"])).await, "own");
    })
    .await;
}

#[tokio::test]
async fn a_rollback_brings_back_tabs_with_their_ids() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(tabs(&["help"])).await.unwrap();
        let first = world.set(tabs(&["own", "help"])).await.unwrap();
        world.set(tabs(&["other"])).await.unwrap();
        world.set_defaults(tabs(&[])).await.unwrap();
        let back = RollbackSettingsRequest {
            name: first.name.clone(),
            version: first.version,
            ..Default::default()
        };
        let back = world.settings().rollback_settings(world.admin.request(back)).await;
        let back = back.unwrap().into_inner();
        assert_eq!((back.version, back.overrides), (3, first.overrides));
        // They are no longer among those that were taken away; what was taken away by this is.
        world.set(tabs(&["help", "own"])).await.unwrap();
        used(world.set(tabs(&["help", "own", "other"])).await, "other");
        let back = RollbackWorkspaceSettingsRequest {
            name: format!("{ACME}/settings"),
            version: 1,
            ..Default::default()
        };
        let back = world
            .settings()
            .rollback_workspace_settings(world.admin.request(back))
            .await;
        assert_eq!(
            back.unwrap().into_inner().defaults.unwrap().custom_tabs,
            tabs(&["help"]).custom_tabs
        );
    })
    .await;
}

#[tokio::test]
async fn workspaces_have_ids_of_their_own() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(tabs(&["help"])).await.unwrap();
        world.set(tabs(&["own"])).await.unwrap();
        let globex = world.feed.create_workspace("globex");
        world
            .feed
            .create_organization(globex, "workspaces/globex/organizations/bakery");
        let operator = world.informed(&clientele_testkit::Caller::with(world.tokens.operator()));
        let mut request = update(tabs(&["own", "help"]));
        request.settings.as_mut().unwrap().name = "workspaces/globex/organizations/bakery/settings".into();
        world
            .settings()
            .update_settings(operator.request(request))
            .await
            .unwrap();
    })
    .await;
}

/// Both have looked at what was given out, or one waits for the other, before either writes: the id is one tab's all the same. SQLite
/// has one writer.
#[tokio::test]
async fn a_workspace_and_its_organization_do_not_give_out_one_id_at_once() {
    let world = World::start(Engine::Postgres).await;
    let session = world.session().await;
    for round in 0..10 {
        let own = tabs(&[&format!("tab-{round}")]);
        let held = session.begin().await.unwrap();
        held.execute_unprepared("LOCK TABLE settings_tabs IN SHARE MODE")
            .await
            .unwrap();
        let both_wait = async {
            until(SOON, "both wait", async || waiting(&held).await == 2).await;
            held.commit().await.unwrap();
        };
        let (workspace, organization, ()) =
            futures::join!(world.set_defaults(own.clone()), world.set(own.clone()), both_wait);
        match (workspace, organization) {
            (Ok(_), refused) => drop(used(refused, &format!("tab-{round}"))),
            (refused, Ok(_)) => drop(used(refused, &format!("tab-{round}"))),
            neither => panic!("{neither:?}"),
        }
    }
    session.close().await.unwrap();
}

/// How many wait for a lock in this database.
async fn waiting(session: &DatabaseTransaction) -> i64 {
    let look_anew = "SELECT pg_stat_clear_snapshot()";
    session.execute_unprepared(look_anew).await.unwrap();
    let waiting = "SELECT count(*) AS waiting FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let row = session
        .query_one_raw(Statement::from_string(DbBackend::Postgres, waiting))
        .await;
    row.unwrap().unwrap().try_get("", "waiting").unwrap()
}

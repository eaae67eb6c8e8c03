//! Client users: what org-service tells of them decides what they may do here.

use crate::{ACME, BAKERY, World, coded, language, refused, service, update};
use clientele_api::org::Organization;
use clientele_api::org::member::State;
use clientele_api::settings::{GetSettingsRequest, Settings};
use clientele_testkit::{
    Caller, Calls, ClientUser, ClientUsers, Engine, Running, end_sessions, hear_of_another, on_both_engines,
    refuse_client_users, shut_out_and_let_in,
};
use serde_json::json;
use tonic::{Code, Response, Status};

impl World {
    /// The settings of an organization, for this caller.
    async fn get_as(&self, caller: &Caller, organization: &str) -> Result<Settings, Status> {
        let request = GetSettingsRequest {
            name: format!("{organization}/settings"),
        };
        let answer = self.settings().get_settings(caller.request(request)).await;
        answer.map(Response::into_inner)
    }

    fn with_roles(&self, organization: &Organization, roles: &[&str]) -> ClientUser {
        ClientUser::with_roles(&self.feed, self.acme, organization, roles)
    }
}

#[tokio::test]
async fn what_shuts_a_client_user_out_binds_as_soon_as_it_is_heard_of() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut ann = ClientUser::create(&world.feed, world.acme, &world.bakery);
        let get = "/clientele.settings.v1.SettingsService/GetSettings";
        let open = Some((get, json!({ "name": format!("{BAKERY}/settings") })));
        shut_out_and_let_in(&world.calls(), &world.tokens, &mut ann, open).await;
    })
    .await;
}

#[tokio::test]
async fn the_tokens_of_a_session_that_ended_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let ann = ClientUser::create(&world.feed, world.acme, &world.bakery);
        end_sessions(&world.calls(), &world.tokens, &ann).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_hears_of_binds_here() {
    let world = World::start(Engine::Postgres).await;
    let bakery = world.bakery.clone();
    let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
    let other = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
    let calls = Calls::new(other.channel().await);
    hear_of_another(&calls, &world.tokens, &mut ann).await;
    other.stop().await;
}

#[tokio::test]
async fn a_client_user_has_its_own_organization_and_no_other() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let globex = world.feed.create_workspace("globex");
        let elsewhere = "workspaces/globex/organizations/bakery";
        world.feed.create_organization(globex, elsewhere);
        let butcher = format!("{ACME}/organizations/butcher");
        let butcher = world.feed.create_organization(world.acme, &butcher);
        let ann = world.with_roles(&world.bakery, &[]);
        world.hear().await;
        world.set(language("de")).await.unwrap();
        let caller = ann.caller(&world.tokens);
        let settings = world.get_as(&caller, BAKERY).await.unwrap();
        assert_eq!(settings.effective.unwrap().language(), "de");
        // It may look, and change nothing.
        let request = caller.request(update(language("fr")));
        let status = world.settings().update_settings(request).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
        for other in [&butcher.name, elsewhere, "workspaces/acme/organizations/nobody"] {
            let status = world.get_as(&caller, other).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"), "{other}");
        }
        // Whoever was never a member, its token may say what it likes.
        let stranger = Caller::with(world.tokens.user(&ann.user.uid, &butcher.uid));
        let status = world.get_as(&stranger, &butcher.name).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "ACCESS_DENIED"));
        // The name of a purged organization leads its users nowhere, whoever has it now.
        ann.purge_organization();
        world.hear().await;
        let status = world.get_as(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        world.feed.create_organization(world.acme, BAKERY);
        world.hear().await;
        let status = world.get_as(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn no_method_gives_client_users_more_than_its_policy() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let butcher = format!("{ACME}/organizations/butcher");
        let butcher = world.feed.create_organization(world.acme, &butcher);
        let mut suspended = world.with_roles(&world.bakery, &["org-admin"]);
        suspended.change_member(|member| member.set_state(State::Suspended));
        let users = ClientUsers {
            admin: world.with_roles(&world.bakery, &["org-admin"]).caller(&world.tokens),
            nobody: world.with_roles(&world.bakery, &[]).caller(&world.tokens),
            suspended: suspended.caller(&world.tokens),
            neighbour: world.with_roles(&butcher, &["org-admin"]).caller(&world.tokens),
        };
        world.hear().await;
        refuse_client_users(&world.calls(), &world.running.services, "acme", "bakery", &users).await;
    })
    .await;
}

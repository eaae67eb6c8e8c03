//! Client users: what org-service tells of them decides what they may do here.

use crate::{BAKERY, World, coded, refused};
use clientele_api::journal::ListEntriesRequest;
use clientele_api::org::member::State;
use clientele_testkit::{Caller, ClientUser, ClientUsers, on_both_engines, refuse_client_users, shut_out_and_let_in};
use tonic::{Code, Status};

impl World {
    /// How many entries the journal of the organization shows to the caller.
    async fn listed(&self, caller: &Caller, organization: &str) -> Result<usize, Status> {
        let request = ListEntriesRequest {
            parent: organization.into(),
            ..Default::default()
        };
        let page = self.journal().list_entries(caller.request(request)).await?;
        Ok(page.into_inner().entries.len())
    }
}

#[tokio::test]
async fn what_shuts_a_client_user_out_binds_as_soon_as_it_is_heard_of() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
        shut_out_and_let_in(&world.calls(), &world.tokens, &mut ann, None).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_user_has_its_own_organization_and_no_other() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let globex = world.feed.create_workspace("globex");
        let elsewhere = "workspaces/globex/organizations/bakery";
        world.feed.create_organization(globex, elsewhere);
        let butcher = world.create_organization("butcher").await;
        let ann = ClientUser::with_roles(&world.feed, world.acme, &bakery, &["org-admin"]);
        world.hear().await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        let caller = ann.caller(&world.tokens);
        assert_eq!(world.listed(&caller, BAKERY).await.unwrap(), 1);
        for other in [&butcher.name, elsewhere, "workspaces/acme/organizations/nobody"] {
            let status = world.listed(&caller, other).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"), "{other}");
        }
        // Whoever was never a member, its token may say what it likes.
        let stranger = Caller::with(world.tokens.user(&ann.user.uid, &butcher.uid));
        let status = world.listed(&stranger, &butcher.name).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "ACCESS_DENIED"));
        // The name of a purged organization leads its users nowhere, whoever has it now.
        ann.purge_organization();
        world.hear().await;
        let status = world.listed(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        world.create_organization("bakery").await;
        let status = world.listed(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn no_method_gives_client_users_more_than_its_policy() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let butcher = world.create_organization("butcher").await;
        let with = |organization, roles: &[&str]| ClientUser::with_roles(&world.feed, world.acme, organization, roles);
        let mut suspended = with(&bakery, &["org-admin"]);
        suspended.change_member(|member| member.set_state(State::Suspended));
        let users = ClientUsers {
            admin: with(&bakery, &["org-admin"]).caller(&world.tokens),
            nobody: with(&bakery, &[]).caller(&world.tokens),
            suspended: suspended.caller(&world.tokens),
            neighbour: with(&butcher, &["org-admin"]).caller(&world.tokens),
        };
        world.hear().await;
        refuse_client_users(&world.calls(), &world.running.services, "acme", "bakery", &users).await;
    })
    .await;
}

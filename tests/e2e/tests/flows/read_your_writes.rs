//! Whoever shows a service the revision of an answer finds there what was answered, however busy everybody is.

use crate::{World, having_seen};
use clientele_api::assignment::ListAssignmentsRequest;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{
    CreateOrganizationRequest, CreateWorkspaceRequest, GetOrganizationRequest, Organization,
    SuspendOrganizationRequest, Workspace,
};
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{GetSettingsRequest, Settings, SettingsValues, UpdateSettingsRequest};
use clientele_testkit::{Caller, on_both_engines};

const CALLERS: usize = 16;
const ROUNDS: usize = 15;

impl World {
    /// Creates an organization and asks for it elsewhere at once, in every service, with what was answered before.
    async fn round(&self, operator: &Caller) {
        let organization = Some(Organization {
            display_name: Some("Bakery".into()),
            ..Default::default()
        });
        let request = CreateOrganizationRequest {
            parent: "workspaces/acme".into(),
            organization,
            ..Default::default()
        };
        let created = self
            .organizations()
            .await
            .create_organization(operator.request(request))
            .await
            .unwrap();
        let seen = having_seen(operator, &created);
        let name = created.into_inner().name;

        let list = ListAssignmentsRequest {
            parent: name.clone(),
            ..Default::default()
        };
        let listed = self
            .assignments()
            .await
            .list_assignments(seen.request(list))
            .await
            .unwrap();
        let mut settings = SettingsServiceClient::new(self.settings.channel().await);
        let overrides = Some(SettingsValues {
            language: Some("fr".into()),
            ..Default::default()
        });
        let update = Settings {
            name: format!("{name}/settings"),
            overrides,
            ..Default::default()
        };
        let update = UpdateSettingsRequest {
            settings: Some(update),
            ..Default::default()
        };
        // The revision of assignment-service's answer holds org-service's too.
        let updated = settings
            .update_settings(having_seen(operator, &listed).request(update))
            .await
            .unwrap();
        let read = GetSettingsRequest {
            name: format!("{name}/settings"),
        };
        let read = settings
            .get_settings(having_seen(operator, &updated).request(read))
            .await
            .unwrap();
        assert_eq!(read.into_inner().overrides.unwrap().language(), "fr");

        let suspend = SuspendOrganizationRequest {
            name: name.clone(),
            ..Default::default()
        };
        let suspended = self
            .organizations()
            .await
            .suspend_organization(operator.request(suspend))
            .await
            .unwrap();
        let get = GetOrganizationRequest { name };
        let got = self
            .organizations()
            .await
            .get_organization(having_seen(operator, &suspended).request(get))
            .await
            .unwrap();
        assert_eq!(got.into_inner(), suspended.into_inner());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_found_in_every_service_under_load() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let operator = Caller::with(world.tokens.operator());
        let workspace = Some(Workspace {
            display_name: Some("Acme".into()),
            ..Default::default()
        });
        let request = CreateWorkspaceRequest {
            workspace_id: "acme".into(),
            workspace,
            ..Default::default()
        };
        let mut workspaces = WorkspaceServiceClient::new(world.org.channel().await);
        let created = workspaces.create_workspace(operator.request(request)).await.unwrap();
        let operator = having_seen(&operator, &created);
        let caller = || async {
            for _ in 0..ROUNDS {
                world.round(&operator).await;
            }
        };
        futures::future::join_all((0..CALLERS).map(|_| caller())).await;
    })
    .await;
}

//! What one service answered binds in the others.

use crate::{World, having_seen};
use clientele_api::access::StaffRole;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::assignment::{Agent, AssignAgentRequest, CheckAccessRequest, CreateAgentRequest, DenialReason};
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{
    CreateOrganizationRequest, CreateWorkspaceRequest, DeleteOrganizationRequest, Organization,
    SuspendOrganizationRequest, Workspace,
};
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{GetSettingsRequest, HandoffValues, Settings, SettingsValues, UpdateSettingsRequest};
use clientele_testkit::{Caller, on_both_engines, reason};
use tonic::Code;

#[tokio::test]
async fn what_one_service_answered_the_others_know() {
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
        WorkspaceServiceClient::new(world.org.channel().await)
            .create_workspace(operator.request(request))
            .await
            .unwrap();

        let admin = Caller::with(world.tokens.staff("acme", StaffRole::Admin));
        let owner = Caller::with(world.tokens.staff("acme", StaffRole::Owner));
        let organization = Some(Organization {
            display_name: Some("Bakery".into()),
            ..Default::default()
        });
        let request = CreateOrganizationRequest {
            parent: "workspaces/acme".into(),
            organization,
            ..Default::default()
        };
        let created = world
            .organizations()
            .await
            .create_organization(admin.request(request))
            .await
            .unwrap();
        let admin = having_seen(&admin, &created);
        let bakery = created.into_inner().name;

        let agent = Some(Agent {
            title: Some("Support".into()),
            ..Default::default()
        });
        let request = CreateAgentRequest {
            parent: "workspaces/acme".into(),
            agent_id: "support".into(),
            agent,
            ..Default::default()
        };
        AgentServiceClient::new(world.assignment.channel().await)
            .create_agent(admin.request(request))
            .await
            .unwrap();
        let assign = AssignAgentRequest {
            parent: bakery.clone(),
            agent: "workspaces/acme/agents/support".into(),
            ..Default::default()
        };
        world
            .assignments()
            .await
            .assign_agent(admin.request(assign.clone()))
            .await
            .unwrap();

        let mut settings = SettingsServiceClient::new(world.settings.channel().await);
        let name = format!("{bakery}/settings");
        let handoff = Some(HandoffValues {
            human_enabled: Some(true),
            ..Default::default()
        });
        let overrides = Some(SettingsValues {
            language: Some("eng".into()),
            handoff,
            ..Default::default()
        });
        let update = UpdateSettingsRequest {
            settings: Some(Settings {
                name: name.clone(),
                overrides,
                ..Default::default()
            }),
            ..Default::default()
        };
        settings.update_settings(admin.request(update.clone())).await.unwrap();
        let read = settings
            .get_settings(admin.request(GetSettingsRequest { name }))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(read.effective.unwrap().language(), "en");

        // Suspending binds in the other services as soon as they have heard of it.
        let suspend = SuspendOrganizationRequest {
            name: bakery.clone(),
            ..Default::default()
        };
        let suspended = world
            .organizations()
            .await
            .suspend_organization(admin.request(suspend))
            .await
            .unwrap();
        let admin = having_seen(&admin, &suspended);
        let status = world
            .assignments()
            .await
            .assign_agent(admin.request(assign))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
        let check = CheckAccessRequest {
            organization: bakery.clone(),
            agent: "workspaces/acme/agents/support".into(),
            ..Default::default()
        };
        let denied = world
            .assignments()
            .await
            .check_access(admin.request(check.clone()))
            .await
            .unwrap();
        assert!(
            denied
                .metadata()
                .get("clientele-revision")
                .unwrap()
                .to_str()
                .unwrap()
                .contains("org=")
        );
        assert_eq!(denied.into_inner().reason(), DenialReason::OrganizationSuspended);
        // Settings of a suspended organization can still be changed; of a deleted one not.
        settings.update_settings(admin.request(update.clone())).await.unwrap();
        let delete = DeleteOrganizationRequest {
            name: bakery,
            ..Default::default()
        };
        let deleted = world
            .organizations()
            .await
            .delete_organization(owner.request(delete))
            .await
            .unwrap();
        let admin = having_seen(&admin, &deleted);
        let status = settings.update_settings(admin.request(update)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "ORGANIZATION_DELETED")
        );
        assert_eq!(
            world
                .assignments()
                .await
                .check_access(admin.request(check))
                .await
                .unwrap()
                .into_inner()
                .reason(),
            DenialReason::OrganizationDeleted
        );
    })
    .await;
}

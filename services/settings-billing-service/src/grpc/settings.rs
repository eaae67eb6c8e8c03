//! `clientele.settings.v1.SettingsService`.

use crate::commands::{App, settings};
use clientele_api::settings::settings_service_server::SettingsService;
use clientele_api::settings::{
    GetSettingsRequest, GetWorkspaceSettingsRequest, Settings, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest,
    WorkspaceSettings,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct SettingsRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl SettingsService for SettingsRpc {
    async fn get_settings(&self, request: Request<GetSettingsRequest>) -> Result<Response<Settings>, Status> {
        self.admission
            .read(request, |scope, _| settings::get(&self.app, scope))
            .await
    }

    async fn update_settings(&self, request: Request<UpdateSettingsRequest>) -> Result<Response<Settings>, Status> {
        self.admission
            .write(request, |scope, request| settings::update(&self.app, scope, request))
            .await
    }

    async fn get_workspace_settings(
        &self,
        request: Request<GetWorkspaceSettingsRequest>,
    ) -> Result<Response<WorkspaceSettings>, Status> {
        self.admission
            .read(request, |scope, _| settings::get_workspace(&self.app, scope))
            .await
    }

    async fn update_workspace_settings(
        &self,
        request: Request<UpdateWorkspaceSettingsRequest>,
    ) -> Result<Response<WorkspaceSettings>, Status> {
        self.admission
            .write(request, |scope, request| {
                settings::update_workspace(&self.app, scope, request)
            })
            .await
    }

    async fn batch_get_settings(
        &self,
        _: Request<clientele_api::settings::BatchGetSettingsRequest>,
    ) -> Result<Response<clientele_api::settings::BatchGetSettingsResponse>, Status> {
        Err(Status::unimplemented("wip"))
    }
    async fn list_settings_revisions(
        &self,
        _: Request<clientele_api::settings::ListSettingsRevisionsRequest>,
    ) -> Result<Response<clientele_api::settings::ListSettingsRevisionsResponse>, Status> {
        Err(Status::unimplemented("wip"))
    }
    async fn rollback_settings(
        &self,
        _: Request<clientele_api::settings::RollbackSettingsRequest>,
    ) -> Result<Response<Settings>, Status> {
        Err(Status::unimplemented("wip"))
    }
    async fn list_workspace_settings_revisions(
        &self,
        _: Request<clientele_api::settings::ListWorkspaceSettingsRevisionsRequest>,
    ) -> Result<Response<clientele_api::settings::ListWorkspaceSettingsRevisionsResponse>, Status> {
        Err(Status::unimplemented("wip"))
    }
    async fn rollback_workspace_settings(
        &self,
        _: Request<clientele_api::settings::RollbackWorkspaceSettingsRequest>,
    ) -> Result<Response<WorkspaceSettings>, Status> {
        Err(Status::unimplemented("wip"))
    }
}

//! `clientele.settings.v1.SettingsService`.

use crate::commands::{App, settings};
use clientele_api::settings::settings_service_server::SettingsService;
use clientele_api::settings::{
    BatchGetSettingsRequest, BatchGetSettingsResponse, GetSettingsRequest, GetWorkspaceSettingsRequest,
    ListSettingsRevisionsRequest, ListSettingsRevisionsResponse, ListWorkspaceSettingsRevisionsRequest,
    ListWorkspaceSettingsRevisionsResponse, RollbackSettingsRequest, RollbackWorkspaceSettingsRequest, Settings,
    UpdateSettingsRequest, UpdateWorkspaceSettingsRequest, WorkspaceSettings,
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
        request: Request<BatchGetSettingsRequest>,
    ) -> Result<Response<BatchGetSettingsResponse>, Status> {
        self.admission
            .read(request, |scope, request| settings::batch_get(&self.app, scope, request))
            .await
    }

    async fn list_settings_revisions(
        &self,
        request: Request<ListSettingsRevisionsRequest>,
    ) -> Result<Response<ListSettingsRevisionsResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                settings::list_revisions(&self.app, scope, request)
            })
            .await
    }

    async fn rollback_settings(&self, request: Request<RollbackSettingsRequest>) -> Result<Response<Settings>, Status> {
        self.admission
            .write(request, |scope, request| settings::rollback(&self.app, scope, request))
            .await
    }

    async fn list_workspace_settings_revisions(
        &self,
        request: Request<ListWorkspaceSettingsRevisionsRequest>,
    ) -> Result<Response<ListWorkspaceSettingsRevisionsResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                settings::list_workspace_revisions(&self.app, scope, request)
            })
            .await
    }

    async fn rollback_workspace_settings(
        &self,
        request: Request<RollbackWorkspaceSettingsRequest>,
    ) -> Result<Response<WorkspaceSettings>, Status> {
        self.admission
            .write(request, |scope, request| {
                settings::rollback_workspace(&self.app, scope, request)
            })
            .await
    }
}

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
}

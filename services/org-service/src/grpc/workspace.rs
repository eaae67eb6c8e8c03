//! `clientele.org.v1.WorkspaceService`.

use crate::commands::{App, workspace};
use clientele_api::org::workspace_service_server::WorkspaceService;
use clientele_api::org::{
    CreateWorkspaceRequest, DeleteWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest, ListWorkspacesResponse,
    UpdateWorkspaceRequest, Workspace,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct WorkspaceRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl WorkspaceService for WorkspaceRpc {
    async fn create_workspace(&self, request: Request<CreateWorkspaceRequest>) -> Result<Response<Workspace>, Status> {
        self.admission
            .write(request, |scope, request| workspace::create(&self.app, scope, request))
            .await
    }

    async fn get_workspace(&self, request: Request<GetWorkspaceRequest>) -> Result<Response<Workspace>, Status> {
        self.admission
            .read(request, |scope, _| workspace::get(&self.app, scope))
            .await
    }

    async fn list_workspaces(
        &self,
        request: Request<ListWorkspacesRequest>,
    ) -> Result<Response<ListWorkspacesResponse>, Status> {
        self.admission
            .read(request, |scope, request| workspace::list(&self.app, scope, request))
            .await
    }

    async fn update_workspace(&self, request: Request<UpdateWorkspaceRequest>) -> Result<Response<Workspace>, Status> {
        self.admission
            .write(request, |scope, request| workspace::update(&self.app, scope, request))
            .await
    }

    async fn delete_workspace(&self, request: Request<DeleteWorkspaceRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| workspace::delete(&self.app, scope, request))
            .await
    }
}

//! `clientele.org.v1.RoleService`.

use crate::commands::{App, role};
use clientele_api::org::role_service_server::RoleService;
use clientele_api::org::{
    CreateRoleRequest, DeleteRoleRequest, GetRoleRequest, ListPermissionsRequest, ListPermissionsResponse,
    ListRolesRequest, ListRolesResponse, Role, UpdateRoleRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct RoleRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl RoleService for RoleRpc {
    async fn list_roles(&self, request: Request<ListRolesRequest>) -> Result<Response<ListRolesResponse>, Status> {
        self.admission
            .read(request, |scope, request| role::list(&self.app, scope, request))
            .await
    }

    async fn get_role(&self, request: Request<GetRoleRequest>) -> Result<Response<Role>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                role::get(&self.app, scope, &request.name).await
            })
            .await
    }

    async fn list_permissions(
        &self,
        request: Request<ListPermissionsRequest>,
    ) -> Result<Response<ListPermissionsResponse>, Status> {
        self.admission
            .read(request, |_, _| role::list_permissions(&self.app))
            .await
    }

    async fn create_role(&self, request: Request<CreateRoleRequest>) -> Result<Response<Role>, Status> {
        self.admission
            .write(request, |scope, request| role::create(&self.app, scope, request))
            .await
    }

    async fn update_role(&self, request: Request<UpdateRoleRequest>) -> Result<Response<Role>, Status> {
        self.admission
            .write(request, |scope, request| role::update(&self.app, scope, request))
            .await
    }

    async fn delete_role(&self, request: Request<DeleteRoleRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| role::delete(&self.app, scope, request))
            .await
    }
}

//! `clientele.org.v1.UserService`.

use crate::commands::{App, password, user};
use clientele_api::org::user_service_server::UserService;
use clientele_api::org::{
    CheckEmailRequest, CheckEmailResponse, CreatePasswordResetRequest, CreatePasswordResetResponse, DeleteUserRequest,
    DisableUserRequest, EnableUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, ResetPasswordRequest,
    SetPasswordRequest, UpdateUserRequest, User,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct UserRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl UserService for UserRpc {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                user::get(&self.app, scope, &request.name).await
            })
            .await
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        self.admission
            .read(request, |scope, request| user::list(&self.app, scope, request))
            .await
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        self.admission
            .write(request, |scope, request| user::update(&self.app, scope, request))
            .await
    }

    async fn check_email(&self, request: Request<CheckEmailRequest>) -> Result<Response<CheckEmailResponse>, Status> {
        self.admission
            .read(request, |scope, request| user::check_email(&self.app, scope, request))
            .await
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Result<Response<User>, Status> {
        self.admission
            .write(request, |scope, request| password::set(&self.app, scope, request))
            .await
    }

    async fn create_password_reset(
        &self,
        request: Request<CreatePasswordResetRequest>,
    ) -> Result<Response<CreatePasswordResetResponse>, Status> {
        let mut response = self
            .admission
            .write(request, |scope, request| {
                password::create_reset(&self.app, scope, request)
            })
            .await?;
        // Only here, past everything that remembers or logs answers.
        password::disclose_token(&self.app, response.get_mut());
        Ok(response)
    }

    async fn reset_password(&self, request: Request<ResetPasswordRequest>) -> Result<Response<User>, Status> {
        self.admission
            .write(request, |scope, request| password::reset(&self.app, scope, request))
            .await
    }

    async fn disable_user(&self, request: Request<DisableUserRequest>) -> Result<Response<User>, Status> {
        self.admission
            .write(request, |scope, request| user::disable(&self.app, scope, request))
            .await
    }

    async fn enable_user(&self, request: Request<EnableUserRequest>) -> Result<Response<User>, Status> {
        self.admission
            .write(request, |scope, request| user::enable(&self.app, scope, request))
            .await
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| user::delete(&self.app, scope, request))
            .await
    }
}

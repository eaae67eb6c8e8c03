//! `clientele.org.v1.InvitationService`.

use crate::commands::{App, invitation};
use clientele_api::org::invitation_service_server::InvitationService;
use clientele_api::org::{
    AcceptInvitationRequest, BatchCreateInvitationsRequest, BatchCreateInvitationsResponse, CreateInvitationRequest,
    DeclineInvitationRequest, GetInvitationRequest, Invitation, IssueInvitationTokenRequest,
    IssueInvitationTokenResponse, ListInvitationsRequest, ListInvitationsResponse, RevokeInvitationRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct InvitationRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl InvitationService for InvitationRpc {
    async fn create_invitation(
        &self,
        request: Request<CreateInvitationRequest>,
    ) -> Result<Response<Invitation>, Status> {
        self.admission
            .write(request, |scope, request| invitation::create(&self.app, scope, request))
            .await
    }

    async fn batch_create_invitations(
        &self,
        request: Request<BatchCreateInvitationsRequest>,
    ) -> Result<Response<BatchCreateInvitationsResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                invitation::batch_create(&self.app, scope, request)
            })
            .await
    }

    async fn get_invitation(&self, request: Request<GetInvitationRequest>) -> Result<Response<Invitation>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                invitation::get(&self.app, scope, &request.name).await
            })
            .await
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        self.admission
            .read(request, |scope, request| invitation::list(&self.app, scope, request))
            .await
    }

    async fn revoke_invitation(
        &self,
        request: Request<RevokeInvitationRequest>,
    ) -> Result<Response<Invitation>, Status> {
        self.admission
            .write(request, |scope, request| invitation::revoke(&self.app, scope, request))
            .await
    }

    async fn issue_invitation_token(
        &self,
        request: Request<IssueInvitationTokenRequest>,
    ) -> Result<Response<IssueInvitationTokenResponse>, Status> {
        let mut response = self
            .admission
            .write(request, |scope, request| {
                invitation::issue_token(&self.app, scope, request)
            })
            .await?;
        // Only here, past everything that remembers or logs answers.
        invitation::disclose_token(&self.app, response.get_mut());
        Ok(response)
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Result<Response<Invitation>, Status> {
        self.admission
            .write(request, |scope, request| invitation::accept(&self.app, scope, request))
            .await
    }

    async fn decline_invitation(
        &self,
        request: Request<DeclineInvitationRequest>,
    ) -> Result<Response<Invitation>, Status> {
        self.admission
            .write(request, |scope, request| invitation::decline(&self.app, scope, request))
            .await
    }
}

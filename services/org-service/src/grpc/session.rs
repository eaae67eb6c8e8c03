//! `clientele.org.v1.SessionService`. Its mutations are admitted like reads: they are not remembered, and so never answered again.

use crate::commands::{App, session};
use clientele_api::org::session_service_server::SessionService;
use clientele_api::org::{
    CreateSessionRequest, CreateSessionResponse, GetSigningKeysRequest, ImpersonateMemberRequest, ListSessionsRequest,
    ListSessionsResponse, RefreshSessionRequest, RevokeSessionRequest, Session, SessionTokens, SigningKeys,
    SwitchSessionRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct SessionRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl SessionService for SessionRpc {
    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        self.admission
            .read(request, |scope, request| session::create(&self.app, scope, request))
            .await
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> Result<Response<SessionTokens>, Status> {
        self.admission
            .read(request, |scope, request| session::refresh(&self.app, scope, request))
            .await
    }

    async fn switch_session(&self, request: Request<SwitchSessionRequest>) -> Result<Response<SessionTokens>, Status> {
        self.admission
            .read(request, |scope, request| session::switch(&self.app, scope, request))
            .await
    }

    async fn revoke_session(&self, request: Request<RevokeSessionRequest>) -> Result<Response<Session>, Status> {
        self.admission
            .read(request, |scope, request| session::revoke(&self.app, scope, request))
            .await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        self.admission
            .read(request, |scope, request| session::list(&self.app, scope, request))
            .await
    }

    async fn impersonate_member(
        &self,
        request: Request<ImpersonateMemberRequest>,
    ) -> Result<Response<SessionTokens>, Status> {
        self.admission
            .read(request, |scope, request| {
                session::impersonate(&self.app, scope, request)
            })
            .await
    }

    async fn get_signing_keys(&self, request: Request<GetSigningKeysRequest>) -> Result<Response<SigningKeys>, Status> {
        self.admission
            .read(request, |scope, _| session::signing_keys(&self.app, scope))
            .await
    }
}

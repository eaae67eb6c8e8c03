//! `clientele.org.v1.MemberService`.

use crate::commands::{App, member};
use clientele_api::org::member_service_server::MemberService;
use clientele_api::org::{
    BatchCreateMembersRequest, BatchCreateMembersResponse, CreateMemberRequest, GetMemberRequest,
    ListEffectivePermissionsRequest, ListEffectivePermissionsResponse, ListMembersRequest, ListMembersResponse, Member,
    RemoveMemberRequest, ResumeMemberRequest, SetPresenceRequest, SuspendMemberRequest, TestPermissionsRequest,
    TestPermissionsResponse, UpdateMemberRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct MemberRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl MemberService for MemberRpc {
    async fn create_member(&self, request: Request<CreateMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| member::create(&self.app, scope, request))
            .await
    }

    async fn batch_create_members(
        &self,
        request: Request<BatchCreateMembersRequest>,
    ) -> Result<Response<BatchCreateMembersResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                member::batch_create(&self.app, scope, request)
            })
            .await
    }

    async fn get_member(&self, request: Request<GetMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                member::get(&self.app, scope, &request.name).await
            })
            .await
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        self.admission
            .read(request, |scope, request| member::list(&self.app, scope, request))
            .await
    }

    async fn update_member(&self, request: Request<UpdateMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| member::update(&self.app, scope, request))
            .await
    }

    async fn suspend_member(&self, request: Request<SuspendMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| member::suspend(&self.app, scope, request))
            .await
    }

    async fn resume_member(&self, request: Request<ResumeMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| member::resume(&self.app, scope, request))
            .await
    }

    async fn remove_member(&self, request: Request<RemoveMemberRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| member::remove(&self.app, scope, request))
            .await
    }

    async fn set_presence(&self, request: Request<SetPresenceRequest>) -> Result<Response<Member>, Status> {
        self.admission
            .write(request, |scope, request| {
                member::set_presence(&self.app, scope, request)
            })
            .await
    }

    async fn list_effective_permissions(
        &self,
        request: Request<ListEffectivePermissionsRequest>,
    ) -> Result<Response<ListEffectivePermissionsResponse>, Status> {
        self.admission
            .read(request, |scope, request| async move {
                member::list_effective_permissions(&self.app, scope, &request.name).await
            })
            .await
    }

    async fn test_permissions(
        &self,
        request: Request<TestPermissionsRequest>,
    ) -> Result<Response<TestPermissionsResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                member::test_permissions(&self.app, scope, request)
            })
            .await
    }
}

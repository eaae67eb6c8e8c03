//! `clientele.assignment.v1.AssignmentService`.

use crate::commands::{App, access, assignment, member_scope};
use clientele_api::assignment::assignment_service_server::AssignmentService;
use clientele_api::assignment::{
    AssignAgentRequest, Assignment, BatchAssignAgentsRequest, BatchAssignAgentsResponse, BatchCheckAccessRequest,
    BatchCheckAccessResponse, CheckAccessRequest, CheckAccessResponse, GetMemberScopeRequest,
    ListAgentOrganizationsRequest, ListAgentOrganizationsResponse, ListAssignmentsRequest, ListAssignmentsResponse,
    MemberScope, MoveAssignmentRequest, ReorderAssignmentsRequest, ReorderAssignmentsResponse, SetMemberScopeRequest,
    UnassignAgentRequest, UpdateAssignmentRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct AssignmentRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl AssignmentService for AssignmentRpc {
    async fn assign_agent(&self, request: Request<AssignAgentRequest>) -> Result<Response<Assignment>, Status> {
        self.admission
            .write(request, |scope, request| assignment::assign(&self.app, scope, request))
            .await
    }

    async fn unassign_agent(&self, request: Request<UnassignAgentRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| {
                assignment::unassign(&self.app, scope, request)
            })
            .await
    }

    async fn list_assignments(
        &self,
        request: Request<ListAssignmentsRequest>,
    ) -> Result<Response<ListAssignmentsResponse>, Status> {
        self.admission
            .read(request, |scope, request| assignment::list(&self.app, scope, request))
            .await
    }

    async fn batch_assign_agents(
        &self,
        request: Request<BatchAssignAgentsRequest>,
    ) -> Result<Response<BatchAssignAgentsResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                assignment::batch_assign(&self.app, scope, request)
            })
            .await
    }

    async fn move_assignment(&self, request: Request<MoveAssignmentRequest>) -> Result<Response<Assignment>, Status> {
        self.admission
            .write(request, |scope, request| assignment::move_to(&self.app, scope, request))
            .await
    }

    async fn reorder_assignments(
        &self,
        request: Request<ReorderAssignmentsRequest>,
    ) -> Result<Response<ReorderAssignmentsResponse>, Status> {
        self.admission
            .write(request, |scope, request| assignment::reorder(&self.app, scope, request))
            .await
    }

    async fn update_assignment(
        &self,
        request: Request<UpdateAssignmentRequest>,
    ) -> Result<Response<Assignment>, Status> {
        self.admission
            .write(request, |scope, request| assignment::update(&self.app, scope, request))
            .await
    }

    async fn list_agent_organizations(
        &self,
        request: Request<ListAgentOrganizationsRequest>,
    ) -> Result<Response<ListAgentOrganizationsResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                assignment::list_of_agent(&self.app, scope, request)
            })
            .await
    }

    async fn get_member_scope(&self, request: Request<GetMemberScopeRequest>) -> Result<Response<MemberScope>, Status> {
        self.admission
            .read(request, |scope, request| member_scope::get(&self.app, scope, request))
            .await
    }

    async fn set_member_scope(&self, request: Request<SetMemberScopeRequest>) -> Result<Response<MemberScope>, Status> {
        self.admission
            .write(request, |scope, request| member_scope::set(&self.app, scope, request))
            .await
    }

    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        self.admission
            .read(request, |scope, request| access::check(&self.app, scope, request))
            .await
    }

    async fn batch_check_access(
        &self,
        request: Request<BatchCheckAccessRequest>,
    ) -> Result<Response<BatchCheckAccessResponse>, Status> {
        self.admission
            .read(request, |scope, request| access::batch_check(&self.app, scope, request))
            .await
    }
}

//! `clientele.assignment.v1.AssignmentService`.

use crate::commands::{App, assignment};
use clientele_api::assignment::assignment_service_server::AssignmentService;
use clientele_api::assignment::{
    AssignAgentRequest, Assignment, CheckAccessRequest, CheckAccessResponse, ListAssignmentsRequest,
    ListAssignmentsResponse, UnassignAgentRequest,
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

    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                assignment::check_access(&self.app, scope, request)
            })
            .await
    }
}

//! `clientele.org.v1.TeamService`.

use crate::commands::{App, team};
use clientele_api::org::team_service_server::TeamService;
use clientele_api::org::{
    AddTeamMembersRequest, CreateTeamRequest, DeleteTeamRequest, GetTeamRequest, ListTeamsRequest, ListTeamsResponse,
    PickAssigneeRequest, PickAssigneeResponse, RemoveTeamMembersRequest, Team, UpdateTeamRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct TeamRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl TeamService for TeamRpc {
    async fn get_team(&self, request: Request<GetTeamRequest>) -> Result<Response<Team>, Status> {
        self.admission
            .read(request, |scope, request| team::get(&self.app, scope, request.name))
            .await
    }

    async fn list_teams(&self, request: Request<ListTeamsRequest>) -> Result<Response<ListTeamsResponse>, Status> {
        self.admission
            .read(request, |scope, request| team::list(&self.app, scope, request))
            .await
    }

    async fn create_team(&self, request: Request<CreateTeamRequest>) -> Result<Response<Team>, Status> {
        self.admission
            .write(request, |scope, request| team::create(&self.app, scope, request))
            .await
    }

    async fn update_team(&self, request: Request<UpdateTeamRequest>) -> Result<Response<Team>, Status> {
        self.admission
            .write(request, |scope, request| team::update(&self.app, scope, request))
            .await
    }

    async fn delete_team(&self, request: Request<DeleteTeamRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| team::delete(&self.app, scope, request))
            .await
    }

    async fn add_team_members(&self, request: Request<AddTeamMembersRequest>) -> Result<Response<Team>, Status> {
        self.admission
            .write(request, |scope, request| team::add_members(&self.app, scope, request))
            .await
    }

    async fn remove_team_members(&self, request: Request<RemoveTeamMembersRequest>) -> Result<Response<Team>, Status> {
        self.admission
            .write(request, |scope, request| {
                team::remove_members(&self.app, scope, request)
            })
            .await
    }

    async fn pick_assignee(
        &self,
        request: Request<PickAssigneeRequest>,
    ) -> Result<Response<PickAssigneeResponse>, Status> {
        self.admission
            .write(request, |scope, request| team::pick_assignee(&self.app, scope, request))
            .await
    }
}

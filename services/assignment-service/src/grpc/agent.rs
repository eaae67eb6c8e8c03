//! `clientele.assignment.v1.AgentService`.

use crate::commands::{App, agent, import};
use clientele_api::assignment::agent_service_server::AgentService;
use clientele_api::assignment::{
    Agent, ArchiveAgentRequest, BatchGetAgentsRequest, BatchGetAgentsResponse, CreateAgentRequest, DeleteAgentRequest,
    GetAgentRequest, ImportAgentsRequest, ImportAgentsResponse, ListAgentsRequest, ListAgentsResponse,
    SearchAgentsRequest, SearchAgentsResponse, UnarchiveAgentRequest, UpdateAgentRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status, Streaming};

/// The service.
#[derive(Clone)]
pub struct AgentRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl AgentService for AgentRpc {
    async fn create_agent(&self, request: Request<CreateAgentRequest>) -> Result<Response<Agent>, Status> {
        self.admission
            .write(request, |scope, request| agent::create(&self.app, scope, request))
            .await
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<Agent>, Status> {
        self.admission
            .read(request, |scope, request| agent::get(&self.app, scope, request.name))
            .await
    }

    async fn batch_get_agents(
        &self,
        request: Request<BatchGetAgentsRequest>,
    ) -> Result<Response<BatchGetAgentsResponse>, Status> {
        self.admission
            .read(request, |scope, request| agent::batch_get(&self.app, scope, request))
            .await
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        self.admission
            .read(request, |scope, request| agent::list(&self.app, scope, request))
            .await
    }

    async fn search_agents(
        &self,
        request: Request<SearchAgentsRequest>,
    ) -> Result<Response<SearchAgentsResponse>, Status> {
        self.admission
            .read(request, |scope, request| agent::search(&self.app, scope, request))
            .await
    }

    async fn update_agent(&self, request: Request<UpdateAgentRequest>) -> Result<Response<Agent>, Status> {
        self.admission
            .write(request, |scope, request| agent::update(&self.app, scope, request))
            .await
    }

    async fn archive_agent(&self, request: Request<ArchiveAgentRequest>) -> Result<Response<Agent>, Status> {
        self.admission
            .write(request, |scope, request| agent::archive(&self.app, scope, request))
            .await
    }

    async fn unarchive_agent(&self, request: Request<UnarchiveAgentRequest>) -> Result<Response<Agent>, Status> {
        self.admission
            .write(request, |scope, request| agent::unarchive(&self.app, scope, request))
            .await
    }
    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| agent::delete(&self.app, scope, request))
            .await
    }
    async fn import_agents(
        &self,
        request: Request<Streaming<ImportAgentsRequest>>,
    ) -> Result<Response<ImportAgentsResponse>, Status> {
        self.admission
            .receive(request, |scope, messages| import::run(&self.app, scope, messages))
            .await
    }
}

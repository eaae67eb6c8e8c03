//! `clientele.settings.v1.CannedResponseService`.

use crate::commands::{App, canned_response};
use clientele_api::settings::canned_response_service_server::CannedResponseService;
use clientele_api::settings::{
    BatchUpsertCannedResponsesRequest, BatchUpsertCannedResponsesResponse, CannedResponse, CreateCannedResponseRequest,
    DeleteCannedResponseRequest, GetCannedResponseRequest, ListCannedResponsesRequest, ListCannedResponsesResponse,
    RenderCannedResponseRequest, RenderCannedResponseResponse, SearchCannedResponsesRequest,
    SearchCannedResponsesResponse, UpdateCannedResponseRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct CannedResponseRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl CannedResponseService for CannedResponseRpc {
    async fn create_canned_response(
        &self,
        request: Request<CreateCannedResponseRequest>,
    ) -> Result<Response<CannedResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                canned_response::create(&self.app, scope, request)
            })
            .await
    }

    async fn get_canned_response(
        &self,
        request: Request<GetCannedResponseRequest>,
    ) -> Result<Response<CannedResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                canned_response::get(&self.app, scope, request)
            })
            .await
    }

    async fn list_canned_responses(
        &self,
        request: Request<ListCannedResponsesRequest>,
    ) -> Result<Response<ListCannedResponsesResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                canned_response::list(&self.app, scope, request)
            })
            .await
    }

    async fn search_canned_responses(
        &self,
        request: Request<SearchCannedResponsesRequest>,
    ) -> Result<Response<SearchCannedResponsesResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                canned_response::search(&self.app, scope, request)
            })
            .await
    }

    async fn render_canned_response(
        &self,
        request: Request<RenderCannedResponseRequest>,
    ) -> Result<Response<RenderCannedResponseResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                canned_response::render(&self.app, scope, request)
            })
            .await
    }

    async fn update_canned_response(
        &self,
        request: Request<UpdateCannedResponseRequest>,
    ) -> Result<Response<CannedResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                canned_response::update(&self.app, scope, request)
            })
            .await
    }

    async fn delete_canned_response(
        &self,
        request: Request<DeleteCannedResponseRequest>,
    ) -> Result<Response<()>, Status> {
        self.admission
            .write(request, |scope, request| {
                canned_response::delete(&self.app, scope, request)
            })
            .await
    }

    async fn batch_upsert_canned_responses(
        &self,
        request: Request<BatchUpsertCannedResponsesRequest>,
    ) -> Result<Response<BatchUpsertCannedResponsesResponse>, Status> {
        self.admission
            .write(request, |scope, request| {
                canned_response::batch_upsert(&self.app, scope, request)
            })
            .await
    }
}

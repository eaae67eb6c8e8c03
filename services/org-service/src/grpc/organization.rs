//! `clientele.org.v1.OrganizationService`.

use crate::commands::{App, organization};
use clientele_api::org::organization_service_server::OrganizationService;
use clientele_api::org::{
    CreateOrganizationRequest, DeleteLogoRequest, DeleteOrganizationRequest, GetLogoContentRequest,
    GetOrganizationRequest, ListOrganizationsRequest, ListOrganizationsResponse, LogoContent, Organization,
    PurgeOrganizationRequest, PurgeOrganizationResponse, ResumeOrganizationRequest, SearchOrganizationsRequest,
    SearchOrganizationsResponse, SuspendOrganizationRequest, UndeleteOrganizationRequest, UpdateLogoRequest,
    UpdateOrganizationRequest,
};
use clientele_service::Admission;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct OrganizationRpc {
    /// Admits the calls.
    pub admission: Admission,
    /// What the commands work on.
    pub app: App,
}

#[tonic::async_trait]
impl OrganizationService for OrganizationRpc {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::create(&self.app, scope, request)
            })
            .await
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .read(request, |scope, _| organization::get(&self.app, scope))
            .await
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        self.admission
            .read(request, |scope, request| organization::list(&self.app, scope, request))
            .await
    }

    async fn search_organizations(
        &self,
        request: Request<SearchOrganizationsRequest>,
    ) -> Result<Response<SearchOrganizationsResponse>, Status> {
        self.admission
            .read(request, |scope, request| {
                organization::search(&self.app, scope, request)
            })
            .await
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::update(&self.app, scope, request)
            })
            .await
    }

    async fn update_logo(&self, request: Request<UpdateLogoRequest>) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::update_logo(&self.app, scope, request)
            })
            .await
    }

    async fn get_logo_content(&self, request: Request<GetLogoContentRequest>) -> Result<Response<LogoContent>, Status> {
        self.admission
            .read(request, |scope, _| organization::get_logo_content(&self.app, scope))
            .await
    }

    async fn delete_logo(&self, request: Request<DeleteLogoRequest>) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::delete_logo(&self.app, scope, request.etag)
            })
            .await
    }

    async fn suspend_organization(
        &self,
        request: Request<SuspendOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::suspend(&self.app, scope, request)
            })
            .await
    }

    async fn resume_organization(
        &self,
        request: Request<ResumeOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::resume(&self.app, scope, request.etag)
            })
            .await
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::delete(&self.app, scope, request.etag)
            })
            .await
    }

    async fn undelete_organization(
        &self,
        request: Request<UndeleteOrganizationRequest>,
    ) -> Result<Response<Organization>, Status> {
        self.admission
            .write(request, |scope, request| {
                organization::undelete(&self.app, scope, request.etag)
            })
            .await
    }

    async fn purge_organization(
        &self,
        request: Request<PurgeOrganizationRequest>,
    ) -> Result<Response<PurgeOrganizationResponse>, Status> {
        self.admission
            .write(request, |scope, request| organization::purge(&self.app, scope, request))
            .await
    }
}

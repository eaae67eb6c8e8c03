//! One trace: a call, and what the services that follow make of it.

use crate::AllInOne;
use clientele_api::assignment::ListAgentsRequest;
use clientele_api::assignment::agent_service_client::AgentServiceClient;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateWorkspaceRequest, Workspace};
use clientele_api::settings::GetWorkspaceSettingsRequest;
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_testkit::Caller;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

pub(crate) const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

/// Hands on the spans that come.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        for span in resources
            .into_iter()
            .flat_map(|spans| spans.scope_spans)
            .flat_map(|spans| spans.spans)
        {
            let _ = self.0.send(span); // the test may have seen enough
        }
        Ok(Response::new(Default::default()))
    }
}

/// A collector: its address, and the spans that come to it.
pub(crate) async fn collector() -> (String, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (seen, spans) = mpsc::unbounded_channel();
    let collector = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(seen)));
    tokio::spawn(collector.serve_with_incoming(TcpIncoming::from(listener)));
    (endpoint, spans)
}

/// Until both followers know a workspace that was created before: from then on they hear of changes one by one. What they read at
/// their start is not the doing of any call.
async fn await_followers(running: &AllInOne, operator: &Caller) {
    let workspace = Some(Workspace {
        display_name: Some("First".into()),
        ..Default::default()
    });
    let create = CreateWorkspaceRequest {
        workspace_id: "first".into(),
        workspace,
        ..Default::default()
    };
    let mut workspaces = WorkspaceServiceClient::new(running.channel(0).await);
    let created = workspaces.create_workspace(operator.request(create)).await.unwrap();
    let revision = created.metadata().get("clientele-revision").unwrap().to_str().unwrap();
    let seen = Caller {
        min_revision: Some(revision.to_owned()),
        ..operator.clone()
    };
    let list = ListAgentsRequest {
        parent: "workspaces/first".into(),
        ..Default::default()
    };
    let mut agents = AgentServiceClient::new(running.channel(1).await);
    while agents.list_agents(seen.request(list.clone())).await.is_err() {}
    let get = GetWorkspaceSettingsRequest {
        name: "workspaces/first/settings".into(),
    };
    let mut settings = SettingsServiceClient::new(running.channel(2).await);
    while settings
        .get_workspace_settings(seen.request(get.clone()))
        .await
        .is_err()
    {}
}

#[tokio::test]
async fn a_mutation_and_its_projections_are_linked() {
    let (endpoint, mut spans) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start_with(folder.path(), &["--otlp-endpoint", &endpoint]);
    await_followers(&running, &AllInOne::operator(folder.path())).await;
    let workspace = Some(Workspace {
        display_name: Some("Acme".into()),
        ..Default::default()
    });
    let create = CreateWorkspaceRequest {
        workspace_id: "acme".into(),
        workspace,
        ..Default::default()
    };
    let mut create = AllInOne::operator(folder.path()).request(create);
    let parent = format!("00-{TRACE:032x}-00f067aa0ba902b7-01");
    create.metadata_mut().insert("traceparent", parent.parse().unwrap());
    WorkspaceServiceClient::new(running.channel(0).await)
        .create_workspace(create)
        .await
        .unwrap();

    let (mut call, mut linked) = (None, 0);
    while call.is_none() || linked < 2 {
        let span = tokio::time::timeout(Duration::from_secs(30), spans.recv()).await;
        let span = span.expect("the spans must come").unwrap();
        if span.trace_id == TRACE.to_be_bytes() {
            assert!(span.name.ends_with("/CreateWorkspace"), "{span:?}");
            call = Some(span.span_id);
        } else if span.name == "follow" {
            // Its own trace, linked to the one that caused it: one follower in each of the two other services.
            let links: Vec<_> = span
                .links
                .iter()
                .filter(|link| link.trace_id == TRACE.to_be_bytes())
                .collect();
            linked += links.len();
        } else {
            let infrastructure = span.name.starts_with("grpc.");
            assert!(!infrastructure, "health and reflection are not traced: {span:?}");
        }
    }
    running.interrupt().await;
}

//! One trace: a call, and what the services that follow make of it.

use crate::AllInOne;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateWorkspaceRequest, Workspace};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

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

#[tokio::test]
async fn a_mutation_and_its_projections_are_linked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (seen, mut spans) = mpsc::unbounded_channel();
    let collector = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(seen)));
    tokio::spawn(collector.serve_with_incoming(TcpIncoming::from(listener)));

    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start_with(folder.path(), &["--otlp-endpoint", &endpoint]);
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
        if span.name.ends_with("/CreateWorkspace") {
            assert_eq!(span.trace_id, TRACE.to_be_bytes());
            call = Some(span.span_id);
        } else if span.name == "follow" {
            // Its own trace, linked to the one that caused it: one follower in each of the two other services.
            let links: Vec<_> = span
                .links
                .iter()
                .filter(|link| link.trace_id == TRACE.to_be_bytes())
                .collect();
            assert_eq!(links.len(), 1, "{span:?}");
            assert_ne!(span.trace_id, TRACE.to_be_bytes());
            linked += 1;
        } else {
            let infrastructure = span.name.starts_with("grpc.");
            assert!(!infrastructure, "health and reflection are not traced: {span:?}");
        }
    }
    running.interrupt().await;
}

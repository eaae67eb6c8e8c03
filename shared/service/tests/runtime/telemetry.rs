//! What arrives at a collector. Telemetry is started once per process, so the other tests may be counted here too.

use crate::probe::{LIST, Probe, message};
use crate::{HEALTH_CHECK, REFLECTION, check};
use clientele_api::journal::ListEntriesRequest;
use clientele_service::config::Config;
use clientele_service::telemetry::Telemetry;
use clientele_service::token::{Claims, Role};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .and_then(|attribute| attribute.value.as_ref());
    match found.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{key}: {other:?}"),
    }
}

/// On one thread: what waits for the end must not be in the way of who sends the last spans.
#[tokio::test]
async fn sampled_calls_and_the_durations_of_all_arrive_at_the_collector() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);

    let set = |config: &mut Config| {
        config.otlp_endpoint = Some(endpoint.clone());
        config.trace_ratio = 0.0;
    };
    let mut config = Config::new("sqlite://unused", "unused");
    set(&mut config);
    let telemetry = Telemetry::start("probe", &config).unwrap();
    assert!(Telemetry::start("again", &config).is_err());

    let probe = Probe::start(set).await;
    let list = |filter: &str| {
        message(&ListEntriesRequest {
            filter: filter.into(),
            ..Default::default()
        })
    };
    let parent = |flag: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flag}");
    probe
        .call(LIST, list("span"))
        .header("traceparent", &parent("01"))
        .send()
        .await;
    probe
        .call(LIST, list("fault"))
        .header("traceparent", &parent("01"))
        .send()
        .await;
    probe
        .call(LIST, list("span"))
        .header("traceparent", &parent("00"))
        .send()
        .await;
    let user = "019b0000-0000-7000-8000-000000000001";
    let logged_in = Claims::new("main", user, Role::User)
        .in_organization("019b0000-0000-7000-8000-000000000002")
        .borne_by("staff/sam");
    probe
        .call_as(&logged_in, LIST, list("span"))
        .header("traceparent", &parent("01"))
        .send()
        .await;
    probe.call(LIST, list("span")).send().await;
    probe.call("/clientele.none.v1.None/None", list("")).send().await;
    for path in [HEALTH_CHECK, REFLECTION] {
        let health = probe.call(path, check("")).header("traceparent", &parent("01"));
        health.send().await;
    }
    let began = Instant::now();
    telemetry.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(6));

    let traces = std::mem::take(&mut *collector.traces.lock().unwrap());
    let resource = traces[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name"), "probe");
    let spans: Vec<Span> = traces
        .into_iter()
        .flat_map(|export| export.resource_spans)
        .flat_map(|spans| spans.scope_spans)
        .flat_map(|spans| spans.spans)
        .collect();
    let method = LIST.trim_start_matches('/');
    let (inner, calls): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.name == "inner");
    assert_eq!(
        (calls.len(), inner.len()),
        (3, 2),
        "only what is sampled, no health, no reflection, and no span of the exporter: {spans:#?}"
    );
    for span in &calls {
        assert_eq!((span.name.as_str(), span.kind()), (method, SpanKind::Server));
        assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(
            span.trace_id,
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
        );
        assert_eq!(attribute(&span.attributes, "rpc.method"), method);
        assert_eq!(attribute(&span.attributes, "rpc.system.name"), "grpc");
    }
    let mut codes = calls
        .iter()
        .map(|span| attribute(&span.attributes, "rpc.response.status_code"))
        .collect::<Vec<_>>();
    codes.sort();
    assert_eq!(codes, ["INTERNAL", "OK", "OK"]);
    let mut callers = calls
        .iter()
        .map(|span| ["enduser.id", "clientele.acting_for"].map(|key| attribute(&span.attributes, key)))
        .collect::<Vec<_>>();
    callers.sort();
    let nobody = "clientele.acting_for: None".to_owned();
    assert_eq!(
        callers,
        [
            ["operators/ann".to_owned(), nobody.clone()],
            ["operators/ann".to_owned(), nobody],
            ["staff/sam".to_owned(), format!("users/{user}")]
        ]
    );
    assert!(calls.iter().any(|span| span.span_id == inner[0].parent_span_id));

    let metrics = std::mem::take(&mut *collector.metrics.lock().unwrap());
    let metrics = metrics
        .iter()
        .flat_map(|export| &export.resource_metrics)
        .flat_map(|metrics| &metrics.scope_metrics);
    let metrics: Vec<_> = metrics.flat_map(|metrics| &metrics.metrics).collect();
    assert!(
        metrics
            .iter()
            .any(|metric| metric.name == "clientele.server.calls.in_flight"),
        "{metrics:#?}"
    );
    let durations = metrics
        .iter()
        .find(|metric| metric.name == "rpc.server.call.duration")
        .unwrap();
    assert_eq!(durations.unit, "s");
    let Some(Data::Histogram(histogram)) = &durations.data else {
        panic!("{durations:?}");
    };
    let count = |method: &str, code: &str| {
        let is = |attributes: &[KeyValue]| {
            attribute(attributes, "rpc.method") == method && attribute(attributes, "rpc.response.status_code") == code
        };
        histogram
            .data_points
            .iter()
            .filter(|point| is(&point.attributes))
            .map(|point| point.count)
            .sum::<u64>()
    };
    assert!(count(method, "OK") >= 3);
    assert!(count(method, "INTERNAL") >= 1);
    assert!(count("_OTHER", "UNIMPLEMENTED") >= 1);
}

//! What is known of every call from outside: its trace, its span if it is sampled, and how long it took with what result.

use super::limit::Gates;
use super::{Route, TraceContext};
use crate::config::Config;
use crate::telemetry::ROOT;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context as TelemetryContext, KeyValue, global};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::task::futures::TaskLocalFuture;
use tonic::{Code, Status};
use tower::Service;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Bounds of the duration's buckets in seconds: the convention's, and two finer ones, since most calls take microseconds.
const BOUNDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The instruments, and which calls are traced.
#[derive(Debug)]
pub(super) struct Observer {
    duration: Histogram<f64>,
    /// The share of calls that begin a trace; none: spans go nowhere.
    trace_ratio: Option<f64>,
}

impl Observer {
    pub(super) fn new(service: &'static str, config: &Config, gates: Arc<Gates>) -> Self {
        let meter = global::meter("clientele");
        meter
            .i64_observable_up_down_counter("clientele.server.calls.in_flight")
            .with_description("Calls and streams that are being served.")
            .with_unit("{call}")
            .with_callback(move |observer| {
                let (calls, streams) = gates.in_flight();
                for (kind, count) in [("call", calls), ("stream", streams)] {
                    let attributes = [
                        KeyValue::new("clientele.service", service),
                        KeyValue::new("clientele.kind", kind),
                    ];
                    observer.observe(i64::try_from(count).unwrap_or(i64::MAX), &attributes);
                }
            })
            .build();
        Self {
            duration: meter
                .f64_histogram("rpc.server.call.duration")
                .with_description("The time from a call's first header to its result.")
                .with_unit("s")
                .with_boundaries(BOUNDS.to_vec())
                .build(),
            trace_ratio: config.otlp_endpoint.as_ref().map(|_| config.trace_ratio),
        }
    }

    /// The call's place in its trace, and its span if it is sampled. The decision comes before the span: spans that nobody
    /// records would cost every call more than all other layers together.
    fn begin(&self, route: Route, headers: &HeaderMap) -> (TraceContext, Span) {
        let caller = TraceContext::read(headers);
        let sampled = self
            .trace_ratio
            .is_some_and(|ratio| caller.map_or_else(|| rand::random::<f64>() < ratio, TraceContext::is_sampled));
        if !sampled || route.is_infrastructure() {
            return (caller.unwrap_or_else(|| TraceContext::begin(false)), Span::none());
        }
        let span = tracing::info_span!(
            target: ROOT,
            "rpc",
            otel.name = route.name(),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system.name = "grpc",
            rpc.method = route.name(),
            rpc.response.status_code = tracing::field::Empty,
            enduser.id = tracing::field::Empty,
            clientele.acting_for = tracing::field::Empty,
        );
        if let Some(caller) = caller
            && let Err(error) = span.set_parent(remote(caller))
        {
            tracing::debug!(%error, "a span has no parent");
        }
        let own = span.context().span().span_context().clone();
        if !own.is_valid() {
            return (caller.unwrap_or_else(|| TraceContext::begin(false)), span);
        }
        let trace_id = u128::from_be_bytes(own.trace_id().to_bytes());
        let span_id = u64::from_be_bytes(own.span_id().to_bytes());
        (TraceContext::new(trace_id, span_id, true), span)
    }
}

fn remote(caller: TraceContext) -> TelemetryContext {
    let (trace_id, span_id) = caller.ids();
    TelemetryContext::new().with_remote_span_context(SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

/// Observes the service below.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    observer: Arc<Observer>,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S, observer: Arc<Observer>) -> Self {
        Self { inner, observer }
    }
}

impl<S, R, B> Service<Request<R>> for Observe<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<ObserveBody<B>>;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let route = Route::of(request.uri().path());
        let (trace, span) = self.observer.begin(route, request.headers());
        request.extensions_mut().insert(route);
        request.extensions_mut().insert(trace);
        let call = Call {
            observer: Arc::clone(&self.observer),
            method: route.name(),
            began: Instant::now(),
            code: None,
            trace,
            span,
        };
        let future = call.within(|| self.inner.call(request));
        ObserveFuture {
            future: trace.scope_future(future),
            call: Some(call),
        }
    }
}

/// A call that goes on. It ends with its result, or, without one, when it is dropped because its client went away.
#[derive(Debug)]
struct Call {
    observer: Arc<Observer>,
    method: &'static str,
    began: Instant,
    code: Option<Code>,
    trace: TraceContext,
    span: Span,
}

impl Call {
    /// Ends the call if these headers or trailers have its result: before they are sent, so that whoever got the answer finds
    /// the call counted.
    fn unless_ended_by(mut self, headers: &HeaderMap) -> Option<Self> {
        match headers.get(Status::GRPC_STATUS) {
            Some(code) => {
                self.code = Some(Code::from_bytes(code.as_bytes()));
                None
            }
            None => Some(self),
        }
    }

    /// Does a part of the call's work inside of its trace.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(|| self.trace.scope(work))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = name(self.code.unwrap_or(Code::Cancelled));
        self.observer.duration.record(
            self.began.elapsed().as_secs_f64(),
            &[
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", self.method),
                KeyValue::new("rpc.response.status_code", code),
            ],
        );
        self.span.record("rpc.response.status_code", code);
        if matches!(
            self.code,
            Some(
                Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::Unimplemented
                    | Code::Internal
                    | Code::Unavailable
                    | Code::DataLoss
            )
        ) {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

pin_project! {
    /// The future of [`Observe`].
    #[derive(Debug)]
    pub struct ObserveFuture<F> {
        #[pin]
        future: TaskLocalFuture<TraceContext, F>,
        call: Option<Call>,
    }
}

impl<F, B, E> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ObserveBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = {
            let _entered = this.call.as_ref().map(|call| call.span.enter());
            ready!(this.future.poll(cx))?
        };
        let call = this
            .call
            .take()
            .and_then(|call| call.unless_ended_by(response.headers()));
        Poll::Ready(Ok(response.map(|body| ObserveBody { body, call })))
    }
}

pin_project! {
    /// The body of [`Observe`].
    #[derive(Debug, Default)]
    pub struct ObserveBody<B> {
        #[pin]
        body: B,
        call: Option<Call>,
    }
}

impl<B: Body<Data = Bytes>> Body for ObserveBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(call) = this.call else {
            return this.body.poll_frame(cx);
        };
        let frame = ready!(call.within(|| this.body.poll_frame(cx)));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            *this.call = this.call.take().and_then(|call| call.unless_ended_by(trailers));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The code as the conventions write it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

//! What the process tells about itself: JSON logs on stdout, and traces and metrics to an OpenTelemetry collector.

mod json;

use crate::config::Config;
use anyhow::{Context as _, Result, anyhow};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{MetricExporter, RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The target of spans that may begin a trace: `info_span!(target: ROOT, …)`. All others are recorded only inside of a span,
/// otherwise each of them would be a trace of its own below the many calls that are not sampled.
pub const ROOT: &str = "clientele::root";

/// The longest that the last spans and figures may take on their way out.
const SHUTDOWN: Duration = Duration::from_secs(6);
/// One export, connecting and retries included, must end before the exporters give up at shutdown (5 s).
const EXPORT: Duration = Duration::from_secs(3);

/// Keeps telemetry going; to be shut down last.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Starts logs and, where a collector is configured, traces and metrics. Once per process.
    pub fn start(service_name: &str, config: &Config) -> Result<Self> {
        let telemetry = Self::install(service_name, config)?;
        // Where it was and in which trace; whoever catches it knows only what it said.
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a panic")));
        Ok(telemetry)
    }

    fn install(service_name: &str, config: &Config) -> Result<Self> {
        let Some(endpoint) = &config.otlp_endpoint else {
            Registry::default().with(logs(config)?).try_init()?;
            return Ok(Self {
                traces: None,
                metrics: None,
            });
        };

        let resource = Resource::builder()
            .with_service_name(service_name.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()))
            .build();
        let collector = collector(endpoint)?;
        let traces = traces(collector.clone(), resource.clone())?;
        let metrics = metrics(collector, resource)?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("clientele"))
            .with_filter(
                dynamic_filter_fn(is_traced)
                    .with_max_level_hint(MOST_DETAILED)
                    .with_callsite_filter(|metadata| may_be_traced(metadata).into()),
            );
        Registry::default().with(spans).with(logs(config)?).try_init()?;
        global::set_meter_provider(metrics.clone());
        Ok(Self {
            traces: Some(traces),
            metrics: Some(metrics),
        })
    }

    /// Sends what is left and ends, within 6 s whatever the collector does. A collector that is away is no fault of the service.
    pub async fn shutdown(self) {
        if let Err(error) = self.flush().await {
            tracing::warn!(error = format!("{error:#}"), "the last spans and metrics may be lost");
        }
    }

    async fn flush(self) -> Result<()> {
        let began = Instant::now();
        // Both at once: each waits up to 5 s for its own.
        let traces = apart(move || self.traces.map_or(Ok(()), |traces| traces.shutdown()))?;
        let metrics = apart(move || self.metrics.map_or(Ok(()), |metrics| metrics.shutdown()))?;
        let both = async { tokio::try_join!(traces, metrics) };
        let (traces, metrics) = tokio::time::timeout(SHUTDOWN, both)
            .await
            .with_context(|| format!("the collector took longer than {SHUTDOWN:?}"))??;
        traces.and(metrics).map_err(|error| anyhow!(error))?;
        tracing::info!(duration_ms = began.elapsed().as_millis() as u64, "telemetry ended");
        Ok(())
    }
}

/// Does work that blocks on a thread of its own: one of the runtime's may be the only one, which the exporters need to send.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().spawn(move || done.send(work()))?;
    Ok(result)
}

/// Logs show no spans, only the ids of the trace.
fn logs<S>(config: &Config) -> Result<impl Layer<S> + use<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let chosen = EnvFilter::try_new(&config.log)?.and(filter_fn(|metadata| metadata.is_event()));
    Ok(tracing_subscriber::fmt::layer()
        .event_format(json::Json)
        .with_filter(chosen))
}

fn collector(endpoint: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(endpoint.to_owned())?
        .timeout(EXPORT)
        .connect_timeout(EXPORT) // otherwise minutes, where nobody answers at all
        .connect_lazy())
}

fn traces(collector: Channel, resource: Resource) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(collector)
        .with_timeout(EXPORT)
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(1))
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::AlwaysOn) // the layers decide before they make a span
        .with_resource(resource)
        .build())
}

fn metrics(collector: Channel, resource: Resource) -> Result<SdkMeterProvider> {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_channel(collector)
        .with_timeout(EXPORT)
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(1))
        .build()?;
    Ok(SdkMeterProvider::builder()
        .with_periodic_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// Spans that are more detailed are the libraries' own business.
const MOST_DETAILED: LevelFilter = LevelFilter::INFO;

/// What the exporter's own libraries do is never exported: that would cause further exports without an end.
fn may_be_traced(metadata: &Metadata<'_>) -> Interest {
    let own = [
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "opentelemetry",
        "opentelemetry_sdk",
        "opentelemetry_otlp",
    ];
    let library = metadata.target().split("::").next().unwrap_or_default();
    Interest(*metadata.level() <= MOST_DETAILED && !own.contains(&library))
}

struct Interest(bool);

impl From<Interest> for tracing::subscriber::Interest {
    fn from(Interest(interested): Interest) -> Self {
        if interested { Self::sometimes() } else { Self::never() }
    }
}

fn is_traced<S>(metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    may_be_traced(metadata).0 && (metadata.target() == ROOT || context.lookup_current().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::Tracer as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    /// Never ends.
    #[derive(Debug)]
    struct Stuck;

    impl SpanProcessor for Stuck {
        fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

        fn on_end(&self, _: SpanData) {}

        fn force_flush(&self) -> OTelSdkResult {
            self.shutdown_with_timeout(Duration::MAX)
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            loop {
                thread::park();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_left_behind() {
        let telemetry = Telemetry {
            traces: Some(SdkTracerProvider::builder().with_span_processor(Stuck).build()),
            metrics: None,
        };
        let ended = tokio::time::timeout(10 * SHUTDOWN, telemetry.shutdown()).await;
        assert!(ended.is_ok(), "the end waits for telemetry for ever");
    }

    /// A listener that is full: to those who connect, it is as if the network swallowed what they send.
    async fn swallowing() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(one_more) = tokio::time::timeout(EXPORT / 10, TcpStream::connect(address)).await {
            waiting.push(one_more.unwrap());
        }
        (listener, waiting)
    }

    #[tokio::test]
    async fn an_export_ends_where_nobody_answers_at_all() {
        let (listener, _waiting) = swallowing().await;
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let traces = traces(collector(&endpoint).unwrap(), Resource::builder().build()).unwrap();
        drop(traces.tracer("test").start("span"));
        let flushed = apart(move || traces.force_flush()).unwrap().await.unwrap();
        let failed = format!("{:?}", flushed.unwrap_err());
        assert!(
            failed.contains("connect error"),
            "it was given up before it ended: {failed}"
        );
    }
}

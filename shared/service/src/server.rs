//! Serving: from an open port to an orderly end.

mod accept;

use crate::config::Config;
use crate::health::{Check, Health};
use crate::layers;
use crate::token::Verifier;
use anyhow::{Result, bail, ensure};
use serde_json::Value;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// A service that is ready to run.
pub struct Server {
    /// Its name, for logs and metrics.
    pub name: &'static str,
    /// The settings that all services share.
    pub config: Config,
    /// All settings in force, secrets masked: for the log.
    pub settings: Value,
    /// Its RPC services.
    pub routes: Routes,
    /// Their full names, as in `clientele.org.v1.OrganizationService`.
    pub services: Vec<&'static str>,
    /// Proves tokens.
    pub verifier: Arc<Verifier>,
    /// Whether it can serve: asked again and again.
    pub check: Check,
    /// Cancelled as soon as streams must end. The handlers of streams hold clones.
    pub draining: CancellationToken,
}

impl Server {
    /// Serves until `shutdown` is cancelled, then ends in bounded steps: readiness off, drain delay, no new connections and
    /// streams ended, grace. An error if calls were still worked on after that: they go on until the runtime ends, or the
    /// database refuses them. Clients that have their answer and don't read it, or don't go, are given up: no failure of ours.
    /// Databases and telemetry are the caller's to close.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let Self {
            name,
            config,
            settings,
            routes,
            services,
            verifier,
            check,
            draining,
        } = self;
        let address = listener.local_addr()?;
        let tls = config.tls.acceptor().await?;
        let health = Health::new(&services).await;
        let routes = with_infrastructure(routes, &services, &health)?;
        let layers = layers::stack(name, &config, verifier, draining.clone());
        let stop = CancellationToken::new();
        let incoming = accept::connections(listener, tls, stop.clone());
        let mut serving = pin!(
            builder()
                .layer(layers.clone())
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned())
        );
        health.set_live().await;
        tracing::info!(service = name, %address, %settings, "serving");

        tokio::select! {
            result = &mut serving => {
                result?;
                bail!("the server of {name} ended by itself");
            }
            () = health.watch(check) => bail!("the readiness of {name} is not followed any more"),
            () = shutdown.cancelled() => {}
        }

        let mut steps = Steps::begin(name);
        health.drain().await;
        steps.done("readiness withdrawn");
        if tokio::time::timeout(config.drain_delay, &mut serving).await.is_ok() {
            bail!("the server of {name} ended by itself");
        }
        steps.done("load balancers had time to notice");
        stop.cancel();
        draining.cancel();
        steps.done("no new connections, streams ended");
        if let Ok(ended) = tokio::time::timeout(config.grace, &mut serving).await {
            steps.done("all calls ended");
            return Ok(ended?);
        }
        steps.done("gave up on those who are left");
        let (calls, streams) = layers.in_flight();
        tracing::warn!(service = name, calls, streams, "clients did not end their connections");
        ensure!(
            calls == 0,
            "{calls} calls of {name} were in flight after {:?} of grace",
            config.grace
        );
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// Cancelled at SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "SIGTERM can't be heard");
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        () = terminate => tracing::info!("SIGTERM"),
        result = tokio::signal::ctrl_c() => match result {
            Ok(()) => tracing::info!("Ctrl-C"),
            Err(error) => tracing::error!(%error, "Ctrl-C can't be heard"),
        },
    }
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        // Without a value there is no limit at all.
        .max_concurrent_streams(1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        // Clients with short deadlines reset many streams honestly; floods are still cut off.
        .http2_max_pending_accept_reset_streams(Some(200))
}

fn with_infrastructure(routes: Routes, services: &[&'static str], health: &Health) -> Result<Routes> {
    let reflection = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(clientele_api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // so that clients can show the details of errors
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        for service in services {
            builder = builder.with_service_name(*service);
        }
        builder
    };
    Ok(routes
        .add_service(health.service())
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// Logs each step of the shutdown with how long it took.
struct Steps {
    service: &'static str,
    since: Instant,
}

impl Steps {
    fn begin(service: &'static str) -> Self {
        tracing::info!(service, "shutting down");
        Self {
            service,
            since: Instant::now(),
        }
    }

    fn done(&mut self, step: &'static str) {
        let duration_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(service = self.service, step, duration_ms, "shutdown");
        self.since = Instant::now();
    }
}

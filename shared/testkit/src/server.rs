//! Services that run in the test's own process, on ports that are free.

use clientele_service::assembly::Service;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// A service that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The full names of its RPC services.
    pub services: Vec<&'static str>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Migrates the database of a service and runs it.
    pub async fn start<S: Service>(service: &S) -> Self {
        let database = service.config().database.expose();
        S::migrate(database).await.expect("the database must be migrated");
        let built = service.build().await.expect("the service must be built");
        let services = built.services().to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(built.run(listener, shutdown.clone()));
        Self {
            address,
            services,
            shutdown,
            task,
        }
    }

    /// `http://…`, where it is reached.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    /// Ends it, in good order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().expect("the service must end well");
    }
}

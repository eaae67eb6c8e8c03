//! Ceilings: tonic with nothing around it.

use anyhow::Result;
use clientele_testkit::Caller;
use prost::Message;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// How many connections a client has.
const CONNECTIONS: usize = 4;

/// A server that runs until it is dropped.
pub(crate) struct Ceiling {
    /// The connections to it.
    pub(crate) connections: Vec<Channel>,
    task: JoinHandle<()>,
}

impl Ceiling {
    /// Serves one function under every method of OrganizationService, so that the same client can call it.
    pub(crate) async fn serve<Q, R, Work, Answer>(work: Work) -> Result<Self>
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
        Work: Fn(Q) -> Answer + Clone + Send + Sync + 'static,
        Answer: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = Server::builder()
            .add_service(Bare {
                work,
                messages: PhantomData,
            })
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let task = tokio::spawn(async {
            // Whoever calls it sees that it is gone.
            let _ = served.await;
        });
        Ok(Self {
            connections: connect(address).await?,
            task,
        })
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections of a client.
pub(crate) async fn connect(address: SocketAddr) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let connections = (0..CONNECTIONS).map(|_| endpoint.connect());
    Ok(futures::future::try_join_all(connections).await?)
}

/// An empty call.
pub(crate) async fn call_empty(connection: Channel, caller: Caller) -> Result<(), Status> {
    call(connection, caller.request(())).await
}

/// A call of a ceiling that answers such a message.
pub(crate) async fn call<Q, R>(connection: Channel, request: Request<Q>) -> Result<R, Status>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(connection);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/clientele.org.v1.OrganizationService/Nothing");
    let codec = ProstCodec::<Q, R>::default();
    client.unary(request, path, codec).await.map(Response::into_inner)
}

struct Bare<Q, Work> {
    work: Work,
    messages: PhantomData<fn(Q)>,
}

impl<Q, Work: Clone> Clone for Bare<Q, Work> {
    fn clone(&self) -> Self {
        Self {
            work: self.work.clone(),
            messages: PhantomData,
        }
    }
}

impl<Q, Work> NamedService for Bare<Q, Work> {
    const NAME: &'static str = "clientele.org.v1.OrganizationService";
}

impl<Q, R, Work, Answer> Service<http::Request<Body>> for Bare<Q, Work>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
    Work: Fn(Q) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Result<R, Status>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let work = self.work.clone();
        let unary = tower::service_fn(move |request: Request<Q>| {
            let answer = work(request.into_inner());
            async move { answer.await.map(Response::new) }
        });
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<R, Q>::default());
            Ok(grpc.unary(unary, request).await)
        })
    }
}

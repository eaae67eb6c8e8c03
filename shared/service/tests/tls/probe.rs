//! A server with a journal that a test tells, and a client that looks at every handshake.

use crate::certificates::{Ca, Identity};
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::journal_service_server::{JournalService, JournalServiceServer};
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Checkpoint, ListEntriesRequest, ListEntriesResponse, WatchRequest, WatchResponse};
use clientele_service::config::Config;
use clientele_service::server::Server;
use clientele_service::tls::ServerTls;
use clientele_service::token::{FetchedKeys, SessionIssuer, Verifier};
use clientele_testkit::Tokens;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// A running server.
pub(crate) struct Probe {
    pub(crate) address: SocketAddr,
    pub(crate) tokens: Tokens,
    pub(crate) shutdown: CancellationToken,
    told: watch::Sender<i64>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Probe {
    pub(crate) async fn start(tls: ServerTls) -> Self {
        keep_log();
        let tokens = Tokens::create();
        let config = Config {
            tls,
            drain_delay: Duration::ZERO,
            ..Config::new("sqlite://unused", tokens.issuers())
        };
        let draining = CancellationToken::new();
        let told = watch::Sender::new(0);
        let journal = Journal {
            told: told.clone(),
            draining: draining.clone(),
        };
        let server = Server {
            name: "probe",
            settings: config.effective(),
            verifier: Arc::new(
                Verifier::load(&config.issuers, SessionIssuer::Fetched(FetchedKeys::default())).unwrap(),
            ),
            config,
            routes: Routes::new(JournalServiceServer::new(journal)),
            services: vec!["clientele.journal.v1.JournalService"],
            check: Box::new(|| Box::pin(async { true })),
            draining,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(listener, shutdown.clone()));
        Self {
            address,
            tokens,
            shutdown,
            told,
            running,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Tells the streams that the journal has grown so far.
    pub(crate) fn tell(&self, entries: i64) {
        self.told.send_replace(entries);
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.tokens.operator());
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request
    }

    /// A call on this connection.
    pub(crate) async fn call(&self, channel: &Channel) -> Result<(), Status> {
        let request = self.request(ListEntriesRequest::default());
        let answer = JournalServiceClient::new(channel.clone()).list_entries(request).await;
        answer.map(drop)
    }

    /// A stream on this connection.
    pub(crate) async fn watch(&self, channel: &Channel) -> Streaming<WatchResponse> {
        let request = self.request(WatchRequest::default());
        let answer = JournalServiceClient::new(channel.clone()).watch(request).await;
        answer.unwrap().into_inner()
    }

    /// A call on a new connection, and the certificate that the server showed there.
    pub(crate) async fn certificate(&self, client: &Client) -> CertificateDer<'static> {
        let connection = client.connect(self.address).await.unwrap();
        let shown = connection.get_ref().1.peer_certificates().unwrap()[0].clone();
        self.call(&client.channel(connection).await).await.unwrap();
        shown
    }

    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        self.running.await.unwrap()
    }
}

struct Journal {
    told: watch::Sender<i64>,
    draining: CancellationToken,
}

#[tonic::async_trait]
impl JournalService for Journal {
    async fn list_entries(&self, _: Request<ListEntriesRequest>) -> Result<Response<ListEntriesResponse>, Status> {
        Ok(Response::new(ListEntriesResponse::default()))
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut told = self.told.subscribe();
        told.mark_changed();
        let checkpoints = stream::unfold(told, |mut told| async {
            told.changed().await.ok()?;
            let cursor = format!("1.0.{}", *told.borrow_and_update());
            let item = Some(Item::Checkpoint(Checkpoint { cursor }));
            Some((Ok(WatchResponse { item }), told))
        });
        let checkpoints = checkpoints.take_until(self.draining.clone().cancelled_owned());
        Ok(Response::new(checkpoints.boxed()))
    }
}

/// A client, with what it believes and what it shows.
#[derive(Clone)]
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    pub(crate) fn new(believes: &[&Ca], shows: Option<&Identity>) -> Self {
        Self::speaking(rustls::DEFAULT_VERSIONS, believes, shows)
    }

    pub(crate) fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        believes: &[&Ca],
        shows: Option<&Identity>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for ca in believes {
            roots.add(ca.der()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shows {
            Some(identity) => config
                .with_client_auth_cert(vec![identity.cert()], identity.key())
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    pub(crate) fn offering(&self, protocol: &str) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![protocol.into()];
        Self(Arc::new(config))
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let connection = TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(IpAddr::from(address.ip()));
        TlsConnector::from(self.0.clone()).connect(name, connection).await
    }

    /// Of this connection, which is not made again.
    pub(crate) async fn channel(&self, connection: TlsStream<TcpStream>) -> Channel {
        let mut connection = Some(TokioIo::new(connection));
        let connect = tower::service_fn(move |_| {
            let connection = connection.take().ok_or_else(|| io::Error::other("it was lost"));
            async { connection }
        });
        let endpoint = Endpoint::from_static("http://127.0.0.1");
        endpoint.connect_with_connector(connect).await.unwrap()
    }

    /// Why the server refuses this client.
    pub(crate) async fn refusal(&self, address: SocketAddr) -> String {
        let connection = self.connect(address).await;
        let read = match connection {
            Ok(mut connection) => connection.read(&mut [0]).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(_) => "let in".into(),
            Err(error) => error.to_string(),
        }
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps what all servers of the process log.
fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines with all of these were logged.
pub(crate) fn logged(words: &[&str]) -> usize {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let log = String::from_utf8(log).unwrap();
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

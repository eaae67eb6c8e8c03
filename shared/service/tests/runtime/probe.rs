//! A server with a journal service that does what it is told, and a client that sends any bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use clientele_api::error::{Error, ErrorReason};
use clientele_api::journal::journal_service_server::{JournalService, JournalServiceServer};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Checkpoint, ListEntriesRequest, ListEntriesResponse, WatchRequest, WatchResponse};
use clientele_service::caller::Caller;
use clientele_service::config::Config;
use clientele_service::layers::TraceContext;
use clientele_service::server::Server;
use clientele_service::status::status;
use clientele_service::token::{Claims, FetchedKeys, Role, SessionIssuer, SigningKey, Verifier};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

pub(crate) const LIST: &str = "/clientele.journal.v1.JournalService/ListEntries";
pub(crate) const WATCH: &str = "/clientele.journal.v1.JournalService/Watch";

/// A running server.
pub(crate) struct Probe {
    pub(crate) address: SocketAddr,
    pub(crate) key: SigningKey,
    pub(crate) shutdown: CancellationToken,
    gates: Arc<Gates>,
    running: JoinHandle<anyhow::Result<()>>,
}

/// Handlers say that they were entered, and those that are slow wait to be told to go on.
struct Gates {
    entered: Semaphore,
    go_on: Semaphore,
}

impl Probe {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuers = folder.path().join("issuers.json");
        let key = SigningKey::generate();
        std::fs::write(folder.path().join("keys.json"), key.jwks().to_string()).unwrap();
        let roles = r#"[{"issuer":"main","jwks":"keys.json","algorithms":["EdDSA"],"roles":["operator","user"]}]"#;
        std::fs::write(&issuers, roles).unwrap();
        let verifier = Arc::new(Verifier::load(&issuers, SessionIssuer::Fetched(FetchedKeys::default())).unwrap());

        let mut config = Config::new("sqlite://unused", issuers);
        change(&mut config);
        let gates = Arc::new(Gates {
            entered: Semaphore::new(0),
            go_on: Semaphore::new(0),
        });
        let draining = CancellationToken::new();
        let journal = Journal {
            gates: Arc::clone(&gates),
            draining: draining.clone(),
        };
        let journal = JournalServiceServer::new(journal).max_decoding_message_size(config.max_message_bytes);
        let server = Server {
            name: "probe",
            settings: config.effective(),
            config,
            routes: Routes::new(journal),
            services: vec!["clientele.journal.v1.JournalService"],
            verifier,
            check: Box::new(|| Box::pin(async { true })),
            draining,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(listener, shutdown.clone()));
        Self {
            address,
            key,
            shutdown,
            gates,
            running,
        }
    }

    /// A call by an operator.
    pub(crate) fn call(&self, path: &'static str, body: Bytes) -> Call {
        self.call_as(&Claims::new("main", "ann", Role::Operator), path, body)
    }

    /// A call by somebody.
    pub(crate) fn call_as(&self, claims: &Claims, path: &'static str, body: Bytes) -> Call {
        let token = self.key.mint(claims, Duration::from_secs(60));
        Call::new(self.address, path, body).header("authorization", &format!("Bearer {token}"))
    }

    /// Waits until one more handler was entered.
    pub(crate) async fn entered(&self) {
        self.gates.entered.acquire().await.unwrap().forget();
    }

    pub(crate) fn go_on(&self) {
        self.gates.go_on.add_permits(1);
    }

    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        self.running.await.unwrap()
    }
}

struct Journal {
    gates: Arc<Gates>,
    draining: CancellationToken,
}

#[tonic::async_trait]
impl JournalService for Journal {
    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        self.gates.entered.add_permits(1);
        let seen = match request.get_ref().filter.as_str() {
            "panic" => panic!("secret of a handler"),
            "hang" => std::future::pending().await,
            "slow" => {
                self.gates.go_on.acquire().await.unwrap().forget();
                String::new()
            }
            "large" => "x".repeat(LARGE),
            "span" => {
                let _inner = tracing::info_span!("inner").entered();
                String::new()
            }
            "fault" => return Err(status(Error::internal("secret of a database"))),
            "bare" => return Err(Status::unknown("secret of a library")),
            "not-found" => return Err(status(Error::not_found("Workspace", "workspaces/none"))),
            "caller" => {
                let caller: &Caller = request.extensions().get().unwrap();
                let trace: &TraceContext = request.extensions().get().unwrap();
                assert_eq!(TraceContext::current(), Some(*trace));
                format!("{} {}", caller.actor(), trace.traceparent())
            }
            _ => String::new(),
        };
        Ok(Response::new(ListEntriesResponse {
            entries: Vec::new(),
            next_page_token: seen,
        }))
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.gates.entered.add_permits(1);
        let cursor = match &request.get_ref().start {
            Some(Start::Cursor(cursor)) => cursor.as_str(),
            _ => "",
        };
        match cursor {
            "hang" => std::future::pending().await,
            "panic" => {
                let first = stream::iter([Ok(WatchResponse::default())]);
                Ok(Response::new(
                    first
                        .chain(stream::once(async {
                            tokio::task::yield_now().await; // else the first message waits for the second
                            panic!("secret of a stream")
                        }))
                        .boxed(),
                ))
            }
            "flood" => {
                let more = stream::repeat_with(|| Ok(large()));
                let draining = self.draining.clone();
                Ok(Response::new(
                    more.take_until(async move { draining.cancelled().await }).boxed(),
                ))
            }
            _ => {
                let draining = self.draining.clone();
                let last = stream::once(async move { draining.cancelled().await }).flat_map(|()| {
                    let error = Error::new(ErrorReason::Draining, "shutting down");
                    stream::iter([Ok(WatchResponse::default()), Err(status(error))])
                });
                Ok(Response::new(last.boxed()))
            }
        }
    }
}

/// More than a client takes that does not read.
const LARGE: usize = 2 * WINDOW;
/// More than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much a client takes: HTTP/2's initial window.
const WINDOW: usize = 65_535;

fn large() -> WatchResponse {
    let cursor = "x".repeat(LARGE);
    WatchResponse {
        item: Some(Item::Checkpoint(Checkpoint { cursor })),
    }
}

/// A message as it travels.
pub(crate) fn message(message: &impl prost::Message) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut body).unwrap();
    body.freeze()
}

/// A call that is not sent yet.
pub(crate) struct Call {
    address: SocketAddr,
    request: http::Request<()>,
    body: Bytes,
}

impl Call {
    pub(crate) fn new(address: SocketAddr, path: &str, body: Bytes) -> Self {
        let request = http::Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        Self {
            address,
            request: request.body(()).unwrap(),
            body,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub(crate) async fn send(self) -> Answer {
        self.open().await.answer().await
    }

    /// Sends all of it and leaves the answer to be read.
    pub(crate) async fn open(self) -> Open {
        self.begin(true).await
    }

    /// Goes on sending, as the client of a bidirectional stream may.
    pub(crate) async fn open_ended(self) -> Open {
        self.begin(false).await
    }

    async fn begin(self, end: bool) -> Open {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (client, mut connection) = h2::client::handshake(socket).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(self.request, false).unwrap();
        // A server that refuses by the headers alone may reset what is still being sent.
        let _ = body.send_data(self.body, end);
        Open {
            response,
            pings,
            _body: body,
            _client: client,
            _connection: connection,
        }
    }
}

/// A call whose answer was not read yet; dropping it cuts the connection.
pub(crate) struct Open {
    response: h2::client::ResponseFuture,
    pings: h2::PingPong,
    _body: h2::SendStream<Bytes>,
    _client: h2::client::SendRequest<Bytes>,
    _connection: AbortOnDropHandle<()>,
}

impl Open {
    /// Waits until the server has all that was sent.
    pub(crate) async fn arrived(&mut self) {
        self.pings.ping(h2::Ping::opaque()).await.unwrap();
    }

    /// Takes as much of the answer as it must and reads nothing: what this returns is to be kept.
    pub(crate) async fn stall(self) -> impl Sized {
        let mut body = self.response.await.unwrap().into_body();
        while body.flow_control().used_capacity() < WINDOW {
            tokio::task::yield_now().await;
        }
        (body, self._body, self._client, self._connection)
    }

    pub(crate) async fn answer(self) -> Answer {
        let read = tokio::time::timeout(PATIENCE, self.read());
        read.await.expect("an answer must come")
    }

    async fn read(self) -> Answer {
        let Self {
            response,
            pings: _,
            _body,
            _client,
            _connection,
        } = self;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let head = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.unwrap().unwrap_or(head);
        let status = Status::from_header_map(&trailers).unwrap();
        let mut messages = Vec::new();
        while bytes.len() >= 5 {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
            let message = bytes.split_to(5 + length as usize).freeze();
            messages.push(message.slice(5..));
        }
        Answer {
            code: status.code(),
            status,
            messages,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    pub(crate) status: Status,
    pub(crate) messages: Vec<Bytes>,
}

impl Answer {
    pub(crate) fn message(&self) -> Bytes {
        self.messages.first().unwrap_or_else(|| panic!("{self:?}")).clone()
    }

    pub(crate) fn reason(&self) -> String {
        let info = self
            .status
            .get_details_error_info()
            .unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(info.domain, "clientele");
        info.reason
    }

    pub(crate) fn metadata(&self, key: &str) -> String {
        self.status.get_details_error_info().unwrap().metadata[key].clone()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.status.get_details_retry_info()?.retry_delay
    }
}

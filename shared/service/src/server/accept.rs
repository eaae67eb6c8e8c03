//! Accepting connections. One whose client has not begun to speak is kept away from the HTTP server, whose shutdown would wait
//! for it.

use crate::tls::Acceptor;
use futures::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// The bytes that every HTTP/2 client begins with: `PRI * HTTP/2.0` and so on.
const PREFACE: usize = 24;
/// A client has this long to shake hands, where TLS is spoken, and to send them.
const OPENING: Duration = Duration::from_secs(5);
/// Without a pause, a process that is out of file descriptors would spin.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// The connections whose client has begun to speak, until `stop` is cancelled; then the port is closed.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Acceptor>,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(128);
    let tls = tls.map(Arc::new);
    if let Some(tls) = tls.clone() {
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(tls.keep_current()).await });
    }
    tokio::spawn(async move {
        stop.run_until_cancelled(accept(&listener, tls, &stop, sender)).await;
    });
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: &TcpListener,
    tls: Option<Arc<Acceptor>>,
    stop: &CancellationToken,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let (tls, stop, sender) = (tls.clone(), stop.clone(), sender.clone());
                tokio::spawn(async move { stop.run_until_cancelled(hand_over(connection, tls, sender)).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn hand_over(connection: TcpStream, tls: Option<Arc<Acceptor>>, sender: mpsc::Sender<io::Result<Connection>>) {
    let client = connection.peer_addr().ok();
    match timeout(OPENING, Connection::open(connection, tls)).await {
        // Fails only if the server is gone, and then so is the connection.
        Ok(Ok(connection)) => drop(sender.send(Ok(connection)).await),
        // What TLS refuses, and nothing else. Operators must see why a client isn't let in.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::info!(?client, %error, "a connection was refused");
        }
        Ok(Err(error)) => tracing::debug!(?client, %error, "a connection is gone already"),
        Err(_) => tracing::debug!(?client, "a connection was silent"),
    }
}

/// A connection whose client has begun to speak.
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    /// What the client began with, to be read once more.
    preface: [u8; PREFACE],
    /// How much of it was read.
    replayed: usize,
}

impl Connection {
    async fn open(connection: TcpStream, tls: Option<Arc<Acceptor>>) -> io::Result<Self> {
        connection.set_nodelay(true)?;
        let mut stream = match tls {
            Some(tls) => Either::Right(Box::new(tls.accept(connection).await?)),
            None => Either::Left(connection),
        };
        let mut preface = [0; PREFACE];
        stream.read_exact(&mut preface).await?;
        Ok(Self {
            stream,
            preface,
            replayed: 0,
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.stream {
            Either::Left(plain) => plain.connect_info(),
            Either::Right(tls) => tls.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.replayed == PREFACE {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let end = PREFACE.min(self.replayed + into.remaining());
        into.put_slice(&self.preface[self.replayed..end]);
        self.replayed = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

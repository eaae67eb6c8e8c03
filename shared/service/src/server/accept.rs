//! Accepting connections. One that has said nothing yet is kept away from the HTTP server, whose shutdown would wait for it.

use futures::Stream;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// A client has this long to send its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// Without a pause, a process that is out of file descriptors would spin.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// The connections whose client has begun to speak, until `stop` is cancelled; then the port is closed.
pub(super) fn connections(
    listener: TcpListener,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<TcpStream>> {
    let (sender, receiver) = mpsc::channel(128);
    tokio::spawn(async move {
        stop.run_until_cancelled(accept(&listener, &stop, sender)).await;
    });
    ReceiverStream::new(receiver)
}

async fn accept(listener: &TcpListener, stop: &CancellationToken, sender: mpsc::Sender<io::Result<TcpStream>>) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let (stop, sender) = (stop.clone(), sender.clone());
                tokio::spawn(async move { stop.run_until_cancelled(hand_over(connection, sender)).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn hand_over(connection: TcpStream, sender: mpsc::Sender<io::Result<TcpStream>>) {
    let spoke = timeout(FIRST_BYTE, connection.peek(&mut [0])).await;
    if !matches!(spoke, Ok(Ok(1))) {
        return;
    }
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    // Fails only if the server is gone, and then so is the connection.
    let _ = sender.send(Ok(connection)).await;
}

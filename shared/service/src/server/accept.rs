//! Accepting connections. One whose client has not begun to speak is kept away from the HTTP server, whose shutdown would wait
//! for it.

use futures::Stream;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// The bytes that every HTTP/2 client begins with: `PRI * HTTP/2.0` and so on.
const PREFACE: usize = 24;
/// A client has this long to send them.
const OPENING: Duration = Duration::from_secs(5);
/// Without a pause, a process that is out of file descriptors would spin.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// The connections whose client has begun to speak, until `stop` is cancelled; then the port is closed.
pub(super) fn connections(listener: TcpListener, stop: CancellationToken) -> impl Stream<Item = io::Result<TcpStream>> {
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
    if !matches!(timeout(OPENING, has_spoken(&connection)).await, Ok(Ok(true))) {
        return;
    }
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    // Fails only if the server is gone, and then so is the connection.
    let _ = sender.send(Ok(connection)).await;
}

/// Waits for the whole preface, which is left to be read. False: the client went away.
async fn has_spoken(connection: &TcpStream) -> io::Result<bool> {
    let mut preface = [0; PREFACE];
    loop {
        match connection.peek(&mut preface).await? {
            0 => return Ok(false),
            PREFACE => return Ok(true),
            // Rare: nearly every client sends it in one packet. Peeking at the same bytes can't be waited for otherwise.
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

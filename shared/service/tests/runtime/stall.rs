//! The end of a server whose clients do nothing for it.

use crate::probe::{LIST, Probe, WATCH};
use crate::{list, watch};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

const GRACE: Duration = Duration::from_millis(500);
/// What a slow machine may add.
const MARGIN: Duration = Duration::from_secs(5);

/// The preface of HTTP/2 and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn start() -> Probe {
    Probe::start(|config| {
        config.drain_delay = Duration::ZERO;
        config.grace = GRACE;
    })
    .await
}

/// Ends the server; it must neither wait longer than its grace nor take the client's fault for its own.
async fn is_given_up(probe: Probe) {
    let began = Instant::now();
    probe.shutdown.cancel();
    let ended = timeout(GRACE + MARGIN, probe.ended()).await;
    ended.expect("it must end").expect("a client's stall is no failure");
    assert!(
        began.elapsed() >= GRACE,
        "the client did not stall: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up() {
    let probe = start().await;
    let _stalled = probe.call(WATCH, watch("flood")).open().await.stall().await;
    is_given_up(probe).await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up() {
    let probe = start().await;
    let _stalled = probe.call(LIST, list("large")).open().await.stall().await;
    is_given_up(probe).await;
}

#[tokio::test]
async fn a_client_that_does_not_let_go_is_given_up() {
    let probe = start().await;
    let mut client = TcpStream::connect(probe.address).await.unwrap();
    client.write_all(HELLO).await.unwrap();
    client.read_exact(&mut [0; 9]).await.unwrap(); // the server has taken it up
    is_given_up(probe).await;
}

#[tokio::test]
async fn half_a_request_ends_with_its_deadline() {
    let probe = start().await;
    let body = list("this is never sent whole");
    let half = body.slice(..body.len() / 2);
    let mut call = probe.call(LIST, half).header("grpc-timeout", "100m").open_ended().await;
    call.arrived().await;
    probe.shutdown.cancel();
    let answer = call.answer().await;
    assert_eq!(answer.code, Code::DeadlineExceeded, "{answer:?}");
    timeout(MARGIN, probe.ended()).await.expect("it must end").unwrap();
}

#[tokio::test]
async fn others_are_served_to_their_end_meanwhile() {
    let probe = start().await;
    let _stalled = probe.call(WATCH, watch("flood")).open().await.stall().await;
    probe.entered().await;
    let slow = probe.call(LIST, list("slow")).open().await;
    probe.entered().await;
    let watching = probe.call(WATCH, watch("")).open().await;
    probe.entered().await;
    probe.shutdown.cancel();
    let watching = watching.answer().await;
    assert_eq!((watching.code, watching.messages.len()), (Code::Unavailable, 1));
    probe.go_on();
    assert_eq!(slow.answer().await.code, Code::Ok);
    timeout(GRACE + MARGIN, probe.ended())
        .await
        .expect("it must end")
        .unwrap();
}

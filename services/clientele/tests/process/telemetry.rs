//! A collector of telemetry, in whatever state, costs calls nothing and the end no more than its bound.

use crate::AllInOne;
use crate::trace::{TRACE, collector};
use clientele_api::org::GetWorkspaceRequest;
use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_testkit::{Proxy, until};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Code;

/// How many calls are made at a time, and how many all together.
const CLIENTS: usize = 8;
const CALLS: usize = 400;
/// Less than an export takes to fail: a call that waited for one would not be answered in time.
const DEADLINE: Duration = Duration::from_secs(2);
/// What telemetry may take of the end, and what all else and a slow machine may add.
const BOUND: Duration = Duration::from_secs(6 + 4);
/// One thread, so that nothing makes up for one that is blocked.
const ONE_THREAD: (&str, &str) = ("TOKIO_WORKER_THREADS", "1");
/// Less than the calls need.
const SHORT_QUEUE: [(&str, &str); 2] = [
    ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16"),
];

/// Calls are answered in both states of the collector, and the end comes in time. Answers what was logged.
async fn nothing_waits(before: fn(&Proxy), after: fn(&Proxy)) -> String {
    let (endpoint, _spans) = collector().await;
    let proxy = Proxy::start(&endpoint).await;
    let folder = tempfile::tempdir().unwrap();
    let environment = [ONE_THREAD, SHORT_QUEUE[0], SHORT_QUEUE[1]];
    before(&proxy);
    let running = AllInOne::start_in(&environment, folder.path(), &["--otlp-endpoint", &proxy.url(&endpoint)]);
    call(&running, folder.path(), TRACE).await;
    after(&proxy);
    call(&running, folder.path(), TRACE).await;
    let (took, log) = running.terminate(BOUND).await;
    println!("the end took {took:?}");
    log
}

/// Makes calls in a trace, all of which must be answered.
async fn call(running: &AllInOne, data: &Path, trace: u128) {
    let operator = AllInOne::operator(data);
    let mut making = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = WorkspaceServiceClient::new(running.channel(0).await);
        let operator = operator.clone();
        making.spawn(async move {
            for _ in 0..CALLS / CLIENTS {
                let mut get = operator.request(GetWorkspaceRequest {
                    name: "workspaces/none".into(),
                });
                let parent = format!("00-{trace:032x}-00f067aa0ba902b7-01");
                get.metadata_mut().insert("traceparent", parent.parse().unwrap());
                get.set_timeout(DEADLINE);
                let refused = client.get_workspace(get).await.unwrap_err();
                assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
            }
        });
    }
    while let Some(made) = making.join_next().await {
        made.unwrap();
    }
}

fn dropped(log: &str) -> bool {
    log.contains("BatchSpanProcessor dropped a Span")
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_refuses() {
    nothing_waits(Proxy::cut, |_| {}).await;
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_says_nothing() {
    let log = nothing_waits(Proxy::black_hole, |_| {}).await;
    assert!(dropped(&log), "the calls did not fill the queue: {log}");
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_is_slow() {
    let log = nothing_waits(|proxy| proxy.delay(Duration::from_secs(1)), |_| {}).await; // each way
    assert!(dropped(&log), "the calls did not fill the queue: {log}");
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_goes_away() {
    nothing_waits(|_| {}, Proxy::cut).await;
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_falls_silent() {
    let log = nothing_waits(|_| {}, Proxy::black_hole).await;
    assert!(dropped(&log), "the calls did not fill the queue: {log}");
}

#[tokio::test]
async fn a_collector_that_is_back_gets_all_there_is_by_the_end() {
    let (endpoint, mut spans) = collector().await;
    let proxy = Proxy::start(&endpoint).await;
    let folder = tempfile::tempdir().unwrap();
    proxy.cut();
    let running = AllInOne::start_in(
        &[ONE_THREAD],
        folder.path(),
        &["--otlp-endpoint", &proxy.url(&endpoint)],
    );
    call(&running, folder.path(), TRACE).await;
    proxy.restore();
    until(Duration::from_secs(30), "spans come", async || {
        call(&running, folder.path(), TRACE).await;
        !spans.is_empty()
    })
    .await;

    const LAST: u128 = TRACE + 1;
    call(&running, folder.path(), LAST).await;
    running.terminate(BOUND).await;
    let mut seen = 0;
    while let Ok(span) = spans.try_recv() {
        seen += usize::from(span.trace_id == LAST.to_be_bytes() && span.name.ends_with("/GetWorkspace"));
    }
    assert_eq!(seen, CALLS);
}

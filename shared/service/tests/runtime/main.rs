//! The layers, the health and the end of a real server, seen by a client that speaks bare HTTP/2.

#[cfg(test)]
mod probe;
#[cfg(test)]
mod stall;
#[cfg(test)]
mod telemetry;

use bytes::Bytes;
use clientele_api::journal::{ListEntriesRequest, ListEntriesResponse, WatchRequest};
use clientele_service::token::{Claims, Role};
use probe::{Call, LIST, Probe, WATCH, message};
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn list(filter: &str) -> Bytes {
    message(&ListEntriesRequest {
        filter: filter.into(),
        ..Default::default()
    })
}

fn watch(cursor: &str) -> Bytes {
    let start = clientele_api::journal::watch_request::Start::Cursor(cursor.into());
    message(&WatchRequest {
        start: Some(start),
        ..Default::default()
    })
}

fn check(service: &str) -> Bytes {
    message(&HealthCheckRequest {
        service: service.into(),
    })
}

#[tokio::test]
async fn a_caller_reaches_the_handler_with_its_trace() {
    let probe = Probe::start(|_| {}).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = probe
        .call(LIST, list("caller"))
        .header("traceparent", parent)
        .send()
        .await;
    assert_eq!(answer.code, Code::Ok, "{answer:?}");
    let seen = ListEntriesResponse::decode(answer.message()).unwrap().next_page_token;
    assert_eq!(seen, format!("operators/ann {parent}"));

    let answer = probe.call(LIST, list("caller")).send().await;
    let seen = ListEntriesResponse::decode(answer.message()).unwrap().next_page_token;
    let begun = seen.strip_prefix("operators/ann 00-").unwrap();
    assert!(begun.len() == 52 && begun.ends_with("-00"), "{seen}");
}

#[tokio::test]
async fn without_a_good_token_nothing_is_answered() {
    let probe = Probe::start(|_| {}).await;
    let expired = probe
        .key
        .mint(&Claims::new("main", "ann", Role::Operator), Duration::ZERO);
    for path in [
        LIST,
        WATCH,
        "/clientele.none.v1.None/None",
        "/grpc.health.v1.Health/None",
        "/",
    ] {
        let call = || Call::new(probe.address, path, list(""));
        for (call, reason) in [
            (call(), "TOKEN_MISSING"),
            (call().header("authorization", "Basic YW5uOnB3"), "TOKEN_MISSING"),
            (call().header("authorization", "Bearer"), "TOKEN_MISSING"),
            (call().header("authorization", "Bearer x.y.z"), "TOKEN_INVALID"),
        ] {
            let answer = call.send().await;
            assert_eq!(
                (answer.code, answer.reason()),
                (Code::Unauthenticated, reason.into()),
                "{path}"
            );
        }
    }
    // Within the leeway it still counts.
    let answer = Call::new(probe.address, LIST, list(""))
        .header("authorization", &format!("bearer {expired}"))
        .send()
        .await;
    assert_eq!(answer.code, Code::Ok);
    let health = Call::new(probe.address, HEALTH_CHECK, check("liveness")).send().await;
    assert_eq!(HealthCheckResponse::decode(health.message()).unwrap().status, 1);
}

#[tokio::test]
async fn every_error_says_why() {
    let probe = Probe::start(|config| config.max_message_bytes = 64 * 1024).await;
    let raw = Bytes::from_static;
    let too_large = list(&"x".repeat(100_000));
    for (path, body, code, reason) in [
        (
            "/clientele.none.v1.None/None",
            list(""),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (
            "/clientele.org.v1.WorkspaceService/GetWorkspace",
            list(""),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (
            "/clientele.journal.v1.JournalService/None",
            list(""),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (
            "/grpc.health.v1.Health/None",
            list(""),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (LIST, too_large, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (
            LIST,
            raw(b"\0\0\0\0\x02\x08\x01"),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        (
            LIST,
            raw(b"\0\0\0\0\x09\x08"),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        (LIST, raw(b"\x01\0\0\0\0"), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        (LIST, raw(b"\x07\0\0\0\0"), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        (LIST, raw(b""), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        (
            HEALTH_CHECK,
            raw(b"\0\0\0\0\x02\x08\x01"),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        (HEALTH_CHECK, check("none"), Code::NotFound, "RESOURCE_NOT_FOUND"),
        (LIST, list("not-found"), Code::NotFound, "RESOURCE_NOT_FOUND"),
        (LIST, list("fault"), Code::Internal, "INTERNAL"),
        (LIST, list("bare"), Code::Internal, "INTERNAL"),
    ] {
        let answer = probe.call(path, body).send().await;
        assert_eq!(
            (answer.code, answer.reason()),
            (code, reason.into()),
            "{path} {answer:?}"
        );
        assert!(!answer.status.message().contains("secret"), "{answer:?}");
    }
    let answer = probe.call(LIST, list("")).header("grpc-encoding", "br").send().await;
    assert_eq!(
        (answer.code, answer.reason()),
        (Code::InvalidArgument, "INVALID_HEADER".into())
    );
}

#[tokio::test]
async fn a_panic_costs_only_its_call() {
    let probe = Probe::start(|_| {}).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let answer = probe
        .call(LIST, list("panic"))
        .header("traceparent", parent)
        .send()
        .await;
    assert_eq!((answer.code, answer.reason()), (Code::Internal, "INTERNAL".into()));
    assert_eq!(answer.metadata("trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    let answer = probe.call(WATCH, watch("panic")).send().await;
    assert_eq!((answer.code, answer.reason()), (Code::Internal, "INTERNAL".into()));
    assert_eq!(answer.messages.len(), 1, "what came before the panic has arrived");
    assert_eq!(probe.call(LIST, list("")).send().await.code, Code::Ok);
}

#[tokio::test]
async fn a_call_ends_with_its_deadline() {
    let probe = Probe::start(|_| {}).await;
    for path in [LIST, WATCH] {
        let body = if path == LIST { list("hang") } else { watch("hang") };
        let answer = probe.call(path, body).header("grpc-timeout", "20m").send().await;
        assert_eq!(
            (answer.code, answer.reason()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()),
            "{path}"
        );
        assert_eq!(answer.metadata("deadline_ms"), "20");
    }
}

#[tokio::test]
async fn calls_above_the_limit_are_refused_at_once_and_health_never() {
    let probe = Probe::start(|config| config.max_in_flight = 1).await;
    let hanging = probe.call(LIST, list("hang")).open().await;
    probe.entered().await;
    let answer = probe.call(LIST, list("")).send().await;
    assert_eq!((answer.code, answer.reason()), (Code::Unavailable, "OVERLOADED".into()));
    assert!(answer.retry_after().is_some());
    assert_eq!(probe.call(HEALTH_CHECK, check("liveness")).send().await.code, Code::Ok);

    let stream = probe.call(WATCH, watch("")).open().await;
    probe.entered().await;
    let answer = probe.call(WATCH, watch("")).send().await;
    assert_eq!(
        (answer.code, answer.reason()),
        (Code::Unavailable, "OVERLOADED".into()),
        "streams have places of their own"
    );

    drop((hanging, stream));
    while probe.call(LIST, list("")).send().await.code != Code::Ok {}
    while probe.call(WATCH, watch("panic")).send().await.code == Code::Unavailable {}
}

#[tokio::test]
async fn reflection_lists_only_what_is_served() {
    let probe = Probe::start(|_| {}).await;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    let ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let answer = Call::new(probe.address, REFLECTION, message(&request)).send().await;
        ServerReflectionResponse::decode(answer.message())
            .unwrap()
            .message_response
            .unwrap()
    };
    let MessageResponse::ListServicesResponse(listed) = ask(MessageRequest::ListServices(String::new())).await else {
        panic!("no list");
    };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, ["clientele.journal.v1.JournalService", "grpc.health.v1.Health"]);

    let symbol = MessageRequest::FileContainingSymbol("clientele.journal.v1.JournalService".into());
    let MessageResponse::FileDescriptorResponse(files) = ask(symbol).await else {
        panic!("no file");
    };
    let option = b"\x8a\xe7\x18"; // the tag of (clientele.policy.v1.access)
    assert!(
        files.file_descriptor_proto[0].windows(3).any(|bytes| bytes == option),
        "our options are kept"
    );
}

#[tokio::test]
async fn readiness_goes_first_and_calls_are_served_meanwhile() {
    let probe = Probe::start(|config| config.drain_delay = Duration::from_secs(60)).await;
    let status = async |service| {
        let answer = probe.call(HEALTH_CHECK, check(service)).send().await;
        HealthCheckResponse::decode(answer.message()).unwrap().status
    };
    while status("readiness").await != 1 {}
    for name in ["", "liveness", "clientele.journal.v1.JournalService"] {
        assert_eq!(status(name).await, 1, "{name}");
    }
    probe.shutdown.cancel();
    while status("readiness").await == 1 {}
    assert_eq!((status("").await, status("liveness").await), (2, 1));
    assert_eq!(probe.call(LIST, list("")).send().await.code, Code::Ok);
}

#[tokio::test]
async fn the_end_waits_for_calls_but_not_for_silence() {
    let probe = Probe::start(|config| config.drain_delay = Duration::ZERO).await;
    let mute = TcpStream::connect(probe.address).await.unwrap();
    let mut halting = TcpStream::connect(probe.address).await.unwrap();
    halting.write_all(b"PRI * HTTP").await.unwrap();
    let watching = probe.call(WATCH, watch("")).open().await;
    probe.entered().await;
    let health = probe.call(HEALTH_WATCH, check("")).open().await;
    let reflection = probe.call(REFLECTION, Bytes::new()).open_ended().await;
    let slow = probe.call(LIST, list("slow")).open().await;
    probe.entered().await;

    let began = Instant::now();
    probe.shutdown.cancel();
    for mut silent in [mute, halting] {
        assert_eq!(
            silent.read(&mut [0]).await.unwrap_or(0),
            0,
            "a silent connection is closed"
        );
    }
    let watching = watching.answer().await;
    assert_eq!(
        (watching.code, watching.reason()),
        (Code::Unavailable, "DRAINING".into())
    );
    assert_eq!(watching.messages.len(), 1, "the stream could still send its cursor");
    for stream in [health, reflection] {
        let answer = stream.answer().await;
        assert_eq!((answer.code, answer.reason()), (Code::Unavailable, "DRAINING".into()));
    }
    probe.go_on();
    assert_eq!(slow.answer().await.code, Code::Ok, "a call in flight is answered");
    probe.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_call_that_never_ends_is_given_up() {
    let probe = Probe::start(|config| {
        config.drain_delay = Duration::ZERO;
        config.grace = Duration::from_millis(100);
    })
    .await;
    let hanging = probe.call(LIST, list("hang")).open().await;
    probe.entered().await;
    probe.shutdown.cancel();
    let error = probe.ended().await.unwrap_err();
    assert!(error.to_string().contains("in flight"), "{error}");
    drop(hanging);
}

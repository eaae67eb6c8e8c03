//! How the process ends: in time whatever its clients do, and without a loss.

use crate::AllInOne;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{InitialState, WatchRequest, WatchResponse};
use clientele_api::org::organization_service_client::OrganizationServiceClient;
use clientele_api::org::{CreateOrganizationRequest, GetLogoContentRequest, Organization, UpdateLogoRequest};
use clientele_testkit::{Caller, reason};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// What a slow machine may add.
const MARGIN: Duration = Duration::from_secs(8);

/// The preface of HTTP/2 and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A picture of one pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\xdac`\0\0\0\x02\0\x01\xe5'\xde\xfc\0\0\0\0IEND\xaeB`\x82";

fn organization() -> CreateOrganizationRequest {
    let organization = Some(Organization {
        display_name: Some("Bakery".into()),
        ..Default::default()
    });
    CreateOrganizationRequest {
        parent: "workspaces/acme".into(),
        organization,
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

/// Watches organizations from this cursor on; none: from now on.
async fn watch(running: &AllInOne, operator: &Caller, cursor: Option<String>) -> Streaming<WatchResponse> {
    let request = WatchRequest {
        start: cursor.map(Start::Cursor),
        types: vec!["clientele.org.v1.Organization".into()],
        ..Default::default()
    };
    let mut journal = JournalServiceClient::new(running.channel(0).await);
    journal.watch(operator.request(request)).await.unwrap().into_inner()
}

/// The uids of the organizations that an item tells of.
fn uids(item: WatchResponse) -> Vec<String> {
    match item.item {
        Some(Item::Entry(entry)) => entry.changes.into_iter().map(|change| change.uid).collect(),
        _ => Vec::new(),
    }
}

/// A write, and what was answered.
type Write = (CreateOrganizationRequest, Result<Organization, Status>);

/// Clients each of which writes until the server is gone, and tells what became of each write.
struct Writes {
    so_far: Vec<Write>,
    hears: mpsc::UnboundedReceiver<Write>,
}

impl Writes {
    /// Has them begin, and waits until they are in full swing.
    async fn begin(running: &AllInOne, operator: &Caller) -> Self {
        let (told, mut hears) = mpsc::unbounded_channel();
        for _ in 0..16 {
            let mut client = OrganizationServiceClient::new(running.channel(0).await);
            let (told, operator) = (told.clone(), operator.clone());
            tokio::spawn(async move {
                loop {
                    let request = organization();
                    let answer = client.create_organization(operator.request(request.clone())).await;
                    let gone = answer.is_err();
                    told.send((request, answer.map(Response::into_inner))).unwrap();
                    if gone {
                        return;
                    }
                }
            });
        }
        let mut so_far = Vec::new();
        while so_far.len() < 100 {
            so_far.push(hears.recv().await.unwrap());
        }
        Self { so_far, hears }
    }

    /// Waits until the last of them has heard that the server is gone.
    async fn end(mut self) -> Vec<Write> {
        while let Some(last) = self.hears.recv().await {
            self.so_far.push(last);
        }
        self.so_far
    }
}

/// Asks for every write again: what was acknowledged is answered as before, and what was not happens now, unless it has. The uids.
async fn repeat(running: &AllInOne, operator: &Caller, writes: Vec<Write>) -> BTreeSet<String> {
    let mut client = OrganizationServiceClient::new(running.channel(0).await);
    let mut uids = BTreeSet::new();
    for (request, before) in writes {
        let again = client.create_organization(operator.request(request)).await.unwrap();
        let again = again.into_inner();
        match before {
            Ok(before) => assert_eq!(before, again),
            Err(status) => {
                let told = status.get_details_error_info();
                assert!(told.is_none_or(|told| told.reason != "INTERNAL"), "{status:?}");
            }
        }
        uids.insert(again.uid);
    }
    uids
}

#[tokio::test]
async fn what_was_acknowledged_is_kept_and_streams_go_on_from_their_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let first = AllInOne::start(folder.path());
    let operator = AllInOne::operator(folder.path());
    first.create_workspace(&operator).await;
    let mut watching = watch(&first, &operator, None).await;
    let watched: tokio::task::JoinHandle<(Vec<String>, Status)> = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            match watching.message().await {
                Ok(item) => seen.extend(uids(item.expect("a stream ends with an error"))),
                Err(status) => return (seen, status),
            }
        }
    });

    let writes = Writes::begin(&first, &operator).await;
    first.terminate(MARGIN).await;
    let writes = writes.end().await;
    let (mut seen, status) = watched.await.unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "DRAINING")
    );
    let cursor = status.get_details_error_info().unwrap().metadata["cursor"].clone();

    let second = AllInOne::start(folder.path());
    let asked = repeat(&second, &operator, writes).await;
    // What came before the end and what comes after its cursor is everything, once.
    let mut watching = watch(&second, &operator, Some(cursor)).await;
    while seen.len() < asked.len() {
        seen.extend(uids(watching.message().await.unwrap().unwrap()));
    }
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), asked);
    drop(watching);
    second.interrupt().await;
}

#[tokio::test]
async fn calls_that_get_no_grace_are_told_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = AllInOne::start_with(folder.path(), &["--grace", "0s"]);
    let operator = AllInOne::operator(folder.path());
    first.create_workspace(&operator).await;
    let writes = Writes::begin(&first, &operator).await;
    let (status, _, log) = first.end("-TERM", MARGIN).await;
    assert!(status.code().is_some_and(|code| code <= 1), "{status}: {log}"); // 1: calls were in flight
    let writes = writes.end().await;
    let second = AllInOne::start(folder.path());
    let sent = writes.len();
    assert_eq!(repeat(&second, &operator, writes).await.len(), sent);
    second.interrupt().await;
}

#[tokio::test]
async fn clients_that_stall_hold_it_no_longer_than_the_grace() {
    let grace = Duration::from_secs(1);
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start_with(folder.path(), &["--grace", "1s"]);
    let operator = AllInOne::operator(folder.path());
    running.create_workspace(&operator).await;

    // Takes a byte of the stream and reads no more.
    let narrow = Endpoint::from_shared(running.addresses[0].clone()).unwrap();
    let narrow = narrow.initial_stream_window_size(1).connect().await.unwrap();
    let everything = WatchRequest {
        start: Some(Start::InitialState(InitialState {})),
        ..Default::default()
    };
    let mut journal = JournalServiceClient::new(narrow);
    let _stalled = journal.watch(operator.request(everything)).await.unwrap();
    // Neither confirms anything nor goes when it is asked to, in each service.
    let mut deaf = Vec::new();
    for address in &running.addresses {
        let mut connection = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        connection.write_all(HELLO).await.unwrap();
        connection.read_exact(&mut [0; 9]).await.unwrap(); // the server has taken it up
        deaf.push(connection);
    }
    // Says nothing at all.
    let _mute = TcpStream::connect(running.addresses[0].trim_start_matches("http://"))
        .await
        .unwrap();

    let (took, log) = running.terminate(grace + MARGIN).await;
    println!("with clients that stall, the end took {took:?}");
    assert!(took >= grace, "nothing stalled: {took:?}");
    let given_up = log.matches("clients did not end their connections").count();
    assert_eq!(given_up, 3, "it must say of each service whom it gave up: {log}");
}

#[tokio::test]
async fn streams_on_which_nothing_happens_do_not_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start(folder.path());
    let operator = AllInOne::operator(folder.path());
    let mut streams = JoinSet::new();
    for _ in 0..100 {
        let mut stream = watch(&running, &operator, None).await;
        stream.message().await.unwrap().unwrap(); // its position
        streams.spawn(async move { stream.message().await.unwrap_err() });
    }
    let (took, _) = running.terminate(MARGIN).await;
    println!("with 100 idle streams, the end took {took:?}");
    while let Some(ended) = streams.join_next().await {
        assert_eq!(reason(&ended.unwrap()), "DRAINING");
    }
}

#[tokio::test]
async fn a_disk_that_does_not_answer_does_not_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = AllInOne::start(folder.path());
    let operator = AllInOne::operator(folder.path());
    running.create_workspace(&operator).await;
    let mut client = OrganizationServiceClient::new(running.channel(0).await);
    let created = client
        .create_organization(operator.request(organization()))
        .await
        .unwrap();
    let name = created.into_inner().name;
    let update = UpdateLogoRequest {
        name: name.clone(),
        content: PNG.into(),
        content_type: "image/png".into(),
        ..Default::default()
    };
    client.update_logo(operator.request(update)).await.unwrap();

    // Who opens a pipe waits for its other end.
    let logo = only_file(&folder.path().join("logos"));
    std::fs::remove_file(&logo).unwrap();
    assert!(Command::new("mkfifo").arg(&logo).status().unwrap().success());
    let mut get = operator.request(GetLogoContentRequest { name });
    get.set_timeout(Duration::from_millis(500));
    let waited = client.get_logo_content(get).await.unwrap_err().code(); // who counts faster, the client or the server
    assert!(matches!(waited, Code::Cancelled | Code::DeadlineExceeded), "{waited}");
    running.terminate(MARGIN).await;
}

/// The file that is somewhere below.
fn only_file(folder: &Path) -> PathBuf {
    let entry = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if entry.is_dir() { only_file(&entry) } else { entry }
}

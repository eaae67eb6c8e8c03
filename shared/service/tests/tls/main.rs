//! TLS and mutual TLS of a real server, and certificates exchanged while it is in use.

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod follower;
#[cfg(test)]
mod probe;

use certificates::{Ca, Files, Identity};
use clientele_service::cli::Healthcheck;
use clientele_testkit::until;
use futures::future::join_all;
use probe::{Client, Probe, logged};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// Long enough for anything that happens at all, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn only_who_speaks_tls_is_answered() {
    let (ca, foreign) = (Ca::new("ca"), Ca::new("foreign"));
    let server = ca.server();
    let files = Files::new(&server, &ca);
    let probe = Probe::start(files.tls()).await;
    let client = Client::new(&[&ca], None);
    for client in [
        client.clone(),
        Client::speaking(&[&TLS12], &[&ca], None),
        Client::speaking(&[&TLS13], &[&ca], None),
    ] {
        assert_eq!(probe.certificate(&client).await, server.cert());
    }
    let connection = client.connect(probe.address).await.unwrap();
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let refusal = client.offering("http/1.1").refusal(probe.address).await;
    assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");
    let refusal = Client::new(&[&foreign], None).refusal(probe.address).await;
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");

    let mut plain = TcpStream::connect(probe.address).await.unwrap();
    plain.write_all(PREFACE).await.unwrap();
    let mut answer = Vec::new();
    // A cut that throws away what was not read yet is a cut as well.
    let _ = timeout(LIMIT, plain.read_to_end(&mut answer))
        .await
        .expect("it must be cut");
    assert!(answer.len() <= 7, "at most an alert of TLS: {answer:?}");
    let plain = Endpoint::from_shared(format!("http://{}", probe.address)).unwrap();
    probe.call(&plain.connect_lazy()).await.unwrap_err();
    assert_eq!(probe.certificate(&client).await, server.cert());
}

#[tokio::test]
async fn mutual_tls_lets_in_only_whom_its_ca_knows() {
    let (servers, clients, foreign) = (Ca::new("servers"), Ca::new("clients"), Ca::new("foreign"));
    let server = servers.server();
    let files = Files::new(&server, &clients);
    let probe = Probe::start(files.mutual_tls()).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = |shows: Option<&Identity>| Client::speaking(versions, &[&servers], shows);
        let known = client(Some(&clients.client()));
        assert_eq!(probe.certificate(&known).await, server.cert());
        for (shows, why) in [
            (None, "CertificateRequired HandshakeFailure"),
            (Some(foreign.client()), "UnknownCA"),
            (Some(servers.client()), "UnknownCA"),
            (Some(clients.expired_client()), "CertificateExpired"),
            (Some(clients.future_client()), "BadCertificate CertificateExpired"),
            (Some(clients.server()), "UnsupportedCertificate BadCertificate"),
        ] {
            let refusal = client(shows.as_ref()).refusal(probe.address).await;
            let alert = refusal.rsplit(' ').next().unwrap();
            assert!(why.split(' ').any(|why| why == alert), "{refusal} instead of {why}");
        }
    }
    assert!(
        logged(&["a connection was refused", "certificate expired"]) > 0,
        "operators see why"
    );
}

#[tokio::test]
async fn who_comes_again_shows_its_certificate_again() {
    let ca = Ca::new("ca");
    let files = Files::new(&ca.server(), &ca);
    let probe = Probe::start(files.mutual_tls()).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = Client::speaking(versions, &[&ca], Some(&ca.client()));
        for _ in 0..2 {
            let connection = client.connect(probe.address).await.unwrap();
            assert_eq!(connection.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            probe.call(&client.channel(connection).await).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_exchanged_while_calls_run() {
    let (old_servers, new_servers) = (Ca::new("old servers"), Ca::new("new servers"));
    let (old_clients, new_clients) = (Ca::new("old clients"), Ca::new("new clients"));
    let (old_server, new_server) = (old_servers.server(), new_servers.server());
    let files = Files::new(&old_server, &old_clients);
    let probe = Probe::start(files.mutual_tls()).await;
    let both = [&old_servers, &new_servers];
    let old = Client::new(&both, Some(&old_clients.client()));
    let new = Client::new(&both, Some(&new_clients.client()));

    let connection = old.connect(probe.address).await.unwrap();
    let channel = old.channel(connection).await;
    let mut stream = probe.watch(&channel).await;
    stream.message().await.unwrap().expect("the stream has begun");
    let done = CancellationToken::new();
    let calling = async {
        let mut calls = 0;
        while !done.is_cancelled() {
            probe.call(&channel).await.expect("a call during the exchange");
            calls += 1;
        }
        calls
    };
    let exchanging = async {
        assert_eq!(probe.certificate(&old).await, old_server.cert());
        assert!(new.refusal(probe.address).await.contains("UnknownCA"));
        files.write_identity(&new_server);
        until(LIMIT, "new connections see the new certificate", async || {
            probe.certificate(&old).await == new_server.cert()
        })
        .await;
        files.write("ca.pem", &new_clients.pem());
        until(LIMIT, "the old CA is no good any more", async || {
            old.refusal(probe.address).await.contains("UnknownCA")
        })
        .await;
        assert_eq!(probe.certificate(&new).await, new_server.cert());

        probe.call(&channel).await.expect("the old connection goes on");
        probe.tell(7);
        let told = timeout(LIMIT, stream.message()).await.unwrap().unwrap();
        assert!(told.is_some(), "the old stream goes on");
        done.cancel();
    };
    let (calls, ()) = tokio::join!(calling, exchanging);
    assert!(calls > 0);
}

#[tokio::test]
async fn broken_files_leave_the_last_good_ones_in_force() {
    type Break = fn(&Files, &Ca);
    let break_files: [(Break, &str); 9] = [
        (|files, ca| files.write("cert.pem", &ca.server().cert), "no pair"),
        (|files, ca| files.write("key.pem", &ca.server().key), "no pair"),
        (|files, _| files.write("cert.pem", ""), "holds no certificate"),
        (
            |files, ca| files.write("cert.pem", &ca.server().cert[..200]),
            "is no PEM file",
        ),
        (
            |files, _| {
                files.write(
                    "cert.pem",
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                )
            },
            "malformed certificate",
        ),
        (
            |files, ca| files.write_identity(&ca.expired_server()),
            "ended at 2020-01-01",
        ),
        (|files, _| files.write("key.pem", "secret"), "holds no key"),
        (|files, _| files.write("ca.pem", ""), "holds no certificate"),
        (
            |files, _| std::fs::remove_file(files.path("ca.pem")).unwrap(),
            "can't be read",
        ),
    ];
    join_all(break_files.map(async |(break_files, why)| {
        let ca = Ca::new("ca");
        let (server, renewed) = (ca.server(), ca.server());
        let files = Files::new(&server, &ca);
        let probe = Probe::start(files.mutual_tls()).await;
        let client = Client::new(&[&ca], Some(&ca.client()));
        assert_eq!(probe.certificate(&client).await, server.cert());

        break_files(&files, &ca);
        let folder = files.folder().to_str().unwrap();
        until(LIMIT, why, async || {
            logged(&[folder, "the last good ones stay in force", why]) == 1
        })
        .await;
        assert_eq!(probe.certificate(&client).await, server.cert(), "{why}");
        let refusal = Client::new(&[&ca], None).refusal(probe.address).await;
        assert!(refusal.contains("CertificateRequired"), "{refusal}");

        files.write_identity(&renewed);
        files.write("ca.pem", &ca.pem());
        until(LIMIT, "a good one is taken again", async || {
            probe.certificate(&client).await == renewed.cert()
        })
        .await;
    }))
    .await;
}

#[tokio::test]
async fn a_server_with_broken_files_does_not_start() {
    let ca = Ca::new("ca");
    let files = Files::new(&ca.server(), &ca);
    files.write("key.pem", &ca.server().key);
    let ended = timeout(LIMIT, Probe::start(files.tls()).await.ended()).await;
    let error = ended.expect("it must not start").unwrap_err();
    assert!(format!("{error:#}").contains("are no pair"), "{error:#}");
}

#[tokio::test]
async fn the_end_does_not_wait_for_silence() {
    let ca = Ca::new("ca");
    let files = Files::new(&ca.server(), &ca);
    let probe = Probe::start(files.tls()).await;
    let client = Client::new(&[&ca], None);
    let mut mute = Vec::new();
    for _ in 0..5 {
        mute.push(TcpStream::connect(probe.address).await.unwrap());
    }
    mute[0].write_all(&[0x16, 3, 1, 2, 0]).await.unwrap(); // begins a handshake
    // One that waits for those before it waits for more than a minute.
    let connected = timeout(Duration::from_secs(15), client.connect(probe.address)).await;
    let mut silent = connected.expect("nobody waits for the mute").unwrap();
    let mut halting = client.connect(probe.address).await.unwrap();
    halting.write_all(&PREFACE[..10]).await.unwrap();
    let connection = client.connect(probe.address).await.unwrap();
    let idle = client.channel(connection).await;
    probe.call(&idle).await.unwrap();

    let began = Instant::now();
    probe.shutdown.cancel();
    for mut mute in mute {
        assert_eq!(mute.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
    }
    for silent in [&mut silent, &mut halting] {
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
    }
    probe.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn silence_is_cut() {
    let ca = Ca::new("ca");
    let files = Files::new(&ca.server(), &ca);
    let probe = Probe::start(files.tls()).await;
    let mut mute = TcpStream::connect(probe.address).await.unwrap();
    let mut silent = Client::new(&[&ca], None).connect(probe.address).await.unwrap();
    assert_eq!(timeout(LIMIT, mute.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(timeout(LIMIT, silent.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn health_is_told_over_tls() {
    let ca = Ca::new("ca");
    let server = Files::new(&ca.server_named("probe.internal"), &ca);
    let probe = Probe::start(server.mutual_tls()).await;
    let own = Files::new(&ca.client(), &ca);
    let healthcheck = Healthcheck {
        address: probe.url(),
        service: "readiness".into(),
        ca: Some(own.path("ca.pem")),
        server_name: Some("probe.internal".into()),
        cert: Some(own.path("cert.pem")),
        key: Some(own.path("key.pem")),
    };
    until(LIMIT, "it is serving", async || healthcheck.clone().run().await.is_ok()).await;

    for (bad, why) in [
        (
            Healthcheck {
                server_name: None,
                ..healthcheck.clone()
            },
            "certificate not valid for name",
        ),
        (
            Healthcheck {
                cert: None,
                key: None,
                ..healthcheck.clone()
            },
            "CertificateRequired",
        ),
        (
            Healthcheck {
                key: None,
                ..healthcheck.clone()
            },
            "only one of cert and key",
        ),
        (
            Healthcheck {
                ca: None,
                ..healthcheck.clone()
            },
            "set ca",
        ),
    ] {
        let error = format!("{:#}", bad.run().await.unwrap_err());
        assert!(error.contains(why), "{error} instead of {why}");
    }
}

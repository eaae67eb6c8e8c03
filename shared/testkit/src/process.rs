//! Services in processes of their own, so that they can die as processes die.

use crate::{Calls, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// How long a process may take to do what is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// The process of a service's binary. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it listens, once it has told.
    address: watch::Receiver<Option<SocketAddr>>,
}

impl Process {
    /// Serves on a free port, with these settings. `fail_points` says where the process dies or stands still; empty: nowhere.
    pub fn serve(binary: &str, settings: &[(&str, &str)], fail_points: &str) -> Self {
        let mut child = Command::new(binary)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--drain-delay",
                "0",
                "--log",
                "info",
            ])
            .args(settings.iter().flat_map(|(name, value)| [*name, *value]))
            .env("CLIENTELE_FAIL_POINTS", fail_points)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, address) = watch::channel(None);
        let log = child.stdout.take().unwrap();
        std::thread::spawn(move || read(log, &told));
        Self { child, address }
    }

    /// Whether it has begun to serve.
    pub fn serves(&self) -> bool {
        self.address.borrow().is_some()
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        let mut address = self.address.clone();
        let told = tokio::time::timeout(PATIENCE, address.wait_for(Option::is_some));
        let address = told
            .await
            .expect("it must begin to serve")
            .expect("it must not end before");
        let address = address.expect("it was waited for");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Calls on a connection to it.
    pub async fn calls(&self) -> Calls {
        Calls::new(self.channel().await)
    }

    /// Whether it has been killed, by itself or by somebody else. It must not end otherwise.
    pub fn was_killed(&mut self) -> bool {
        let ended = self.child.try_wait().unwrap();
        ended.is_some_and(|status| {
            assert_eq!(status.signal(), Some(SIGKILL), "{status}");
            true
        })
    }

    /// Waits until it has been killed.
    pub async fn until_killed(&mut self) {
        until(PATIENCE, "the process dies", async || self.was_killed()).await;
    }

    /// Waits until it stands still.
    pub async fn until_stopped(&self) {
        let path = format!("/proc/{}/stat", self.child.id());
        until(PATIENCE, "the process stands still", async || {
            let stat = std::fs::read_to_string(&path).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        })
        .await;
    }

    /// Ends its standstill.
    pub fn go_on(&self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-CONT", &id]).status().unwrap();
        assert!(told.success());
    }

    /// As a crash ends it.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill(); // it may have died already
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads the log to its end, and tells the address when it comes by.
fn read(log: ChildStdout, told: &watch::Sender<Option<SocketAddr>>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["address"].as_str().and_then(|address| address.parse().ok()) {
            told.send_replace(Some(address));
        }
    }
}

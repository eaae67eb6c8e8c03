//! The all-in-one as its user meets it: a process, a data folder, a token, and Ctrl-C.

#![cfg(test)]

mod crash;
mod daily;
mod followers;
mod release;
mod restore;
mod shutdown;
mod telemetry;
mod trace;

use clientele_api::org::workspace_service_client::WorkspaceServiceClient;
use clientele_api::org::{CreateWorkspaceRequest, Workspace};
use clientele_testkit::{Caller, until};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The process, and the three addresses that it told.
struct AllInOne {
    process: Child,
    addresses: Vec<String>,
    /// Reads what it logs, until it ends.
    log: Option<JoinHandle<String>>,
}

impl AllInOne {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::start_in(&[], data, arguments)
    }

    fn start_in(environment: &[(&str, &str)], data: &Path, arguments: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let mut process = Command::new(env!("CARGO_BIN_EXE_clientele"))
            .args(["--org", any, "--assignment", any, "--settings-billing", any, "--data"])
            .arg(data)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses = Vec::new();
        let mut ended = false;
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        for line in lines.by_ref() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [service, address] = words[..]
                && service.ends_with("-service")
            {
                addresses.push(format!("http://{address}"));
            }
            if line.contains("Ctrl-C") {
                ended = true;
                break;
            }
        }
        assert!(
            ended && addresses.len() == 3,
            "it must tell where it serves: {addresses:?}"
        );
        let log = std::thread::spawn(move || lines.fold(String::new(), |log, line| log + &line + "\n"));
        Self {
            process,
            addresses,
            log: Some(log),
        }
    }

    async fn channel(&self, at: usize) -> Channel {
        Channel::from_shared(self.addresses[at].clone())
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    fn operator(data: &Path) -> Caller {
        Caller::with(std::fs::read_to_string(data.join("operator.token")).unwrap())
    }

    /// As a crash ends it.
    fn kill(self) {
        drop(self);
    }

    /// Ctrl-C. The clients must go on meanwhile: they close their connections when the server asks them to.
    /// Creates the workspace `acme`.
    async fn create_workspace(&self, operator: &Caller) {
        let create = CreateWorkspaceRequest {
            workspace_id: "acme".into(),
            workspace: Some(Workspace {
                display_name: Some("Acme".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut workspaces = WorkspaceServiceClient::new(self.channel(0).await);
        workspaces.create_workspace(operator.request(create)).await.unwrap();
    }

    async fn interrupt(self) {
        let (status, _, log) = self.end("-INT", Duration::from_secs(10)).await;
        assert!(status.success(), "{status}: {log}");
    }

    /// As an orchestrator ends it, which it must do well and within a bound. How long it took, and what it had logged.
    async fn terminate(self, bound: Duration) -> (Duration, String) {
        let (status, took, log) = self.end("-TERM", bound).await;
        assert!(status.success(), "{status}: {log}");
        (took, log)
    }

    async fn end(mut self, signal: &str, bound: Duration) -> (ExitStatus, Duration, String) {
        let asked = Instant::now();
        let signalled = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(signalled.success());
        let mut status = None;
        until(bound, "the process ends", async || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        let took = asked.elapsed();
        let log = self.log.take().unwrap().join().unwrap();
        (status.unwrap(), took, log)
    }
}

impl Drop for AllInOne {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}

fn token(data: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_clientele"))
        .arg("token")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

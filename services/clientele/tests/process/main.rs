//! The all-in-one as its user meets it: a process, a data folder, a token, and Ctrl-C.

#![cfg(test)]

mod crash;
mod daily;
mod trace;

use clientele_testkit::Caller;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The process, and the three addresses that it told.
struct AllInOne {
    process: Child,
    addresses: Vec<String>,
}

impl AllInOne {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let mut process = Command::new(env!("CARGO_BIN_EXE_clientele"))
            .args(["--org", any, "--assignment", any, "--settings-billing", any, "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses = Vec::new();
        let mut ended = false;
        for line in BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
        {
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
        Self { process, addresses }
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
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ctrl-C. The clients must go on meanwhile: they close their connections when the server asks them to.
    async fn interrupt(mut self) {
        let asked = Instant::now();
        let killed = Command::new("kill")
            .args(["-INT", &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let status = tokio::task::spawn_blocking(move || self.process.wait().unwrap())
            .await
            .unwrap();
        assert!(status.success(), "{status}");
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "it took {:?} to end",
            asked.elapsed()
        );
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

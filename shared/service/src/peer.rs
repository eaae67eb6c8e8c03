//! The services that a service follows.

use crate::tls::{self, ClientTls};
use anyhow::{Context as _, Result};
use clap::Args;
use clientele_store::follow::Peer;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Endpoint;

/// Where org-service is, and how this service proves who it is.
#[derive(Debug, Clone, Args)]
pub struct OrgPeer {
    /// The address of org-service, as in `http://org-service:50051`, or `https://org-service:50051` where it speaks TLS.
    #[arg(long, env = "CLIENTELE_ORG_ENDPOINT")]
    pub org_endpoint: String,
    /// The file with this service's own bearer token; read anew for every stream, so it may be rotated.
    #[arg(long, env = "CLIENTELE_PEER_TOKEN_FILE")]
    pub peer_token_file: PathBuf,
    /// The file with the CA that org-service's certificate is of (PEM); needed for `https://`. This and the two files below are read
    /// anew for every connection.
    #[arg(long, env = "CLIENTELE_PEER_CA")]
    pub peer_ca: Option<PathBuf>,
    /// The file with this service's own certificate (PEM), if org-service lets in only clients that show one.
    #[arg(long, env = "CLIENTELE_PEER_CERT")]
    pub peer_cert: Option<PathBuf>,
    /// The file with the key of that certificate (PEM).
    #[arg(long, env = "CLIENTELE_PEER_KEY")]
    pub peer_key: Option<PathBuf>,
}

impl OrgPeer {
    /// The one at this address, without TLS.
    pub fn new(endpoint: impl Into<String>, token_file: impl Into<PathBuf>) -> Self {
        Self {
            org_endpoint: endpoint.into(),
            peer_token_file: token_file.into(),
            peer_ca: None,
            peer_cert: None,
            peer_key: None,
        }
    }

    /// Refuses settings that can't work, with what to set instead.
    pub fn validate(&self) -> Result<()> {
        self.tls().map(drop)
    }

    /// These settings, to be shown.
    pub fn settings(&self) -> Value {
        json!({
            "endpoint": self.org_endpoint,
            "peer_token_file": self.peer_token_file,
            "peer_ca": self.peer_ca,
            "peer_cert": self.peer_cert,
            "peer_key": self.peer_key,
        })
    }

    /// org-service, to be followed.
    pub fn peer(&self) -> Result<Peer> {
        let endpoint = Endpoint::from_shared(self.org_endpoint.clone())
            .with_context(|| format!("org_endpoint {:?}", self.org_endpoint))?;
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        Ok(Peer {
            service: "org",
            channel: tls::connect_lazy(&endpoint, self.tls()?),
            token_file: self.peer_token_file.clone(),
        })
    }

    fn tls(&self) -> Result<Option<ClientTls>> {
        let (ca, cert, key) = (&self.peer_ca, &self.peer_cert, &self.peer_key);
        ClientTls::for_address(
            &self.org_endpoint,
            "peer_",
            ca.as_deref(),
            cert.as_deref(),
            key.as_deref(),
        )
        .context("org_endpoint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let plain = || OrgPeer::new("http://org:50051", "token");
        let tls = || OrgPeer {
            peer_ca: Some("ca.pem".into()),
            ..OrgPeer::new("https://org:50051", "token")
        };
        let mutual = || OrgPeer {
            peer_cert: Some("cert.pem".into()),
            peer_key: Some("key.pem".into()),
            ..tls()
        };
        for good in [plain(), tls(), mutual()] {
            good.validate().unwrap();
        }
        for (bad, why) in [
            (OrgPeer::new("https://org:50051", "token"), "set peer_ca"),
            (
                OrgPeer {
                    org_endpoint: "http://org:50051".into(),
                    ..tls()
                },
                "begins with https://",
            ),
            (
                OrgPeer {
                    peer_key: None,
                    ..mutual()
                },
                "only one of peer_cert and peer_key",
            ),
            (
                OrgPeer {
                    peer_cert: None,
                    ..mutual()
                },
                "only one of peer_cert and peer_key",
            ),
            (OrgPeer::new("not a URL", "token"), "no URL"),
        ] {
            let error = format!("{:#}", bad.validate().unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}

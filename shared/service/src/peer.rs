//! The services that a service follows.

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
    /// The address of org-service, as in `http://org-service:50051`.
    #[arg(long, env = "CLIENTELE_ORG_ENDPOINT")]
    pub org_endpoint: String,
    /// The file with this service's own bearer token; read anew for every stream, so it may be rotated.
    #[arg(long, env = "CLIENTELE_PEER_TOKEN_FILE")]
    pub peer_token_file: PathBuf,
}

impl OrgPeer {
    /// These settings, to be shown.
    pub fn settings(&self) -> Value {
        json!({ "endpoint": self.org_endpoint, "peer_token_file": self.peer_token_file })
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
            endpoint,
            token_file: self.peer_token_file.clone(),
        })
    }
}

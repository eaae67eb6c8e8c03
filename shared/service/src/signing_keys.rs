//! The public keys of sessions, fetched from org-service.

use crate::token::FetchedKeys;
use anyhow::Result;
use clientele_api::org::GetSigningKeysRequest;
use clientele_api::org::session_service_client::SessionServiceClient;
use clientele_store::{Db, follow, tasks};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// How often org-service is asked, if nobody comes with a key that is not known. A new key signs only after twice this time.
const EVERY: Duration = Duration::from_secs(300);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait at least before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes the keys that were stored last, which do while org-service is down, and asks for them from now on, until `stop`.
pub(crate) async fn follow(db: &Db, org: Channel, keys: FetchedKeys, stop: &CancellationToken) -> Result<()> {
    if let Some(stored) = follow::signing_keys::stored(db).await? {
        keys.replace(stored)?;
    }
    tasks::spawn(stop.clone(), fetch_for_ever(db.clone(), org, keys));
    Ok(())
}

async fn fetch_for_ever(db: Db, org: Channel, keys: FetchedKeys) {
    let mut org = SessionServiceClient::new(org);
    loop {
        match fetch(&db, &mut org, &keys).await {
            Ok(()) => keys.note_fetched(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "the keys of sessions can't be fetched; the last ones stay in force"
                );
            }
        }
        sleep(PAUSE).await;
        let _ = timeout(EVERY, keys.wanted()).await; // wanted or not, it is time
    }
}

async fn fetch(db: &Db, org: &mut SessionServiceClient<Channel>, keys: &FetchedKeys) -> Result<()> {
    let answer = timeout(PATIENCE, org.get_signing_keys(GetSigningKeysRequest {})).await??;
    let jwks = answer.into_inner().jwks;
    if keys.replace(jwks.clone())? {
        follow::signing_keys::store(db, jwks).await?;
    }
    Ok(())
}

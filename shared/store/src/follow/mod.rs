//! Following another service's journal: what it says is kept as projections, so that no call ever waits for another service.
//!
//! Projection and cursor are written in one transaction that only succeeds if the cursor is still the one this follower started
//! from. So effects happen once, however often an entry arrives and however many replicas follow.

mod client;
mod metrics;
pub mod parked;
mod projection;
pub mod state;

pub use client::{Follower, Peer};
pub use projection::{CreateProjections, NAMES, OrganizationProjection, organization, organizations, workspaces};
pub(crate) use state::{cursor_of, stored as stored_cursor};

use crate::connect::Db;
use crate::cursor::Cursor;
use clientele_api::{Error, Result, error::ErrorReason};
use std::time::Duration;
use tokio::sync::watch;

/// How long a call waits for this service to hear of the revision that it asks for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a waiting call looks whether another replica has applied it.
const LOOK: Duration = Duration::from_millis(25);

/// How far a followed service is known here.
#[derive(Debug, Clone)]
pub struct Followed {
    service: &'static str,
    db: Db,
    applied: watch::Receiver<Option<Cursor>>,
}

impl Followed {
    /// The service that is followed.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Waits until everything up to `epoch.n` of the followed service is known here, at most two seconds.
    pub async fn wait(&self, epoch: i64, n: i64) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.until_known(epoch, n))
            .await
            .map_err(|_| {
                let message = format!(
                    "this service has not yet heard of {}={epoch}.{n}: try again",
                    self.service
                );
                Error::new(ErrorReason::NotCaughtUp, message)
                    .with("service", self.service)
                    .retry_after(Duration::from_millis(500))
            })?
    }

    async fn until_known(&self, epoch: i64, n: i64) -> Result<()> {
        let knows = |cursor: &Option<Cursor>| {
            cursor.is_some_and(|cursor| cursor.epoch > epoch || (cursor.epoch == epoch && cursor.includes(n)))
        };
        let mut applied = self.applied.clone();
        loop {
            if knows(&applied.borrow_and_update()) {
                return Ok(());
            }
            if knows(&stored_cursor(&self.db, self.service).await?) {
                self.db.note_rename(); // another replica heard of it, and only it knows what that was
                return Ok(());
            }
            let _ = tokio::time::timeout(LOOK, applied.changed()).await; // either way it looks again
        }
    }
}

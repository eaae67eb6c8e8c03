//! Following another service's journal: what it says is kept as projections, so that no call ever waits for another service.
//!
//! Projection and cursor are written in one transaction that only succeeds if the cursor is still the one this follower started
//! from. So effects happen once, however often an entry arrives and however many replicas follow.

mod client;
pub mod erasures;
mod metrics;
pub mod parked;
mod projection;
pub mod signing_keys;
pub mod state;

pub use client::{Follower, Peer};
pub use projection::{
    CreatePeopleProjections, CreateProjections, CreateTeamProjections, NAMES, OrganizationProjection, members,
    organization, organizations, roles, sessions, standing, teams, users, workspaces,
};
pub(crate) use state::{cursor_of, stored as stored_cursor};

use crate::connect::Db;
use crate::cursor::Cursor;
use clientele_api::{Error, Result, error::ErrorReason};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// How long a call waits for this service to hear of the revision that it asks for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a waiting call looks whether another replica has applied it.
const LOOK: Duration = Duration::from_millis(25);

/// How far our own stream may be behind another replica's before what is remembered is taken to be out of date.
const BEHIND: Duration = Duration::from_millis(50);

/// How far a followed service is known here.
#[derive(Debug, Clone)]
pub struct Followed {
    service: &'static str,
    db: Db,
    applied: Arc<watch::Sender<Option<Cursor>>>,
    /// Held by the one of the waiting calls that looks into the database for all of them.
    looking: Arc<Mutex<()>>,
}

impl Followed {
    fn new(service: &'static str, db: &Db, applied: Arc<watch::Sender<Option<Cursor>>>) -> Self {
        Self {
            service,
            db: db.clone(),
            applied,
            looking: Arc::default(),
        }
    }

    /// The service that is followed.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Waits until everything up to `epoch.n` of the followed service is known here, at most two seconds.
    pub async fn wait(&self, epoch: i64, n: i64) -> Result<()> {
        let knows = |cursor: &Option<Cursor>| {
            cursor.is_some_and(|cursor| cursor.epoch > epoch || (cursor.epoch == epoch && cursor.includes(n)))
        };
        let mut applied = self.applied.subscribe();
        let known = async {
            tokio::select! {
                known = applied.wait_for(knows) => known.map(drop).map_err(Error::internal),
                error = self.look() => Err(error),
            }
        };
        tokio::time::timeout(PATIENCE, known).await.map_err(|_| {
            let message = format!(
                "this service has not yet heard of {}={epoch}.{n}: try again",
                self.service
            );
            Error::new(ErrorReason::NotCaughtUp, message)
                .with("service", self.service)
                .retry_after(Duration::from_millis(500))
        })?
    }

    /// Notices what another replica has heard while our own stream is down or silent.
    async fn notice(self) {
        let mut noticed = None;
        loop {
            let stored = stored_cursor(&self.db, self.service).await;
            tokio::time::sleep(BEHIND).await; // mostly our own stream tells the same meanwhile
            if let Ok(stored) = stored
                && stored > noticed.max(*self.applied.borrow())
            {
                self.db.note_unknown_changes();
                noticed = stored;
            }
        }
    }

    /// Looks again and again whether another replica has heard more; ends only if that fails.
    async fn look(&self) -> Error {
        loop {
            let looking = self.looking.lock().await;
            let stored = match stored_cursor(&self.db, self.service).await {
                Ok(stored) => stored,
                Err(error) => return error,
            };
            if stored > *self.applied.borrow() {
                self.db.note_unknown_changes(); // only the other replica knows what it heard
                self.applied.send_replace(stored);
            }
            tokio::time::sleep(LOOK).await;
            drop(looking);
        }
    }
}

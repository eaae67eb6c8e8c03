//! How a service is put together. A service says what is its own; everything else is the same for all.

use crate::admission::Admission;
use crate::config::Config;
use crate::health;
use crate::journal::{JournalRpc, SnapshotPage};
use crate::peer::OrgPeer;
use crate::server::Server;
use crate::signing_keys;
use crate::standing::{self, Standings};
use crate::token::{FetchedKeys, SessionIssuer, SessionKeys, Verifier};
use anyhow::{Result, anyhow};
use clientele_api::Error;
use clientele_store::connect::Options;
use clientele_store::follow::Follower;
use clientele_store::jobs::{self, Job};
use clientele_store::names::Tables;
use clientele_store::{Db, Directory, Journal, Reader, migrate};
use http::{Request, Response};
use sea_orm_migration::MigratorTrait;
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;

/// A service: its settings, and what is its own.
pub trait Service: clap::Args + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Its name in telemetry and logs.
    const NAME: &'static str;
    /// Its key in revisions.
    const KEY: &'static str;
    /// Where it finds workspaces and organizations by name.
    const NAMES: Tables;
    /// How it reads the standing of client users. None: client users can't call it.
    const STANDING: Option<standing::Load> = None;
    /// What the initial state of its journal consists of, in the order in which the types depend on each other.
    const SNAPSHOTS: &'static [SnapshotPage];
    /// The steps of its schema.
    type Migrator: MigratorTrait;

    /// The settings that all services share.
    fn config(&self) -> &Config;
    /// All its settings in force, secrets masked.
    fn settings(&self) -> Value;
    /// org-service, if it follows that.
    fn org(&self) -> Option<&OrgPeer>;
    /// Its own RPC services.
    fn rpcs(&self, foundation: &Foundation) -> Result<Rpcs>;
    /// The keys that it signs the access tokens of sessions with. None: it fetches their public halves from org-service.
    fn session_keys(&self) -> Result<Option<SessionKeys>> {
        Ok(None)
    }
    /// Its own timed work.
    fn jobs(&self, _foundation: &Foundation) -> Result<Vec<Job>> {
        Ok(Vec::new())
    }

    /// Brings the database with this URL to the present schema.
    fn migrate(url: &str) -> impl Future<Output = Result<()>> + Send {
        let database = Options {
            url: url.to_owned(),
            service: Self::KEY,
        };
        async move { migrate::up::<Self::Migrator>(&database).await.map_err(with_cause) }
    }

    /// Makes everything; nothing is seen from outside yet.
    fn build(&self) -> impl Future<Output = Result<Built>> + Send {
        build(self)
    }
}

/// What the RPC services of a service stand on.
#[derive(Debug)]
pub struct Foundation {
    /// Admits calls.
    pub admission: Admission,
    /// Where everything is written.
    pub journal: Journal,
    /// Where everything is read.
    pub reader: Reader,
    /// What client users may do, where the service knows it.
    pub standings: Option<Standings>,
    /// The keys that the access tokens of sessions are signed with, in org-service.
    pub session_keys: Option<SessionKeys>,
}

/// RPC services, and their full names.
#[derive(Debug, Default)]
pub struct Rpcs {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Rpcs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn with<S>(mut self, rpc: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        self.routes.add_service(rpc);
        self.names.push(S::NAME);
        self
    }
}

/// How long the connections to the database may take to close.
const CLOSE: Duration = Duration::from_secs(5);

/// A service that is ready to run.
#[derive(Debug)]
pub struct Built {
    server: Server,
    db: Db,
    /// Ends its tasks in the background.
    stop: CancellationToken,
}

impl Built {
    /// The full names of its RPC services.
    pub fn services(&self) -> &[&'static str] {
        &self.server.services
    }

    /// Serves until `shutdown`, then ends calls, tasks and database in this order.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let served = tokio::select! {
            served = self.server.run(listener, shutdown) => served,
            () = self.stop.cancelled() => Err(anyhow!("a task in the background ended; the log says which and why")),
        };
        self.stop.cancel();
        if tokio::time::timeout(CLOSE, self.db.close()).await.is_err() {
            tracing::warn!("the database did not let go of its connections within {CLOSE:?}");
        }
        served
    }
}

/// At start-up there is no caller from whom the cause must be kept.
fn with_cause(error: Error) -> anyhow::Error {
    match error.cause() {
        Some(cause) => anyhow!("{error} ({cause})"),
        None => error.into(),
    }
}

async fn build<S: Service>(service: &S) -> Result<Built> {
    let config = service.config();
    let database = Options {
        url: config.database.expose().clone(),
        service: S::KEY,
    };
    let stop = CancellationToken::new();
    let draining = CancellationToken::new();
    let db = Db::connect(&database).await.map_err(with_cause)?;
    let journal = Journal::open(&db, stop.clone()).await.map_err(with_cause)?;
    let mut followed = Vec::new();
    if let Some(org) = service.org() {
        followed.push(
            Follower::start(&db, org.peer()?, stop.clone())
                .await
                .map_err(with_cause)?,
        );
    }
    let reader = Reader::new(
        journal.clone(),
        followed.iter().map(|followed| followed.service()).collect(),
    );
    let directory = Directory::new(db.clone(), S::NAMES);
    let standings = S::STANDING.map(|load| Standings::new(journal.clone(), reader.clone(), load));
    let admission = Admission::new(
        journal.clone(),
        directory,
        followed,
        standings.clone(),
        config.max_in_flight,
        draining.clone(),
    );
    let foundation = Foundation {
        admission: admission.clone(),
        journal: journal.clone(),
        reader,
        standings,
        session_keys: service.session_keys()?,
    };
    let sessions = match &foundation.session_keys {
        Some(keys) => SessionIssuer::Own(keys.clone()),
        None => SessionIssuer::Fetched(fetch_keys(service.org(), &db, &stop).await?),
    };
    let mut work = service.jobs(&foundation)?;
    work.push(journal.retention(config.journal_retention));
    let entries = JournalRpc::server(admission, journal, S::SNAPSHOTS, draining.clone());
    let rpcs = service
        .rpcs(&foundation)?
        .with(entries.max_decoding_message_size(config.max_message_bytes));
    let server = Server {
        name: S::NAME,
        config: config.clone(),
        settings: service.settings(),
        routes: rpcs.routes.routes(),
        services: rpcs.names,
        verifier: Arc::new(Verifier::load(&config.issuers, sessions)?),
        check: health::of_database::<S::Migrator>(db.clone()),
        draining,
    };
    jobs::start(&db, work, jobs::LEASE, &stop);
    Ok(Built { server, db, stop })
}

/// The keys of sessions that org-service gave last; from now on it is asked for them again and again.
async fn fetch_keys(org: Option<&OrgPeer>, db: &Db, stop: &CancellationToken) -> Result<FetchedKeys> {
    let keys = FetchedKeys::default();
    if let Some(org) = org {
        signing_keys::follow(db, org.peer()?.channel, keys.clone(), stop).await?;
    }
    Ok(keys)
}

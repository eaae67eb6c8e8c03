//! Timed work: jobs that run again and again, each on one replica at a time.
//!
//! A job may be cut off at any await and run again from its beginning: its replica may end, or lose the lease. So it works in steps
//! that are whole in themselves, none with more than 1,000 rows or longer than a second.

mod lease;
mod migration;

pub use migration::CreateJobs;

use crate::connect::Db;
use crate::journal::Author;
use crate::tasks;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use lease::Lease;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a job belongs to a replica that is not heard of any more, and how long a job that failed waits for its next try.
pub const LEASE: Duration = Duration::from_secs(60);
/// How soon to look again where the database did not answer.
const RETRY: Duration = Duration::from_secs(5);

/// Proof that a job runs and which: only the runner makes one. A store call of a job needs it.
#[derive(Debug)]
pub struct JobScope {
    job: &'static str,
}

impl JobScope {
    /// The name of the job.
    pub fn job(&self) -> &'static str {
        self.job
    }

    /// The job as it writes to the journal, doing what this method does, in this workspace.
    pub fn author(&self, method: &'static str, workspace: WorkspaceRef) -> Author {
        Author {
            workspace: Some(workspace),
            organization: None,
            actor: format!("system/{}", self.job),
            acting_for: None,
            method,
            request: None,
            validate_only: false,
            traceparent: None,
        }
    }
}

/// Something to do again and again.
pub struct Job {
    name: &'static str,
    every: Duration,
    work: Box<dyn Fn(JobScope) -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

impl Job {
    /// Work to be done so long after it was last done.
    pub fn new<F>(name: &'static str, every: Duration, work: impl Fn(JobScope) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            every,
            work: Box::new(move |scope| work(scope).boxed()),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// Begins to run these jobs, until `stop`. A lease lasts `lease` unless it is renewed: [`LEASE`], but in tests.
pub fn start(db: &Db, jobs: Vec<Job>, lease: Duration, stop: &CancellationToken) {
    let failed = opentelemetry::global::meter("clientele")
        .u64_counter("clientele.jobs.failed")
        .with_description("Runs of jobs that failed.")
        .build();
    for job in jobs {
        let runner = Runner {
            db: db.clone(),
            job,
            lease,
            failed: failed.clone(),
        };
        tasks::spawn(stop.clone(), runner.run());
    }
}

/// Runs one job.
struct Runner {
    db: Db,
    job: Job,
    lease: Duration,
    failed: Counter<u64>,
}

impl Runner {
    async fn run(self) {
        loop {
            let pause = self.turn().await.unwrap_or_else(|error| {
                let job = self.job.name;
                tracing::warn!(job, %error, cause = error.cause(), "can't tell whether the job is due, or that it is done");
                RETRY
            });
            tokio::time::sleep(pause).await;
        }
    }

    /// Runs the job if it is due and no other replica is at it; answers when to look again. If it fails, its lease stays and runs
    /// out: that is the pause before the next try, by whichever replica.
    async fn turn(&self) -> Result<Duration> {
        let Job { name, every, .. } = self.job;
        let wait = lease::due_in(&self.db, name, every).await?;
        if wait > Duration::ZERO {
            return Ok(wait);
        }
        let Some(lease) = Lease::take(&self.db, name, every, self.lease).await? else {
            return Ok(Duration::ZERO); // another replica was faster
        };
        match self.work(&lease).await {
            Ok(()) => lease.finish().await?,
            Err(error) => {
                tracing::error!(job = name, %error, cause = error.cause(), "a job failed; it will be tried again");
                let labels = [
                    KeyValue::new("clientele.service", self.db.service()),
                    KeyValue::new("clientele.job", name),
                ];
                self.failed.add(1, &labels);
            }
        }
        Ok(Duration::ZERO)
    }

    /// Runs the job to its end, but no longer than it is ours.
    async fn work(&self, lease: &Lease<'_>) -> Result<()> {
        let scope = JobScope { job: self.job.name };
        let work = AssertUnwindSafe(async { (self.job.work)(scope).await }).catch_unwind();
        tokio::select! {
            ended = work => ended.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(Error::internal(format!("it panicked: {}", text.unwrap_or("without a text"))))
            }),
            lost = lease.hold() => Err(lost),
        }
    }
}

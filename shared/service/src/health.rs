//! Whether the process lives and whether it is ready, for whoever asks `grpc.health.v1`.

use clientele_store::{Db, migrate};
use futures::future::BoxFuture;
use sea_orm_migration::MigratorTrait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

const EVERY: Duration = Duration::from_secs(1);
const CHECK: Duration = Duration::from_millis(500);
/// So many checks in a row must fail before readiness is withdrawn: a lone slow answer of the database moves no traffic.
const FAILURES: u32 = 3;

/// Asks whether the service can serve: its database answers, its migrations are done.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The check of a service with this database: it answers, and all steps of its migrations have been applied.
pub fn of_database<M: MigratorTrait>(db: Db) -> Check {
    let at_head = Arc::new(AtomicBool::new(false)); // it stays so: nobody migrates back under a running service
    Box::new(move || {
        let (db, at_head) = (db.clone(), at_head.clone());
        Box::pin(async move {
            if !at_head.load(Ordering::Relaxed) {
                let now = migrate::is_at_head::<M>(&db).await.unwrap_or(false);
                at_head.store(now, Ordering::Relaxed);
                return now;
            }
            db.ping().await.is_ok()
        })
    })
}

/// The health of a service: `liveness`, `readiness`, and, the same as readiness, `""` and every RPC service by its full name.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    ready: Vec<String>,
}

impl Health {
    /// Nothing is serving yet.
    pub async fn new(services: &[&str]) -> Self {
        let ready = ["readiness", ""].iter().chain(services).map(|name| (*name).to_owned());
        let health = Self {
            reporter: HealthReporter::new(),
            ready: ready.collect(),
        };
        health.set("liveness", false).await;
        health.set_ready(false).await;
        health
    }

    /// The RPC service that answers.
    pub fn service(&self) -> HealthServer<impl HealthApi + use<>> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// The process serves from now on.
    pub async fn set_live(&self) {
        self.set("liveness", true).await;
    }

    /// Withdraws readiness for good; the task that runs [`Health::watch`] must have ended.
    pub async fn drain(&self) {
        self.set_ready(false).await;
    }

    /// Follows the check for ever: ready with the first success, not ready after three failures in a row.
    pub async fn watch(&self, check: Check) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready = false;
        let mut failures = 0;
        loop {
            ticks.tick().await;
            if timeout(CHECK, check()).await.unwrap_or(false) {
                failures = 0;
            } else {
                failures += 1;
            }
            let now = failures == 0 || (ready && failures < FAILURES);
            if now != ready {
                ready = now;
                self.set_ready(ready).await;
                tracing::info!(ready, "readiness changed");
            }
        }
    }

    async fn set_ready(&self, ready: bool) {
        for name in &self.ready {
            self.set(name, ready).await;
        }
    }

    async fn set(&self, name: &str, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status(name, status).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use tonic::{Code, Request};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Answer;

    async fn ask(health: &Health, service: &str) -> Result<Answer, Code> {
        let api = HealthService::from_health_reporter(health.reporter.clone());
        let request = Request::new(HealthCheckRequest {
            service: service.to_owned(),
        });
        let answer = api.check(request).await.map_err(|status| status.code())?;
        Ok(answer.into_inner().status())
    }

    async fn until(health: &Health, expected: Answer) {
        while ask(health, "readiness").await != Ok(expected) {
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_follows_the_check_and_liveness_does_not() {
        let health = Health::new(&["clientele.org.v1.OrganizationService"]).await;
        for name in ["liveness", "readiness", "", "clientele.org.v1.OrganizationService"] {
            assert_eq!(ask(&health, name).await, Ok(Answer::NotServing), "{name}");
        }
        assert_eq!(ask(&health, "other").await, Err(Code::NotFound));

        let answers = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicU32::new(0));
        let check: Check = {
            let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
            Box::new(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answers.load(Ordering::SeqCst);
                Box::pin(async move {
                    if !answer {
                        std::future::pending::<()>().await;
                    }
                    true
                })
            })
        };
        health.set_live().await;
        let watched = health.clone();
        let watching = tokio::spawn(async move { watched.watch(check).await });
        until(&health, Answer::Serving).await;
        assert_eq!(ask(&health, "").await, Ok(Answer::Serving));

        let before = asked.load(Ordering::SeqCst);
        answers.store(false, Ordering::SeqCst);
        until(&health, Answer::NotServing).await;
        assert_eq!(asked.load(Ordering::SeqCst) - before, 3);
        assert_eq!(ask(&health, "liveness").await, Ok(Answer::Serving));

        answers.store(true, Ordering::SeqCst);
        let before = asked.load(Ordering::SeqCst);
        until(&health, Answer::Serving).await;
        assert_eq!(asked.load(Ordering::SeqCst) - before, 1);

        watching.abort();
        assert!(watching.await.unwrap_err().is_cancelled());
        health.drain().await;
        assert_eq!(ask(&health, "").await, Ok(Answer::NotServing));
        assert_eq!(ask(&health, "liveness").await, Ok(Answer::Serving));
    }
}

//! Which replica runs a job: a row that is taken by compare-and-set and has to be renewed.
//!
//! Its times are of the database's clock, which all replicas share.

use crate::connect::{Db, db_error};
use crate::tx::{self, Mode, Tx};
use clientele_api::{Error, Result};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, UpdateStatement};
use sea_orm::{DbBackend, QuerySelect, StatementBuilder};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub(super) struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The run that took it last.
    pub holder: Uuid,
    /// Nobody else may take it before, in microseconds.
    pub until: i64,
    /// When it was last done, in microseconds; 0: never.
    pub last_run: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// How long until the job may be run.
pub(super) async fn due_in(db: &Db, job: &str, every: Duration) -> Result<Duration> {
    let times = Entity::find_by_id(job)
        .select_only()
        .column(Column::Until)
        .column(Column::LastRun)
        .expr_as(now(db), "now");
    let times: Option<(i64, i64, i64)> = times.into_tuple().one(db.read()).await.map_err(db_error)?;
    let Some((until, last_run, now)) = times else {
        return Ok(Duration::ZERO); // it has never run
    };
    let due = Ord::max(until, last_run.saturating_add(micros(every)));
    Ok(Duration::from_micros(u64::try_from(due - now).unwrap_or(0)))
}

/// A job in our hands.
pub(super) struct Lease<'d> {
    db: &'d Db,
    job: &'static str,
    holder: Uuid,
    length: Duration,
    /// It is ours at least until then.
    until: Instant,
}

impl<'d> Lease<'d> {
    /// Takes the job, if it is due and nobody has it.
    pub(super) async fn take(db: &'d Db, job: &'static str, every: Duration, length: Duration) -> Result<Option<Self>> {
        let holder = Uuid::new_v4();
        let until = Instant::now() + length; // before it is sent, so that we never think it longer than the database does
        let free = Expr::col((Entity, Column::Until)).lte(now(db));
        let due = Expr::col((Entity, Column::LastRun)).add(micros(every)).lte(now(db));
        let take = Query::insert()
            .into_table(Entity)
            .columns([Column::Name, Column::Holder, Column::Until, Column::LastRun])
            .values_panic([job.into(), holder.into(), now(db).add(micros(length)), 0_i64.into()])
            .on_conflict(
                OnConflict::column(Column::Name)
                    .update_columns([Column::Holder, Column::Until])
                    .action_and_where(free.and(due))
                    .to_owned(),
            )
            .to_owned();
        let taken = changes_its_row(db, take).await?;
        Ok(taken.then_some(Self {
            db,
            job,
            holder,
            length,
            until,
        }))
    }

    /// Renews it again and again; ends with the reason why it is no longer ours.
    pub(super) async fn hold(&self) -> Error {
        let mut until = self.until;
        loop {
            sleep(self.length / 3).await;
            let sent = Instant::now();
            match timeout_at(until, self.renew()).await {
                Ok(Ok(true)) => until = sent + self.length,
                Ok(Ok(false)) => return Error::internal("another replica took the job"),
                Ok(Err(error)) => {
                    tracing::warn!(job = self.job, %error, cause = error.cause(), "the lease of a job was not renewed yet");
                }
                Err(_elapsed) => return Error::internal("the lease could not be renewed in time"),
            }
        }
    }

    /// The job is done, and may be taken when it is due again.
    pub(super) async fn finish(&self) -> Result<()> {
        let done = self.update([(Column::Until, now(self.db)), (Column::LastRun, now(self.db))]);
        if !changes_its_row(self.db, done).await? {
            tracing::warn!(job = self.job, "a job was done twice: its lease had run out");
        }
        Ok(())
    }

    async fn renew(&self) -> Result<bool> {
        let later = now(self.db).add(micros(self.length));
        changes_its_row(self.db, self.update([(Column::Until, later)])).await
    }

    /// The row, as long as it is ours.
    fn update(&self, values: impl IntoIterator<Item = (Column, Expr)>) -> UpdateStatement {
        Query::update()
            .table(Entity)
            .values(values)
            .and_where(Column::Name.eq(self.job))
            .and_where(Column::Holder.eq(self.holder))
            .to_owned()
    }
}

/// Runs the statement; answers whether it found its row as it must be.
async fn changes_its_row(db: &Db, statement: impl StatementBuilder + Clone + Send + 'static) -> Result<bool> {
    let unit = async move |tx: &Tx| {
        let done = tx.execute(&statement).await.map_err(db_error)?;
        Ok(done.rows_affected() == 1)
    };
    Ok(tx::run(db, Mode::Commit, unit).await?.value)
}

/// The database's time in microseconds.
fn now(db: &Db) -> Expr {
    match db.backend() {
        DbBackend::Postgres => Expr::cust("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"),
        _ => Expr::cust("CAST(unixepoch('now', 'subsec') * 1000000 AS integer)"),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

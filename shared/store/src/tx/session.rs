//! The connection of a unit, and what is known about it.

use super::fault::{Fault, db_error, outcome_unknown, refusal};
use super::{postgres, sqlite};
use crate::Constraint;
use clientele_api::Error;
use sea_orm::{DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use std::sync::Arc;

/// What a statement answered.
pub(crate) struct Reply {
    pub(crate) rows: Vec<QueryResult>,
    pub(crate) done: ExecResult,
}

/// Why a unit has ended without its effects.
pub(super) enum Stop {
    /// For good.
    Refused(Error),
    /// Somebody else was faster: run it again.
    Again(String),
    /// The connection was lost before anything was sent that could have committed.
    Lost(String),
}

/// The writing connection of either engine.
pub(super) enum Engine {
    Postgres(postgres::Connection),
    Sqlite(sqlite::Connection),
    /// None: whatever it is asked fails.
    None(DbBackend),
}

/// A connection in the hands of one unit.
pub(super) struct Session {
    pub(super) engine: Engine,
    /// The first statement that failed. The unit cannot succeed any more, even if it goes on: PostgreSQL's transaction
    /// is aborted, and its COMMIT would be answered as if all were well.
    failure: Option<DbErr>,
    /// A statement was sent and nobody waited for its answer.
    half_way: bool,
    /// What is sent now commits: if its answer is lost, the outcome is unknown.
    pub(super) deciding: bool,
    /// Something was sent that may have changed rows.
    pub(super) wrote: bool,
}

impl Session {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            failure: None,
            half_way: false,
            deciding: false,
            wrote: false,
        }
    }

    /// Forgets the attempt that was rolled back.
    pub(super) fn renew(&mut self) {
        self.failure = None;
        self.deciding = false;
        self.wrote = false;
    }

    /// Whether nothing is in doubt, so that another unit may use the connection.
    pub(super) fn sound(&self) -> bool {
        let failure = self.failure.as_ref().map(Fault::of);
        let known = matches!(failure, None | Some(Fault::Broken(_) | Fault::Contention));
        let ended = match &self.engine {
            Engine::Postgres(connection) => !connection.begun(),
            Engine::Sqlite(connection) => !connection.lost(),
            Engine::None(_) => false,
        };
        known && ended && !self.half_way
    }

    /// Whether the connection was lost.
    pub(super) fn lost(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|failure| Fault::of(failure) == Fault::Lost)
    }

    /// Whether anything was asked of a session without a connection.
    pub(super) fn asked(&self) -> bool {
        self.failure.is_some() || self.half_way
    }

    /// Begins the transaction, unless it has begun.
    pub(super) async fn begin(&mut self) -> Result<(), DbErr> {
        self.before()?;
        let begun = match &mut self.engine {
            Engine::Postgres(connection) => connection.begin().await,
            // The writer does it, with the first statement.
            Engine::Sqlite(_) => Ok(()),
            Engine::None(_) => Err(sqlx::Error::PoolClosed),
        };
        self.after(begun)
    }

    pub(super) async fn send(&mut self, statement: Statement) -> Result<Reply, DbErr> {
        self.before()?;
        let reply = match &mut self.engine {
            Engine::Postgres(connection) => connection.send(statement).await,
            Engine::Sqlite(connection) => connection.send(statement).await,
            Engine::None(_) => Err(sqlx::Error::PoolClosed),
        };
        self.after(reply)
    }

    fn before(&mut self) -> Result<(), DbErr> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.half_way {
            return Err(DbErr::Custom(
                "an earlier statement of the unit was dropped half way".to_owned(),
            ));
        }
        self.half_way = true;
        Ok(())
    }

    fn after<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, DbErr> {
        self.half_way = false;
        answer.map_err(|error| {
            let error = DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)));
            self.failure = Some(error.clone());
            error
        })
    }

    /// What the unit has come to, in the light of what its statements met.
    pub(super) fn verdict<T>(&self, ended: Result<T, Error>) -> Result<T, Stop> {
        let Some(failure) = &self.failure else {
            return match ended {
                Ok(_) if self.half_way => Err(Stop::Refused(Error::internal("a unit dropped a statement half way"))),
                ended => ended.map_err(Stop::Refused),
            };
        };
        Err(match Fault::of(failure) {
            Fault::Contention => Stop::Again(failure.to_string()),
            Fault::Lost => Stop::Lost(failure.to_string()),
            _ => Stop::Refused(ended.err().unwrap_or_else(|| db_error(failure.clone()))),
        })
    }

    /// From here on a lost connection leaves the outcome open, if the next statement commits by itself.
    pub(super) fn decide_unless_begun(&mut self) {
        self.deciding = match &self.engine {
            Engine::Postgres(connection) => !connection.begun(),
            Engine::Sqlite(_) | Engine::None(_) => false,
        };
    }

    /// What follows from a statement of ours that failed.
    pub(super) fn stop(&self, error: DbErr, constraints: &[&'static [Constraint]]) -> Stop {
        match Fault::of(&error) {
            Fault::Lost if self.deciding => Stop::Refused(outcome_unknown(error)),
            Fault::Lost => Stop::Lost(error.to_string()),
            Fault::Contention => Stop::Again(error.to_string()),
            _ => Stop::Refused(refusal(error, constraints.iter().copied().flatten())),
        }
    }

    /// Keeps the unit: commits on PostgreSQL; on SQLite the writer commits for all units of its batch.
    pub(super) async fn keep(&mut self) -> Result<(), Stop> {
        match &mut self.engine {
            Engine::Sqlite(connection) => {
                connection.keep(self.wrote);
                return Ok(());
            }
            Engine::Postgres(connection) if !connection.begun() => return Ok(()),
            Engine::Postgres(_) => {}
            Engine::None(_) => return Ok(()),
        }
        let committed = match self.before() {
            Ok(()) => {
                self.deciding = true;
                let Engine::Postgres(connection) = &mut self.engine else {
                    return Ok(());
                };
                let committed = connection.commit().await;
                self.after(committed)
            }
            Err(error) => Err(error),
        };
        committed.map_err(|error| self.stop(error, &[]))
    }

    /// Undoes the unit.
    pub(super) async fn undo(&mut self) {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.undo(self.half_way),
            Engine::None(_) => {}
            Engine::Postgres(_) if self.half_way => {} // dropped, which rolls back
            Engine::Postgres(connection) => connection.roll_back().await,
        }
    }
}

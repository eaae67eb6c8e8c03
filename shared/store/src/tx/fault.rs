//! What an error of the database means: for the unit, for its connection, for the caller.

use crate::Constraint;
use clientele_api::{Error, error::ErrorReason};
use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::sqlite::SqliteError;
use std::fmt::Display;
use std::time::Duration;

/// The kinds of errors that something follows from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A constraint was broken: its name on PostgreSQL; on SQLite the columns of a unique one, `FOREIGN KEY` for any that refers to
    /// another row.
    Broken(String),
    /// Another transaction was in the way: run the unit again.
    Contention,
    /// The connection is gone, and with it the answer to what was sent last.
    Lost,
    /// The database cannot do it now.
    Unavailable,
    /// A fault of ours.
    Other,
}

impl Fault {
    pub(crate) fn of(error: &DbErr) -> Self {
        match error {
            DbErr::ConnectionAcquire(_) => Self::Unavailable,
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => Self::of_sqlx(error),
            DbErr::Conn(_) => Self::Unavailable,
            _ => Self::Other,
        }
    }

    fn of_sqlx(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Self::Lost
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Unavailable,
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    Self::of_postgres(error)
                } else if error.try_downcast_ref::<SqliteError>().is_some() {
                    Self::of_sqlite(sqlite_code(error.as_ref()), error.message())
                } else {
                    Self::Other
                }
            }
            _ => Self::Other,
        }
    }

    fn of_postgres(error: &PgDatabaseError) -> Self {
        // FATAL ends the connection: the answer to a COMMIT may have been on its way.
        if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) {
            return Self::Lost;
        }
        match error.code() {
            "23503" | "23505" => Self::Broken(error.constraint().unwrap_or_default().to_owned()),
            "40001" | "40P01" => Self::Contention,
            // Read-only after a failover; a lock that did not come in time.
            "25006" | "55P03" => Self::Unavailable,
            // Connection, resources, operator (a statement's timeout too), system.
            code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Self::Unavailable,
            _ => Self::Other,
        }
    }

    fn of_sqlite(code: i32, message: &str) -> Self {
        if let Some(columns) = message.strip_prefix("UNIQUE constraint failed: ") {
            return Self::Broken(columns.to_owned());
        }
        if message == "FOREIGN KEY constraint failed" {
            return Self::Broken("FOREIGN KEY".to_owned());
        }
        match code & 0xff {
            // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
            5..=10 | 13..=15 => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

/// SQLite's extended result code, 0 if the error has none.
pub(super) fn sqlite_code(error: &dyn sqlx::error::DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// The refusal that follows from a database error which the caller's request did not cause. The text of the database
/// goes to the log only.
pub fn db_error(error: DbErr) -> Error {
    match Fault::of(&error) {
        Fault::Contention => contention(error),
        Fault::Lost | Fault::Unavailable => unavailable(error),
        Fault::Broken(_) | Fault::Other => Error::internal(error),
    }
}

/// As [`db_error`], but a broken constraint that is listed is the refusal it stands for.
pub fn refusal<'c>(error: DbErr, constraints: impl IntoIterator<Item = &'c Constraint>) -> Error {
    let Fault::Broken(broken) = Fault::of(&error) else {
        return db_error(error);
    };
    constraints
        .into_iter()
        .find(|constraint| constraint.postgres == broken || constraint.sqlite == broken)
        .map_or_else(|| Error::internal(error), Constraint::error)
}

/// UNAVAILABLE: nothing was changed.
pub(super) fn unavailable(cause: impl Display) -> Error {
    Error::new(
        ErrorReason::DatabaseUnavailable,
        "the database cannot be reached or is busy; nothing was changed: try again",
    )
    .retry_after(soon())
    .because(cause)
}

/// UNAVAILABLE: the answer to a commit never came.
pub(super) fn outcome_unknown(cause: impl Display) -> Error {
    Error::new(
        ErrorReason::OutcomeUnknown,
        "the connection to the database was lost during the commit: the change was made, or was not",
    )
    .because(cause)
}

/// ABORTED: too many writers of the same rows.
pub(super) fn contention(cause: impl Display) -> Error {
    Error::new(ErrorReason::Contention, "other calls keep changing the same: try again")
        .retry_after(soon())
        .because(cause)
}

/// UNAVAILABLE: this process ends.
pub(super) fn draining() -> Error {
    Error::new(ErrorReason::Draining, "this server is shutting down: try again").retry_after(soon())
}

/// Spread, so that the callers of a failed database do not come back all at once.
fn soon() -> Duration {
    Duration::from_millis(rand::random_range(100..=1_000))
}

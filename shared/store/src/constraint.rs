//! Constraints of the database and the refusals that they stand for.

use clientele_api::{Error, error::ErrorReason};

/// A constraint, unique or to a row that must exist, and what breaking it means. Each store file lists its own once; breaking an unlisted one is INTERNAL.
#[derive(Debug)]
pub struct Constraint {
    /// Its name on PostgreSQL.
    pub postgres: &'static str,
    /// What SQLite calls it: `table.column, table.column`, or `FOREIGN KEY`, since it does not say which.
    pub sqlite: &'static str,
    /// The field that has the value which is taken, or empty.
    pub field: &'static str,
    /// Why the write is refused.
    pub reason: ErrorReason,
    /// The sentence for the caller.
    pub message: &'static str,
}

impl Constraint {
    /// The refusal.
    pub fn error(&self) -> Error {
        let error = Error::new(self.reason, self.message);
        if self.field.is_empty() {
            error
        } else {
            error.with("field", self.field)
        }
    }
}

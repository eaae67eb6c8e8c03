//! The database of a service, on SQLite or PostgreSQL: connections, transactions, and the one journal that is audit log, change feed
//! and idempotency record.

pub mod connect;
pub mod constraint;
pub mod cursor;
mod fail;
pub mod follow;
pub mod jobs;
pub mod journal;
pub mod memory;
pub mod migrate;
pub mod names;
pub mod page;
mod postgres;
pub mod read;
pub mod restore;
pub mod search;
pub mod tasks;
pub mod tx;

pub use connect::Db;
pub use constraint::Constraint;
pub use cursor::{Answer, Revision};
pub use journal::{Author, Journal, Recorded};
pub use memory::Memory;
pub use names::Directory;
pub use page::PageRequest;
pub use read::Reader;

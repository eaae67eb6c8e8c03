//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod agent;
pub mod assignment;

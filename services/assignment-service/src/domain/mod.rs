//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod access;
pub mod agent;
pub mod assignment;
pub mod import;
pub mod member_scope;

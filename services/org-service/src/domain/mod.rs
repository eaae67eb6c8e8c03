//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod logo;
pub mod organization;
pub mod workspace;

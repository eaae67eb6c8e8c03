//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod language;
pub mod settings;
pub mod values;

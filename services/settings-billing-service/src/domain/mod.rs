//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod branding;
pub mod canned_response;
pub mod custom_tab;
pub mod language;
mod named;
pub mod page;
pub mod settings;
pub mod template;
pub mod time_zone;
pub mod values;

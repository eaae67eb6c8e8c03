//! Entities and queries. Every query takes the scope that admits it.

pub mod canned_response;
pub mod custom_tab;
pub mod leftovers;
pub mod organization;
pub mod settings;
pub mod team;

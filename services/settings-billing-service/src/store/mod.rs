//! Entities and queries. Every query takes the scope that admits it.

pub mod custom_tab;
pub mod organization;
pub mod settings;

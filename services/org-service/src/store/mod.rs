//! Entities and queries. Every query takes the scope that admits it.

pub mod logo;
pub mod organization;
pub mod workspace;

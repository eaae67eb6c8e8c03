//! Entities and queries. Every query takes the scope that admits it.

pub mod access;
pub mod agent;
pub mod assignment;
pub mod leftovers;
pub mod member_scope;
pub mod organization;

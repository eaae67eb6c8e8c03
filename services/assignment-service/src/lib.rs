//! The catalogue of a workspace's agents, and which organization may use which.

pub mod commands;
pub mod domain;
pub mod grpc;
pub mod migrations;
pub mod store;

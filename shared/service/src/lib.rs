//! What every service is made of besides its own rules: configuration, telemetry, the layers that a call passes, authentication,
//! health and an orderly end.

pub mod admission;
pub mod assembly;
pub mod batch;
pub mod caller;
pub mod cli;
pub mod config;
pub mod filter;
pub mod health;
pub mod incoming;
pub mod journal;
pub mod layers;
pub mod peer;
pub mod scope;
pub mod server;
mod share;
mod signing_keys;
pub mod standing;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod token;

pub use admission::Admission;

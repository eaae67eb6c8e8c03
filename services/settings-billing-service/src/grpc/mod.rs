//! One file for each RPC service: admit, call one command, answer.

pub mod canned_response;
pub mod settings;

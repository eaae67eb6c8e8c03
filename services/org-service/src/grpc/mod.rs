//! One file for each RPC service: admit, call one command, answer.

pub mod invitation;
pub mod member;
pub mod organization;
pub mod role;
pub mod session;
pub mod team;
pub mod user;
pub mod workspace;

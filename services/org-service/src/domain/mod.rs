//! What the service is about: types whose constructors hold the rules. Pure: no transport, no database.

pub mod erasure;
pub mod grants;
pub mod id;
pub mod invitation;
pub mod logo;
pub mod member;
pub mod organization;
pub mod password;
pub mod role;
pub mod secret;
pub mod session;
pub mod team;
pub mod user;
pub mod workspace;

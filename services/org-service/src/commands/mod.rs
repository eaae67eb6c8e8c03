//! A use case each: they own the transaction and call domain and store.

mod attempts;
pub mod erasure;
mod hashing;
pub mod invitation;
pub mod logo;
pub mod member;
pub mod organization;
pub mod password;
pub mod role;
pub mod session;
pub mod team;
pub mod user;
pub mod workspace;

use crate::domain::secret::SecretKey;
use crate::store::logo::Logos;
use clientele_service::standing::Standings;
use clientele_service::token::SessionKeys;
use clientele_store::{Journal, Reader};
use password::Passwords;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What commands work on.
#[derive(Debug, Clone)]
pub struct App {
    /// Where everything is written.
    pub journal: Journal,
    /// Where everything is read.
    pub reader: Reader,
    /// What client users may do.
    pub standings: Standings,
    /// The bytes of logos.
    pub logos: Logos,
    /// What the tokens that are mailed are derived with.
    pub secret_key: SecretKey,
    /// What looks at passwords.
    pub passwords: Passwords,
    /// What access tokens are signed with.
    pub session_keys: SessionKeys,
    /// How many images are decoded at a time: each may take 256 MiB.
    pub decoders: Arc<Semaphore>,
}

//! A use case each: they own the transaction and call domain and store.

pub mod access;
pub mod agent;
pub mod assignment;
pub mod import;
pub mod leftovers;
pub mod member_scope;

use crate::store::access::Access;
use clientele_store::{Journal, Reader};

/// What commands work on.
#[derive(Debug, Clone)]
pub struct App {
    /// Where everything is written.
    pub journal: Journal,
    /// Where everything is read.
    pub reader: Reader,
    /// Who may use which agent, remembered.
    pub access: Access,
}

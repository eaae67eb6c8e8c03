//! A use case each: they own the transaction and call domain and store.

pub mod canned_response;
pub mod leftovers;
pub mod settings;

use crate::store::settings::EffectiveSettings;
use clientele_store::{Journal, Reader};

/// What commands work on.
#[derive(Debug, Clone)]
pub struct App {
    /// Where everything is written.
    pub journal: Journal,
    /// Where everything is read.
    pub reader: Reader,
    /// What holds for organizations.
    pub effective: EffectiveSettings,
}

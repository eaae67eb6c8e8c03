//! Entities and queries. Every query takes the scope that admits it.

pub mod erasure;
pub mod invitation;
pub mod logo;
pub mod member;
pub mod organization;
pub mod role;
pub mod session;
pub mod standing;
pub mod team;
pub mod user;
pub mod workspace;

use clientele_api::permission::Permission;
use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

/// A column that holds a list of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Texts(pub Vec<String>);

impl Texts {
    fn of_permissions(permissions: &[Permission]) -> Self {
        Self(permissions.iter().map(ToString::to_string).collect())
    }

    /// What a later version may have dropped from the catalogue gives nothing.
    fn permissions(&self) -> Vec<Permission> {
        self.0.iter().filter_map(|text| Permission::parse(text).ok()).collect()
    }

    /// The pattern of LIKE for the column as a text that holds this id: ids have neither quotes nor wildcards.
    fn holding(id: &str) -> String {
        format!("%\"{id}\"%")
    }
}

//! Projected roles of organizations' own.

use super::kind::{Projected, Told, Understood};
use super::words;
use clientele_api::org;
use sea_orm::entity::prelude::*;

/// What other services know of a role.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_roles")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its organization.
    pub organization_uid: Uuid,
    /// Its id; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// What its holders may do, with blanks between the permissions.
    pub permissions: String,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Role;
    const NAMED: &'static str = "workspaces/{workspace}/organizations/{organization}/roles/{role}";

    fn keep(told: &Told<'_>, message: org::Role) -> Understood<Option<Model>> {
        Ok(Some(Model {
            uid: told.uid,
            organization_uid: told.organization()?,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            permissions: words(&message.permissions)?,
        }))
    }
}

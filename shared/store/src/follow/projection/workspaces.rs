//! Projected workspaces.

use super::kind::{Projected, Told, Understood};
use clientele_api::org;
use sea_orm::entity::prelude::*;

/// What other services know of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_workspaces")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its id; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Workspace;
    const NAMED: &'static str = "workspaces/{workspace}";

    fn keep(told: &Told<'_>, _: org::Workspace) -> Understood<Option<Model>> {
        Ok(Some(Model {
            uid: told.uid,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
        }))
    }
}

//! Projected users.

use super::kind::{Projected, Told, Understood};
use clientele_api::org;
use clientele_api::org::user::State;
use sea_orm::entity::prelude::*;

/// What other services know of a user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_users")]
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
    /// Whether the person may use nothing.
    pub disabled: bool,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::User;
    const NAMED: &'static str = "workspaces/{workspace}/users/{user}";

    fn keep(told: &Told<'_>, message: org::User) -> Understood<Option<Model>> {
        Ok(Some(Model {
            uid: told.uid,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            // In a state of a newer version the person may do nothing, whatever else it is.
            disabled: message.state() != State::Active,
        }))
    }
}

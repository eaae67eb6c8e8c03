//! Projected members.

use super::kind::{Projected, Told, Understood, uid};
use super::words;
use clientele_api::org;
use sea_orm::entity::prelude::*;

/// What other services know of a member.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_members")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its organization.
    pub organization_uid: Uuid,
    /// The user who is one.
    pub user_uid: Uuid,
    /// Its id; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// The number of `Member.State`.
    pub state: i32,
    /// The ids of its roles, with blanks between them.
    pub roles: String,
    /// What is granted besides, with blanks between them.
    pub permissions: String,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Member;
    const NAMED: &'static str = "workspaces/{workspace}/organizations/{organization}/members/{user}";

    fn keep(told: &Told<'_>, message: org::Member) -> Understood<Option<Model>> {
        Ok(Some(Model {
            uid: told.uid,
            organization_uid: told.organization()?,
            user_uid: uid(&told.last_id)?,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            state: message.state,
            roles: words(&message.roles)?,
            permissions: words(&message.permissions)?,
        }))
    }
}

//! Projected organizations.

use super::kind::{Projected, Told, Understood};
use clientele_api::Uid;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org;
use clientele_api::org::organization::State;
use sea_orm::entity::prelude::*;

/// What other services know of an organization.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_organizations")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// Its id; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// The number of `Organization.State`.
    pub state: i32,
    /// Whether its users may sign in.
    pub client_access_enabled: bool,
    /// How many agents it may be assigned.
    pub max_agents: Option<i32>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Organization;
    const NAMED: &'static str = "workspaces/{workspace}/organizations/{organization}";

    fn keep(told: &Told<'_>, message: org::Organization) -> Understood<Option<Model>> {
        Ok(Some(Model {
            uid: told.uid,
            workspace_uid: told.workspace()?,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            state: message.state,
            client_access_enabled: message.client_access_enabled(),
            max_agents: message.limits.and_then(|limits| limits.max_agents),
        }))
    }
}

impl Model {
    /// As names and rows refer to it, in this workspace, which is its own.
    pub fn reference(&self, workspace: &WorkspaceRef) -> OrganizationRef {
        OrganizationRef {
            workspace: workspace.clone(),
            uid: Uid(self.uid),
            id: self.id.clone().unwrap_or_default(),
        }
    }

    /// What it may be used for. Unspecified: a state that this version does not know; then it is not in use.
    pub fn state(&self) -> State {
        State::try_from(self.state).unwrap_or(State::Unspecified)
    }
}

//! Settings in the database: those of organizations and those of workspaces, each in a table. No row: nothing was ever set.

mod effective;
mod entity;
pub mod revisions;

pub use effective::EffectiveSettings;
pub use entity::{organizations, workspaces};

use crate::domain::settings::{Owner, Settings};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::journal::Filter;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Reader};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryTrait, Select};

/// An owner whose settings have a table.
pub trait Table: Owner {
    /// The rows; their uid is the owner's.
    type Entity: Resources;
    /// Counts the changes of a row.
    const VERSION: <Self::Entity as EntityTrait>::Column;

    /// The owner that a scope admits to.
    fn of(scope: &Scope<Self>) -> &Self;
    /// Among which rows of the journal those of its settings are.
    fn rows(&self) -> Filter;
    /// The row of settings.
    fn row(settings: &Settings<Self>) -> Result<<Self::Entity as EntityTrait>::ActiveModel>;
    /// The settings of a row.
    fn settings(row: <Self::Entity as EntityTrait>::Model) -> Result<Settings<Self>>;
}

/// Writes the next version of the settings over the one it was made from. The first makes the row, unless another call has just made
/// it: then, as with any other version, nothing is written and the unit runs again.
pub fn write<O: Table>(tx: &Tx, scope: &Scope<O>, before: &Settings<O>, after: &Settings<O>) -> Result<()> {
    let row = O::row(after)?;
    if before.version == 0 {
        let unless_there = OnConflict::column(O::Entity::UID).do_nothing().to_owned();
        tx.guard(O::Entity::insert(row).on_conflict(unless_there).into_query(), &[]);
    } else {
        let update = O::Entity::update_many()
            .set(row)
            .filter(O::Entity::UID.eq(O::of(scope).uid().0))
            .filter(O::VERSION.eq(before.version));
        tx.guard(update.into_query(), &[]);
    }
    Ok(())
}

/// The settings of the scope's owner, in a unit that is about to change them.
pub async fn read<O: Table>(tx: &Tx, scope: &Scope<O>) -> Result<Settings<O>> {
    find(tx, O::of(scope)).await
}

/// The defaults that the scope's organization has from its workspace, in a unit that is about to change its own settings.
pub async fn read_defaults(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<Settings<WorkspaceRef>> {
    find(tx, &scope.organization().workspace).await
}

/// The settings of the scope's owner.
pub async fn get<O: Table>(reader: &Reader, scope: &Scope<O>) -> Result<Answer<Settings<O>>> {
    find_committed(reader, O::of(scope)).await
}

async fn find<O: Table>(tx: &Tx, owner: &O) -> Result<Settings<O>> {
    let row = of_owner(owner).one(tx).await.map_err(db_error)?;
    settings(row, owner)
}

async fn find_committed<O: Table>(reader: &Reader, owner: &O) -> Result<Answer<Settings<O>>> {
    let found = reader.one(of_owner(owner)).await?;
    found.try_map(|row| settings(row, owner))
}

fn of_owner<O: Table>(owner: &O) -> Select<O::Entity> {
    O::Entity::find().filter(O::Entity::UID.eq(owner.uid().0))
}

fn settings<O: Table>(row: Option<<O::Entity as EntityTrait>::Model>, owner: &O) -> Result<Settings<O>> {
    row.map_or_else(|| Ok(Settings::unset(owner.clone())), O::settings)
}

impl Table for OrganizationRef {
    type Entity = organizations::Entity;
    const VERSION: organizations::Column = organizations::Column::Version;

    fn of(scope: &Scope<Self>) -> &Self {
        scope.organization()
    }

    fn rows(&self) -> Filter {
        Filter::Organization(self.uid)
    }

    fn row(settings: &Settings<Self>) -> Result<organizations::ActiveModel> {
        let organization = &settings.owner;
        Ok(organizations::ActiveModel {
            organization_uid: Set(organization.uid.0),
            workspace_uid: Set(organization.workspace.uid.0),
            workspace_id: Set(organization.workspace.id.clone()),
            organization_id: Set(organization.id.clone()),
            ..organizations::columns(settings)?
        })
    }

    fn settings(row: organizations::Model) -> Result<Settings<Self>> {
        let workspace = WorkspaceRef {
            uid: Uid(row.workspace_uid),
            id: row.workspace_id.clone(),
        };
        let organization = OrganizationRef {
            workspace,
            uid: Uid(row.organization_uid),
            id: row.organization_id.clone(),
        };
        organizations::settings(row, organization)
    }
}

impl Resources for organizations::Entity {
    const UID: organizations::Column = organizations::Column::OrganizationUid;
    const WORKSPACE: organizations::Column = organizations::Column::WorkspaceUid;
    const ORGANIZATION: Option<organizations::Column> = Some(organizations::Column::OrganizationUid);

    fn describe(row: organizations::Model) -> Result<Snapshot> {
        let settings = OrganizationRef::settings(row)?;
        Ok(Snapshot {
            uid: settings.owner.uid,
            workspace: Some(settings.owner.workspace.clone()),
            organization: Some(settings.owner.clone()),
            change: snapshot(&settings),
        })
    }
}

impl Table for WorkspaceRef {
    type Entity = workspaces::Entity;
    const VERSION: workspaces::Column = workspaces::Column::Version;

    fn of(scope: &Scope<Self>) -> &Self {
        scope.workspace()
    }

    fn rows(&self) -> Filter {
        Filter::Workspace(self.uid)
    }

    fn row(settings: &Settings<Self>) -> Result<workspaces::ActiveModel> {
        let workspace = &settings.owner;
        Ok(workspaces::ActiveModel {
            workspace_uid: Set(workspace.uid.0),
            workspace_id: Set(workspace.id.clone()),
            ..workspaces::columns(settings)?
        })
    }

    fn settings(row: workspaces::Model) -> Result<Settings<Self>> {
        let workspace = WorkspaceRef {
            uid: Uid(row.workspace_uid),
            id: row.workspace_id.clone(),
        };
        workspaces::settings(row, workspace)
    }
}

impl Resources for workspaces::Entity {
    const UID: workspaces::Column = workspaces::Column::WorkspaceUid;
    const WORKSPACE: workspaces::Column = workspaces::Column::WorkspaceUid;
    const ORGANIZATION: Option<workspaces::Column> = None;

    fn describe(row: workspaces::Model) -> Result<Snapshot> {
        let settings = WorkspaceRef::settings(row)?;
        Ok(Snapshot {
            uid: settings.owner.uid,
            workspace: Some(settings.owner.clone()),
            organization: None,
            change: snapshot(&settings),
        })
    }
}

fn snapshot<O: Table>(settings: &Settings<O>) -> Change {
    Change::snapshot(&O::Message::from(settings))
}

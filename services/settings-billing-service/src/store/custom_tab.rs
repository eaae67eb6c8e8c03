//! The ids of custom tabs that were given out: they are kept when a tab is taken away.

use crate::domain::custom_tab;
use crate::domain::settings::Owner;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::workspaces;
use clientele_store::tx::Tx;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockType, OnConflict};
use sea_orm::{Condition, IntoActiveModel, QuerySelect, QueryTrait, Select};
use std::collections::BTreeSet;

use super::settings::Table;

/// An id that was given out.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settings_tabs")]
pub struct Model {
    /// The organization or the workspace whose settings had the tab first.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner_uid: Uuid,
    /// The id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tab_id: String,
    /// The workspace.
    pub workspace_uid: Uuid,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Gives out new ids, or refuses them all if one of them may belong to another tab: one that the owner, or its workspace, had before;
/// for a workspace, one that any of its organizations had.
///
/// Until this unit has ended the workspace gives out none meanwhile, nor, while the workspace does, any of its organizations.
pub async fn give_out<O: Table>(tx: &Tx, scope: &Scope<O>, ids: &[&str]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let owner = O::of(scope);
    lock(tx, owner).await?;
    if let Some(id) = used(tx, owner, ids).await?.into_iter().next() {
        let others = custom_tab::others(&id);
        let mut others = used(tx, owner, &Vec::from_iter(others.iter().map(String::as_str))).await?;
        others.extend(ids.iter().map(|id| (*id).to_owned()));
        return Err(custom_tab::id_used(&id, &others, (O::TYPE, owner.settings_name())));
    }
    let row = |id: &&str| Model {
        owner_uid: owner.uid().0,
        tab_id: (*id).to_owned(),
        workspace_uid: owner.workspace().uid.0,
    };
    // What another unit of the same owner has just given out, it has also written into the settings: the guard of these fails then.
    let unless_there = OnConflict::columns([Column::OwnerUid, Column::TabId])
        .do_nothing()
        .to_owned();
    let insert = Entity::insert_many(ids.iter().map(row).map(IntoActiveModel::into_active_model));
    tx.write(insert.on_conflict(unless_there).into_query(), &[]);
    Ok(())
}

/// A workspace keeps all others away, an organization only its workspace.
async fn lock<O: Owner>(tx: &Tx, owner: &O) -> Result<()> {
    let WorkspaceRef { uid, .. } = owner.workspace();
    let select = workspaces::Entity::find_by_id(uid.0);
    let select = match owner.uid() == *uid {
        true => select.lock(LockType::Update),
        false => select.lock(LockType::Share),
    };
    let known = select.one(tx).await.map_err(db_error)?;
    let not_found = || Error::not_found("Workspace", owner.workspace().name());
    known.map(drop).ok_or_else(not_found)
}

/// Those of the ids that the owner can't give out.
async fn used<O: Owner>(tx: &Tx, owner: &O, ids: &[&str]) -> Result<BTreeSet<String>> {
    let rows = of(owner, ids).all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(|row| row.tab_id).collect())
}

/// Reads which of the ids were given out.
pub fn of<O: Owner>(owner: &O, ids: &[&str]) -> Select<Entity> {
    let workspace = owner.workspace().uid;
    let whose = match owner.uid() == workspace {
        true => Condition::all().add(Column::WorkspaceUid.eq(workspace.0)),
        false => Condition::all().add(Column::OwnerUid.is_in([owner.uid().0, workspace.0])),
    };
    Entity::find()
        .filter(whose)
        .filter(Column::TabId.is_in(ids.iter().copied()))
}

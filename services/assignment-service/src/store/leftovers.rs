//! What purged organizations and deleted agents leave.

use super::{assignment, member_scope};
use crate::domain::agent::Agent;
use crate::domain::assignment::Assignment;
use crate::domain::member_scope::MemberScope;
use clientele_api::name::OrganizationRef;
use clientele_api::{Result, Uid};
use clientele_store::Db;
use clientele_store::connect::db_error;
use clientele_store::follow::erasures::Purged;
use clientele_store::jobs::JobScope;
use clientele_store::tx::Tx;
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};

pub mod deleted {
    //! Agents that were deleted.

    use sea_orm::entity::prelude::*;

    /// An agent that was deleted, of which assignments may be left that were taken away before.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deleted_agents")]
    pub struct Model {
        /// The agent.
        #[sea_orm(primary_key, auto_increment = false)]
        pub uid: Uuid,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An agent that was deleted, of which something may be left. Only a job gets one.
#[derive(Debug, Clone, Copy)]
pub struct Deleted(Uid);

/// What a purged organization was called that has assignments or scopes left.
pub async fn name_of(db: &Db, purged: &Purged) -> Result<Option<OrganizationRef>> {
    let select = assignment::Entity::find().filter(assignment::Column::OrganizationUid.eq(purged.uid().0));
    if let Some(row) = select.one(db.read()).await.map_err(db_error)? {
        return Ok(Some(Assignment::from(row).organization));
    }
    let select = member_scope::Entity::find().filter(member_scope::Column::OrganizationUid.eq(purged.uid().0));
    let row = select.one(db.read()).await.map_err(db_error)?;
    Ok(row.map(|row| MemberScope::from(row).organization))
}

/// At most `limit` assignments of a purged organization, taken away or not, which no other unit takes until this one has ended.
pub async fn assignments_of(tx: &Tx, purged: &Purged, limit: u64) -> Result<Vec<Assignment>> {
    let select = assignment::Entity::find()
        .filter(assignment::Column::OrganizationUid.eq(purged.uid().0))
        .order_by_asc(assignment::Column::AgentUid)
        .limit(limit)
        .lock_exclusive();
    let rows = select.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(Assignment::from).collect())
}

/// Removes these assignments of a purged organization.
pub fn erase_assignments(tx: &Tx, purged: &Purged, assignments: &[Assignment]) {
    let uids = assignments.iter().map(|assignment| assignment.uid.0);
    let delete = assignment::Entity::delete_many()
        .filter(assignment::Column::OrganizationUid.eq(purged.uid().0))
        .filter(assignment::Column::Uid.is_in(uids));
    tx.write(delete.into_query(), &[]);
}

/// At most `limit` scopes of members of a purged organization, which no other unit takes until this one has ended.
pub async fn scopes_of(tx: &Tx, purged: &Purged, limit: u64) -> Result<Vec<MemberScope>> {
    let select = member_scope::Entity::find()
        .filter(member_scope::Column::OrganizationUid.eq(purged.uid().0))
        .order_by_asc(member_scope::Column::Uid)
        .limit(limit)
        .lock_exclusive();
    let rows = select.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(MemberScope::from).collect())
}

/// Removes these scopes of members of a purged organization.
pub fn erase_scopes(tx: &Tx, purged: &Purged, scopes: &[MemberScope]) {
    let uids = scopes.iter().map(|scope| scope.uid.0);
    let delete = member_scope::Entity::delete_many()
        .filter(member_scope::Column::OrganizationUid.eq(purged.uid().0))
        .filter(member_scope::Column::Uid.is_in(uids));
    tx.write(delete.into_query(), &[]);
}

/// Notes that an agent is deleted in this unit.
pub fn note_deleted(tx: &Tx, agent: &Agent) {
    let row = deleted::Model { uid: agent.uid.0 };
    let insert = deleted::Entity::insert(row.into_active_model());
    tx.write(insert.into_query(), &[]);
}

/// At most `limit` deleted agents of which something may be left.
pub async fn deleted(_scope: &JobScope, db: &Db, limit: u64) -> Result<Vec<Deleted>> {
    let rows = deleted::Entity::find().order_by_asc(deleted::Column::Uid).limit(limit);
    let rows = rows.all(db.read()).await.map_err(db_error)?;
    Ok(rows.into_iter().map(|row| Deleted(Uid(row.uid))).collect())
}

/// Removes at most `limit` assignments of a deleted agent that were taken away before, and forgets the agent with the last of them; answers
/// whether that was so.
pub async fn erase_deleted(tx: &Tx, Deleted(agent): Deleted, limit: u64) -> Result<bool> {
    let removed = assignment::Entity::find()
        .select_only()
        .column(assignment::Column::Uid)
        .filter(assignment::Column::AgentUid.eq(agent.0))
        .filter(assignment::Column::Removed.eq(true))
        .limit(limit);
    let removed: Vec<Uuid> = removed.into_tuple().all(tx).await.map_err(db_error)?;
    let last = (removed.len() as u64) < limit;
    let delete = assignment::Entity::delete_many().filter(assignment::Column::Uid.is_in(removed));
    tx.write(delete.into_query(), &[]);
    if last {
        tx.write(deleted::Entity::delete_by_id(agent.0).into_query(), &[]);
    }
    Ok(last)
}

//! Which life of the database this is. Cursors of another life are refused: what they saw may be gone.

use crate::connect::{Db, db_error};
use crate::tx::{self, Mode, Position};
use clientele_api::{Error, Result};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Query, UpdateStatement};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

/// The one row that tells epoch and floor.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal_state")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Counts the lives of the database.
    pub epoch: i64,
    /// Rows at or below the floor have been removed.
    pub floor_xid: i64,
    /// The second half of the floor.
    pub floor_seq: i64,
    /// Which PostgreSQL cluster, timeline and database this is. NULL on SQLite and before the first start.
    pub cluster: Option<String>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Rows of the present epoch at or below it have been removed.
    pub(super) fn floor(&self) -> Position {
        Position {
            xid: self.floor_xid,
            seq: self.floor_seq,
        }
    }

    /// Raises the floor, if nobody else has since this was read.
    pub(super) fn raise_floor(&self, floor: Position) -> UpdateStatement {
        Query::update()
            .table(Entity)
            .value(Column::FloorXid, floor.xid)
            .value(Column::FloorSeq, floor.seq)
            .and_where(Column::Id.eq(self.id))
            .and_where(Column::Epoch.eq(self.epoch))
            .and_where(Column::FloorXid.eq(self.floor_xid))
            .and_where(Column::FloorSeq.eq(self.floor_seq))
            .to_owned()
    }
}

/// Restoring a backup brings other identifiers: another cluster, another timeline, or another database of the cluster.
const IDENTITY: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || \
    (SELECT timeline_id FROM pg_control_checkpoint())::text || '/' || \
    (SELECT oid FROM pg_database WHERE datname = current_database())::text AS cluster";

/// The state as it is.
pub(super) async fn read(on: &impl ConnectionTrait) -> Result<Model> {
    let state = Entity::find_by_id(1).one(on).await.map_err(db_error)?;
    state.ok_or_else(|| Error::internal("the journal has no state: is the database migrated?"))
}

/// Enters the present life of the database: the next epoch, if this is a restored one.
pub(super) async fn enter(db: &Db) -> Result<i64> {
    let state = read(db.read()).await?;
    let cluster = match db.backend() {
        DbBackend::Postgres => identity(db).await?,
        _ => None,
    };
    if state.cluster == cluster {
        return Ok(state.epoch);
    }
    let first = state.cluster.is_none();
    let epoch = if first { state.epoch } else { state.epoch + 1 };
    let update = Query::update()
        .table(Entity)
        .value(Column::Cluster, cluster)
        .value(Column::Epoch, epoch)
        // of the new epoch nothing has been removed, and its positions may be lower than those of the last
        .value(Column::FloorXid, 0)
        .value(Column::FloorSeq, 0)
        .and_where(Column::Epoch.eq(state.epoch))
        .and_where(match state.cluster {
            Some(known) => Column::Cluster.eq(known),
            None => Column::Cluster.is_null(),
        })
        .to_owned();
    let write = async move |tx: &tx::Tx| {
        tx.write(update, &[]);
        Ok(())
    };
    tx::run(db, Mode::Commit, write).await?;
    if !first {
        tracing::warn!(
            epoch,
            "the database was restored or moved: a new epoch of the journal begins"
        );
    }
    read(db.read()).await.map(|state| state.epoch) // another replica may have been first
}

async fn identity(db: &Db) -> Result<Option<String>> {
    let row = db
        .read()
        .query_one_raw(Statement::from_string(DbBackend::Postgres, IDENTITY))
        .await
        .map_err(db_error)?;
    row.map(|row| row.try_get("", "cluster")).transpose().map_err(db_error)
}

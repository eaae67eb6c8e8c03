//! What is gone for good in a service that is followed: what is left of it here goes too, step by step.
//!
//! Its row in a projection says of which of its ends nothing is left any more: a restored journal may bring it back, and then it ends
//! once more, in a later bootstrap.

use super::organizations;
use crate::connect::{Db, db_error};
use crate::cursor::Cursor;
use crate::jobs::JobScope;
use crate::journal::{Filter, Journal, Row, scrub};
use crate::tx::{self, Mode, Position, Tx};
use clientele_api::journal::Change;
use clientele_api::{Result, Uid};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{DbBackend, DbErr, IntoActiveModel, Iterable, QueryOrder, QuerySelect, QueryTrait};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, SchemaManager};

/// How many rows of the journal are looked at in one unit. Those of an organization are small.
const ENTRIES: u64 = 100;

/// How far the journal has been looked through for something that is gone.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "follow_erasures")]
pub struct Model {
    /// What is gone.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Up to where.
    pub epoch: i64,
    /// The second part of that.
    pub xid: i64,
    /// The third.
    pub seq: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An organization that is purged, of which something may be left. Only a job gets one: what is done with it needs no other scope.
#[derive(Debug, Clone)]
pub struct Purged {
    uid: Uid,
    bootstrap: i64,
}

impl Purged {
    /// The organization.
    pub fn uid(&self) -> Uid {
        self.uid
    }
}

/// At most `limit` purged organizations of which something may be left.
pub async fn purged(_scope: &JobScope, db: &Db, limit: u64) -> Result<Vec<Purged>> {
    let rows = select_purged(limit).into_tuple::<(Uuid, i64)>();
    let rows = rows.all(db.read()).await.map_err(db_error)?;
    let purged = rows.into_iter().map(|(uid, bootstrap)| Purged {
        uid: Uid(uid),
        bootstrap,
    });
    Ok(purged.collect())
}

/// What [`purged`] asks the database.
pub fn select_purged(limit: u64) -> Select<organizations::Entity> {
    organizations::Entity::find()
        .select_only()
        .columns([organizations::Column::Uid, organizations::Column::Bootstrap])
        .filter(Expr::cust(UNFINISHED))
        .order_by_asc(organizations::Column::Uid)
        .limit(limit)
}

/// Takes out of the journal what a purged organization had, and notes that nothing is left: it is what is taken away last.
pub async fn scrub(journal: &Journal, purged: &Purged) -> Result<()> {
    while !scrub_some(journal, purged.clone()).await? {}
    Ok(())
}

/// Takes it out of some rows of the journal; answers whether these were the last ones.
async fn scrub_some(journal: &Journal, purged: Purged) -> Result<bool> {
    let unit = async move |tx: &Tx| {
        let behind = scanned(tx, purged.uid).await?;
        let rows = scrub::rows(tx, Filter::Organization(purged.uid), behind, ENTRIES).await?;
        for row in scrub::lock(tx, &Vec::from_iter(&rows)).await? {
            let mut changes = row.changes()?;
            if !scrub::is_bare(&changes) {
                changes.iter_mut().for_each(Change::scrub);
                scrub::rewrite(tx, &row, changes);
            }
        }
        let last = (rows.len() as u64) < ENTRIES;
        match rows.last().filter(|_| !last) {
            Some(row) => note(tx, purged.uid, row),
            None => end(tx, &purged),
        }
        Ok(last)
    };
    Ok(tx::run(journal.db(), Mode::Commit, unit).await?.value)
}

/// How far the journal has been looked through for this.
async fn scanned(tx: &Tx, uid: Uid) -> Result<Cursor> {
    let row = Entity::find_by_id(uid.0).one(tx).await.map_err(db_error)?;
    Ok(row.map_or(scrub::BEGINNING, |row| Cursor {
        epoch: row.epoch,
        position: Position {
            xid: row.xid,
            seq: row.seq,
        },
    }))
}

/// Notes that it has been looked through up to this row.
fn note(tx: &Tx, uid: Uid, row: &Row) {
    let row = Model {
        uid: uid.0,
        epoch: row.epoch,
        xid: row.xid,
        seq: row.seq,
    };
    let changes = Column::iter().filter(|column| !matches!(column, Column::Uid));
    let over = OnConflict::column(Column::Uid).update_columns(changes).to_owned();
    let upsert = Entity::insert(row.into_active_model()).on_conflict(over);
    tx.write(upsert.into_query(), &[]);
}

/// Notes that nothing is left.
fn end(tx: &Tx, purged: &Purged) {
    let mut update = Query::update();
    update
        .table(organizations::Entity)
        .value("erased", purged.bootstrap)
        .and_where(organizations::Column::Uid.eq(purged.uid.0));
    tx.write(update, &[]);
    tx.write(Entity::delete_by_id(purged.uid.0).into_query(), &[]);
}

/// Of a projected row: it is gone, and something may be left of it. Each of the two alone would lead SQLite to an index of more rows than
/// the one that is for the very same.
const UNFINISHED: &str = "NOT (id IS NOT NULL OR coalesce(erased = bootstrap, false))";

/// Creates what is needed. The columns `erased` are none of the entities: no follower writes them.
#[derive(Debug)]
pub struct CreateErasures;

impl MigrationName for CreateErasures {
    fn name(&self) -> &str {
        "m20261128_000019_create_erasures"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateErasures {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let uuid = match manager.get_database_backend() {
            DbBackend::Postgres => "uuid",
            _ => "blob",
        };
        let statements = format!(
            "CREATE TABLE follow_erasures (uid {uuid} PRIMARY KEY, epoch bigint NOT NULL, xid bigint NOT NULL, seq bigint NOT NULL);
             ALTER TABLE projection_organizations ADD COLUMN erased bigint;
             CREATE INDEX projection_organizations_unfinished ON projection_organizations (uid) WHERE {UNFINISHED};"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

//! What is gone for good in a service that is followed: what is left of it here goes too, step by step.
//!
//! Its row in a projection says of which of its ends nothing is left any more: a restored journal may bring it back, and then it ends
//! once more, in a later bootstrap.

use super::{members, organizations, users};
use crate::connect::{Db, db_error};
use crate::cursor::Cursor;
use crate::jobs::JobScope;
use crate::journal::{Filter, Journal, Row, scrub};
use crate::tx::{self, Mode, Position, Tx};
use clientele_api::journal::Change;
use clientele_api::{Result, Uid};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, OnConflict, Query};
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, IntoActiveModel, Iterable, JoinType, QueryOrder, QuerySelect, QueryTrait,
};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, SchemaManager};

/// How many rows of the journal are read and written anew in one unit: one may tell of hundreds of resources.
const ENTRIES: u64 = 20;
/// How many are passed over, of which nothing is read but whom they answered.
const PASSED: u64 = 1_000;

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
        for row in scrub::lock(tx, rows.iter().map(Row::cursor)).await? {
            let mut changes = row.changes()?;
            if !scrub::is_bare(&changes) {
                changes.iter_mut().for_each(Change::scrub);
                scrub::rewrite(tx, &row, changes);
            }
        }
        let last = (rows.len() as u64) < ENTRIES;
        match rows.last().filter(|_| !last) {
            Some(row) => note(tx, purged.uid, row.cursor()),
            None => end(tx, organizations::Entity, purged.uid, purged.bootstrap),
        }
        Ok(last)
    };
    Ok(tx::run(journal.db(), Mode::Commit, unit).await?.value)
}

/// A user who is erased, of whom something may be left. Only a job gets one: what is done with it needs no other scope.
#[derive(Debug, Clone)]
pub struct Erased {
    user: Uid,
    bootstrap: i64,
}

impl Erased {
    /// The user.
    pub fn user(&self) -> Uid {
        self.user
    }
}

/// At most `limit` erased users of whom something may be left.
pub async fn erased(_scope: &JobScope, db: &Db, limit: u64) -> Result<Vec<Erased>> {
    let rows = select_erased(limit).into_tuple::<(Uuid, i64)>();
    let rows = rows.all(db.read()).await.map_err(db_error)?;
    let erased = rows.into_iter().map(|(uid, bootstrap)| Erased {
        user: Uid(uid),
        bootstrap,
    });
    Ok(erased.collect())
}

/// What [`erased`] asks the database.
pub fn select_erased(limit: u64) -> Select<users::Entity> {
    users::Entity::find()
        .select_only()
        .columns([users::Column::Uid, users::Column::Bootstrap])
        .filter(Expr::cust(UNFINISHED))
        .order_by_asc(users::Column::Uid)
        .limit(limit)
}

/// Takes out of the journal what it remembers to have answered to an erased user, and notes that nothing is left: it is what is taken away
/// last.
pub async fn forget_answers(journal: &Journal, erased: &Erased) -> Result<()> {
    let places = select_places(erased).into_tuple::<(Uuid, Uuid)>();
    let places = places.all(journal.db().read()).await.map_err(db_error)?;
    for (member, organization) in places {
        while !forget_some(journal, erased.user, Uid(member), Uid(organization)).await? {}
    }
    let erased = erased.clone();
    let unit = async move |tx: &Tx| {
        let members = select_members(&erased).select_only().column(members::Column::Uid);
        let scanned = Entity::delete_many().filter(Column::Uid.in_subquery(members.into_query()));
        tx.write(scanned.into_query(), &[]);
        end(tx, users::Entity, erased.user, erased.bootstrap);
        Ok(())
    };
    tx::run(journal.db(), Mode::Commit, unit).await.map(drop)
}

/// As which member, and of which organization, a user called. Of a purged organization nothing is left anyway.
pub fn select_places(erased: &Erased) -> Select<members::Entity> {
    let organizations: RelationDef = members::Entity::belongs_to(organizations::Entity)
        .from(members::Column::OrganizationUid)
        .to(organizations::Column::Uid)
        .into();
    select_members(erased)
        .join(JoinType::InnerJoin, organizations)
        .select_only()
        .columns([members::Column::Uid, members::Column::OrganizationUid])
        .filter(organizations::Column::Id.is_not_null())
        .order_by_asc(members::Column::Uid)
}

fn select_members(erased: &Erased) -> Select<members::Entity> {
    members::Entity::find().filter(members::Column::UserUid.eq(erased.user.0))
}

/// Takes it out of some rows of an organization's journal; answers whether these were the last ones. How far that is stands under the uid
/// of the member.
async fn forget_some(journal: &Journal, user: Uid, member: Uid, organization: Uid) -> Result<bool> {
    let unit = async move |tx: &Tx| {
        let (person, behind) = (format!("users/{user}"), scanned(tx, member).await?);
        let of_organization = Filter::Organization(organization);
        let passed = scrub::answered_to(tx, &person, of_organization, behind, PASSED).await?;
        let meant = passed.iter().filter(|(_, is_meant)| *is_meant);
        let meant = Vec::from_iter(meant.map(|(place, _)| *place).take(ENTRIES as usize));
        for row in scrub::lock(tx, meant.iter().copied()).await? {
            scrub::rewrite(tx, &row, row.changes()?);
        }
        let next = match meant.last() {
            Some(place) if meant.len() as u64 == ENTRIES => Some(*place),
            _ if passed.len() as u64 == PASSED => passed.last().map(|(place, _)| *place),
            _ => None,
        };
        if let Some(place) = next {
            note(tx, member, place);
        }
        Ok(next.is_none())
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

/// Notes that it has been looked through up to there.
fn note(tx: &Tx, uid: Uid, Cursor { epoch, position }: Cursor) {
    let row = Model {
        uid: uid.0,
        epoch,
        xid: position.xid,
        seq: position.seq,
    };
    let changes = Column::iter().filter(|column| !matches!(column, Column::Uid));
    let over = OnConflict::column(Column::Uid).update_columns(changes).to_owned();
    let upsert = Entity::insert(row.into_active_model()).on_conflict(over);
    tx.write(upsert.into_query(), &[]);
}

/// Notes that nothing is left of this end of what this projection is of.
fn end(tx: &Tx, projection: impl EntityTrait, uid: Uid, bootstrap: i64) {
    let mut update = Query::update();
    update
        .table(projection)
        .value("erased", bootstrap)
        .and_where(Expr::col("uid").eq(uid.0));
    tx.write(update, &[]);
    tx.write(Entity::delete_by_id(uid.0).into_query(), &[]);
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
             CREATE INDEX projection_organizations_unfinished ON projection_organizations (uid) WHERE {UNFINISHED};
             ALTER TABLE projection_users ADD COLUMN erased bigint;
             CREATE INDEX projection_users_unfinished ON projection_users (uid) WHERE {UNFINISHED};
             CREATE INDEX projection_members_of_user ON projection_members (user_uid, uid);"
        );
        manager.get_connection().execute_unprepared(&statements).await.map(drop)
    }
}

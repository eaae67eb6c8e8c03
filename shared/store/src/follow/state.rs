//! Where a follower stands.

use super::projection::GENERATION;
use crate::connect::{Db, db_error};
use crate::cursor::{Cursor, WatchCursor};
use clientele_api::Result;
use sea_orm::entity::prelude::*;

/// Where the follower of a service stands.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "follow_cursors")]
pub struct Model {
    /// The service, and the generation of what is kept of it, as in `org/3`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub service: String,
    /// The text of a cursor: of a checkpoint, or of a snapshot while everything is read anew. NULL: nothing is known yet.
    pub cursor: Option<String>,
    /// Counts the times that everything was read anew.
    pub bootstrap: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The checkpoint up to which everything is known. None: not yet, or everything is being read anew.
    pub(super) fn checkpoint(&self) -> Option<Cursor> {
        self.cursor.as_deref().and_then(Cursor::parse)
    }

    /// Whether everything up to there is known.
    pub(super) fn knows(&self, to: &WatchCursor) -> bool {
        self.checkpoint()
            .is_some_and(|known| to.snapshot.is_some() || known >= to.cursor)
    }

    /// Whether everything has been read once.
    pub(super) fn is_settled(&self) -> bool {
        self.checkpoint().is_some()
    }

    /// The cursor to go on from.
    pub(super) fn watch_cursor(&self) -> Option<WatchCursor> {
        self.cursor.as_deref().and_then(WatchCursor::parse)
    }
}

/// The row of a service; before the first time, an empty one, whose number is above all of those that know less.
pub(super) async fn read(on: &impl ConnectionTrait, service: &str) -> Result<Model> {
    let key = key(service);
    let row = Entity::find_by_id(key.clone()).one(on).await.map_err(db_error)?;
    Ok(row.unwrap_or(Model {
        service: key,
        cursor: None,
        bootstrap: i64::from(GENERATION) << 32,
    }))
}

fn key(service: &str) -> String {
    format!("{service}/{GENERATION}")
}

/// The checkpoint up to which a service is known here. None: not yet, or everything is being read anew.
pub(crate) async fn stored(db: &Db, service: &str) -> Result<Option<Cursor>> {
    Ok(read(db.read(), service).await?.checkpoint())
}

/// A scalar subquery for that checkpoint's text.
pub(crate) fn cursor_of(service: &'static str) -> String {
    let key = key(service);
    format!("(SELECT cursor FROM follow_cursors WHERE service = '{key}')")
}

//! Taking out of the journal what must not be known any more. Who did what to which resource, and when, stays.

use super::{Filter, Row, read, row};
use crate::connect::db_error;
use crate::cursor::Cursor;
use crate::tx::{Position, Tx};
use clientele_api::Result;
use clientele_api::journal::{Change, ChangeKind, Entry};
use prost::Message;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, ConnectionTrait, QueryOrder, QuerySelect, QueryTrait};

/// Where a search through all rows begins.
pub const BEGINNING: Cursor = Cursor {
    epoch: 0,
    position: Position { xid: 0, seq: 0 },
};

/// At most `limit` rows behind a place, in the order of the journal: all that are committed, of whichever life of the database.
///
/// A change that was committed before the search began is found, wherever it stands. One that is committed later may be passed over.
pub async fn rows(tx: &Tx, filter: Filter, behind: Cursor, limit: u64) -> Result<Vec<Row>> {
    let select = read::all_behind(filter, tx.get_database_backend(), behind, limit);
    select.all(tx).await.map_err(db_error)
}

/// These rows once more, which no other unit rewrites until this one has ended: what another one has taken out of a row since it was
/// read must not come back with the rest of it.
pub async fn lock(tx: &Tx, rows: &[&Row]) -> Result<Vec<Row>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let each = rows.iter().map(|row| {
        let epoch = row::Column::Epoch.eq(row.epoch);
        epoch
            .and(row::Column::Xid.eq(row.xid))
            .and(row::Column::Seq.eq(row.seq))
    });
    let select = row::Entity::find()
        .filter(each.fold(Condition::any(), Condition::add))
        .order_by_asc(row::Column::Epoch)
        .order_by_asc(row::Column::Xid)
        .order_by_asc(row::Column::Seq)
        .lock_exclusive();
    select.all(tx).await.map_err(db_error)
}

/// Whether a row is about nothing but what is gone for good: it tells no more than that, and its call had not more to say.
pub fn is_bare(changes: &[Change]) -> bool {
    !changes.is_empty() && changes.iter().all(|change| change.kind() == ChangeKind::Purged)
}

/// Writes a row that the unit has locked with these changes in place of its own, and without its answer. The hash of its request goes too, since the request
/// could be guessed from it: who repeats the request id is told that it was used.
pub fn rewrite(tx: &Tx, row: &Row, changes: Vec<Change>) {
    let entry = Entry {
        changes,
        ..Entry::default()
    };
    // An answer that is no part of the changes is emptied: what is left can be read, whatever type it is of.
    let answer = row.answer.as_ref().map(|_| Vec::<u8>::new());
    let update = row::Entity::update_many()
        .col_expr(row::Column::Changes, Expr::value(entry.encode_to_vec()))
        .col_expr(row::Column::Answer, Expr::value(answer))
        .col_expr(row::Column::RequestHash, Expr::value(Option::<Vec<u8>>::None))
        .filter(row::Column::Epoch.eq(row.epoch))
        .filter(row::Column::Xid.eq(row.xid))
        .filter(row::Column::Seq.eq(row.seq));
    tx.write(update.into_query(), &[]);
}

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

/// Where at most `limit` rows behind a place stand, in the same order, and of each whether it remembers what was answered to this person,
/// or to who acted for it. What the rows tell is not read: it may be long.
pub async fn answered_to(
    tx: &Tx,
    person: &str,
    filter: Filter,
    behind: Cursor,
    limit: u64,
) -> Result<Vec<(Cursor, bool)>> {
    let to = row::Column::Actor.eq(person).or(row::Column::ActingFor.eq(person));
    let remembered = row::Column::Answer
        .is_not_null()
        .and(row::Column::RequestHash.is_not_null());
    let is_meant: Expr = Expr::case(to.and(remembered), true).finally(false).into();
    let select = read::all_behind(filter, tx.get_database_backend(), behind, limit)
        .select_only()
        .columns([row::Column::Epoch, row::Column::Xid, row::Column::Seq])
        .expr_as(is_meant, "is_meant");
    let places = select.into_tuple::<(i64, i64, i64, bool)>();
    let places = places.all(tx).await.map_err(db_error)?.into_iter();
    let place = |(epoch, xid, seq, is_meant)| {
        let position = Position { xid, seq };
        (Cursor { epoch, position }, is_meant)
    };
    Ok(places.map(place).collect())
}

/// The rows at these places as they are now, which no other unit rewrites until this one has ended: what another one has taken out of a
/// row since it was read must not come back with the rest of it.
pub async fn lock(tx: &Tx, places: impl IntoIterator<Item = Cursor>) -> Result<Vec<Row>> {
    let each = places.into_iter().map(|Cursor { epoch, position }| {
        let epoch = row::Column::Epoch.eq(epoch);
        epoch
            .and(row::Column::Xid.eq(position.xid))
            .and(row::Column::Seq.eq(position.seq))
    });
    let each = each.fold(Condition::any(), Condition::add);
    if each.is_empty() {
        return Ok(Vec::new());
    }
    let select = row::Entity::find()
        .filter(each)
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

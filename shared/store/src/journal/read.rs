//! Reading the journal: the feed in its order, the log from its end, and one row by request id.

use super::{Journal, Row, row, state};
use crate::connect::db_error;
use crate::cursor::{Cursor, Revision};
use crate::page;
use crate::tx::Position;
use clientele_api::{Error, Result, Uid, error::ErrorReason};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{DbBackend, FromQueryResult, QueryOrder, QueryResult, QuerySelect, QueryTrait, Select, Statement};
use std::cmp::min;
use uuid::Uuid;

/// How many rows of the log are read at a time at first, and where they are large.
const FEW: u64 = 16;
/// How many are at most.
const MANY: u64 = 500;
/// How many bytes of changes are looked at, some more if the last rows are large: a call has its deadline.
const LOOKED_AT: usize = 16 * 1024 * 1024;

/// Whose rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Everybody's.
    All,
    /// A workspace's.
    Workspace(Uid),
    /// An organization's.
    Organization(Uid),
}

/// A stretch of the log, newest first.
#[derive(Debug)]
pub struct Listing {
    /// The rows that match.
    pub rows: Vec<Row>,
    /// Where to go on; None: the log ends here.
    pub next: Option<Cursor>,
}

impl Journal {
    /// At most `limit` rows behind a cursor and not beyond the horizon, in the feed's order. Refuses a cursor that the floor has
    /// overtaken: what lay behind it may be gone.
    pub async fn after(&self, filter: Filter, from: Cursor, horizon: Cursor, limit: u64) -> Result<Vec<Row>> {
        let select = filtered(filter)
            .filter(row::Column::Epoch.eq(horizon.epoch))
            .limit(limit);
        let select = behind(select, self.db().backend(), from.position, horizon.position);
        // The floor as it was when these rows were read: a row may be removed at any time.
        let mut query = select.into_query();
        for column in [state::Column::FloorXid, state::Column::FloorSeq] {
            let floor = Query::select().column(column).from(state::Entity).to_owned();
            query.expr_as(Expr::SubQuery(None, Box::new(floor.into())), column);
        }
        let rows = self.db().read().query_all(&query).await.map_err(db_error)?;
        let floor = match rows.first() {
            Some(row) => floor(row).map_err(db_error)?,
            None => state::read(self.db().read()).await?.floor(),
        };
        if from.position < floor {
            return Err(out_of_range(from, horizon.epoch));
        }
        let models = rows.iter().map(|row| Row::from_query_result(row, ""));
        models.collect::<Result<_, _>>().map_err(db_error)
    }

    /// Refuses a cursor from which the feed can't go on: of another life, below the floor, or above the end.
    pub async fn check_cursor(&self, cursor: Cursor) -> Result<()> {
        let state = state::read(self.db().read()).await?;
        let end = self.newest().await?.unwrap_or(Position { xid: 0, seq: 0 });
        let mut horizon = self.0.horizon.borrow().position;
        if cursor.position > horizon {
            horizon = self.0.tail.position().await?; // another replica may have seen more than we have yet
        }
        if cursor.epoch == state.epoch && cursor.position >= state.floor() && cursor.position <= end.max(horizon) {
            return Ok(());
        }
        Err(out_of_range(cursor, state.epoch))
    }

    /// At most `scan` rows of the log below a cursor, newest first, of which those that `keep` wants, at most `limit`
    /// and not more than a page may hold. Where rows are large, fewer are looked at.
    pub async fn before(
        &self,
        filter: Filter,
        below: Option<Cursor>,
        limit: usize,
        scan: u64,
        keep: impl Fn(&Row) -> bool,
    ) -> Result<Listing> {
        let mut listing = Listing {
            rows: Vec::new(),
            next: below,
        };
        let mut scanned = 0;
        let mut looked_at = 0;
        let mut bytes = 0;
        let mut wanted = FEW;
        while scanned < scan && looked_at < LOOKED_AT {
            let stretch = min(scan - scanned, wanted);
            let select = newest_of(filter, self.db().backend(), listing.next).limit(stretch);
            let rows = select.all(self.db().read()).await.map_err(db_error)?;
            let found = rows.len() as u64;
            let read: usize = rows.iter().map(|row| row.changes.len()).sum();
            // A row may hold hundreds of changes: what is read at a time stays small.
            wanted = if read > page::LARGEST {
                FEW
            } else {
                min(wanted * 4, MANY)
            };
            for row in rows {
                if listing.rows.len() == limit || bytes > page::LARGEST {
                    return Ok(listing);
                }
                listing.next = Some(row.cursor());
                if keep(&row) {
                    bytes += row.changes.len();
                    listing.rows.push(row);
                }
            }
            if found < stretch {
                listing.next = None;
                break;
            }
            scanned += found;
            looked_at += read;
        }
        Ok(listing)
    }

    /// How many rows there are of this organization.
    pub async fn count_of(&self, organization: Uid) -> Result<u64> {
        let rows = filtered(Filter::Organization(organization));
        rows.count(self.db().read()).await.map_err(db_error)
    }

    /// The row that remembers this request id.
    pub async fn find(&self, workspace: Uid, request_id: Uuid) -> Result<Option<Row>> {
        let select = row::Entity::find()
            .filter(row::Column::WorkspaceUid.eq(workspace.0))
            .filter(row::Column::RequestId.eq(request_id));
        select.one(self.db().read()).await.map_err(db_error)
    }

    /// The revision of what a read would see now.
    pub async fn revision(&self) -> Result<Revision> {
        let mut revision = Revision::new();
        let newest = self.newest().await?.map_or(0, Position::revision);
        revision.raise(self.db().service(), self.epoch(), newest);
        Ok(revision)
    }

    async fn newest(&self) -> Result<Option<Position>> {
        let newest = format!(
            "SELECT xid, seq FROM journal WHERE epoch = {} ORDER BY {} LIMIT 1",
            self.epoch(),
            newest_first(self.db().backend())
        );
        let row = self
            .db()
            .read()
            .query_one_raw(Statement::from_string(self.db().backend(), newest))
            .await
            .map_err(db_error)?;
        let position = |row: sea_orm::QueryResult| {
            Ok(Position {
                xid: row.try_get("", "xid")?,
                seq: row.try_get("", "seq")?,
            })
        };
        row.map(position).transpose().map_err(db_error)
    }

    /// A scalar subquery for the newest revision visible to the statement that it is put into.
    pub(crate) fn newest_revision(&self) -> String {
        let (column, backend) = match self.db().backend() {
            DbBackend::Postgres => ("xid", DbBackend::Postgres),
            other => ("seq", other),
        };
        format!(
            "(SELECT {column} FROM journal WHERE epoch = {} ORDER BY {} LIMIT 1)",
            self.epoch(),
            newest_first(backend)
        )
    }
}

fn out_of_range(cursor: Cursor, epoch: i64) -> Error {
    let message = "the cursor is not of this journal, or too old: start again with initial_state";
    Error::new(ErrorReason::CursorOutOfRange, message)
        .with("epoch", epoch)
        .with("cursor", cursor)
}

/// The floor that was read beside a row.
fn floor(row: &QueryResult) -> Result<Position, DbErr> {
    Ok(Position {
        xid: row.try_get("", "floor_xid")?,
        seq: row.try_get("", "floor_seq")?,
    })
}

/// The order in which an index leads straight to the newest row: SQLite's key is seq alone.
fn newest_first(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "epoch DESC, xid DESC, seq DESC",
        _ => "seq DESC",
    }
}

/// Of these rows those behind `from`, up to `to`, in the feed's order.
pub(super) fn behind(
    select: Select<row::Entity>,
    backend: DbBackend,
    from: Position,
    to: Position,
) -> Select<row::Entity> {
    match backend {
        DbBackend::Postgres => select
            .filter(position().gt(values(from)))
            .filter(position().lte(values(to)))
            .order_by_asc(row::Column::Xid)
            .order_by_asc(row::Column::Seq),
        // xid is 0: named as a value, so that the indexes are followed, and without a filter the key, which is seq alone
        _ => select
            .filter(row::Column::Xid.eq(0))
            .filter(row::Column::Seq.gt(from.seq))
            .filter(row::Column::Seq.lte(to.seq))
            .order_by_asc(row::Column::Seq),
    }
}

fn filtered(filter: Filter) -> Select<row::Entity> {
    match filter {
        Filter::All => row::Entity::find(),
        Filter::Workspace(uid) => row::Entity::find().filter(row::Column::WorkspaceUid.eq(uid.0)),
        Filter::Organization(uid) => row::Entity::find().filter(row::Column::OrganizationUid.eq(uid.0)),
    }
}

/// The rows below a cursor, newest first. On SQLite seq alone says which is newer, across epochs too, and it is the key.
fn newest_of(filter: Filter, backend: DbBackend, below: Option<Cursor>) -> Select<row::Entity> {
    let select = filtered(filter);
    if backend == DbBackend::Sqlite && filter == Filter::All {
        let select = select.order_by_desc(row::Column::Seq);
        return match below {
            Some(below) => select.filter(row::Column::Seq.lt(below.position.seq)),
            None => select,
        };
    }
    let select = select
        .order_by_desc(row::Column::Epoch)
        .order_by_desc(row::Column::Xid)
        .order_by_desc(row::Column::Seq);
    let Some(below) = below else { return select };
    let key = [below.epoch, below.position.xid, below.position.seq].map(Expr::val);
    select.filter(full_position().lt(Expr::tuple(key)))
}

/// All committed rows behind a place, oldest first, of whichever life of the database.
pub(super) fn all_behind(filter: Filter, backend: DbBackend, behind: Cursor, limit: u64) -> Select<row::Entity> {
    let select = filtered(filter).limit(limit);
    if backend == DbBackend::Sqlite && filter == Filter::All {
        let select = select.filter(row::Column::Seq.gt(behind.position.seq));
        return select.order_by_asc(row::Column::Seq);
    }
    let key = [behind.epoch, behind.position.xid, behind.position.seq].map(Expr::val);
    select
        .filter(full_position().gt(Expr::tuple(key)))
        .order_by_asc(row::Column::Epoch)
        .order_by_asc(row::Column::Xid)
        .order_by_asc(row::Column::Seq)
}

fn position() -> Expr {
    Expr::tuple([row::Column::Xid.into_expr(), row::Column::Seq.into_expr()])
}

fn full_position() -> Expr {
    Expr::tuple([
        row::Column::Epoch.into_expr(),
        row::Column::Xid.into_expr(),
        row::Column::Seq.into_expr(),
    ])
}

fn values(position: Position) -> Expr {
    Expr::tuple([Expr::val(position.xid), Expr::val(position.seq)])
}

//! How long the journal reaches back.

use super::{Journal, row, state};
use crate::connect::db_error;
use crate::cursor::Cursor;
use crate::jobs::{Job, JobScope};
use crate::tx::{self, Mode, Position, Tx};
use clientele_api::{Micros, Result};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, Query};
use sea_orm::{DbBackend, QueryOrder, QuerySelect, Select};
use std::time::Duration;

/// How often what has become too old is removed.
const EVERY: Duration = Duration::from_secs(3600);
/// Rows in one transaction, at most.
const CHUNK: usize = 500;

impl Journal {
    /// The job that removes the rows that are older than this, from the oldest on, and raises the floor over them. Behind the first
    /// row that is younger, and behind the horizon, nothing is removed; nor is the newest row, which tells how far the journal has come.
    pub fn retention(&self, keep: Duration) -> Job {
        let journal = self.clone();
        Job::new("journal-retention", EVERY, move |scope| {
            let journal = journal.clone();
            async move { journal.retain(&scope, keep).await }
        })
    }

    async fn retain(&self, scope: &JobScope, keep: Duration) -> Result<()> {
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let before = Micros::now().0.saturating_sub(keep);
        let mut removed = 0;
        loop {
            let horizon = *self.0.horizon.borrow();
            let unit = async move |tx: &Tx| remove_chunk(tx, horizon, before).await;
            let chunk = tx::run(self.db(), Mode::Commit, unit).await?.value;
            removed += chunk;
            if chunk < CHUNK {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(job = scope.job(), removed, "rows of the journal were old enough");
        }
        Ok(())
    }
}

/// Removes the oldest rows, as many as one transaction may; answers how many.
async fn remove_chunk(tx: &Tx, horizon: Cursor, before: i64) -> Result<usize> {
    let state = state::read(tx).await?;
    let mut oldest: Vec<(i64, i64, i64, i64)> = oldest(tx.get_database_backend(), horizon)
        .into_tuple()
        .all(tx)
        .await
        .map_err(db_error)?;
    oldest.pop(); // the last one read stays: it may be the newest of all
    let old = oldest.iter().take_while(|(.., time)| *time < before).count();
    oldest.truncate(old);
    let Some(&(epoch, xid, seq, _)) = oldest.last() else {
        return Ok(0);
    };
    let last = Cursor {
        epoch,
        position: Position { xid, seq },
    };
    // The floor is of the present epoch: cursors of others are refused anyway.
    let floor = if epoch == state.epoch {
        state.floor().max(last.position)
    } else {
        state.floor()
    };
    tx.guard(state.raise_floor(floor), &[]);
    let remove = Query::delete()
        .from_table(row::Entity)
        .and_where(up_to(tx.get_database_backend(), last))
        .to_owned();
    tx.write(remove, &[]);
    Ok(old)
}

/// Position and time of the first rows in the journal's order that readers may see, one more than are removed at once.
fn oldest(backend: DbBackend, horizon: Cursor) -> Select<row::Entity> {
    let select = row::Entity::find()
        .select_only()
        .columns([
            row::Column::Epoch,
            row::Column::Xid,
            row::Column::Seq,
            row::Column::Time,
        ])
        .filter(up_to(backend, horizon))
        .limit(CHUNK as u64 + 1);
    match backend {
        DbBackend::Postgres => select
            .order_by_asc(row::Column::Epoch)
            .order_by_asc(row::Column::Xid)
            .order_by_asc(row::Column::Seq),
        _ => select.order_by_asc(row::Column::Seq),
    }
}

/// At or below this place in the journal's order: that of its key, which on SQLite is seq alone.
fn up_to(backend: DbBackend, last: Cursor) -> Expr {
    let Position { xid, seq } = last.position;
    match backend {
        DbBackend::Postgres => {
            let place = [row::Column::Epoch, row::Column::Xid, row::Column::Seq].map(|column| column.into_expr());
            Expr::tuple(place).lte(Expr::tuple([last.epoch, xid, seq].map(Expr::val)))
        }
        _ => row::Column::Seq.lte(seq),
    }
}

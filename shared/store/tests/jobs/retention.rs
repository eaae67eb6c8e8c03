//! How long the journal reaches back.

use crate::place::{Place, SOON};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_store::cursor::Cursor;
use clientele_store::jobs;
use clientele_store::journal::{Filter, Journal};
use clientele_store::tx::{Position, Tx};
use clientele_store::{Author, Recorded};
use clientele_testkit::until;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(24 * 3600);
const TWO_DAYS: i64 = 2 * 24 * 3600 * 1_000_000;

async fn open(place: &Place) -> Journal {
    Journal::open(&place.db, CancellationToken::new()).await.unwrap()
}

/// Writes so many rows; answers where all rows stand, in their order.
async fn write(place: &Place, journal: &Journal, rows: usize) -> Vec<Cursor> {
    for _ in 0..rows {
        let author = Author {
            workspace: None,
            organization: None,
            actor: "operators/ann".to_owned(),
            acting_for: None,
            method: "/clientele.org.v1.WorkspaceService/CreateWorkspace",
            request: None,
            validate_only: false,
            traceparent: None,
        };
        let unit = async |_: &Tx| Ok(Recorded::change((), Change::default()));
        journal.write(author, unit).await.unwrap();
    }
    cursors(place).await
}

async fn cursors(place: &Place) -> Vec<Cursor> {
    let sql = "SELECT epoch, xid, seq FROM journal ORDER BY epoch, xid, seq";
    let statement = Statement::from_string(place.db.backend(), sql);
    let rows = place.db.read().query_all_raw(statement).await.unwrap();
    let number = |row: &sea_orm::QueryResult, at| row.try_get_by_index(at).unwrap();
    rows.iter()
        .map(|row| Cursor {
            epoch: number(row, 0),
            position: Position {
                xid: number(row, 1),
                seq: number(row, 2),
            },
        })
        .collect()
}

async fn floor(place: &Place) -> Position {
    Position {
        xid: place.number("SELECT floor_xid FROM journal_state").await,
        seq: place.number("SELECT floor_seq FROM journal_state").await,
    }
}

/// Makes the rows up to this one two days older.
async fn age(place: &Place, last: Cursor) {
    let seq = last.position.seq;
    place
        .change(&format!(
            "UPDATE journal SET time = time - {TWO_DAYS} WHERE seq <= {seq}"
        ))
        .await;
}

/// Runs the job once, after readers may see the row `end`.
async fn retain(place: &Place, journal: &Journal, end: Cursor) {
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= end).await;
    run(place, journal).await;
}

async fn run(place: &Place, journal: &Journal) {
    place.change("UPDATE jobs SET last_run = 0").await;
    let stop = CancellationToken::new();
    jobs::start(&place.db, vec![journal.retention(DAY)], DAY, &stop);
    place.until_done("journal-retention").await;
    stop.cancel();
}

async fn reason(check: impl Future<Output = clientele_api::Result<()>>) -> Option<ErrorReason> {
    check.await.err().map(|error| error.reason())
}

pub(crate) async fn old_rows_go_and_old_cursors_are_told_so(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 5).await;
    age(place, all[2]).await;
    retain(place, &journal, all[4]).await;
    assert_eq!(cursors(place).await, all[3..]);
    assert_eq!(floor(place).await, all[2].position);

    let refused = Some(ErrorReason::CursorOutOfRange);
    assert_eq!(reason(journal.check_cursor(all[1])).await, refused);
    assert_eq!(reason(journal.check_cursor(all[2])).await, None);
    let end = *journal.horizon().borrow();
    let feed = async |from| journal.after(Filter::All, from, end, 10).await;
    let told = feed(all[2]).await.unwrap();
    assert_eq!(told.iter().map(|row| row.cursor()).collect::<Vec<_>>(), all[3..]);
    assert_eq!(feed(all[1]).await.unwrap_err().reason(), ErrorReason::CursorOutOfRange);

    let listed = journal
        .before(Filter::All, Some(all[4]), 10, 100, |_| true)
        .await
        .unwrap();
    assert_eq!(listed.rows.iter().map(|row| row.cursor()).collect::<Vec<_>>(), [all[3]]);
    let below = journal
        .before(Filter::All, Some(all[1]), 10, 100, |_| true)
        .await
        .unwrap();
    assert!(below.rows.is_empty() && below.next.is_none());
}

pub(crate) async fn a_feed_that_is_overtaken_before_it_finds_anything_is_told_so(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    age(place, all[1]).await;
    retain(place, &journal, all[2]).await;
    let nobodys = Filter::Workspace(clientele_api::Uid::new());
    let end = *journal.horizon().borrow();
    let feed = journal.after(nobodys, all[0], end, 10).await;
    assert_eq!(feed.unwrap_err().reason(), ErrorReason::CursorOutOfRange);
}

pub(crate) async fn the_newest_row_stays_so_that_nothing_counts_from_the_beginning(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    age(place, all[2]).await;
    let revision = journal.revision().await.unwrap();
    retain(place, &journal, all[2]).await;
    assert_eq!(cursors(place).await, all[2..]);

    let restarted = open(place).await;
    assert_eq!(restarted.revision().await.unwrap(), revision);
    let end = *restarted.horizon().borrow();
    assert_eq!(reason(restarted.check_cursor(end)).await, None);
    assert_eq!(reason(restarted.check_cursor(all[2])).await, None);
}

pub(crate) async fn a_cursor_from_a_replica_that_has_seen_more_is_good(place: &Place) {
    let stop = CancellationToken::new();
    let late = Journal::open(&place.db, stop.clone()).await.unwrap();
    stop.cancel();
    let (seen, journal) = (*late.horizon().borrow(), open(place).await);
    let all = write(place, &journal, 1).await;
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= all[0]).await;
    let end = *horizon.borrow();
    assert!(end > seen && *late.horizon().borrow() == seen);
    assert_eq!(reason(late.check_cursor(end)).await, None);
}

pub(crate) async fn many_rows_go_in_several_transactions(place: &Place) {
    let journal = open(place).await;
    write(place, &journal, 1).await;
    let columns = "epoch, mutation_id, workspace_uid, workspace_id, actor, method, time, changes";
    for _ in 0..11 {
        place
            .change(&format!(
                "INSERT INTO journal ({columns}) SELECT {columns} FROM journal"
            ))
            .await;
    }
    let all = write(place, &journal, 1).await;
    assert_eq!(all.len(), 2049);
    age(place, all[1399]).await;
    retain(place, &journal, all[2048]).await;
    assert_eq!(cursors(place).await, all[1400..]);
    assert_eq!(floor(place).await, all[1399].position);
}

pub(crate) async fn nothing_goes_unless_the_floor_is_raised(place: &Place) {
    const LEASE: Duration = Duration::from_millis(200);
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    age(place, all[1]).await;
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= all[2]).await;
    match place.db.backend() {
        DbBackend::Postgres => {
            let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$";
            place.change(refuse).await;
            let trigger =
                "CREATE TRIGGER refuses BEFORE UPDATE ON journal_state FOR EACH ROW EXECUTE FUNCTION refuse()";
            place.change(trigger).await;
        }
        _ => {
            let trigger = "CREATE TRIGGER refuses BEFORE UPDATE ON journal_state \
                BEGIN SELECT raise(ABORT, 'on purpose'); END";
            place.change(trigger).await;
        }
    }
    let stop = CancellationToken::new();
    jobs::start(&place.db, vec![journal.retention(DAY)], LEASE, &stop);
    let tries = "SELECT until FROM jobs";
    until(SOON, "the first try", async || !place.numbers(tries).await.is_empty()).await;
    let later = place.number(tries).await + 3 * LEASE.as_micros() as i64;
    until(SOON, "the next tries", async || place.number(tries).await > later).await;
    stop.cancel();
    assert_eq!(cursors(place).await, all);
}

pub(crate) async fn nothing_goes_from_behind_a_row_that_is_younger(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 4).await;
    age(place, all[3]).await;
    let young = all[1].position.seq;
    place
        .change(&format!(
            "UPDATE journal SET time = time + {TWO_DAYS} WHERE seq = {young}"
        ))
        .await;
    retain(place, &journal, all[3]).await;
    assert_eq!(cursors(place).await, all[1..]);
    assert_eq!(floor(place).await, all[0].position);
}

pub(crate) async fn rows_of_an_earlier_life_go_without_raising_the_floor(place: &Place) {
    let earlier = write(place, &open(place).await, 2).await;
    place.change("UPDATE journal_state SET epoch = 2").await;
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= all[4]).await;
    let beginning = Cursor {
        epoch: 2,
        position: Position { xid: 0, seq: 0 },
    };
    let end = *horizon.borrow();
    let told = journal.after(Filter::All, beginning, end, 10).await.unwrap();
    assert_eq!(told.iter().map(|row| row.cursor()).collect::<Vec<_>>(), all[2..]);
    age(place, earlier[1]).await;
    retain(place, &journal, all[4]).await;
    assert_eq!(cursors(place).await, all[2..]);
    assert_eq!(floor(place).await, Position { xid: 0, seq: 0 });

    age(place, all[2]).await;
    retain(place, &journal, all[4]).await;
    assert_eq!(cursors(place).await, all[3..]);
    assert_eq!(floor(place).await, all[2].position);
}

pub(crate) async fn the_floor_only_rises(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    let Position { xid, seq } = all[2].position;
    place
        .change(&format!(
            "UPDATE journal_state SET floor_xid = {xid}, floor_seq = {seq}"
        ))
        .await;
    age(place, all[1]).await;
    retain(place, &journal, all[2]).await;
    assert_eq!(cursors(place).await, all[2..]);
    assert_eq!(floor(place).await, all[2].position);
}

/// A writing connection of a replica.
async fn writer(place: &Place) -> PgConnection {
    let options: PgConnectOptions = place.options.url.parse().unwrap();
    options
        .application_name("clientele-org-writer")
        .connect()
        .await
        .unwrap()
}

/// On PostgreSQL.
pub(crate) async fn the_floor_does_not_fall_below_what_another_raised_it_to(place: &Place) {
    let journal = open(place).await;
    let all = write(place, &journal, 3).await;
    age(place, all[1]).await;
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= all[2]).await;
    let mut other = writer(place).await;
    let Position { xid, seq } = all[2].position;
    let raise = format!("BEGIN; UPDATE journal_state SET floor_xid = {xid}, floor_seq = {seq}");
    other.execute(sqlx::AssertSqlSafe(raise)).await.unwrap();
    let stop = CancellationToken::new();
    jobs::start(&place.db, vec![journal.retention(DAY)], DAY, &stop);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name = 'clientele-org-writer' AND wait_event_type = 'Lock'";
    until(SOON, "the job waits", async || place.number(waiting).await == 1).await;
    other.execute("COMMIT").await.unwrap();
    place.until_done("journal-retention").await;
    stop.cancel();
    assert_eq!(cursors(place).await, all[2..]);
    assert_eq!(floor(place).await, all[2].position);
}

/// On PostgreSQL.
pub(crate) async fn nothing_goes_from_above_the_horizon(place: &Place) {
    let journal = open(place).await;
    let before = write(place, &journal, 2).await;
    let mut slow = writer(place).await;
    slow.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let all = write(place, &journal, 3).await;
    age(place, all[4]).await;
    let horizon = journal.horizon();
    until(SOON, "the horizon", async || *horizon.borrow() >= before[1]).await;
    run(place, &journal).await;
    // the newest row that readers may see stays too
    assert_eq!(cursors(place).await, all[1..]);
    slow.execute("COMMIT").await.unwrap();
    retain(place, &journal, all[4]).await;
    assert_eq!(cursors(place).await, all[4..]);
}

/// On PostgreSQL.
pub(crate) async fn a_restored_database_has_no_floor(place: &Place) {
    open(place).await;
    place
        .change("UPDATE journal_state SET cluster = 'elsewhere', floor_xid = 1000000000000, floor_seq = 5")
        .await;
    let journal = open(place).await;
    assert_eq!((journal.epoch(), floor(place).await), (2, Position { xid: 0, seq: 0 }));
    let end = *journal.horizon().borrow();
    assert_eq!(reason(journal.check_cursor(end)).await, None);
}

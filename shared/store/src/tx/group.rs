//! Group commit on PostgreSQL: units that only insert, and wait at the same time, share one statement, which is one round trip, one
//! commit and one flush for all of them. What queued while the last statement ran is the next one: nobody waits for company.
//!
//! A statement that fails changed nothing, so whose fault it was need not be known: each of its units is run by itself.

use super::Position;
use super::fault::{Fault, draining, outcome_unknown, unavailable};
use super::session::{Reply, Stop};
use super::write::Inserts;
use crate::Constraint;
use crate::fail::{self, Point};
use crate::postgres::Connections;
use clientele_api::Error;
use sea_orm::{DbBackend, DbErr, RuntimeErr, Statement};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Statements under way at the same time. Fewer make larger groups; one alone would leave the disk idle while it waits for rows.
const LANES: usize = 4;
/// Units in one statement, at most: each number of them is a prepared statement of its own.
const GROUP: usize = 8;
/// Units that wait, at most.
const QUEUE: usize = 1_024;
/// How long a unit waits for its place in a full queue.
const ENTER: Duration = Duration::from_secs(2);

/// The way to the lanes. They end when it is closed.
pub(super) struct Group {
    queue: mpsc::Sender<Waiting>,
    closing: CancellationToken,
    lanes: TaskTracker,
}

/// A unit in the queue.
struct Waiting {
    inserts: Inserts,
    answer: oneshot::Sender<Result<Position, Stop>>,
}

impl Group {
    pub(super) fn start(connections: &Arc<Connections>, commits: &watch::Sender<u64>) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let (closing, lanes) = (CancellationToken::new(), TaskTracker::new());
        for _ in 0..LANES {
            let lane = Lane {
                queue: Arc::clone(&queue),
                closing: closing.clone(),
                connections: Arc::clone(connections),
                commits: commits.clone(),
                statements: HashMap::new(),
            };
            lanes.spawn(lane.run());
        }
        lanes.close();
        Self {
            queue: sender,
            closing,
            lanes,
        }
    }

    /// Writes the rows; answers where that of the journal stands. [`Stop::Again`]: run the unit by itself.
    pub(super) async fn insert(&self, inserts: Inserts) -> Result<Position, Stop> {
        let (answer, answered) = oneshot::channel();
        let refused = match self.queue.send_timeout(Waiting { inserts, answer }, ENTER).await {
            Ok(()) => {
                return answered
                    .await
                    .unwrap_or_else(|error| Err(Stop::Refused(Error::internal(error))));
            }
            Err(SendTimeoutError::Timeout(_)) => unavailable("the queue of writes is full"),
            Err(SendTimeoutError::Closed(_)) => draining(),
        };
        Err(Stop::Refused(refused))
    }

    /// Refuses further units and waits for those that are queued.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.lanes.wait().await;
    }
}

/// Sends one group after the other.
struct Lane {
    queue: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    closing: CancellationToken,
    connections: Arc<Connections>,
    commits: watch::Sender<u64>,
    /// The text for so many units of the same kind, by the texts of one of them.
    statements: HashMap<(Arc<[String]>, usize), String>,
}

impl Lane {
    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(GROUP);
        while self.wait(&mut waiting).await {
            while let Some(first) = waiting.first() {
                let parts = Arc::clone(&first.inserts.parts);
                let alike = |unit: &mut Waiting| unit.inserts.parts == parts;
                let group = waiting.extract_if(.., alike);
                // One whose caller has gone is skipped.
                let group: Vec<Waiting> = group.filter(|unit| !unit.answer.is_closed()).collect();
                if !group.is_empty() {
                    self.write(&parts, group).await;
                }
            }
        }
    }

    /// Takes what is queued, at least one; false: it is closed, and empty. The other lanes wait for their turn.
    async fn wait(&self, waiting: &mut Vec<Waiting>) -> bool {
        let mut queue = self.queue.lock().await;
        loop {
            tokio::select! {
                biased;
                taken = queue.recv_many(waiting, GROUP) => return taken > 0,
                () = self.closing.cancelled() => queue.close(),
            }
        }
    }

    /// Writes a group and answers each of it.
    async fn write(&mut self, parts: &Arc<[String]>, group: Vec<Waiting>) {
        let (units, mut answers) = (group.len(), Vec::with_capacity(group.len()));
        let (mut values, mut constraints) = (Vec::new(), Vec::new());
        for Waiting { inserts, answer } in group {
            values.extend(inserts.values);
            constraints = inserts.constraints; // all are of one kind
            answers.push(answer);
        }
        let key = (Arc::clone(parts), units);
        let sql = self.statements.entry(key).or_insert_with(|| merged(parts, units));
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql.as_str(), values);
        answers.iter().for_each(|_| fail::point(Point::BeforeCommit));
        let written = match self.send(statement).await {
            Ok(reply) => {
                self.commits.send_modify(|commits| *commits += 1);
                // Committed, whatever is wrong with the answer: it must not be run again.
                positions(&reply, units).map_err(Error::internal)
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(stop(&error, units, &constraints))); // the caller may have gone meanwhile
                }
                return;
            }
        };
        for (unit, answer) in answers.into_iter().enumerate() {
            fail::point(Point::AfterCommit);
            let position = written.as_ref().map(|positions| positions[unit]);
            let _ = answer.send(position.map_err(|error| Stop::Refused(error.clone())));
        }
    }

    async fn send(&self, statement: Statement) -> Result<Reply, DbErr> {
        let _place = self.connections.place().await.map_err(DbErr::ConnectionAcquire)?;
        let connection = self.connections.take().await;
        let mut connection = connection.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?;
        let reply = connection.send(statement).await;
        let reply = reply.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
        match &reply {
            Err(error) if Fault::of(error) == Fault::Lost => self.connections.forget(),
            _ => self.connections.put_back(connection),
        }
        reply
    }
}

/// What follows for each unit from a statement that failed.
fn stop(error: &DbErr, units: usize, constraints: &[&'static [Constraint]]) -> Stop {
    let fault = Fault::of(error);
    let sent = !matches!(error, DbErr::Conn(_) | DbErr::ConnectionAcquire(_));
    match fault {
        Fault::Lost if sent => Stop::Refused(outcome_unknown(error)),
        Fault::Lost => Stop::Refused(unavailable(error)),
        Fault::Contention => Stop::Again(error.to_string()),
        _ if units > 1 && sent => Stop::Again(error.to_string()),
        _ => Stop::Refused(super::refusal(error.clone(), constraints.iter().copied().flatten())),
    }
}

/// Where the row of each unit stands.
fn positions(reply: &Reply, units: usize) -> Result<Vec<Position>, DbErr> {
    let mut positions = vec![None; units];
    for row in &reply.rows {
        let unit = if units == 1 { 0 } else { row.try_get_by_index::<i32>(2)? };
        let position = usize::try_from(unit).ok().and_then(|unit| positions.get_mut(unit));
        let position = position.ok_or_else(|| DbErr::Custom(format!("no unit {unit}")))?;
        *position = Some(Position::read(row)?);
    }
    let all: Option<Vec<Position>> = positions.into_iter().collect();
    all.ok_or_else(|| DbErr::Custom("a unit without a row of the journal".to_owned()))
}

/// The statement of so many units whose texts these are: first the inserts, last that into the journal, which answers `xid, seq`.
fn merged(parts: &[String], units: usize) -> String {
    let Some((journal, inserts)) = parts.split_last() else {
        return String::new();
    };
    let mut sql = String::from("WITH ");
    let mut parameters = 0;
    for unit in 0..units {
        for (at, insert) in inserts.iter().enumerate() {
            let _ = write!(sql, "u{unit}w{at} AS ({}), ", renumbered(insert, &mut parameters));
        }
        if units > 1 {
            let _ = write!(sql, "u{unit} AS ({}), ", renumbered(journal, &mut parameters));
        }
    }
    sql.truncate(sql.trim_end_matches([' ', ',']).len());
    if units == 1 {
        let head = if inserts.is_empty() { String::new() } else { sql + " " };
        return head + &renumbered(journal, &mut parameters);
    }
    let answers: Vec<String> = (0..units)
        .map(|unit| format!("SELECT xid, seq, {unit} FROM u{unit}"))
        .collect();
    sql + " " + &answers.join(" UNION ALL ")
}

/// The same text with parameters that come after those that there are.
fn renumbered(sql: &str, parameters: &mut usize) -> String {
    let mut pieces = sql.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let before = *parameters;
    for piece in pieces {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(digits);
        let number = before + number.parse::<usize>().unwrap_or_default();
        *parameters = number.max(*parameters);
        let _ = write!(text, "${number}{rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn each_unit_has_parameters_of_its_own() {
        let parts = [
            "INSERT INTO a VALUES ($1, $2)".to_owned(),
            "INSERT INTO journal VALUES ($1) RETURNING xid, seq".to_owned(),
        ];
        assert_eq!(
            merged(&parts, 1),
            "WITH u0w0 AS (INSERT INTO a VALUES ($1, $2)) INSERT INTO journal VALUES ($3) RETURNING xid, seq"
        );
        assert_eq!(
            merged(&parts, 2),
            "WITH u0w0 AS (INSERT INTO a VALUES ($1, $2)), u0 AS (INSERT INTO journal VALUES ($3) RETURNING xid, seq), \
             u1w0 AS (INSERT INTO a VALUES ($4, $5)), u1 AS (INSERT INTO journal VALUES ($6) RETURNING xid, seq) \
             SELECT xid, seq, 0 FROM u0 UNION ALL SELECT xid, seq, 1 FROM u1"
        );
        assert_eq!(
            merged(&parts[1..], 1),
            "INSERT INTO journal VALUES ($1) RETURNING xid, seq"
        );
    }
}

//! What a unit collects, and the fewest statements that say it.

use crate::Constraint;
use clientele_api::{Error, Result};
use sea_orm::sea_query::{
    CommonTableExpression, DeleteStatement, DynIden, Expr, InsertStatement, Query, ReturningClause, SelectStatement,
    SubQueryStatement, UnionType, UpdateStatement, WithClause,
};
use sea_orm::{DbBackend, Statement, StatementBuilder, Value, Values};
use std::sync::Arc;

/// A write that needs no answer.
#[derive(Debug, Clone)]
pub enum Write {
    /// An INSERT.
    Insert(InsertStatement),
    /// An UPDATE.
    Update(UpdateStatement),
    /// A DELETE.
    Delete(DeleteStatement),
}

impl From<InsertStatement> for Write {
    fn from(statement: InsertStatement) -> Self {
        Self::Insert(statement)
    }
}

impl From<UpdateStatement> for Write {
    fn from(statement: UpdateStatement) -> Self {
        Self::Update(statement)
    }
}

impl From<DeleteStatement> for Write {
    fn from(statement: DeleteStatement) -> Self {
        Self::Delete(statement)
    }
}

impl From<Write> for SubQueryStatement {
    fn from(write: Write) -> Self {
        match write {
            Write::Insert(statement) => statement.into(),
            Write::Update(statement) => statement.into(),
            Write::Delete(statement) => statement.into(),
        }
    }
}

impl Write {
    fn build(&self, backend: DbBackend) -> Statement {
        match self {
            Self::Insert(statement) => StatementBuilder::build(statement, &backend),
            Self::Update(statement) => StatementBuilder::build(statement, &backend),
            Self::Delete(statement) => StatementBuilder::build(statement, &backend),
        }
    }

    /// Answers a row for each row that it changes.
    fn returning_rows(self) -> Self {
        let one = ReturningClause::Exprs(vec![Expr::cust("1")]);
        match self {
            Self::Insert(mut statement) => statement.returning(one).take().into(),
            Self::Update(mut statement) => statement.returning(one).take().into(),
            Self::Delete(mut statement) => statement.returning(one).take().into(),
        }
    }
}

/// Rows for the journal. The table has the columns `xid` and `seq`, given by the database.
#[derive(Debug, Clone)]
pub struct Append {
    /// The table.
    pub table: DynIden,
    /// The columns of a row.
    pub columns: Vec<DynIden>,
    /// At least one row.
    pub rows: Vec<Vec<Expr>>,
    /// The unique constraints of the table.
    pub constraints: &'static [Constraint],
}

impl Append {
    fn insert(self) -> Result<InsertStatement> {
        let mut insert = self.head();
        for row in self.rows {
            insert.values(row).map_err(Error::internal)?;
        }
        Ok(insert)
    }

    /// The same rows, but only where the condition holds.
    fn insert_if(self, condition: impl Fn(&mut SelectStatement)) -> Result<InsertStatement> {
        let mut insert = self.head();
        let mut rows = self.rows.into_iter().map(|row| {
            let mut select = Query::select();
            select.exprs(row);
            condition(&mut select);
            select
        });
        let mut all = rows.next().unwrap_or_default();
        for row in rows {
            all.union(UnionType::All, row);
        }
        insert.select_from(all).map_err(Error::internal)?;
        Ok(insert)
    }

    fn head(&self) -> InsertStatement {
        let mut insert = Query::insert();
        insert.into_table(self.table.clone()).columns(self.columns.clone());
        insert.returning(Query::returning().columns(["xid", "seq"]));
        insert
    }
}

/// What a unit has collected so far.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) guards: Vec<Write>,
    pub(super) writes: Vec<Write>,
    pub(super) appends: Vec<Append>,
    /// The unique constraints of all of it.
    pub(super) constraints: Vec<&'static [Constraint]>,
}

/// A statement of the flush, and what its answer must be.
pub(super) struct Step {
    pub(super) statement: Statement,
    pub(super) expect: Expect,
}

/// What the answer must be, else the guard failed.
pub(super) enum Expect {
    Nothing,
    /// One row was changed.
    OneChange,
    /// So many journal rows.
    Rows(usize),
}

impl Expect {
    fn of(self, statement: Statement) -> Step {
        Step {
            statement,
            expect: self,
        }
    }
}

/// The most statements of a unit that may share: of larger ones each size would be a text of its own, and little is gained.
const PARTS: usize = 4;

/// A unit that only inserts, and tells the journal in one row.
pub(super) struct Inserts {
    /// The texts of its statements, that of the journal last: it answers `xid, seq`.
    pub(super) parts: Arc<[String]>,
    /// All their values.
    pub(super) values: Vec<Value>,
    /// The unique constraints of all of it.
    pub(super) constraints: Vec<&'static [Constraint]>,
}

impl Collected {
    /// As inserts, if there is nothing else and they are few: the same texts for units of the same kind.
    pub(super) fn inserts(self, backend: DbBackend) -> Result<Option<Inserts>> {
        let only_inserts = self.writes.iter().all(|write| matches!(write, Write::Insert(_)));
        let (true, [], [append]) = (only_inserts, &*self.guards, &*self.appends) else {
            return Ok(None);
        };
        if append.rows.len() != 1 || self.writes.len() >= PARTS {
            return Ok(None);
        }
        let journal = append.clone().insert()?;
        let (mut parts, mut values) = (Vec::new(), Vec::new());
        for insert in self.writes.into_iter().chain([journal.into()]) {
            let statement = insert.build(backend);
            parts.push(statement.sql);
            values.extend(statement.values.unwrap_or(Values(Vec::new())));
        }
        Ok(Some(Inserts {
            parts: parts.into(),
            values,
            constraints: self.constraints,
        }))
    }

    /// One statement where possible. With a guard and other writes more: nothing may be written before the guard has
    /// held.
    pub(super) fn steps(self, backend: DbBackend) -> Result<Vec<Step>> {
        let (mut guards, mut writes, mut appends) = (self.guards, self.writes, self.appends);
        if guards.len() > 1 || appends.len() > 1 || appends.iter().any(|append| append.rows.is_empty()) {
            return Err(Error::internal(
                "a unit has at most one guard and one append, which has rows",
            ));
        }
        match (guards.pop(), appends.pop()) {
            (Some(guard), Some(append)) if writes.is_empty() => {
                let rows = Expect::Rows(append.rows.len());
                Ok(vec![rows.of(guarded(backend, guard, append)?)])
            }
            (guard, append) => {
                let mut steps = Vec::from_iter(guard.map(|guard| Expect::OneChange.of(guard.build(backend))));
                match append {
                    Some(append) => {
                        let rows = Expect::Rows(append.rows.len());
                        writes.push(append.insert()?.into());
                        steps.extend(merged(backend, writes).map(|statement| rows.of(statement)));
                    }
                    None if backend == DbBackend::Sqlite => {
                        steps.extend(merged(backend, writes).map(|statement| Expect::Nothing.of(statement)));
                    }
                    // One after the other: these are a follower's, which may be many and touch a row twice.
                    None => steps.extend(writes.iter().map(|write| Expect::Nothing.of(write.build(backend)))),
                }
                Ok(steps)
            }
        }
    }
}

/// The guard and the rows that are appended only if it changed its row, as one call.
fn guarded(backend: DbBackend, guard: Write, append: Append) -> Result<Statement> {
    if backend == DbBackend::Sqlite {
        let append = append.insert_if(|select| {
            select.and_where(Expr::cust("changes() = 1"));
        })?;
        return Ok(in_a_row(&[guard, append.into()]));
    }
    let append = append.insert_if(|select| {
        select.from("guard");
    })?;
    let mut with = WithClause::new();
    with.cte(table("guard".to_owned(), guard.returning_rows()));
    Ok(StatementBuilder::build(&with.query(append), &backend))
}

/// Writes that do not depend on each other, as one call. The answer is that of the last.
fn merged(backend: DbBackend, mut writes: Vec<Write>) -> Option<Statement> {
    if backend == DbBackend::Sqlite {
        return (!writes.is_empty()).then(|| in_a_row(&writes));
    }
    let last = writes.pop()?;
    if writes.is_empty() {
        return Some(last.build(backend));
    }
    let mut with = WithClause::new();
    for (at, write) in writes.into_iter().enumerate() {
        with.cte(table(format!("w{at}"), write));
    }
    Some(StatementBuilder::build(&with.query(last), &backend))
}

fn table(name: String, write: Write) -> CommonTableExpression {
    CommonTableExpression::new().table_name(name).query(write).to_owned()
}

/// SQLite runs several statements in one call; their values run on from one to the next.
fn in_a_row(writes: &[Write]) -> Statement {
    let mut sql = String::new();
    let mut values = Vec::new();
    for write in writes {
        let statement = write.build(DbBackend::Sqlite);
        if !sql.is_empty() {
            sql.push_str("; ");
        }
        sql.push_str(&statement.sql);
        values.extend(statement.values.unwrap_or(Values(Vec::new())));
    }
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

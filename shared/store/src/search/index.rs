//! The index of a table that is searched, on either engine.

use super::keys::{Keys, Text};
use super::query::{Fit, Query, Rank};
use crate::{Answer, PageRequest, Reader, page};
use clientele_api::{Result, Uid};
use sea_orm::sea_query::{self, Alias, BinOper, Cond, Expr, ExprTrait, IntoIden, Order, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};
use std::collections::HashSet;
use tokio::task::yield_now;
use uuid::Uuid;

/// How many resources a search looks at.
pub const MOST: usize = 1000;
/// Where fewer than these fit without a typo, those that fit with one are looked for, too.
const FEW: usize = 50;
/// How many rows are given their keys with one statement.
const FILLED: u64 = 500;
/// So many rows are ranked at a time.
const RANKED: usize = 16;
/// The column of the keys.
const KEYS: &str = "search_keys";

/// The index of a table, which has the columns `uid` and `workspace_uid`, and gets the column `search_keys`.
///
/// On PostgreSQL that is an array of numbers with a GIN index. On SQLite it is a text that has them as words, and triggers keep an FTS5
/// table of it, so that who writes or deletes a row need not know. FTS5 knows rows by an integer that is its own: SQLite may give the rows
/// of the table other ones when it is vacuumed.
#[derive(Debug)]
pub struct Index {
    /// The name of the table.
    pub table: &'static str,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Findings<M> {
    /// What fits, the best first.
    pub found: Vec<Found<M>>,
    /// Whether more may fit than was looked at.
    pub more: bool,
}

impl<M> Default for Findings<M> {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            more: false,
        }
    }
}

impl<M> Findings<M> {
    /// The places of so many that are behind the last one of the page before, and whether there are more behind them.
    pub fn page(self, after: Option<&Place>, size: u64) -> (Vec<Place>, bool) {
        let mut places: Vec<Place> = self.found.into_iter().map(|one| one.place).collect();
        places.retain(|place| after.is_none_or(|after| place > after));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = places.len() > size;
        places.truncate(size);
        (places, more)
    }
}

/// A resource that fits, and where it stands among the others.
#[derive(Debug, Clone)]
pub struct Found<M> {
    /// Its place.
    pub place: Place,
    /// What was read of it.
    pub row: M,
}

/// Where a resource stands among those that fit: how well it does, then its title, then its uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    fit: Fit,
    title: String,
    uid: Uid,
}

impl Place {
    fn of(fit: Fit, text: &Text<'_>) -> Self {
        Self {
            fit,
            title: text.title.to_owned(),
            uid: text.uid,
        }
    }

    /// Which resource it is.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// The place as the key of a page.
    pub fn to_key(&self) -> Vec<u8> {
        [&[self.fit.to_byte()], &self.uid.0.as_bytes()[..], self.title.as_bytes()].concat()
    }

    /// The place behind which a page goes on. None: it is the first one.
    pub fn after(page: &PageRequest) -> Result<Option<Self>> {
        let key = page.after.as_deref();
        key.map(|key| Self::from_key(key).ok_or_else(page::invalid)).transpose()
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let (fit, key) = key.split_first()?;
        let (uid, title) = key.split_at_checked(16)?;
        Some(Self {
            fit: Fit::from_byte(*fit),
            uid: Uid(Uuid::from_slice(uid).ok()?),
            title: String::from_utf8(title.to_vec()).ok()?,
        })
    }
}

impl Keys {
    /// As the value of the column.
    pub fn value(&self, backend: DbBackend) -> Expr {
        let text = Expr::val(self.to_string());
        match backend {
            DbBackend::Postgres => Expr::cust_with_expr("CAST($1 AS _int8)", text),
            _ => text,
        }
    }
}

impl Index {
    /// The name of the column of the keys.
    pub fn column(&self) -> Alias {
        Alias::new(KEYS)
    }

    /// What fits, the best first: at most [`MOST`] of what has the same keys are looked at.
    ///
    /// `select` reads columns of the table, restricted as the caller likes, and has no FROM; `text` says of a row what is searched.
    pub async fn find<M: FromQueryResult>(
        &self,
        reader: &Reader,
        query: &Query,
        select: &SelectStatement,
        text: impl Fn(&M) -> Text<'_>,
    ) -> Result<Answer<Findings<M>>> {
        let backend = reader.backend();
        let read = async |alternatives: &[Keys], limit: usize| {
            let statement = self.select(backend, query, select, alternatives, limit);
            reader.all_of::<M>(statement).await
        };
        let exact = query.exact();
        let Answer { value, mut revision } = read(std::slice::from_ref(&exact), MOST + 1).await?;
        let mut rows = Rows::default();
        let mut crowded = value.len() > MOST;
        if crowded {
            for keys in query.best().into_iter().filter(|keys| *keys != exact) {
                let more = read(&[keys], MOST).await?;
                revision.merge(&more.revision);
                rows.add(more.value, &text);
                if rows.all.len() >= MOST {
                    break;
                }
            }
        }
        rows.add(value, &text);
        let mut found = rank(query, rows.all, &text).await;
        let fit = found.iter().filter(|one| !one.place.fit.rank.is_typo()).count();
        let mistyped = query.mistyped();
        if fit >= FEW {
            found.retain(|one| !one.place.fit.rank.is_typo());
        } else if !mistyped.is_empty() {
            let more = read(&mistyped, MOST + 1).await?;
            revision.merge(&more.revision);
            crowded |= more.value.len() > MOST;
            let mut rows = Rows::without(&found);
            rows.add(more.value, &text);
            found.extend(rank(query, rows.all, &text).await);
        }
        found.sort_by(|one, other| one.place.cmp(&other.place));
        let value = Findings { found, more: crowded };
        Ok(Answer { value, revision })
    }

    /// What the workspace has, by title and then uid, where nothing was typed: the first [`MOST`]. Every title begins with nothing.
    ///
    /// The table needs an index of workspace, this column of titles, and uid.
    pub async fn browse<M: FromQueryResult>(
        &self,
        reader: &Reader,
        workspace: Uid,
        (select, title): (&SelectStatement, &'static str),
        text: impl Fn(&M) -> Text<'_>,
    ) -> Result<Answer<Findings<M>>> {
        let read = reader.all_of::<M>(self.first(workspace, select, title)).await?;
        Ok(read.map(|mut rows| {
            let more = rows.len() > MOST;
            rows.truncate(MOST);
            let (rank, elsewhere) = (Rank::Prefix, false);
            let place = |row: &M| Place::of(Fit { rank, elsewhere }, &text(row));
            let found = rows.into_iter().map(|row| Found {
                place: place(&row),
                row,
            });
            Findings {
                found: found.collect(),
                more,
            }
        }))
    }

    /// Reads the first of the workspace by title, one more than are looked at.
    pub fn first(&self, workspace: Uid, select: &SelectStatement, title: &'static str) -> SelectStatement {
        let table = Alias::new(self.table);
        let mut select = select.clone();
        select
            .from(table.clone())
            .and_where(Expr::col((table.clone(), "workspace_uid".into_iden())).eq(workspace.0))
            .order_by((table.clone(), title.into_iden()), Order::Asc)
            .order_by((table, "uid".into_iden()), Order::Asc)
            .limit(MOST as u64 + 1)
            .take()
    }

    /// Reads what has all keys of one of the alternatives.
    pub fn select(
        &self,
        backend: DbBackend,
        query: &Query,
        select: &SelectStatement,
        alternatives: &[Keys],
        limit: usize,
    ) -> SelectStatement {
        let mut select = select.clone();
        let table = Alias::new(self.table);
        match backend {
            DbBackend::Postgres => {
                let mut any = Cond::any();
                for keys in alternatives {
                    let column = Expr::col((table.clone(), self.column()));
                    any = any.add(column.binary(BinOper::Custom("@>"), keys.value(backend)));
                }
                select.from(table.clone()).cond_where(any);
            }
            _ => {
                let (index, ids) = (Alias::new(self.fts()), Alias::new(self.ids()));
                // CROSS: in this order. It has no ON.
                select
                    .from(index.clone())
                    .cross_join(ids.clone())
                    .cross_join(table.clone())
                    .and_where(Expr::col(index.clone()).binary(BinOper::Custom("MATCH"), words(alternatives)))
                    .and_where(Expr::col((ids.clone(), "id")).equals((index, "rowid")))
                    .and_where(Expr::col((table.clone(), "uid")).equals((ids, "uid")));
            }
        }
        // The keys are of the workspace; this is proof. Written so that no other index than that of the keys serves it: all that an index by
        // workspace could do is to read the whole workspace.
        let workspace = Expr::col((table, "workspace_uid".into_iden()));
        let same = BinOper::Custom("IS NOT DISTINCT FROM");
        select.and_where(workspace.binary(same, Expr::val(query.workspace().0)));
        select.limit(limit as u64).take()
    }

    /// The statement that gives the table its column.
    pub fn add_column(&self, backend: DbBackend) -> String {
        let table = self.table;
        match backend {
            // Without statistics every key counts as rare: no plan is made for how often one has been seen.
            DbBackend::Postgres => format!(
                "ALTER TABLE {table} ADD COLUMN {KEYS} bigint[] NOT NULL DEFAULT '{{}}';
                ALTER TABLE {table} ALTER COLUMN {KEYS} SET STATISTICS 0;"
            ),
            _ => format!("ALTER TABLE {table} ADD COLUMN {KEYS} text NOT NULL DEFAULT '';"),
        }
    }

    /// The statements that make the index, when the rows there are have their keys.
    pub fn add_index(&self, backend: DbBackend) -> String {
        let (table, fts, ids) = (self.table, self.fts(), self.ids());
        if backend == DbBackend::Postgres {
            // Every search reads the list of what is not yet in its place: a short one.
            return format!(
                "CREATE INDEX {fts} ON {table} USING gin ({KEYS}) WITH (gin_pending_list_limit = {PENDING_KIB});"
            );
        }
        let of = |row: &str| format!("(SELECT id FROM {ids} WHERE uid = {row}.uid)");
        let (new, old) = (of("NEW"), of("OLD"));
        format!(
            "CREATE TABLE {ids} (id integer PRIMARY KEY, uid blob NOT NULL UNIQUE);
            CREATE VIRTUAL TABLE {fts} USING
                fts5({KEYS}, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');
            INSERT INTO {ids} (uid) SELECT uid FROM {table} ORDER BY uid;
            INSERT INTO {fts} (rowid, {KEYS}) SELECT {ids}.id, {table}.{KEYS}
                FROM {ids} JOIN {table} ON {table}.uid = {ids}.uid;
            CREATE TRIGGER {fts}_insert AFTER INSERT ON {table} BEGIN
                INSERT INTO {ids} (uid) VALUES (NEW.uid);
                INSERT INTO {fts} (rowid, {KEYS}) VALUES ({new}, NEW.{KEYS});
            END;
            CREATE TRIGGER {fts}_update AFTER UPDATE OF {KEYS} ON {table} WHEN OLD.{KEYS} <> NEW.{KEYS} BEGIN
                DELETE FROM {fts} WHERE rowid = {old};
                INSERT INTO {fts} (rowid, {KEYS}) VALUES ({new}, NEW.{KEYS});
            END;
            CREATE TRIGGER {fts}_delete AFTER DELETE ON {table} BEGIN
                DELETE FROM {fts} WHERE rowid = {old};
                DELETE FROM {ids} WHERE uid = OLD.uid;
            END;"
        )
    }

    /// Gives all rows their keys, some at a time: for migrations. What is read of a row are these columns, of which the first is `uid`.
    pub async fn fill<R: FromQueryResult>(
        &self,
        connection: &impl ConnectionTrait,
        columns: &[&'static str],
        keys: impl Fn(&R) -> (Uuid, Keys),
    ) -> Result<(), DbErr> {
        let mut last = Uuid::nil();
        loop {
            let mut select = sea_query::Query::select();
            select
                .columns(columns.iter().copied())
                .from(self.table)
                .and_where(Expr::col("uid").gt(last))
                .order_by("uid", Order::Asc)
                .limit(FILLED);
            let rows = connection.query_all(&select).await?;
            let rows = rows.iter().map(|row| R::from_query_result(row, ""));
            let filled: Vec<(Uuid, Keys)> = rows.map(|row| Ok(keys(&row?))).collect::<Result<_, DbErr>>()?;
            let Some((end, _)) = filled.last() else {
                return Ok(());
            };
            last = *end;
            self.fill_some(connection, &filled).await?;
        }
    }

    /// Gives rows their keys, with one statement.
    async fn fill_some(&self, connection: &impl ConnectionTrait, rows: &[(Uuid, Keys)]) -> Result<(), DbErr> {
        let backend = connection.get_database_backend();
        let table = self.table;
        let keys = match backend {
            DbBackend::Postgres => "CAST(filled.column2 AS bigint[])",
            _ => "filled.column2",
        };
        let places = (1..=rows.len()).map(|row| format!("(${}, ${})", 2 * row - 1, 2 * row));
        let places = places.collect::<Vec<_>>().join(", ");
        let values = rows
            .iter()
            .flat_map(|(uid, keys)| [Value::from(*uid), Value::from(keys.to_string())]);
        let sql = format!(
            "UPDATE {table} SET {KEYS} = {keys} FROM (VALUES {places}) AS filled WHERE {table}.uid = filled.column1"
        );
        let statement = Statement::from_sql_and_values(backend, sql, values);
        connection.execute_raw(statement).await.map(drop)
    }

    /// PostgreSQL's index, SQLite's FTS5 table.
    fn fts(&self) -> String {
        format!("{}_search", self.table)
    }

    /// SQLite's table of integers for uids.
    fn ids(&self) -> String {
        format!("{}_search_ids", self.table)
    }
}

/// How many KiB of new keys wait to be put in their place together, which costs less than one by one.
const PENDING_KIB: u32 = 256;

/// Rows, each once.
struct Rows<M> {
    seen: HashSet<Uid>,
    all: Vec<M>,
}

impl<M> Default for Rows<M> {
    fn default() -> Self {
        Self {
            seen: HashSet::new(),
            all: Vec::new(),
        }
    }
}

impl<M> Rows<M> {
    fn without(found: &[Found<M>]) -> Self {
        Self {
            seen: found.iter().map(|one| one.place.uid).collect(),
            all: Vec::new(),
        }
    }

    fn add(&mut self, rows: Vec<M>, text: impl Fn(&M) -> Text<'_>) {
        for row in rows {
            if self.all.len() < MOST && self.seen.insert(text(&row).uid) {
                self.all.push(row);
            }
        }
    }
}

/// What of the rows fits. Long texts take their time: the calls of others go on between them.
async fn rank<M>(query: &Query, rows: Vec<M>, text: impl Fn(&M) -> Text<'_>) -> Vec<Found<M>> {
    let mut found = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        if at % RANKED == 0 {
            yield_now().await;
        }
        let text = text(&row);
        if let Some(fit) = query.fit(&text) {
            let place = Place::of(fit, &text);
            found.push(Found { place, row });
        }
    }
    found
}

/// The question to FTS5. It has nothing in it but numbers: what somebody typed can't mean anything.
fn words(alternatives: &[Keys]) -> String {
    let all = |keys: &Keys| {
        let keys: Vec<String> = keys.0.iter().map(ToString::to_string).collect();
        format!("({})", keys.join(" AND "))
    };
    alternatives.iter().map(all).collect::<Vec<_>>().join(" OR ")
}

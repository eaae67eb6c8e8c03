//! What all projections have in common: how a change becomes a row, and how rows are written.

use crate::tx::Write;
use clientele_api::Uid;
use clientele_api::journal::{Change, ChangeKind, Entry};
use clientele_api::name::Parts;
use prost::{Message, Name};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{DynIden, Expr, ExprTrait, IntoIden, OnConflict, Query, UpdateStatement, Value};
use sea_orm::{ActiveModelTrait, IntoActiveModel, Iterable};

/// An entity whose rows are what is kept of one kind of resource. Its table has the columns `uid`, `id` (NULL: gone), `version`,
/// `bootstrap` (the number of the bootstrap that named it last), and what else must be known.
pub(super) trait Projected: EntityTrait<Model: IntoActiveModel<Self::ActiveModel>> {
    /// The resource.
    type Message: Message + Name + Default;
    /// What its names look like.
    const NAMED: &'static str;

    /// What is kept of a change; None: nothing.
    fn keep(told: &Told<'_>, message: Self::Message) -> Understood<Option<Self::Model>>;

    /// Rows that need to be kept no longer.
    fn outdated() -> Option<Write> {
        None
    }
}

/// A change has something in it that makes no sense.
pub(super) struct NotUnderstood;

/// What a change says.
pub(super) type Understood<T> = Result<T, NotUnderstood>;

/// What every change tells of a resource.
pub(super) struct Told<'t> {
    pub(super) entry: &'t Entry,
    pub(super) change: &'t Change,
    /// Its identity.
    pub(super) uid: Uuid,
    /// The last id of its name. It proves that there is nothing in the name that a database refuses.
    pub(super) last_id: String,
    /// The number of this bootstrap.
    pub(super) bootstrap: i64,
}

impl Told<'_> {
    /// Whether the resource is there no more, also not as one that can come back.
    pub(super) fn is_gone(&self) -> bool {
        self.change.kind() == ChangeKind::Purged || self.change.after.is_none()
    }

    /// The id for the row: none if the resource is gone.
    pub(super) fn id(&self) -> Option<String> {
        (!self.is_gone()).then(|| self.last_id.clone())
    }

    pub(super) fn version(&self) -> i64 {
        self.change.version
    }

    pub(super) fn workspace(&self) -> Understood<Uuid> {
        uid(&self.entry.workspace_uid)
    }

    pub(super) fn organization(&self) -> Understood<Uuid> {
        uid(&self.entry.organization_uid)
    }
}

/// A uid that must be one.
pub(super) fn uid(text: &str) -> Understood<Uuid> {
    Uid::parse(text).map(|uid| uid.0).ok_or(NotUnderstood)
}

/// A row to be written, whatever its kind.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) version: i64,
    /// Whether it stands for what is there no more.
    pub(super) gone: bool,
    /// In the order of the columns.
    values: Vec<Value>,
}

/// A kind of resource, for code that treats all alike.
pub(super) struct Kind {
    /// The full name of its message.
    pub(super) message: fn() -> String,
    pub(super) table: fn() -> &'static str,
    columns: fn() -> Vec<DynIden>,
    keep: fn(&Entry, &Change, i64) -> Understood<Option<Row>>,
    /// Rows that need to be kept no longer.
    pub(super) outdated: fn() -> Option<Write>,
}

impl Kind {
    pub(super) const fn of<E: Projected>() -> Self {
        Self {
            message: <E::Message as Name>::full_name,
            table: table::<E>,
            columns: columns::<E>,
            keep: keep::<E>,
            outdated: E::outdated,
        }
    }

    /// What is kept of a change of this kind.
    pub(super) fn keep(&self, entry: &Entry, change: &Change, bootstrap: i64) -> Understood<Option<Row>> {
        (self.keep)(entry, change, bootstrap)
    }

    /// Insert or update, where the row is newer: by version, and across bootstraps by their number, since a restored journal may tell
    /// of lower versions.
    pub(super) fn upsert<'r>(&self, rows: impl Iterator<Item = &'r Row>) -> Option<Write> {
        let mut rows = rows.peekable();
        rows.peek()?;
        let (table, columns) = ((self.table)(), (self.columns)());
        let newer = Expr::tuple([Expr::cust("excluded.bootstrap"), Expr::cust("excluded.version")]).gt(Expr::tuple([
            Expr::cust(format!("{table}.bootstrap")),
            Expr::cust(format!("{table}.version")),
        ]));
        let others = columns.iter().filter(|column| column.to_string() != "uid");
        let on_conflict = OnConflict::column("uid")
            .update_columns(others.cloned())
            .action_and_where(newer)
            .to_owned();
        let mut insert = Query::insert();
        insert.into_table(table).columns(columns).on_conflict(on_conflict);
        for row in rows {
            insert.values_panic(row.values.iter().cloned().map(Expr::val));
        }
        Some(insert.into())
    }

    /// Notes that this bootstrap has heard of these.
    pub(super) fn raise(&self, uids: &[Uuid], bootstrap: i64) -> Write {
        let mut update = Query::update();
        update
            .table((self.table)())
            .value("bootstrap", bootstrap)
            .and_where(Expr::col("uid").is_in(uids.iter().copied()));
        update.into()
    }

    /// Makes gone what the bootstrap did not name, at most so many rows.
    pub(super) fn sweep(&self, bootstrap: i64, limit: u64) -> UpdateStatement {
        let mut unnamed = Query::select();
        unnamed
            .column("uid")
            .from((self.table)())
            .and_where(Expr::col("bootstrap").lt(bootstrap))
            .and_where(Expr::col("id").is_not_null())
            .limit(limit);
        let mut update = Query::update();
        update
            .table((self.table)())
            .value("id", Option::<String>::None)
            .and_where(Expr::col("uid").in_subquery(unnamed));
        update
    }
}

fn table<E: EntityTrait>() -> &'static str {
    E::default().table_name()
}

fn columns<E: EntityTrait>() -> Vec<DynIden> {
    E::Column::iter().map(IntoIden::into_iden).collect()
}

fn keep<E: Projected>(entry: &Entry, change: &Change, bootstrap: i64) -> Understood<Option<Row>> {
    let any = change.after.as_ref().or(change.before.as_ref());
    let message = any.and_then(|any| E::Message::decode(any.value.as_slice()).ok());
    let name = Parts::parse(&change.resource, &[E::NAMED]).map_err(|_| NotUnderstood)?;
    let told = Told {
        entry,
        change,
        uid: uid(&change.uid)?,
        last_id: name.last().unwrap_or_default().to_owned(),
        bootstrap,
    };
    let row = E::keep(&told, message.ok_or(NotUnderstood)?)?;
    Ok(row.map(|row| {
        let row = row.into_active_model();
        Row {
            version: told.version(),
            gone: told.is_gone(),
            values: E::Column::iter()
                .filter_map(|column| row.get(column).into_value())
                .collect(),
        }
    }))
}

//! What is kept of org-service: which workspaces and organizations exist, who may do what in them, and what other services must enforce
//! besides. A table for each kind of resource.

mod kind;
pub mod members;
mod migration;
pub mod organizations;
pub mod roles;
pub mod sessions;
pub mod standing;
pub mod teams;
pub mod users;
pub mod workspaces;

pub use migration::{CreatePeopleProjections, CreateProjections, CreateTeamProjections};
pub use organizations::Model as OrganizationProjection;

use crate::connect::{Db, db_error};
use crate::names::Tables;
use crate::tx::{self, Mode, Tx, Write};
use clientele_api::journal::{Change, Entry};
use clientele_api::{Result, Uid};
use kind::{Kind, NotUnderstood, Row, Understood, uid};
use sea_orm::EntityTrait;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::UpdateStatement;
use std::collections::BTreeMap;

/// Where a service that follows org-service finds workspaces and organizations by name.
pub const NAMES: Tables = Tables {
    workspaces: "projection_workspaces",
    organizations: "projection_organizations",
};

/// What is kept. Whoever adds to it raises [`GENERATION`].
const KINDS: &[Kind] = &[
    Kind::of::<workspaces::Entity>(),
    Kind::of::<organizations::Entity>(),
    Kind::of::<users::Entity>(),
    Kind::of::<members::Entity>(),
    Kind::of::<roles::Entity>(),
    Kind::of::<sessions::Entity>(),
    Kind::of::<teams::Entity>(),
];

/// Counts what was added to what is kept. Each has a cursor of its own: so what is new is read from the beginning, also while replicas
/// that don't know it yet go on with theirs.
pub(super) const GENERATION: u32 = 3;

/// The most rows of a kind that are swept at a time, since a transaction must not be long.
const SWEPT: u64 = 1_000;

/// The full names of the messages whose changes are wanted.
pub(super) fn types() -> Vec<String> {
    KINDS.iter().map(|kind| (kind.message)()).collect()
}

/// What is known of an organization. None: it is not known, or purged.
pub async fn organization(on: &impl ConnectionTrait, uid: Uid) -> Result<Option<OrganizationProjection>> {
    let row = organizations::Entity::find_by_id(uid.0)
        .one(on)
        .await
        .map_err(db_error)?;
    Ok(row.filter(|row| row.id.is_some()))
}

/// The rows that a batch of entries leads to. Of several changes of one resource the newest counts, since a statement may touch a
/// row only once.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// By the place of their kind and by uid.
    rows: BTreeMap<(usize, Uuid), Row>,
    bootstrap: i64,
    /// What could not be understood.
    pub(super) poisoned: Vec<Change>,
}

impl Batch {
    /// Reads the entries; their rows carry the number of this bootstrap.
    pub(super) fn read(entries: &[Entry], bootstrap: i64) -> Self {
        let mut batch = Self {
            bootstrap,
            ..Self::default()
        };
        for entry in entries {
            for change in &entry.changes {
                if let Err(NotUnderstood) = batch.add(entry, change) {
                    batch.poisoned.push(change.clone());
                }
            }
        }
        batch
    }

    fn add(&mut self, entry: &Entry, change: &Change) -> Understood<()> {
        let any = change.after.as_ref().or(change.before.as_ref()).ok_or(NotUnderstood)?;
        let message = any.type_url.rsplit('/').next().unwrap_or_default();
        let Some(at) = KINDS.iter().position(|kind| (kind.message)() == message) else {
            return Ok(()); // of a newer version of the API
        };
        let Some(row) = KINDS[at].keep(entry, change, self.bootstrap)? else {
            return Ok(());
        };
        let key = (at, uid(&change.uid)?);
        if self.rows.get(&key).is_none_or(|known| known.version <= row.version) {
            self.rows.insert(key, row);
        }
        Ok(())
    }

    /// Whether names come free, so that they may mean something else from now on.
    pub(super) fn frees_names(&self) -> bool {
        let named = |at: usize| [NAMES.workspaces, NAMES.organizations].contains(&(KINDS[at].table)());
        self.rows.iter().any(|((at, _), row)| row.gone && named(*at))
    }

    /// The statements. What could not be understood exists all the same: it must not be swept out.
    pub(super) fn writes(&self) -> Vec<Write> {
        let poisoned: Vec<Uuid> = self
            .poisoned
            .iter()
            .filter_map(|change| uid(&change.uid).ok())
            .collect();
        let mut writes = Vec::new();
        for (at, kind) in KINDS.iter().enumerate() {
            let rows = self
                .rows
                .range((at, Uuid::nil())..=(at, Uuid::max()))
                .map(|(_, row)| row);
            if let Some(upsert) = kind.upsert(rows) {
                writes.push(upsert);
                writes.extend((kind.outdated)());
            }
            if !poisoned.is_empty() {
                writes.push(kind.raise(&poisoned, self.bootstrap));
            }
        }
        writes
    }
}

/// What the bootstrap did not name is gone: it keeps its row, without an id.
pub(super) async fn sweep(db: &Db, bootstrap: i64) -> Result<()> {
    for kind in KINDS {
        while sweep_some(db, kind.sweep(bootstrap, SWEPT)).await? > 0 {}
    }
    Ok(())
}

/// Answers how many rows were swept.
async fn sweep_some(db: &Db, sweep: UpdateStatement) -> Result<u64> {
    let unit = async move |tx: &Tx| Ok(tx.execute(&sweep).await.map_err(db_error)?.rows_affected());
    Ok(tx::run(db, Mode::Commit, unit).await?.value)
}

/// Ids or permissions as one text. They have no blanks, nor anything that a database refuses.
fn words(list: &[String]) -> Understood<String> {
    let is_word = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    list.iter().all(is_word).then(|| list.join(" ")).ok_or(NotUnderstood)
}

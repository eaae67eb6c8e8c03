//! Names to uids. Names are resolved once, at admission; everything behind it goes by uid.

use crate::connect::{Db, db_error};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Result, Uid};
use moka::sync::Cache;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement};
use uuid::Uuid;

/// How many names are remembered.
const REMEMBERED: u64 = 100_000;

/// Where a service finds workspaces and organizations by name: its own tables, or its projections of another's. Both have the columns
/// `uid`, `id` and, for organizations, `workspace_uid`. A name means its newest uid.
#[derive(Debug, Clone)]
pub struct Directory {
    db: Db,
    tables: Tables,
    memory: Cache<Key, Remembered>,
}

/// The tables that hold workspaces and organizations.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// With the columns `uid` and `id`.
    pub workspaces: &'static str,
    /// With the columns `uid`, `workspace_uid` and `id`.
    pub organizations: &'static str,
}

/// The uid of the workspace (nil: above workspaces) and the id in it.
type Key = (Uid, String);

/// The uid, and how often names had changed their meaning when it was read.
type Remembered = (Uid, u64);

/// What a name was resolved to, and whether that was remembered rather than read.
#[derive(Debug, Clone)]
pub struct Resolved<T> {
    /// The resource.
    pub found: T,
    /// Remembered: if something turns out not to be there, read it. An id can mean another uid after a purge.
    pub remembered: bool,
}

impl Directory {
    /// A directory over these tables.
    pub fn new(db: Db, tables: Tables) -> Self {
        Self {
            db,
            tables,
            memory: Cache::new(REMEMBERED),
        }
    }

    /// The workspace with this id; read, unless what is remembered will do.
    pub async fn workspace(&self, id: &str, remembered: bool) -> Result<Option<Resolved<WorkspaceRef>>> {
        let select = || newest(self.tables.workspaces, id, None);
        let found = self.uid((Uid::NIL, id.to_owned()), remembered, select).await?;
        Ok(found.map(|(uid, remembered)| Resolved {
            found: WorkspaceRef { uid, id: id.to_owned() },
            remembered,
        }))
    }

    /// The organization with this id in the workspace; read, unless what is remembered will do.
    pub async fn organization(
        &self,
        workspace: &WorkspaceRef,
        id: &str,
        remembered: bool,
    ) -> Result<Option<Resolved<OrganizationRef>>> {
        let select = || newest(self.tables.organizations, id, Some(workspace.uid));
        let found = self.uid((workspace.uid, id.to_owned()), remembered, select).await?;
        Ok(found.map(|(uid, remembered)| Resolved {
            found: OrganizationRef {
                workspace: workspace.clone(),
                uid,
                id: id.to_owned(),
            },
            remembered,
        }))
    }

    async fn uid(
        &self,
        key: Key,
        remembered: bool,
        select: impl FnOnce() -> SelectStatement,
    ) -> Result<Option<(Uid, bool)>> {
        // Before the read: what a slow one finds must not outlive a change that it did not see.
        let renames = self.db.renames();
        if remembered && let Some((uid, _)) = self.memory.get(&key).filter(|(_, then)| *then == renames) {
            return Ok(Some((uid, true)));
        }
        let row = self.db.read().query_one(&select()).await.map_err(db_error)?;
        let Some(row) = row else {
            self.memory.invalidate(&key);
            return Ok(None);
        };
        let uid = Uid(row.try_get::<Uuid>("", "uid").map_err(db_error)?);
        self.memory.insert(key, (uid, renames));
        Ok(Some((uid, false)))
    }
}

fn newest(table: &'static str, id: &str, workspace: Option<Uid>) -> SelectStatement {
    let mut select = Query::select();
    select
        .column(Alias::new("uid"))
        .from(Alias::new(table))
        .and_where(Expr::col(Alias::new("id")).eq(id));
    if let Some(workspace) = workspace {
        select.and_where(Expr::col(Alias::new("workspace_uid")).eq(workspace.0));
    }
    select.order_by(Alias::new("uid"), Order::Desc).limit(1).to_owned()
}

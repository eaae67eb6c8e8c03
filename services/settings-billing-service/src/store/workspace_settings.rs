//! The defaults of workspaces in the database. No row: nothing was ever set.

use super::{language, layout};
use crate::domain::settings::{Values, WorkspaceSettings};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid, settings as api};
use clientele_service::journal::Snapshot;
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::journal::Filter;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Db, Reader};
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};

/// What was set for a workspace.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settings_workspaces")]
pub struct Model {
    /// The workspace.
    #[sea_orm(primary_key, auto_increment = false)]
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// Counts the changes, from 1.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// A code of ISO 639-1.
    pub language: Option<String>,
    /// The number of `Layout`.
    pub layout: Option<i32>,
    /// Whether an end user may ask for a person.
    pub human_enabled: Option<bool>,
    /// Whether the agent itself notices that a person is needed.
    pub smart_enabled: Option<bool>,
    /// Whether the conversation shows who is talking.
    pub show_messages: Option<bool>,
    /// Whether saved answers are offered.
    pub canned_responses_enabled: Option<bool>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Writes the next version of the defaults over the one it was made from. The first makes the row, unless another call has just made
/// it: then, as with any other version, nothing is written and the unit runs again.
pub fn write(
    tx: &Tx,
    scope: &Scope<WorkspaceRef>,
    before: &WorkspaceSettings,
    after: &WorkspaceSettings,
) -> Result<()> {
    let row = Model::try_from(after)?.into_active_model();
    if before.version == 0 {
        let unless_there = OnConflict::column(Column::WorkspaceUid).do_nothing().to_owned();
        tx.guard(Entity::insert(row).on_conflict(unless_there).into_query(), &[]);
    } else {
        let update = Entity::update_many()
            .set(row.reset_all())
            .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
            .filter(Column::Version.eq(before.version));
        tx.guard(update.into_query(), &[]);
    }
    Ok(())
}

/// The defaults of the scope's workspace, in a unit that is about to change them.
pub async fn read(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<WorkspaceSettings> {
    find(tx, scope.workspace()).await
}

/// The defaults that the scope's organization has from its workspace, in a unit that is about to change its own settings.
pub async fn read_above(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<WorkspaceSettings> {
    find(tx, &scope.organization().workspace).await
}

async fn find(tx: &Tx, workspace: &WorkspaceRef) -> Result<WorkspaceSettings> {
    let row = Entity::find_by_id(workspace.uid.0).one(tx).await.map_err(db_error)?;
    settings(row, workspace)
}

/// The defaults of the scope's workspace.
pub async fn get(reader: &Reader, scope: &Scope<WorkspaceRef>) -> Result<Answer<WorkspaceSettings>> {
    find_committed(reader, scope.workspace()).await
}

/// The defaults that the scope's organization has from its workspace.
pub async fn get_above(reader: &Reader, scope: &Scope<OrganizationRef>) -> Result<Answer<WorkspaceSettings>> {
    find_committed(reader, &scope.organization().workspace).await
}

async fn find_committed(reader: &Reader, workspace: &WorkspaceRef) -> Result<Answer<WorkspaceSettings>> {
    let found = reader.one(Entity::find_by_id(workspace.uid.0)).await?;
    found.try_map(|row| settings(row, workspace))
}

fn settings(row: Option<Model>, workspace: &WorkspaceRef) -> Result<WorkspaceSettings> {
    row.map_or_else(
        || Ok(WorkspaceSettings::unset(workspace.clone())),
        WorkspaceSettings::try_from,
    )
}

/// A page of all that were ever set, for the journal's initial state.
pub fn snapshot(db: Db, filter: Filter, after: Option<Uid>, limit: u64) -> BoxFuture<'static, Result<Vec<Snapshot>>> {
    async move {
        let mut select = Entity::find().order_by_asc(Column::WorkspaceUid).limit(limit);
        if let Some(after) = after {
            select = select.filter(Column::WorkspaceUid.gt(after.0));
        }
        select = match filter {
            Filter::All => select,
            Filter::Workspace(uid) => select.filter(Column::WorkspaceUid.eq(uid.0)),
            Filter::Organization(_) => return Ok(Vec::new()),
        };
        let rows = select.all(db.read()).await.map_err(db_error)?;
        rows.into_iter()
            .map(|row| Ok(describe(&WorkspaceSettings::try_from(row)?)))
            .collect()
    }
    .boxed()
}

fn describe(settings: &WorkspaceSettings) -> Snapshot {
    Snapshot {
        uid: settings.workspace.uid,
        workspace: Some(settings.workspace.clone()),
        organization: None,
        change: Change::snapshot(&api::WorkspaceSettings::from(settings)),
    }
}

impl TryFrom<&WorkspaceSettings> for Model {
    type Error = Error;

    fn try_from(settings: &WorkspaceSettings) -> Result<Self> {
        let unset = || Error::internal("defaults that were never set have no row");
        let values = &settings.defaults;
        Ok(Self {
            workspace_uid: settings.workspace.uid.0,
            workspace_id: settings.workspace.id.clone(),
            version: settings.version,
            create_time: settings.create_time.ok_or_else(unset)?.0,
            update_time: settings.update_time.ok_or_else(unset)?.0,
            language: values.language.map(|language| language.code().to_owned()),
            layout: values.layout.map(i32::from),
            human_enabled: values.human_enabled,
            smart_enabled: values.smart_enabled,
            show_messages: values.show_messages,
            canned_responses_enabled: values.canned_responses_enabled,
        })
    }
}

impl TryFrom<Model> for WorkspaceSettings {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            workspace: WorkspaceRef {
                uid: Uid(row.workspace_uid),
                id: row.workspace_id,
            },
            version: row.version,
            create_time: Some(Micros(row.create_time)),
            update_time: Some(Micros(row.update_time)),
            defaults: Values {
                language: language(row.language.as_deref())?,
                layout: layout(row.layout)?,
                human_enabled: row.human_enabled,
                smart_enabled: row.smart_enabled,
                show_messages: row.show_messages,
                canned_responses_enabled: row.canned_responses_enabled,
            },
        })
    }
}

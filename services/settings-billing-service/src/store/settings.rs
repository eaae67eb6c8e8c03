//! The settings of organizations in the database. No row: nothing was ever set.

use super::{language, layout};
use crate::domain::settings::{Settings, Values};
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

/// What was set for an organization.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settings_organizations")]
pub struct Model {
    /// The organization.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// The id of the organization, which never changes.
    pub organization_id: String,
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

/// Writes the next version of the settings over the one it was made from. The first makes the row, unless another call has just made
/// it: then, as with any other version, nothing is written and the unit runs again.
pub fn write(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Settings, after: &Settings) -> Result<()> {
    let row = Model::try_from(after)?.into_active_model();
    if before.version == 0 {
        let unless_there = OnConflict::column(Column::OrganizationUid).do_nothing().to_owned();
        tx.guard(Entity::insert(row).on_conflict(unless_there).into_query(), &[]);
    } else {
        let update = Entity::update_many()
            .set(row.reset_all())
            .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
            .filter(Column::Version.eq(before.version));
        tx.guard(update.into_query(), &[]);
    }
    Ok(())
}

/// The settings of the scope's organization, in a unit that is about to change them.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<Settings> {
    let row = Entity::find_by_id(scope.organization().uid.0)
        .one(tx)
        .await
        .map_err(db_error)?;
    settings(row, scope)
}

/// The settings of the scope's organization.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>) -> Result<Answer<Settings>> {
    let found = reader.one(Entity::find_by_id(scope.organization().uid.0)).await?;
    found.try_map(|row| settings(row, scope))
}

fn settings(row: Option<Model>, scope: &Scope<OrganizationRef>) -> Result<Settings> {
    row.map_or_else(|| Ok(Settings::unset(scope.organization().clone())), Settings::try_from)
}

/// A page of all that were ever set, for the journal's initial state.
pub fn snapshot(db: Db, filter: Filter, after: Option<Uid>, limit: u64) -> BoxFuture<'static, Result<Vec<Snapshot>>> {
    async move {
        let mut select = Entity::find().order_by_asc(Column::OrganizationUid).limit(limit);
        if let Some(after) = after {
            select = select.filter(Column::OrganizationUid.gt(after.0));
        }
        select = match filter {
            Filter::All => select,
            Filter::Workspace(uid) => select.filter(Column::WorkspaceUid.eq(uid.0)),
            Filter::Organization(uid) => select.filter(Column::OrganizationUid.eq(uid.0)),
        };
        let rows = select.all(db.read()).await.map_err(db_error)?;
        rows.into_iter()
            .map(|row| Ok(describe(&Settings::try_from(row)?)))
            .collect()
    }
    .boxed()
}

fn describe(settings: &Settings) -> Snapshot {
    let organization = &settings.organization;
    Snapshot {
        uid: organization.uid,
        workspace: Some(organization.workspace.clone()),
        organization: Some(organization.clone()),
        change: Change::snapshot(&api::Settings::from(settings)),
    }
}

impl TryFrom<&Settings> for Model {
    type Error = Error;

    fn try_from(settings: &Settings) -> Result<Self> {
        let unset = || Error::internal("settings that were never set have no row");
        let organization = &settings.organization;
        let values = &settings.overrides;
        Ok(Self {
            organization_uid: organization.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_id: organization.id.clone(),
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

impl TryFrom<Model> for Settings {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let workspace = WorkspaceRef {
            uid: Uid(row.workspace_uid),
            id: row.workspace_id,
        };
        Ok(Self {
            organization: OrganizationRef {
                workspace,
                uid: Uid(row.organization_uid),
                id: row.organization_id,
            },
            version: row.version,
            create_time: Some(Micros(row.create_time)),
            update_time: Some(Micros(row.update_time)),
            overrides: Values {
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

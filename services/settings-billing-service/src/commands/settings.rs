//! What can be done with settings.

use super::App;
use crate::domain::settings::{Edit, Settings, Wanted, read_earlier, require_not_deleted};
use crate::domain::values::Values;
use crate::store;
use crate::store::settings::{Table, revisions};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, settings as api};
use clientele_service::batch;
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Recorded};
use std::sync::Arc;

/// Gets the settings of the organization, with what holds.
pub async fn get(app: &App, scope: Scope<OrganizationRef>) -> Result<Answer<api::Settings>> {
    let found = app.effective.get(&scope).await?;
    Ok(found.map(Arc::unwrap_or_clone))
}

/// Gets the settings of organizations of the workspace, in the order of their names.
pub async fn batch_get(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::BatchGetSettingsRequest,
) -> Result<Answer<api::BatchGetSettingsResponse>> {
    const PATTERN: &str = "workspaces/{workspace}/organizations/{organization}/settings";
    let names = batch::read_names(&request.names, &request.parent, PATTERN)?;
    let ids: Vec<&str> = names.iter().filter_map(|name| name.id("organizations")).collect();
    let known = store::organization::named(&app.reader, &scope, &ids).await?;
    let not_found = |id: &str| Error::not_found("Organization", format!("{}/organizations/{id}", request.parent));
    if let Some(id) = ids.iter().find(|id| !known.value.contains_key(**id)) {
        return Err(not_found(id));
    }
    let mut found = app.effective.get_all(&scope, &known.value).await?;
    found.revision.merge(&known.revision);
    found.try_map(|found| {
        let of_id = |id: &&str| found.get(&known.value.get(*id)?.uid);
        let settings = ids.iter().map(|id| of_id(id).ok_or_else(|| not_found(id)));
        let settings = settings.map(|settings| settings.map(|settings| api::Settings::clone(settings)));
        Ok(api::BatchGetSettingsResponse {
            settings: settings.collect::<Result<_>>()?,
        })
    })
}

/// Whether canned responses are offered to users of the organization.
pub async fn offers_canned_responses(app: &App, scope: &Scope<OrganizationRef>) -> Result<Answer<bool>> {
    let found = app.effective.get(scope).await?;
    Ok(found.map(|settings| {
        settings
            .effective
            .as_ref()
            .is_some_and(|values| values.canned_responses_enabled())
    }))
}

/// The same, in a unit that depends on it.
pub async fn read_offers_canned_responses(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<bool> {
    let settings = store::settings::read(tx, scope).await?;
    let defaults = store::settings::read_defaults(tx, scope).await?;
    Ok(settings.effective(&defaults.values).canned_responses_enabled == Some(true))
}

/// Changes overrides of the organization. The journal gets them without what holds, the caller with it.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateSettingsRequest,
) -> Result<Answer<api::Settings>> {
    let mask = scope.mask(&request)?;
    let message = request.settings.unwrap_or_default();
    let edit = Edit::Update(Wanted {
        etag: message.etag,
        values: message.overrides.unwrap_or_default(),
        mask,
    });
    let author = scope.author();
    let unit = async move |tx: &Tx| change_overrides(tx, &scope, &edit).await;
    app.journal.write(author, unit).await
}

/// Lists the versions of the organization's overrides.
pub async fn list_revisions(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListSettingsRevisionsRequest,
) -> Result<Answer<api::ListSettingsRevisionsResponse>> {
    let (revisions, next_page_token) = revisions::list(&app.journal, &scope, &request).await?;
    Ok(Answer {
        value: api::ListSettingsRevisionsResponse {
            revisions,
            next_page_token,
        },
        revision: app.reader.revision_now().await?,
    })
}

/// Makes the organization's overrides what they were in an earlier version.
pub async fn rollback(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::RollbackSettingsRequest,
) -> Result<Answer<api::Settings>> {
    let edit = Edit::Rollback {
        values: earlier(app, &scope, request.version).await?,
        etag: request.etag,
    };
    let author = scope.author();
    let unit = async move |tx: &Tx| change_overrides(tx, &scope, &edit).await;
    app.journal.write(author, unit).await
}

/// Gets the defaults of the workspace.
pub async fn get_workspace(app: &App, scope: Scope<WorkspaceRef>) -> Result<Answer<api::WorkspaceSettings>> {
    let found = store::settings::get(&app.reader, &scope).await?;
    Ok(found.map(|settings| api::WorkspaceSettings::from(&settings)))
}

/// Changes defaults of the workspace.
pub async fn update_workspace(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UpdateWorkspaceSettingsRequest,
) -> Result<Answer<api::WorkspaceSettings>> {
    let mask = scope.mask(&request)?;
    let message = request.workspace_settings.unwrap_or_default();
    let edit = Edit::Update(Wanted {
        etag: message.etag,
        values: message.defaults.unwrap_or_default(),
        mask,
    });
    let author = scope.author();
    let unit = async move |tx: &Tx| change_defaults(tx, &scope, &edit).await;
    app.journal.write(author, unit).await
}

/// Lists the versions of the workspace's defaults.
pub async fn list_workspace_revisions(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListWorkspaceSettingsRevisionsRequest,
) -> Result<Answer<api::ListWorkspaceSettingsRevisionsResponse>> {
    let (revisions, next_page_token) = revisions::list(&app.journal, &scope, &request).await?;
    Ok(Answer {
        value: api::ListWorkspaceSettingsRevisionsResponse {
            revisions,
            next_page_token,
        },
        revision: app.reader.revision_now().await?,
    })
}

/// Makes the workspace's defaults what they were in an earlier version.
pub async fn rollback_workspace(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::RollbackWorkspaceSettingsRequest,
) -> Result<Answer<api::WorkspaceSettings>> {
    let edit = Edit::Rollback {
        values: earlier(app, &scope, request.version).await?,
        etag: request.etag,
    };
    let author = scope.author();
    let unit = async move |tx: &Tx| change_defaults(tx, &scope, &edit).await;
    app.journal.write(author, unit).await
}

/// The values of an earlier version. Before the first one nothing was set.
async fn earlier<O: Table>(app: &App, scope: &Scope<O>, version: i64) -> Result<Values> {
    match version {
        0 => return Ok(Values::default()),
        ..0 => return Err(Error::field("version", "must not be negative")),
        1.. => {}
    }
    let present = store::settings::get(&app.reader, scope).await?.value;
    let found = match version <= present.version {
        true => revisions::find(&app.journal, scope, version).await?,
        false => None, // there is no need to look for what has not been yet
    };
    let not_found = || {
        let name = present.name();
        let message = format!("the journal holds no version {version} of {name:?}, or holds it no more");
        Error::new(ErrorReason::RevisionNotFound, message)
            .with("version", version)
            .about(O::TYPE, name)
    };
    read_earlier::<O>(found.ok_or_else(not_found)?)
}

/// Edits the overrides of the organization under the defaults of its workspace. The caller gets them with what holds.
async fn change_overrides(tx: &Tx, scope: &Scope<OrganizationRef>, edit: &Edit) -> Result<Recorded<api::Settings>> {
    let organization = store::organization::read(tx, scope).await?;
    require_not_deleted(scope.organization(), organization.state())?;
    let defaults = store::settings::read_defaults(tx, scope).await?.values;
    change(tx, scope, edit, &defaults, |after| after.with_effective(&defaults)).await
}

/// Edits the defaults of the workspace.
async fn change_defaults(
    tx: &Tx,
    scope: &Scope<WorkspaceRef>,
    edit: &Edit,
) -> Result<Recorded<api::WorkspaceSettings>> {
    let nothing_above = Values::default();
    change(tx, scope, edit, &nothing_above, |after| after.into()).await
}

/// Reads the settings, makes their next version, and writes that, unless nothing differs.
async fn change<O: Table, A>(
    tx: &Tx,
    scope: &Scope<O>,
    edit: &Edit,
    above: &Values,
    answer: impl FnOnce(&Settings<O>) -> A,
) -> Result<Recorded<A>> {
    let before = store::settings::read(tx, scope).await?;
    let after = before.edit(edit, above, Micros::now())?;
    let answer = answer(&after);
    if after == before {
        return Ok(Recorded::nothing(answer));
    }
    store::settings::write(tx, scope, &before, &after)?;
    // A rollback brings back tabs themselves: their ids were given out to them.
    if let Edit::Update(_) = edit {
        store::custom_tab::give_out(tx, scope, &before.values.new_tabs(&after.values, above)).await?;
    }
    let (old, new) = (O::Message::from(&before), O::Message::from(&after));
    let change = Change::updated(&old, &new, before.changed_fields(&after));
    Ok(Recorded::change(answer, change))
}

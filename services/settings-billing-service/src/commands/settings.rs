//! What can be done with settings.

use super::App;
use crate::domain::settings::{Settings, Wanted, require_not_deleted};
use crate::domain::values::Values;
use crate::store;
use crate::store::settings::Table;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Micros, Result, settings as api};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Recorded};

/// Gets the settings of the organization, with what holds.
pub async fn get(app: &App, scope: Scope<OrganizationRef>) -> Result<Answer<api::Settings>> {
    let settings = store::settings::get(&app.reader, &scope).await?.value;
    // Read last, so that its revision is an upper bound of both: the journal only grows.
    let defaults = store::settings::get_defaults(&app.reader, &scope).await?;
    Ok(defaults.map(|defaults| settings.with_effective(&defaults.values)))
}

/// Changes overrides of the organization. The journal gets them without what holds, the caller with it.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateSettingsRequest,
) -> Result<Answer<api::Settings>> {
    let mask = scope.mask(&request)?;
    let message = request.settings.unwrap_or_default();
    let wanted = Wanted {
        etag: message.etag,
        values: message.overrides.unwrap_or_default(),
        mask,
    };
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::read(tx, &scope).await?;
        require_not_deleted(scope.organization(), organization.state())?;
        let defaults = store::settings::read_defaults(tx, &scope).await?.values;
        change(tx, &scope, &wanted, &defaults, |after| after.with_effective(&defaults)).await
    };
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
    let wanted = Wanted {
        etag: message.etag,
        values: message.defaults.unwrap_or_default(),
        mask,
    };
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let nothing_above = Values::default();
        change(tx, &scope, &wanted, &nothing_above, |after| after.into()).await
    };
    app.journal.write(author, unit).await
}

/// Reads the settings, makes their next version, and writes that, unless nothing differs.
async fn change<O: Table, A>(
    tx: &Tx,
    scope: &Scope<O>,
    wanted: &Wanted,
    above: &Values,
    answer: impl FnOnce(&Settings<O>) -> A,
) -> Result<Recorded<A>> {
    let before = store::settings::read(tx, scope).await?;
    let after = before.update(wanted, above, Micros::now())?;
    let answer = answer(&after);
    if after == before {
        return Ok(Recorded::nothing(answer));
    }
    store::settings::write(tx, scope, &before, &after)?;
    store::custom_tab::give_out(tx, scope, &before.values.new_tabs(&after.values, above)).await?;
    let (old, new) = (O::Message::from(&before), O::Message::from(&after));
    let change = Change::updated(&old, &new, before.changed_fields(&after));
    Ok(Recorded::change(answer, change))
}

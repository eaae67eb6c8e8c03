//! What can be done with settings.

use super::App;
use crate::domain::settings::require_not_deleted;
use crate::store;
use clientele_api::error::Violations;
use clientele_api::journal::Change;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Micros, Result, settings as api};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Recorded};

/// Gets the settings of the organization, with what holds.
pub async fn get(app: &App, scope: Scope<OrganizationRef>) -> Result<Answer<api::Settings>> {
    let settings = store::settings::get(&app.reader, &scope).await?.value;
    // Read last, so that its revision is an upper bound of both: the journal only grows.
    let defaults = store::workspace_settings::get_above(&app.reader, &scope).await?;
    Ok(defaults.map(|above| settings.with_effective(&above.defaults)))
}

/// Changes overrides of the organization. The journal gets them without what holds, the caller with it.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateSettingsRequest,
) -> Result<Answer<api::Settings>> {
    let mut violations = Violations::new();
    let mask = Mask::read(&request, &mut violations);
    violations.finish(Some(()))?;
    let message = request.settings.unwrap_or_default();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::read(tx, &scope).await?;
        require_not_deleted(scope.organization(), organization.state())?;
        let before = store::settings::read(tx, &scope).await?;
        before.check_etag(&message.etag)?;
        let mut violations = Violations::new();
        let after = before.update(&message, &mask, &mut violations, Micros::now());
        let after = violations.finish(Some(after))?;
        let defaults = store::workspace_settings::read_above(tx, &scope).await?.defaults;
        after.check_rules(&before, &defaults)?;
        let answer = after.with_effective(&defaults);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        store::settings::write(tx, &scope, &before, &after)?;
        let (old, new) = (api::Settings::from(&before), api::Settings::from(&after));
        Ok(Recorded::change(
            answer,
            Change::updated(&old, &new, before.changed_fields(&after)),
        ))
    };
    app.journal.write(author, unit).await
}

/// Gets the defaults of the workspace.
pub async fn get_workspace(app: &App, scope: Scope<WorkspaceRef>) -> Result<Answer<api::WorkspaceSettings>> {
    let found = store::workspace_settings::get(&app.reader, &scope).await?;
    Ok(found.map(|settings| api::WorkspaceSettings::from(&settings)))
}

/// Changes defaults of the workspace.
pub async fn update_workspace(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UpdateWorkspaceSettingsRequest,
) -> Result<Answer<api::WorkspaceSettings>> {
    let mut violations = Violations::new();
    let mask = Mask::read(&request, &mut violations);
    violations.finish(Some(()))?;
    let message = request.workspace_settings.unwrap_or_default();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = store::workspace_settings::read(tx, &scope).await?;
        before.check_etag(&message.etag)?;
        let mut violations = Violations::new();
        let after = before.update(&message, &mask, &mut violations, Micros::now());
        let after = violations.finish(Some(after))?;
        after.check_rules(&before)?;
        let answer = api::WorkspaceSettings::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        store::workspace_settings::write(tx, &scope, &before, &after)?;
        let old = api::WorkspaceSettings::from(&before);
        let change = Change::updated(&old, &answer, before.changed_fields(&after));
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}
